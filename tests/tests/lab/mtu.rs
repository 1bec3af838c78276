//! How large a packet may be: the underlay's MTU by default, or what is asked for.

use std::net::{IpAddr, UdpSocket};

use ocinet_tests::lab::{DUAL, HOST4, HOST6, Lab, Netns, Server, Snapshot, full_size_ping, ping, until};

use crate::PATIENCE;
use crate::conflict::refused_as_it_is as refused;
use crate::life::used;
use crate::options::{
    Asked, BRIDGE, MACVLAN, ROUTED, VETH, VXLAN, far, has_mtu, internet, route_to_containers, with,
};

/// Packets of so many bytes pass, and none that is one byte longer.
#[track_caller]
fn passes_at_most(from: &Netns, to: IpAddr, mtu: usize) {
    let header = if to.is_ipv4() { 28 } else { 48 };
    assert!(ping(from, to, PATIENCE), "{to}");
    assert!(full_size_ping(from, to, mtu - header), "{mtu} bytes to {to}");
    assert!(!full_size_ping(from, to, mtu - header + 1), "{} bytes to {to}", mtu + 1);
}

#[test]
#[ignore = "needs root"]
fn the_mtu_is_the_underlays_by_default() {
    let lab = Lab::new();
    let one = lab.another_host(1);
    for host in [&lab.host, &one.net] {
        host.batch("link set eth0 mtu 1400\n");
    }
    let far = far(&one);
    for (asked, mtu) in [(BRIDGE, 1400), (VETH, 1400), (VXLAN, 1350), (MACVLAN, 1400)] {
        let web = lab.attach("web", asked);
        has_mtu(&web.net, "eth0", mtu);
        for ipv6 in [false, true] {
            passes_at_most(&web.net, internet(ipv6), mtu);
            if asked == VXLAN {
                passes_at_most(&web.net, far.address(ipv6), mtu);
                passes_at_most(&far.net, web.address(ipv6), mtu);
            }
        }
        lab.detach(web);
    }
}

#[test]
#[ignore = "needs root"]
fn an_mtu_that_is_asked_for() {
    let lab = Lab::new();
    for asked in [BRIDGE, VETH, VXLAN, MACVLAN] {
        let other = lab.attach("other", asked);
        let web = lab.attach("web", &with(asked, &[("net.mtu", "1300")]));
        has_mtu(&web.net, "eth0", 1300);
        for ipv6 in [false, true] {
            passes_at_most(&web.net, internet(ipv6), 1300);
            let usual = if asked == VXLAN { 1450 } else { 1500 };
            passes_at_most(&other.net, internet(ipv6), usual);
        }
        lab.detach(web);
        lab.detach(other);
    }
}

/// A small MTU is one container's own: large packets for it are cut up, or their sender is told; its neighbours get
/// theirs whole.
#[test]
#[ignore = "needs root"]
fn large_packets_reach_a_container_with_a_small_mtu() {
    let lab = Lab::new();
    route_to_containers(&lab.wan);
    for asked in ROUTED {
        let open: Asked = &[("net.allow-inbound", "true")];
        let other = lab.attach("other", &with(asked, open));
        let small = [open, &[("net.mtu", "1280"), ("net.ports", "53:53/udp")]].concat();
        let small = lab.attach("small", &[asked, &small].concat());
        let server = Server::udp(&small.net, 53, "small");
        for (ipv6, host) in [(false, HOST4), (true, HOST6)] {
            let usual = if asked == VXLAN { 1450 } else { 1500 };
            passes_at_most(&lab.wan, other.address(ipv6), usual);
            passes_at_most(&lab.wan, small.address(ipv6), 1280);
            for to in [host, small.address(ipv6)] {
                let before = server.clients().len();
                let socket =
                    lab.wan.within(|| UdpSocket::bind((if ipv6 { "::" } else { "0.0.0.0" }, 0))).unwrap();
                let arrived = until(|| {
                    // The first is lost, and the answer to it is an error.
                    let _ = socket.send_to(&[7; 1400], (to, 53));
                    server.clients().len() > before
                });
                assert!(arrived, "1,400 bytes to {to}, {asked:?}");
            }
        }
        drop(server);
        lab.detach(small);
        lab.detach(other);
    }
}

/// The host's route to a container of smaller packets goes with it, also where the network stays.
#[test]
#[ignore = "needs root"]
fn a_container_with_a_small_mtu_leaves_no_route() {
    let lab = Lab::new();
    let network = [("net.network", "m"), ("net.subnet", "10.99.0.0/24")];
    let _neighbour = lab.attach("neighbour", &network);
    let before = Snapshot::of(&lab);
    let web = lab.attach("web", &[network[0], network[1], ("net.mtu", "1400")]);
    let to_web = Some((web.address(false), 32));
    let mut routes = lab.host.routes(false).into_iter().filter(|route| route.to == to_web);
    assert_eq!(routes.next().expect("a route").mtu, Some(1400));
    lab.detach(web);
    before.assert_is_back(&lab, "a container with a small MTU");
}

#[test]
#[ignore = "needs root"]
fn an_mtu_without_room_is_refused() {
    let lab = Lab::new();
    used(&lab);
    let small = [("net.subnet", DUAL), ("net.mtu", "1279")];
    refused(&lab, &small, 3, "1279 is less than the 1280 that IPv6 needs");
    let _web = lab.attach("web", &with(MACVLAN, &[("net.mtu", "1400")]));
    let large = with(MACVLAN, &[("net.mtu", "1501")]);
    refused(&lab, &large, 3, "net.mtu: 1501 is more than the 1500 of eth0");
    lab.host.batch("link set eth0 mtu 1279\n");
    let new = [("net.network", "new"), ("net.subnet", "10.95.0.0/24,fd00:95::/64")];
    refused(&lab, &new, 3, "packets leave the host by a link that has room for 1279");
    let _ipv4 = lab.attach("ipv4", &[("net.network", "new"), ("net.subnet", "10.95.0.0/24")]);
}
