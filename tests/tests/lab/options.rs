//! Options of an attachment: what is asked for is what packets see, by every driver that has the option.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use ocinet_tests::lab::{
    Attached, Capture, DUAL, HOST_SECOND4, HOST_SECOND6, HOST4, HOST6, Host, INTERNET4, INTERNET6, Lab,
    Netns, PEER4, PEER6, Route, Runtime, Server, ask_tcp, ask_udp, ping,
};

use crate::conflict::refused_as_it_is as refused;
use crate::life::used;
use crate::reach::{does_not_reach, reaches};
use crate::{PATIENCE, SILENCE};

/// Annotations, and the address of each family that a container gets by them.
pub(crate) type Asked = &'static [(&'static str, &'static str)];

pub(crate) const BRIDGE: Asked = &[("net.driver", "bridge"), ("net.subnet", DUAL)];
pub(crate) const VETH: Asked = &[("net.driver", "veth"), ("net.subnet", "10.94.0.0/24,fd00:94::/64")];
pub(crate) const VXLAN: Asked = &[
    ("net.driver", "vxlan"),
    ("net.vni", "7"),
    ("net.subnet", "10.99.0.0/24,fd00:99::/64"),
    ("net.ip-range", "10.99.0.0/25,fd00:99::/112"),
    ("net.peers", "198.51.100.31"),
];
pub(crate) const MACVLAN: Asked =
    &[("net.driver", "macvlan"), ("net.ip-range", "198.51.100.64/27,2001:db8:1::6400/120")];
/// The drivers whose containers the host is the router of.
pub(crate) const ROUTED: [Asked; 3] = [BRIDGE, VETH, VXLAN];
/// The way to these drivers' containers, for a neighbour on the LAN or the router.
const TO_CONTAINERS: [&str; 6] =
    ["10.90.0.0/16", "fd00:90::/64", "10.94.0.0/24", "fd00:94::/64", "10.99.0.0/24", "fd00:99::/64"];

pub(crate) fn with(asked: Asked, more: Asked) -> Vec<(&'static str, &'static str)> {
    [asked, more].concat()
}

/// The other end of the tunnels, and a container there.
pub(crate) fn far(host: &Host) -> Attached {
    let annotations = [
        ("net.driver", "vxlan"),
        ("net.vni", "7"),
        ("net.subnet", "10.99.0.0/24,fd00:99::/64"),
        ("net.ip", "10.99.0.200,fd00:99::c8:0"),
        ("net.peers", "198.51.100.10"),
    ];
    host.attach("far", &annotations)
}

pub(crate) fn route_to_containers(from: &Netns) {
    let line = |to: &str| format!("route add {to} via {}\n", if to.contains(':') { HOST6 } else { HOST4 });
    from.batch(&TO_CONTAINERS.map(line).concat());
}

pub(crate) fn internet(ipv6: bool) -> IpAddr {
    if ipv6 { INTERNET6 } else { INTERNET4 }
}

fn seen_by_internet(from: &Netns, ipv6: bool) -> Option<IpAddr> {
    ask_tcp(from, SocketAddr::new(internet(ipv6), 80), PATIENCE).map(|answer| answer.seen_as)
}

#[track_caller]
pub(crate) fn has_mtu(of: &Netns, interface: &str, mtu: usize) {
    assert_eq!(of.link(interface).mtu, mtu);
}

/// The default route leads by the LAN; a further one leads by the host, whose address the internet then sees.
#[test]
#[ignore = "needs root"]
fn further_routes_lead_by_the_host() {
    for asked in [BRIDGE, VETH] {
        let lab = Lab::new();
        let _internet = Server::tcp(&lab.wan, 80, "internet");
        let gateways =
            if asked == BRIDGE { ["10.90.0.1", "fd00:90::1"] } else { ["10.94.0.1", "fd00:94::1"] };
        let on_lan = [
            ("net.default-route", "eth1"),
            ("net.eth1.driver", "macvlan"),
            ("net.eth1.ip-range", "198.51.100.64/27,2001:db8:1::6400/120"),
        ];
        let by = format!("203.0.113.0/24 via {},2001:db8:cafe::/64 via {}", gateways[0], gateways[1]);
        let plain = lab.attach("plain", &[asked, &on_lan].concat());
        let routed = lab.attach("routed", &[asked, &on_lan, &[("net.routes", by.as_str())]].concat());
        for (ipv6, hosts) in [(false, [HOST4, HOST_SECOND4]), (true, [HOST6, HOST_SECOND6])] {
            let seen_as = seen_by_internet(&routed.net, ipv6).expect("an answer");
            assert!(hosts.contains(&seen_as), "{seen_as}");
            let seen_as = seen_by_internet(&plain.net, ipv6).expect("an answer");
            assert!(!hosts.contains(&seen_as), "{seen_as}");
        }
    }
}

/// A network behind a machine of the LAN: what is sent there is answered.
#[test]
#[ignore = "needs root"]
fn further_routes_lead_by_a_neighbour() {
    const BEHIND: [&str; 2] = ["192.0.2.1", "2001:db8:50::1"];
    let lab = Lab::new();
    lab.peer.batch(&format!("addr add {}/32 dev lo\naddr add {}/128 dev lo nodad\n", BEHIND[0], BEHIND[1]));
    let servers = BEHIND
        .map(|behind| Server::udp_at(&lab.peer, SocketAddr::new(behind.parse().unwrap(), 53), "behind"));
    let routes = "192.0.2.0/24 via 198.51.100.20 2001:db8:50::/48 via 2001:db8:1::20";
    let plain = lab.attach("plain", MACVLAN);
    let routed = lab.attach("routed", &[MACVLAN, &[("net.routes", routes)]].concat());
    for (behind, server) in BEHIND.iter().zip(&servers) {
        let to = SocketAddr::new(behind.parse().unwrap(), 53);
        assert_eq!(ask_udp(&plain.net, to, SILENCE), None, "{behind}");
        let answer = ask_udp(&routed.net, to, PATIENCE).map(|answer| answer.from);
        assert_eq!(answer.as_deref(), Some("behind"), "{behind}");
        assert!(!server.all_clients().contains(&plain.address(to.is_ipv6())), "{behind}");
    }
}

/// A container sends from its own addresses alone, so that nothing behind it could answer.
#[test]
#[ignore = "needs root"]
fn no_route_leads_by_a_container() {
    let lab = Lab::new();
    for (driver, routes) in [
        (BRIDGE, "192.0.2.0/24 via 10.90.0.9"),
        (BRIDGE, "2001:db8:50::/48 via fd00:90::9"),
        (VETH, "192.0.2.0/24 via 10.94.0.9"),
        (VXLAN, "192.0.2.0/24 via 10.99.0.200"),
        (VXLAN, "2001:db8:50::/48 via fd00:99::c8:0"),
    ] {
        let annotations = [driver, &[("net.routes", routes)]].concat();
        refused(&lab, &annotations, 3, "sends from its own addresses alone");
    }
}

#[test]
#[ignore = "needs root"]
fn sysctls_are_the_containers_own() {
    const KEYS: [(&str, &str); 3] = [
        ("/proc/sys/net/ipv4/ip_default_ttl", "1"),
        ("/proc/sys/net/ipv4/ip_local_port_range", "20000\t20100"),
        ("/proc/sys/net/ipv4/ip_local_reserved_ports", "20000,20010-20012"),
    ];
    let asked = "net.ipv4.ip_default_ttl=1,net.ipv4.ip_local_port_range=20000 20100,\
                 net/ipv4/ip_local_reserved_ports=20000,20010-20012";
    for driver in [BRIDGE, VETH, VXLAN, MACVLAN] {
        let lab = Lab::new();
        let _internet = Server::tcp(&lab.wan, 80, "internet");
        let read = |of: &Netns| KEYS.map(|(path, _)| of.within(|| fs::read_to_string(path)).unwrap());
        let before = read(&lab.host);
        let plain = lab.attach("plain", driver);
        let web = lab.attach("web", &[driver, &[("net.sysctl", asked)]].concat());
        assert_eq!(
            read(&web.net).map(|text| text.trim().to_owned()),
            KEYS.map(|(_, value)| value.to_owned())
        );
        assert_eq!(read(&lab.host), before);
        reaches(&plain.net, INTERNET4, 80, "internet");
        if driver != MACVLAN {
            // It ends at the first router.
            does_not_reach(&web.net, INTERNET4, 80);
            assert!(ping(
                &web.net,
                web.record["attachments"][0]["gateways"][0].as_str().unwrap().parse().unwrap(),
                PATIENCE
            ));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn every_runtime_writes_sysctls() {
    for runtime in Runtime::ALL {
        let lab = Lab::new();
        let asked =
            [("net.driver", "none"), ("net.sysctl", "net.core.somaxconn=77,net.ipv4.ip_default_ttl=9")];
        let web = runtime.start(&lab, "web", &asked).unwrap_or_else(|said| panic!("{}", said.stderr));
        let read = |path: &str| web.net().within(|| fs::read_to_string(path)).unwrap();
        assert_eq!(read("/proc/sys/net/core/somaxconn").trim(), "77", "{runtime:?}");
        assert_eq!(read("/proc/sys/net/ipv4/ip_default_ttl").trim(), "9", "{runtime:?}");
        web.stop();
    }
}

#[test]
#[ignore = "needs root"]
fn a_sysctl_that_cannot_be_written_is_named() {
    let lab = Lab::new();
    used(&lab);
    for (sysctl, says) in [
        ("kernel.hostname=x", "\"kernel.hostname\" is not a sysctl of the network namespace"),
        (
            "net.core.nothing=1",
            "net/core/nothing: No such file or directory; hint: the network namespace has no such sysctl",
        ),
        (
            "net.core.netdev_max_backlog=1",
            "net/core/netdev_max_backlog: No such file or directory; hint: the network namespace has no such",
        ),
        (
            "net.netfilter.nf_conntrack_max=1",
            "net/netfilter/nf_conntrack_max: Permission denied; hint: it is the whole host's",
        ),
        ("net.ipv4.conf=1", "net/ipv4/conf: Is a directory; hint: the network namespace has no such sysctl"),
        ("net.core.somaxconn=many", "net/core/somaxconn: Invalid argument; hint: correct its value"),
        ("net.ipv4.conf.eth1.forwarding=1", "No such file or directory"),
    ] {
        for driver in [BRIDGE, VETH, &[("net.driver", "none")]] {
            refused(&lab, &[driver, &[("net.sysctl", sysctl)]].concat(), 3, says);
        }
    }
    // What went before is written, and the next is said.
    let second = [("net.sysctl", "net.core.somaxconn=9,net.core.nothing=1")];
    refused(&lab, &[BRIDGE, &second].concat(), 3, "net/core/nothing");
}

#[test]
#[ignore = "needs root"]
fn a_container_leaves_with_the_address_that_is_asked_for() {
    for asked in ROUTED {
        let lab = Lab::new();
        let snat: Asked = &[("net.snat", "198.51.100.12,2001:db8:1::12"), ("net.ports", "8080:80")];
        let (web, plain) = (lab.attach("web", &with(asked, snat)), lab.attach("plain", asked));
        let _servers = [
            Server::tcp(&lab.wan, 80, "internet"),
            Server::tcp(&lab.peer, 80, "peer"),
            Server::tcp(&web.net, 80, "web"),
        ];
        let _udp =
            [INTERNET4, INTERNET6].map(|at| Server::udp_at(&lab.wan, SocketAddr::new(at, 53), "internet"));
        for (ipv6, host, second, peer) in
            [(false, HOST4, HOST_SECOND4, PEER4), (true, HOST6, HOST_SECOND6, PEER6)]
        {
            assert_eq!(seen_by_internet(&web.net, ipv6), Some(second), "{asked:?}");
            let answer = ask_udp(&web.net, SocketAddr::new(internet(ipv6), 53), PATIENCE).expect("an answer");
            assert_eq!(answer.seen_as, second);
            let answer = ask_tcp(&web.net, SocketAddr::new(peer, 80), PATIENCE).expect("an answer");
            assert_eq!(answer.seen_as, second);
            if !ipv6 {
                assert_eq!(
                    seen_by_internet(&plain.net, ipv6),
                    Some(host),
                    "the neighbour's is the host's first"
                );
            }
            for address in [host, second] {
                let answer = ask_tcp(&lab.peer, SocketAddr::new(address, 8080), PATIENCE).expect("an answer");
                assert_eq!((answer.from.as_str(), answer.seen_as), ("web", peer));
                for from in [&lab.host, &plain.net, &web.net] {
                    reaches(from, address, 8080, "web");
                }
            }
            reaches(&plain.net, web.address(ipv6), 80, "web");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn an_address_to_leave_with_must_be_the_hosts() {
    let lab = Lab::new();
    used(&lab);
    for (address, code, says) in [
        ("192.0.2.7", 4, "with 192.0.2.7: it is not an address of this host"),
        ("198.51.100.255", 4, "with 198.51.100.255: it is not an address of this host"),
        ("198.51.100.20", 4, "with 198.51.100.20: it is not an address of this host"),
        ("198.51.100.10,198.51.100.12", 3, "has more than one for IPv4"),
        ("2001:db8:1::99", 4, "with 2001:db8:1::99: it is not an address of this host"),
        ("0.0.0.0", 3, "0.0.0.0 is a reserved address"),
        ("fe80::1", 3, "fe80::1 is a link-local address"),
    ] {
        refused(&lab, &[BRIDGE, &[("net.snat", address)]].concat(), code, says);
    }
}

#[test]
#[ignore = "needs root"]
fn without_masquerade_the_router_sees_the_container_itself() {
    for asked in ROUTED {
        let lab = Lab::new();
        route_to_containers(&lab.wan);
        let _server = Server::tcp(&lab.wan, 80, "internet");
        let bare = lab.attach("bare", &with(asked, &[("net.masquerade", "false")]));
        let snat: Asked = &[("net.masquerade", "false"), ("net.snat", "198.51.100.12")];
        let (snat, plain) = (lab.attach("snat", &with(asked, snat)), lab.attach("plain", asked));
        for (ipv6, hosts) in [(false, [HOST4, HOST_SECOND4]), (true, [HOST6, HOST_SECOND6])] {
            assert_eq!(seen_by_internet(&bare.net, ipv6), Some(bare.address(ipv6)), "{asked:?}");
            let seen_as = seen_by_internet(&plain.net, ipv6).expect("an answer");
            assert!(hosts.contains(&seen_as), "{seen_as}");
        }
        // Each family by itself: one leaves with an address of the host's, the other with its own.
        assert_eq!(seen_by_internet(&snat.net, false), Some(HOST_SECOND4));
        assert_eq!(seen_by_internet(&snat.net, true), Some(snat.address(true)));
    }
}

/// Address, Ethernet address and interface name, as a neighbour sees them in packets.
#[test]
#[ignore = "needs root"]
fn address_ethernet_address_and_name_are_as_asked_for() {
    let lab = Lab::new();
    let one = lab.another_host(1);
    let far = far(&one);
    let neighbour = lab.attach("neighbour", BRIDGE);
    for (asked, ip, seen_in, to) in [
        (
            BRIDGE,
            "10.90.0.77,fd00:90::77",
            &neighbour.net,
            [neighbour.address(false), neighbour.address(true)],
        ),
        (VETH, "10.94.0.77,fd00:94::77", &lab.host, ["10.94.0.1", "fd00:94::1"].map(|a| a.parse().unwrap())),
        (VXLAN, "10.99.0.77,fd00:99::77", &far.net, [far.address(false), far.address(true)]),
        (MACVLAN, "198.51.100.77,2001:db8:1::77", &lab.peer, [PEER4, PEER6]),
    ] {
        let more = [("net.ip", ip), ("net.mac", "02:00:00:00:00:77"), ("net.ifname", "wan0.7")];
        let web = lab.attach("web", &[asked, &more].concat());
        let _server = Server::udp(seen_in, 5300, "neighbour");
        let capture = Capture::new(seen_in);
        for (to, ip) in to.into_iter().zip(ip.split(',')) {
            let answer = ask_udp(&web.net, SocketAddr::new(to, 5300), PATIENCE).expect("an answer");
            assert_eq!(answer.seen_as.to_string(), ip, "{asked:?}");
            let seen = capture.wait_for("the datagram", |seen| seen.is_udp_to(5300));
            let last = seen.last().unwrap();
            assert_eq!(last.source_mac(), Some([2, 0, 0, 0, 0, 0x77]));
            assert_eq!(last.source().map(|source| source.to_string()).as_deref(), Some(ip));
        }
        has_mtu(&web.net, "wan0.7", if asked == VXLAN { 1450 } else { 1500 });
        lab.detach(web);
    }
}

/// The kernel's answers to one question each would not fit into a socket's buffer.
#[test]
#[ignore = "needs root"]
fn a_container_may_have_thousands_of_routes() {
    let lab = Lab::new();
    let _internet = Server::tcp(&lab.wan, 80, "internet");
    let numbers = 1..=2000_u16;
    let ipv4 = numbers.clone().map(|n| format!("172.16.{}.{}/32 via 10.90.0.1", n >> 8, n & 255));
    let routes: Vec<String> =
        ipv4.chain(numbers.map(|n| format!("fd77::{n:x}/128 via fd00:90::1"))).collect();
    let routes = routes.join(",");
    let web = lab.attach("web", &[BRIDGE, &[("net.routes", routes.as_str())]].concat());
    for (ipv6, gateway) in [(false, "10.90.0.1"), (true, "fd00:90::1")] {
        let by_gateway = |route: &Route| {
            let length = if ipv6 { 128 } else { 32 };
            route.via == gateway.parse().ok() && route.to.is_some_and(|(_, of)| of == length)
        };
        assert_eq!(web.net.routes(ipv6).into_iter().filter(by_gateway).count(), 2000);
    }
    reaches(&web.net, INTERNET6, 80, "internet");
    let twice = format!("{routes},172.16.7.7/32 via 10.90.0.1");
    let twice = [BRIDGE, &[("net.routes", twice.as_str())]].concat();
    refused(&lab, &twice, 3, "there is a route to 172.16.7.7/32 by eth0 already");
}

/// What one container leaves with is not what the next one with its address leaves with.
#[test]
#[ignore = "needs root"]
fn the_address_to_leave_with_goes_with_its_container() {
    let lab = Lab::new();
    let _internet = Server::tcp(&lab.wan, 80, "internet");
    let _other = lab.attach("other", BRIDGE);
    let ip: Asked = &[("net.ip", "10.90.0.7,fd00:90::7")];
    let snat: Asked = &[("net.snat", "198.51.100.12"), ("net.masquerade", "false")];
    for _ in 0..3 {
        let first = lab.attach("first", &[BRIDGE, ip, snat].concat());
        assert_eq!(seen_by_internet(&first.net, false), Some(HOST_SECOND4));
        lab.detach(first);
        let second = lab.attach("second", &[BRIDGE, ip].concat());
        assert_eq!(seen_by_internet(&second.net, false), Some(HOST4));
        lab.detach(second);
    }
}
