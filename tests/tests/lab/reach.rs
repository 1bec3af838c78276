//! Who reaches whom without published ports.

use std::fmt::Debug;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use ocinet_tests::lab::{
    Attached, Capture, DUAL, Endpoint, Frame, HOST_SECOND4, HOST_SECOND6, HOST4, HOST6, INTERNET4, INTERNET6,
    Lab, Netns, PEER4, PEER6, Seen, Server, ask_tcp, ask_udp, link_address, reaches_nobody, send_frame,
    until,
};

use crate::PATIENCE;

fn net<'a>(lab: &Lab, id: &str, network: &'a str, more: &[(&'a str, &'a str)]) -> Attached {
    let subnet = match network {
        "default" => DUAL.to_owned(),
        "blue" => "10.92.0.0/24,fd00:92::/64".to_owned(),
        "red" => "10.94.0.0/24,fd00:94::/64".to_owned(),
        _ => "10.93.0.0/24,fd00:93::/64".to_owned(),
    };
    let mut annotations = vec![("net.network", network), ("net.subnet", subnet.as_str())];
    annotations.extend(more);
    lab.attach(id, &annotations)
}

#[track_caller]
pub(crate) fn reaches(from: &Netns, to: IpAddr, port: u16, who: &str) {
    let answer = ask_tcp(from, SocketAddr::new(to, port), PATIENCE);
    assert_eq!(answer.map(|answer| answer.from).as_deref(), Some(who), "TCP to {to} port {port}");
}

#[track_caller]
pub(crate) fn does_not_reach(from: &Netns, to: IpAddr, port: u16) {
    reaches_nobody(from, SocketAddr::new(to, port));
}

#[test]
#[ignore = "needs root"]
fn the_internet_by_masquerade() {
    let lab = Lab::new();
    let app = net(&lab, "app", "default", &[]);
    let _tcp = Server::tcp(&lab.wan, 80, "internet");
    // A datagram is answered from the address that it was sent to.
    let _udp = [INTERNET4, INTERNET6]
        .map(|address| Server::udp_at(&lab.wan, SocketAddr::new(address, 53), "internet"));
    for (internet, hosts) in [(INTERNET4, [HOST4, HOST_SECOND4]), (INTERNET6, [HOST6, HOST_SECOND6])] {
        for answer in [
            ask_tcp(&app.net, SocketAddr::new(internet, 80), PATIENCE),
            ask_udp(&app.net, SocketAddr::new(internet, 53), PATIENCE),
        ] {
            let answer = answer.unwrap_or_else(|| panic!("{internet} answers"));
            assert_eq!(answer.from, "internet");
            assert!(hosts.contains(&answer.seen_as), "{answer:?}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn without_masquerade_the_container_is_seen() {
    let lab = Lab::new();
    let app = net(&lab, "app", "default", &[("net.masquerade", "false")]);
    let _server = Server::tcp(&lab.wan, 80, "internet");
    lab.wan.batch(&format!("route add 10.90.0.0/16 via {HOST4}\nroute add fd00:90::/64 via {HOST6}\n"));
    for (internet, ipv6) in [(INTERNET4, false), (INTERNET6, true)] {
        let answer = ask_tcp(&app.net, SocketAddr::new(internet, 80), PATIENCE).expect("an answer");
        assert_eq!(answer.seen_as, app.address(ipv6));
    }
}

#[test]
#[ignore = "needs root"]
fn neighbours_on_one_network() {
    let lab = Lab::new();
    let (a, b) = (net(&lab, "a", "default", &[]), net(&lab, "b", "default", &[]));
    let _server = Server::tcp(&b.net, 80, "b");
    let _udp = Server::udp(&b.net, 53, "b");
    for ipv6 in [false, true] {
        reaches(&a.net, b.address(ipv6), 80, "b");
        let answer = ask_udp(&a.net, b.at(ipv6, 53), PATIENCE).expect("an answer");
        assert_eq!(answer.seen_as, a.address(ipv6));
    }
}

/// A first packet that is lost is sent again only after a second (RFC 6298): it must not be. The namespace's kernel counts
/// such packets, however slow the machine is.
#[track_caller]
fn takes_the_first_packet(from: &Netns, to: SocketAddr, what: impl Debug) {
    let before = repeated_syns(from);
    assert!(ask_tcp(from, to, PATIENCE).is_some(), "{what:?}: {to} does not answer");
    assert_eq!(repeated_syns(from), before, "{what:?}: {to} did not get the first packet");
}

/// How many times a first packet of TCP was sent again from a namespace (`TCPSynRetrans`, Documentation/networking/snmp_counter.rst).
fn repeated_syns(from: &Netns) -> u64 {
    let text = from.within(|| fs::read_to_string("/proc/thread-self/net/netstat")).expect("read counters");
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:")).map(str::split_whitespace);
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let (_, value) = names.zip(values).find(|(name, _)| *name == "TCPSynRetrans").expect("a counter");
    value.parse().expect("a number")
}

const ROUTED_FOR: [&[(&str, &str)]; 3] =
    [&[("net.driver", "bridge")], &[("net.driver", "veth")], &[("net.driver", "vxlan"), ("net.vni", "7")]];

fn first(lab: &Lab, id: &str, driver: &[(&str, &str)], address: &str) -> Attached {
    let own = [("net.network", "first"), ("net.subnet", "10.97.0.0/24,fd00:97::/64"), ("net.ip", address)];
    lab.attach(id, &[driver, &own].concat())
}

#[test]
#[ignore = "needs root"]
fn a_new_container_takes_the_first_packet() {
    for driver in ROUTED_FOR {
        let lab = Lab::new();
        let asking = first(&lab, "asking", driver, "10.97.0.9,fd00:97::9");
        for round in 0..40 {
            let new = first(&lab, &format!("new{round}"), driver, "10.97.0.5,fd00:97::5");
            let _server = Server::tcp(&new.net, 80, "new");
            for ipv6 in [false, true] {
                takes_the_first_packet(&asking.net, new.at(ipv6, 80), (driver, round));
            }
            lab.detach(new);
        }
    }
}

/// Its network's links are as new as it is.
#[test]
#[ignore = "needs root"]
fn the_first_container_of_a_network_takes_the_first_packet() {
    for driver in ROUTED_FOR {
        let lab = Lab::new();
        let published = [driver, &[("net.ports", "8080:80")]].concat();
        for round in 0..20 {
            let new = first(&lab, &format!("new{round}"), &published, "10.97.0.5,fd00:97::5");
            let _server = Server::tcp(&new.net, 80, "new");
            for (ipv6, host) in [(true, HOST6), (false, HOST4)] {
                for (from, to) in [(&lab.peer, SocketAddr::new(host, 8080)), (&lab.host, new.at(ipv6, 80))] {
                    takes_the_first_packet(from, to, (driver, round));
                }
            }
            lab.detach(new);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn networks_are_apart() {
    let lab = Lab::new();
    let (red, blue) =
        (net(&lab, "red", "default", &[]), net(&lab, "blue", "blue", &[("net.ports", "8080:80")]));
    let friend = net(&lab, "friend", "blue", &[]);
    let (_red, _blue) = (Server::tcp(&red.net, 80, "red"), Server::tcp(&blue.net, 80, "blue"));
    for (ipv6, host) in [(false, HOST4), (true, HOST6)] {
        does_not_reach(&red.net, blue.address(ipv6), 80);
        does_not_reach(&blue.net, red.address(ipv6), 80);
        reaches(&friend.net, blue.address(ipv6), 80, "blue");
        // What is published is published for everybody.
        reaches(&red.net, host, 8080, "blue");
    }
}

#[test]
#[ignore = "needs root"]
fn two_open_networks_reach_each_other() {
    let lab = Lab::new();
    let open = [("net.isolate", "false")];
    let (red, blue) = (net(&lab, "red", "default", &open), net(&lab, "blue", "blue", &open));
    let shut = net(&lab, "shut", "green", &[]);
    let (_blue, _shut) = (Server::tcp(&blue.net, 80, "blue"), Server::tcp(&shut.net, 80, "shut"));
    for ipv6 in [false, true] {
        reaches(&red.net, blue.address(ipv6), 80, "blue");
        does_not_reach(&red.net, shut.address(ipv6), 80);
    }
}

#[test]
#[ignore = "needs root"]
fn allow_inbound_opens_every_port_from_outside() {
    let lab = Lab::new();
    let open = net(&lab, "open", "default", &[("net.allow-inbound", "true")]);
    let shut = net(&lab, "shut", "default", &[]);
    let other = net(&lab, "other", "blue", &[]);
    let (_open, _shut) = (Server::tcp(&open.net, 81, "open"), Server::tcp(&shut.net, 81, "shut"));
    lab.peer.batch(&format!("route add 10.90.0.0/16 via {HOST4}\nroute add fd00:90::/64 via {HOST6}\n"));
    for ipv6 in [false, true] {
        reaches(&lab.peer, open.address(ipv6), 81, "open");
        does_not_reach(&lab.peer, shut.address(ipv6), 81);
        does_not_reach(&other.net, open.address(ipv6), 81);
    }
}

#[test]
#[ignore = "needs root"]
fn an_internal_network_reaches_nothing_outside() {
    let lab = Lab::new();
    let inside = net(&lab, "inside", "blue", &[("net.internal", "true")]);
    let friend = net(&lab, "friend", "blue", &[("net.internal", "true")]);
    let outside = net(&lab, "outside", "default", &[("net.ports", "8080:80")]);
    let _servers = [
        Server::tcp(&friend.net, 80, "friend"),
        Server::tcp(&outside.net, 80, "outside"),
        Server::tcp(&lab.wan, 80, "internet"),
        Server::tcp(&lab.host, 7000, "host"),
    ];
    // It may add a route; it still gets nowhere.
    inside.net.batch("route add default via 10.92.0.1\nroute add default via fd00:92::1\n");
    for (ipv6, internet, host, gateway) in
        [(false, INTERNET4, HOST4, "10.92.0.1"), (true, INTERNET6, HOST6, "fd00:92::1")]
    {
        let gateway: IpAddr = gateway.parse().unwrap();
        reaches(&inside.net, friend.address(ipv6), 80, "friend");
        reaches(&inside.net, gateway, 7000, "host");
        for (to, port) in
            [(internet, 80), (host, 7000), (host, 8080), (outside.address(ipv6), 80), (gateway, 8080)]
        {
            does_not_reach(&inside.net, to, port);
        }
        does_not_reach(&outside.net, inside.address(ipv6), 80);
        reaches(&outside.net, internet, 80, "internet");
    }
}

/// What connection tracking finds invalid is not translated either, and would leave under the container's own address.
#[test]
#[ignore = "needs root"]
fn an_invalid_packet_does_not_leave_under_the_containers_address() {
    let lab = Lab::new();
    let web = lab.attach("web", &[("net.subnet", DUAL)]);
    let seen = Capture::new(&lab.wan);
    let (mac, gateway) = (link_address(&web.net, "eth0"), link_address(&lab.host, "ocinet0"));
    for internet in [INTERNET4, INTERNET6] {
        let own = web.address(internet.is_ipv6());
        let frame = Frame::new(Endpoint::new(mac, own, 40000), Endpoint::new(gateway, internet, 80));
        let mut odd = frame.tcp_syn();
        // Nobody begins a connection and ends it in one segment.
        let flags = odd.len() - 7;
        odd[flags] |= 1;
        let checksum = odd.len() - 4;
        let sum = u16::from_be_bytes([odd[checksum], odd[checksum + 1]]);
        odd[checksum..checksum + 2].copy_from_slice(&(sum - 1).to_be_bytes());
        send_frame(&web.net, "eth0", &odd);
        send_frame(&web.net, "eth0", &frame.udp(b"behind it"));
        let seen = seen.wait_for("an honest datagram", |seen| seen.is_udp_to(80));
        let own: Vec<_> = seen.iter().filter(|seen| seen.source() == Some(own)).collect();
        assert!(own.is_empty(), "{own:?}");
    }
}

/// Listeners, neighbour discovery and multicast routers speak to their link (RFC 4890, section 4.3.3). Connection tracking passes
/// them over, and what it passes over is not translated.
#[test]
#[ignore = "needs root"]
fn what_is_for_a_link_alone_does_not_leave_it() {
    for driver in ["bridge", "veth"] {
        let lab = Lab::new();
        let web = lab.attach("web", &[("net.driver", driver), ("net.subnet", "10.97.0.0/24,fd00:97::/64")]);
        let attachment = &web.record["attachments"][0];
        let link = attachment["parent"].as_str().or(attachment["host_interface"].as_str()).unwrap();
        let own = Endpoint::new(link_address(&web.net, "eth0"), web.address(true), 40000);
        let frame = Frame::new(own, Endpoint::new(link_address(&lab.host, link), INTERNET6, 80));
        let seen = Capture::new(&lab.wan);
        let types = [130, 131, 132, 133, 135, 136, 143, 151, 152, 153];
        for kind in types {
            let message = frame.icmp6([&[kind, 0, 0, 0, 0, 0, 0, 0][..], &[0xfd; 16]].concat());
            let mut routed = frame.ipv6(58, &message);
            // Not that of neighbour discovery, which a filter judges.
            routed[14 + 7] = 64;
            send_frame(&web.net, "eth0", &routed);
        }
        send_frame(&web.net, "eth0", &frame.udp(b"behind them"));
        let seen = seen.wait_for("an honest datagram", |seen| seen.is_udp_to(80));
        let left: Vec<u8> = types.into_iter().filter(|kind| seen.iter().any(|s| is_of(s, *kind))).collect();
        assert!(left.is_empty(), "{driver}: of the types {left:?}");
    }
}

fn is_of(seen: &Seen, kind: u8) -> bool {
    seen.is_icmp6(kind) && seen.destination() == Some(INTERNET6)
}

/// Open to each other are networks of which neither is internal.
#[test]
#[ignore = "needs root"]
fn an_open_network_does_not_reach_an_internal_one() {
    let lab = Lab::new();
    let blue = net(&lab, "blue", "blue", &[("net.isolate", "false")]);
    let inner = net(&lab, "inner", "inner", &[("net.isolate", "false"), ("net.internal", "true")]);
    let third = net(&lab, "third", "red", &[("net.isolate", "false")]);
    inner.net.batch("route add default via 10.93.0.1\nroute add default via fd00:93::1\n");
    // A datagram needs no answer to have arrived.
    let servers = [&blue, &inner, &third].map(|container| Server::udp(&container.net, 80, "open"));
    for ipv6 in [false, true] {
        let send = |from: &Attached, to: &Attached| {
            let socket = from.net.bind(|| UdpSocket::bind(if ipv6 { "[::]:0" } else { "0.0.0.0:0" }));
            socket.send_to(b"hello", SocketAddr::new(to.address(ipv6), 80)).unwrap();
        };
        for _ in 0..3 {
            send(&blue, &inner);
            send(&inner, &blue);
        }
        let came = |server: &Server, from: &Attached| server.clients().contains(&from.address(ipv6));
        let third_is_reached = || {
            send(&blue, &third);
            came(&servers[2], &blue)
        };
        assert!(until(third_is_reached), "IPv6 {ipv6}: one open network reaches another");
        assert!(!came(&servers[1], &blue), "IPv6 {ipv6}: the internal one is reached");
        assert!(!came(&servers[0], &inner), "IPv6 {ipv6}: the internal one reaches");
    }
}

/// The host forwards between containers of an internal veth network, and from them to nobody else, by the rules alone.
#[test]
#[ignore = "needs root"]
fn an_internal_veth_network_does_not_reach_an_open_one() {
    let lab = Lab::new();
    let blue = net(&lab, "blue", "blue", &[("net.isolate", "false")]);
    let veth =
        [("net.driver", "veth"), ("net.network", "inner"), ("net.subnet", "10.95.0.0/24,fd00:95::/64")];
    let open = [("net.isolate", "false"), ("net.internal", "true")];
    let inner = lab.attach("inner", &[&veth[..], &open].concat());
    inner.net.batch(
        "route add default via 10.95.0.1 dev eth0 onlink\nroute add default via fd00:95::1 dev eth0 onlink\n",
    );
    let link = inner.record["attachments"][0]["host_interface"].as_str().unwrap();
    lab.host.ok(&["tc", "qdisc", "del", "dev", link, "clsact"]);
    let server = Server::udp(&blue.net, 80, "open");
    for ipv6 in [false, true] {
        let to = SocketAddr::new(blue.address(ipv6), 80);
        let socket = inner.net.bind(|| UdpSocket::bind(if ipv6 { "[::]:0" } else { "0.0.0.0:0" }));
        for _ in 0..3 {
            socket.send_to(b"hello", to).unwrap();
        }
        let gateway = SocketAddr::new(if ipv6 { "fd00:95::1" } else { "10.95.0.1" }.parse().unwrap(), 80);
        let host = Server::udp_at(&lab.host, gateway, "host");
        assert!(ask_udp(&inner.net, gateway, PATIENCE).is_some(), "IPv6 {ipv6}: its gateway answers");
        assert!(!server.all_clients().contains(&inner.address(ipv6)), "IPv6 {ipv6}: it reaches");
        drop(host);
    }
}

/// A port that another network's container publishes is none of its gateway's: it refuses, and nobody waits.
#[test]
#[ignore = "needs root"]
fn an_internal_networks_gateway_refuses_others_published_ports_at_once() {
    let lab = Lab::new();
    let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "8080:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    let inner =
        [("net.network", "inner"), ("net.subnet", "10.93.0.0/24,fd00:93::/64"), ("net.internal", "true")];
    let inside = lab.attach("inside", &inner);
    for gateway in ["10.93.0.1", "fd00:93::1"] {
        let to = SocketAddr::new(gateway.parse().unwrap(), 8080);
        let refused = inside.net.within(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{gateway}");
    }
}

#[test]
#[ignore = "needs root"]
fn an_internal_network_is_not_reached_from_the_lan() {
    let lab = Lab::new();
    let inside = net(&lab, "inside", "blue", &[("net.internal", "true")]);
    let web = net(&lab, "web", "default", &[("net.ports", "8080:80")]);
    let (_inside, _web) = (Server::tcp(&inside.net, 80, "inside"), Server::tcp(&web.net, 80, "web"));
    lab.peer.batch(&format!("route add 10.92.0.0/24 via {HOST4}\nroute add fd00:92::/64 via {HOST6}\n"));
    let capture = Capture::new(&inside.net);
    for (ipv6, host, peer) in [(false, HOST4, PEER4), (true, HOST6, PEER6)] {
        does_not_reach(&lab.peer, inside.address(ipv6), 80);
        reaches(&lab.peer, host, 8080, "web");
        reaches(&lab.host, inside.address(ipv6), 80, "inside");
        assert!(
            !capture.drain().iter().any(|seen| seen.source() == Some(peer)),
            "a packet of the neighbour arrived"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn the_hosts_services_are_reached_by_the_gateway_but_not_by_127() {
    let lab = Lab::new();
    let app = net(&lab, "app", "default", &[]);
    let _open = Server::tcp(&lab.host, 7000, "host");
    let _local = Server::tcp_at(&lab.host, "127.0.0.1:7001".parse().unwrap(), "loopback");
    for gateway in ["10.90.0.1", "fd00:90::1"] {
        reaches(&app.net, gateway.parse().unwrap(), 7000, "host");
    }
    reaches(&lab.host, [127, 0, 0, 1].into(), 7001, "loopback");
    // The container routes 127.0.0.0/8 to the gateway, whose bridge has route_localnet on.
    app.net.route_loopback_via("10.90.0.1".parse().unwrap());
    let arrivals = Capture::new(&lab.host);
    does_not_reach(&app.net, [127, 0, 0, 1].into(), 7001);
    assert!(arrivals.drain().iter().any(|seen| seen.is_syn_to(7001)), "the frame for 127.0.0.1 was sent");
}

#[test]
#[ignore = "needs root"]
fn what_a_container_asks_for_it_gets() {
    let lab = Lab::new();
    let asked = lab.attach(
        "asked",
        &[
            ("net.network", "asked"),
            ("net.subnet", "10.94.0.0/24,fd00:94::/64"),
            ("net.gateway", "10.94.0.254,fd00:94::fe"),
            ("net.ip", "10.94.0.7,fd00:94::7"),
            ("net.mac", "02:00:00:00:00:07"),
            ("net.mtu", "1400"),
            ("net.ifname", "wan0"),
        ],
    );
    let ranged = lab.attach("ranged", &[("net.network", "asked"), ("net.ip-range", "10.94.0.64/30")]);
    let link = asked.net.link("wan0");
    assert_eq!((link.mac.as_slice(), link.mtu), (&[2, 0, 0, 0, 0, 7][..], 1400));
    let IpAddr::V4(address) = ranged.address(false) else { panic!("an IPv4 address") };
    assert!((64..68).contains(&address.octets()[3]), "{address}");
    let (_asked, _internet) = (Server::tcp(&asked.net, 80, "asked"), Server::tcp(&lab.wan, 80, "internet"));
    for (address, internet) in [("10.94.0.7", INTERNET4), ("fd00:94::7", INTERNET6)] {
        reaches(&ranged.net, address.parse().unwrap(), 80, "asked");
        reaches(&asked.net, internet, 80, "internet");
    }
    for (to, gateway) in [("192.0.2.1", "10.94.0.254"), ("2001:db8:ffff::1", "fd00:94::fe")] {
        let route = asked.net.route_to(to.parse().unwrap());
        assert_eq!(route.and_then(|route| route.via), gateway.parse().ok());
    }
}
