//! What is kept apart: two networks on the same hosts, containers and tunnels, gateways and what comes by a tunnel.
//!
//! VXLAN does not say who sends: whoever reaches a host's tunnel port is in the network. That is tested too, beside what
//! holds all the same.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use ocinet_tests::lab::{
    Attached, Capture, DUAL, Endpoint, Frame, Lab, Netns, PEER4, PEER6, Seen, Server, disguises,
    link_address, ping, send_frame, until,
};

use super::{Overlay, Underlay};
use crate::disguise::{Guards, host_end, is_hidden, messages};
use crate::guards::no_way_back_is_checked;
use crate::reach::{does_not_reach, reaches};
use crate::{PATIENCE, SILENCE};

const OTHER: [(&str, &str); 3] =
    [("net.vni", "8"), ("net.subnet", "10.98.0.0/24,fd00:98::/64"), ("net.ip", "")];

/// A container of a second network on the same hosts.
fn other(overlay: &Overlay, host: usize, number: u8) -> Attached {
    let address = format!("10.98.0.{number},fd00:98::{number}");
    let mut annotations = OTHER.to_vec();
    annotations[2].1 = &address;
    overlay.attach(host, number, &annotations)
}

#[test]
#[ignore = "needs root"]
fn two_networks_on_the_same_hosts_are_apart() {
    for underlay in Underlay::ALL {
        let overlay = Overlay::new(underlay);
        let red = [overlay.attach(0, 10, &[]), overlay.attach(1, 11, &[])];
        let blue = [other(&overlay, 0, 20), other(&overlay, 1, 21)];
        let _servers = [Server::tcp(&red[1].net, 80, "red"), Server::tcp(&blue[1].net, 80, "blue")];
        let arrivals = Capture::new(&red[1].net);
        for ipv6 in [false, true] {
            reaches(&red[0].net, red[1].address(ipv6), 80, "red");
            reaches(&blue[0].net, blue[1].address(ipv6), 80, "blue");
            for from in [&blue[0].net, &blue[1].net] {
                does_not_reach(from, red[1].address(ipv6), 80);
            }
            does_not_reach(&red[0].net, blue[1].address(ipv6), 80);
        }
        // Nor does it hear what the other floods, even if it pretends to be on its subnet.
        red[0].net.batch("addr add 10.98.0.30/24 dev eth0\n");
        assert!(!ping(&red[0].net, blue[1].address(false), SILENCE));
        let foreign = |seen: &Seen| seen.asked_for().is_some_and(|asked| asked == blue[1].address(false));
        assert!(!arrivals.drain().iter().any(foreign));
    }
}

#[test]
#[ignore = "needs root"]
fn an_internal_overlay_reaches_only_itself() {
    let overlay = Overlay::new(Underlay::Peers4);
    let internal = [("net.internal", "true")];
    let (a, b) = (overlay.attach(0, 10, &internal), overlay.attach(1, 11, &internal));
    let open = other(&overlay, 0, 20);
    let _servers = [
        Server::tcp(&b.net, 80, "b"),
        Server::tcp(&overlay.lab.host, 7000, "host"),
        Server::tcp(&overlay.lab.wan, 80, "internet"),
    ];
    a.net.batch("route add default via 10.99.0.1\nroute add default via fd00:99::1\n");
    for (ipv6, internet) in [(false, ocinet_tests::lab::INTERNET4), (true, ocinet_tests::lab::INTERNET6)] {
        reaches(&a.net, b.address(ipv6), 80, "b");
        reaches(&open.net, internet, 80, "internet");
        reaches(&open.net, overlay.lab.address(ipv6), 7000, "host");
        for to in [internet, overlay.lab.address(ipv6), overlay.further[0].address(ipv6)] {
            does_not_reach(&a.net, to, if to == internet { 80 } else { 7000 });
        }
        does_not_reach(&open.net, b.address(ipv6), 80);
    }
}

/// The payload of a VXLAN packet (RFC 7348, section 5).
fn vxlan(vni: u8, frame: &[u8]) -> Vec<u8> {
    let mut packet = vec![8, 0, 0, 0, 0, 0, vni, 0];
    packet.extend(frame);
    packet
}

/// A LAN neighbour that is no peer of anybody's.
struct Injector<'a> {
    lab: &'a Lab,
    vni: u8,
}

impl Injector<'_> {
    const MAC: [u8; 6] = [2, 0x6f, 10, 99, 0, 66];

    fn send(&self, ipv6: bool, frame: &[u8]) {
        let from =
            Endpoint::new(link_address(&self.lab.peer, "eth0"), if ipv6 { PEER6 } else { PEER4 }, 40000);
        let to = Endpoint::new(link_address(&self.lab.host, "eth0"), self.lab.address(ipv6), 4789);
        send_frame(&self.lab.peer, "eth0", &Frame::new(from, to).udp(&vxlan(self.vni, frame)));
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An end in the network that nobody has.
fn nobody(mac: [u8; 6], ipv6: bool) -> Endpoint {
    Endpoint::new(mac, ip(["10.99.0.66", "fd00:99::66"][usize::from(ipv6)]), 40000)
}

fn at(container: &Attached, ipv6: bool, port: u16) -> Endpoint {
    Endpoint::new(link_address(&container.net, "eth0"), container.address(ipv6), port)
}

/// Who sends what looks like a tunnel's packet is in the network, but never its gateway, nor a user of it.
#[test]
#[ignore = "needs root"]
fn what_comes_by_a_tunnel_is_never_the_gateway() {
    let alone = Guards::ALL.map(|guards| (guards, Underlay::Peers4));
    for (guards, underlay) in alone.into_iter().chain([(Guards::Both, Underlay::Peers6)]) {
        let overlay = Overlay::new(underlay);
        let lab = &overlay.lab;
        let a = overlay.attach(0, 10, &[]);
        guards.alone(lab, &["oc-vni7".to_owned(), host_end(&a)]);
        let [host, lied_to] = [7000, 7001].map(|port| Server::udp(&lab.host, port, "host"));
        let gateway_mac = link_address(&lab.host, "oc-vxlan-7");
        let injector = Injector { lab, vni: 7 };
        let outer = underlay.is_ipv6();
        let arrivals = Capture::new(&a.net);
        for ipv6 in [false, true] {
            let gateway = ip(["10.99.0.1", "fd00:99::1"][usize::from(ipv6)]);
            let by_mac = Frame::new(nobody(gateway_mac, ipv6), at(&a, ipv6, 1)).udp(b"a lie");
            let by_address =
                Frame::new(Endpoint::new(Injector::MAC, gateway, 40000), at(&a, ipv6, 2)).udp(b"a lie");
            injector.send(outer, &by_mac);
            injector.send(outer, &by_address);
            let claim = match (ipv6, gateway) {
                (false, _) => Frame::new(Endpoint::new(Injector::MAC, gateway, 0), at(&a, false, 0))
                    .arp(2, Injector::MAC),
                (true, IpAddr::V6(target)) => Frame::new(nobody(Injector::MAC, true), at(&a, true, 0))
                    .neighbour_advertisement(target, Injector::MAC),
                (true, IpAddr::V4(_)) => unreachable!(),
            };
            injector.send(outer, &claim);
            let router = Frame::new(nobody(Injector::MAC, true), at(&a, true, 0));
            injector.send(outer, &router.router_advertisement("fd00:66::".parse().unwrap()));
            // Somebody who claims to be the container sends by its gateway.
            let to_host = Endpoint::new(gateway_mac, gateway, 7001);
            let as_a = Endpoint::new(Injector::MAC, a.address(ipv6), 40000);
            injector.send(outer, &Frame::new(as_a, to_host).udp(b"a lie"));
            injector.send(outer, &Frame::new(nobody(Injector::MAC, ipv6), at(&a, ipv6, 9)).udp(b"hello"));
            let seen = arrivals.wait_for("what a neighbour in the network sends", |seen| seen.is_udp_to(9));
            assert!(
                !seen.iter().any(|seen| seen.is_udp_to(1) || seen.is_udp_to(2)),
                "{guards:?}: a lie arrived"
            );
            assert!(!seen.iter().any(|seen| seen.is_icmp6(134) || seen.advertised() == Some(gateway)));
            assert!(!seen.iter().any(|seen| seen.arp_claim() == Some((Injector::MAC, gateway))));
            // The twins: who is no gateway may claim what it likes, and the container itself reaches the host.
            let own = nobody(Injector::MAC, false);
            injector.send(outer, &Frame::new(own, at(&a, false, 0)).arp(2, Injector::MAC));
            arrivals.wait_for("a claim of its own", |seen| seen.arp_claim() == Some((Injector::MAC, own.ip)));
            // Without rules, nothing lets the host's answer in.
            if guards != Guards::Filters {
                let gateway = SocketAddr::new(gateway, 7000);
                assert!(ocinet_tests::lab::ask_udp(&a.net, gateway, PATIENCE).is_some(), "{guards:?}");
                assert!(until(|| host.clients().last() == Some(&a.address(ipv6))));
            }
        }
        assert!(lied_to.clients().is_empty(), "{guards:?}: {:?}", lied_to.clients());
    }
}

/// Who sends by a tunnel is never the host itself, by rules and filters alone: route_localnet is on for the tunnel's bridge.
#[test]
#[ignore = "needs root"]
fn what_comes_by_a_tunnel_is_never_the_hosts_loopback() {
    for guards in Guards::ALL {
        let overlay = Overlay::new(Underlay::Peers4);
        let lab = &overlay.lab;
        let a = overlay.attach(0, 10, &[]);
        guards.alone(lab, &["oc-vni7".to_owned(), host_end(&a)]);
        no_way_back_is_checked(lab);
        // With br_netfilter's hand on it, the kernel drops such a packet itself.
        lab.host.sysctl("bridge/bridge-nf-call-iptables", "0");
        let injector = Injector { lab, vni: 7 };
        let bridge = link_address(&lab.host, "oc-vxlan-7");
        let gateway = ip("10.99.0.1");
        // The kernel takes nobody for an address of its own, which the second is not, though it is the loopback's.
        let (local, another) = (ip("127.0.0.1"), ip("127.0.0.2"));
        let public = Server::udp(&lab.host, 7000, "host");
        let server = Server::udp_at(&lab.host, SocketAddr::new(local, 7001), "host");
        // What is for everybody is for the host as well.
        for mac in [bridge, [0xff; 6]] {
            let lies = [local, another].map(|from| (from, gateway, 7000));
            for (from, to, port) in lies.into_iter().chain([(nobody(bridge, false).ip, local, 7001)]) {
                let frame =
                    Frame::new(Endpoint::new(Injector::MAC, from, 40000), Endpoint::new(mac, to, port));
                injector.send(false, &frame.udp(b"a lie"));
            }
        }
        injector.send(false, &Frame::new(nobody(Injector::MAC, false), at(&a, false, 9)).udp(b"hello"));
        let own = Frame::new(nobody(Injector::MAC, false), Endpoint::new([0xff; 6], gateway, 7000));
        injector.send(false, &own.udp(b"as itself"));
        assert!(until(|| public.clients().contains(&own.from.ip)), "{guards:?}: as itself");
        let clients = public.clients();
        assert!(
            !clients.contains(&local) && !clients.contains(&another),
            "{guards:?}: as the host: {clients:?}"
        );
        assert!(server.clients().is_empty(), "{guards:?}: to the host's loopback");
    }
}

/// Neither behind extension headers, nor in fragments, nor under a VLAN tag, by rules and filters alone.
#[test]
#[ignore = "needs root"]
fn no_disguise_makes_what_comes_by_a_tunnel_the_gateway() {
    for guards in Guards::ALL {
        let overlay = Overlay::new(Underlay::Peers4);
        let lab = &overlay.lab;
        let a = overlay.attach(0, 10, &[]);
        guards.alone(lab, &["oc-vni7".to_owned(), host_end(&a)]);
        let injector = Injector { lab, vni: 7 };
        let arrivals = Capture::new(&a.net);
        let (from, to) = (nobody(Injector::MAC, true), at(&a, true, 9));
        let frame = Frame::new(from, to);
        let IpAddr::V6(gateway) = ip("fd00:99::1") else { unreachable!() };
        for message in messages(gateway, Injector::MAC) {
            for (name, frames) in disguises(&frame, &message, to_octets(from.ip)) {
                frames.iter().for_each(|frame| injector.send(false, frame));
                injector.send(false, &frame.udp(&name.as_bytes()[..8]));
                let honest = |seen: &Seen| seen.is_udp_to(9) && seen.ends_with(&name.as_bytes()[..8]);
                let seen = arrivals.wait_for("a datagram", honest);
                assert!(!seen.iter().any(is_hidden), "{guards:?}: type {} by {name}", message[0]);
            }
        }
        let claim = Frame::new(Endpoint::new(Injector::MAC, ip("10.99.0.1"), 0), at(&a, false, 0))
            .arp(2, Injector::MAC);
        for tag in [[0x81, 0, 0, 0], [0x88, 0xa8, 0, 0]] {
            injector.send(false, &[&claim[..12], &tag, &claim[12..]].concat());
        }
        injector
            .send(false, &Frame::new(nobody(Injector::MAC, false), at(&a, false, 0)).arp(2, Injector::MAC));
        let own = |seen: &Seen| seen.arp_claim() == Some((Injector::MAC, ip("10.99.0.66")));
        let seen = arrivals.wait_for("a claim of its own", own);
        let claims = seen.iter().filter_map(Seen::arp_claim);
        assert!(
            !claims.into_iter().any(|(_, claimed)| claimed == ip("10.99.0.1")),
            "{guards:?}: a tagged claim"
        );
    }
}

fn to_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(_) => unreachable!(),
    }
}

fn says(from: &Netns, to: SocketAddr, packet: &[u8]) {
    let socket = from.within(|| UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })).unwrap();
    socket.send_to(packet, to).unwrap();
}

/// A container that writes a tunnel's packets itself, to its own host and to another.
#[test]
#[ignore = "needs root"]
fn no_container_gets_into_a_tunnel() {
    for underlay in [Underlay::Peers4, Underlay::Peers6] {
        let overlay = Overlay::new(underlay);
        let outer = underlay.is_ipv6();
        let lab = &overlay.lab;
        let (a, b) = (overlay.attach(0, 10, &[]), overlay.attach(1, 11, &[]));
        let outsiders = [
            lab.attach("bridged", &[("net.driver", "bridge"), ("net.subnet", DUAL)]),
            lab.attach("routed", &[("net.driver", "veth"), ("net.subnet", "10.94.0.0/24,fd00:94::/64")]),
            other(&overlay, 0, 20),
            overlay.attach(0, 12, &[]),
        ];
        let ends = [lab.address(outer), overlay.further[0].address(outer)];
        let (to_a, to_b) = (Capture::new(&a.net), Capture::new(&b.net));
        for (number, outsider) in (1..).zip(&outsiders) {
            let mut ends = ends.to_vec();
            let gateways = outsider.record["attachments"][0]["gateways"].as_array().unwrap().clone();
            ends.extend(
                gateways.iter().map(|gateway| ip(gateway.as_str().unwrap())).filter(|g| g.is_ipv6() == outer),
            );
            for end in ends {
                for container in [&a, &b] {
                    let frame =
                        Frame::new(nobody(Injector::MAC, false), at(container, false, number)).udp(b"x");
                    says(&outsider.net, SocketAddr::new(end, 4789), &vxlan(7, &frame));
                }
            }
            // Its packets to that port are its own business where they are no tunnel's of this host.
            let elsewhere = Capture::new(&overlay.further[1].net);
            let end = SocketAddr::new(overlay.further[1].address(outer), 4789);
            says(&outsider.net, end, &vxlan(99, b"no frame"));
            elsewhere.wait_for("a packet of another number", |seen| seen.tunnelled(4789).is_some());
        }
        // The same from a neighbour on the LAN arrives.
        let frame = Frame::new(nobody(Injector::MAC, false), at(&a, false, 9)).udp(b"x");
        Injector { lab, vni: 7 }.send(outer, &frame);
        let seen = to_a.wait_for("the neighbour's", |seen| seen.is_udp_to(9));
        assert!(ping(&a.net, b.address(false), PATIENCE));
        let all: Vec<Seen> = seen.into_iter().chain(to_b.drain()).collect();
        let arrived: Vec<u16> = (1..5).filter(|port| all.iter().any(|seen| seen.is_udp_to(*port))).collect();
        assert!(arrived.is_empty(), "{underlay:?}: of outsiders {arrived:?}");
    }
}
