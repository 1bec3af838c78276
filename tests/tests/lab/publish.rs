//! Published ports: who reaches them, and who does not.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use ocinet_tests::lab::{
    Attached, Capture, DUAL, HOST_SECOND4, HOST_SECOND6, HOST4, HOST6, INTERNET4, INTERNET6, Lab, Netns,
    PEER4, PEER6, Server, ask_tcp, ask_udp, reaches_nobody, sctp_exchange,
};

use crate::PATIENCE;

const BOTH: [bool; 2] = [false, true];

fn host(ipv6: bool) -> IpAddr {
    if ipv6 { HOST6 } else { HOST4 }
}

fn tcp(from: &Netns, to: IpAddr, port: u16) -> Option<String> {
    ask_tcp(from, SocketAddr::new(to, port), PATIENCE).map(|answer| answer.from)
}

#[track_caller]
fn answers(from: &Netns, to: IpAddr, port: u16, who: &str) {
    assert_eq!(tcp(from, to, port).as_deref(), Some(who), "TCP to {to} port {port}");
}

#[track_caller]
fn silent(from: &Netns, to: IpAddr, port: u16) {
    reaches_nobody(from, SocketAddr::new(to, port));
}

fn dual<'a>(lab: &Lab, id: &str, more: &[(&'a str, &'a str)]) -> Attached {
    let mut annotations = vec![("net.driver", "bridge"), ("net.subnet", DUAL)];
    annotations.extend(more);
    lab.attach(id, &annotations)
}

#[test]
#[ignore = "needs root"]
fn published_port_from_everywhere() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "8080:80")]);
    let neighbour = dual(&lab, "neighbour", &[]);
    let _server = Server::tcp(&web.net, 80, "web");
    for ipv6 in BOTH {
        answers(&lab.peer, host(ipv6), 8080, "web");
        answers(&lab.host, host(ipv6), 8080, "web");
        answers(&neighbour.net, host(ipv6), 8080, "web");
        answers(&web.net, host(ipv6), 8080, "web");
        answers(&lab.host, web.address(ipv6), 80, "web");
    }
    answers(&lab.host, [127, 0, 0, 1].into(), 8080, "web");
    answers(&lab.peer, HOST_SECOND4, 8080, "web");
}

/// Nobody could be answered there: a client that tries such an address first is to go on to the next at once.
#[test]
#[ignore = "needs root"]
fn a_loopback_or_link_local_address_refuses_at_once_where_it_leads_nowhere() {
    for driver in ["bridge", "veth"] {
        let lab = Lab::new();
        let own =
            [("net.driver", driver), ("net.subnet", "10.97.0.0/24,fd00:97::/64"), ("net.ports", "8080:80")];
        let web = lab.attach("web", &own);
        let _server = Server::tcp(&web.net, 80, "web");
        let refused = |from: &Netns, to: SocketAddr| {
            let ask = || {
                let began = Instant::now();
                let failed = TcpStream::connect_timeout(&to, PATIENCE).map_err(|error| error.kind());
                assert_eq!(failed.err(), Some(ErrorKind::ConnectionRefused), "{driver}: {to}");
                began.elapsed()
            };
            // A busy machine is slow now and then.
            let fastest = from.within(|| (0..5).map(|_| ask()).min());
            assert!(fastest < Some(Duration::from_millis(100)), "{driver}: {to} after {fastest:?}");
        };
        let loopback = |port| SocketAddr::new("::1".parse().unwrap(), port);
        for from in [&lab.host, &web.net] {
            refused(from, loopback(8080));
        }
        for address in ["127.0.0.1", "127.0.0.9"] {
            answers(&lab.host, address.parse().unwrap(), 8080, "web");
            refused(&web.net, SocketAddr::new(address.parse().unwrap(), 8080));
        }
        answers(&lab.host, "::ffff:127.0.0.1".parse().unwrap(), 8080, "web");
        for (from, link) in [(&lab.host, "eth0"), (&lab.peer, "eth0"), (&web.net, &gateway(&web))] {
            refused(from, link_local(&lab.host, link, from.link("eth0").index));
        }
        for ipv6 in BOTH {
            answers(&lab.host, host(ipv6), 8080, "web");
        }
    }
}

/// The host's link to a container or its bridge.
fn gateway(attached: &Attached) -> String {
    let attachment = &attached.record["attachments"][0];
    attachment["parent"].as_str().or(attachment["host_interface"].as_str()).unwrap().to_owned()
}

/// Port 8080 at the link-local address of a link of the host, by the sender's own link.
fn link_local(host: &Netns, link: &str, scope: u32) -> SocketAddr {
    SocketAddrV6::new(host.link_local(link), 8080, 0, scope).into()
}

#[test]
#[ignore = "needs root"]
fn published_port_without_br_netfilter() {
    let lab = Lab::new();
    for setting in ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"] {
        lab.host.sysctl(setting, "0");
    }
    let web = dual(&lab, "web", &[("net.ports", "8080:80")]);
    let neighbour = dual(&lab, "neighbour", &[]);
    let _server = Server::tcp(&web.net, 80, "web");
    for ipv6 in BOTH {
        for from in [&lab.peer, &lab.host, &neighbour.net, &web.net] {
            answers(from, host(ipv6), 8080, "web");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn the_server_sees_the_lan_clients_own_address() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "8080:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    for (ipv6, peer) in [(false, PEER4), (true, PEER6)] {
        let answer = ask_tcp(&lab.peer, SocketAddr::new(host(ipv6), 8080), PATIENCE);
        assert_eq!(answer.map(|answer| answer.seen_as), Some(peer));
    }
}

#[test]
#[ignore = "needs root"]
fn udp_and_sctp_ports() {
    let lab = Lab::new();
    let dns = dual(&lab, "dns", &[("net.ports", "53:5353/udp,3868:3869/sctp")]);
    let _server = Server::udp(&dns.net, 5353, "dns");
    let mut before = vec![0; 4];
    for ipv6 in BOTH {
        let answer = ask_udp(&lab.peer, SocketAddr::new(host(ipv6), 53), PATIENCE);
        assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("dns"));
        assert!(
            sctp_exchange(&lab.peer, &dns.net, SocketAddr::new(host(ipv6), 3868), 3869),
            "SCTP, IPv6 {ipv6}"
        );
        silent(&lab.peer, host(ipv6), 53);
        // Each family and protocol is counted, in both directions.
        let counters = lab.counters("dns");
        let ports = counters["ports"].as_array().unwrap();
        assert_eq!(ports.len(), 2);
        let now: Vec<u64> = ["in", "out"]
            .iter()
            .flat_map(|direction| ports.iter().map(|port| port[*direction]["packets"].as_u64().unwrap()))
            .collect();
        assert!(now.iter().zip(&before).all(|(now, before)| now > before), "IPv6 {ipv6}: {before:?} {now:?}");
        before = now;
    }
}

#[test]
#[ignore = "needs root"]
fn a_range_of_ports() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "9000-9010:9100-9110")]);
    let servers = [9100, 9105, 9110].map(|port| Server::tcp(&web.net, port, &port.to_string()));
    for ipv6 in BOTH {
        for (port, name) in [(9000, "9100"), (9005, "9105"), (9010, "9110")] {
            answers(&lab.peer, host(ipv6), port, name);
        }
    }
    drop(servers);
}

#[test]
#[ignore = "needs root"]
fn bound_to_one_host_address() {
    let lab = Lab::new();
    let ports = format!("{HOST4}:8080:80,[{HOST6}]:8080:80");
    let web = dual(&lab, "web", &[("net.ports", &ports)]);
    let _server = Server::tcp(&web.net, 80, "web");
    for (address, other) in [(HOST4, HOST_SECOND4), (HOST6, HOST_SECOND6)] {
        answers(&lab.peer, address, 8080, "web");
        answers(&lab.host, address, 8080, "web");
        silent(&lab.peer, other, 8080);
        silent(&lab.host, other, 8080);
    }
}

#[test]
#[ignore = "needs root"]
fn bound_to_127_0_0_1() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "127.0.0.1:8080:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    answers(&lab.host, [127, 0, 0, 1].into(), 8080, "web");
    silent(&lab.host, HOST4, 8080);
    silent(&lab.peer, HOST4, 8080);
    // A neighbour that routes 127.0.0.0/8, or the container's address, to the host.
    let capture = Capture::new(&web.net);
    lab.host.sysctl("ipv4/conf/eth0/route_localnet", "1");
    lab.peer.route_loopback_via(HOST4);
    lab.peer.batch(&format!("route add 10.90.0.0/16 via {HOST4}\n"));
    let arrivals = Capture::new(&lab.host);
    silent(&lab.peer, [127, 0, 0, 1].into(), 8080);
    silent(&lab.peer, web.address(false), 80);
    let arrivals = arrivals.drain();
    assert!(
        arrivals.iter().any(|seen| seen.is_syn_to(8080)),
        "the neighbour's SYN for 127.0.0.1 reached the host"
    );
    assert!(
        arrivals.iter().any(|seen| seen.is_syn_to(80)),
        "the neighbour's SYN for the container reached the host"
    );
    answers(&lab.host, web.address(false), 80, "web");
    let syns = capture.drain().into_iter().filter(|seen| seen.is_syn_to(80)).filter_map(|seen| seen.source());
    assert!(!syns.into_iter().any(|source| source == PEER4), "a SYN of the neighbour arrived");
}

#[test]
#[ignore = "needs root"]
fn a_free_port_is_chosen() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "80,81")]);
    let _server = Server::tcp(&web.net, 80, "web");
    let port = |index: usize| {
        u16::try_from(web.record["attachments"][0]["ports"][index]["host_port"].as_u64().unwrap()).unwrap()
    };
    assert_ne!(port(0), port(1));
    for ipv6 in BOTH {
        answers(&lab.peer, host(ipv6), port(0), "web");
    }
}

#[test]
#[ignore = "needs root"]
fn unpublished_ports_are_closed() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "8080:80")]);
    let _open = Server::tcp(&web.net, 80, "web");
    let _closed = Server::tcp(&web.net, 81, "secret");
    let capture = Capture::new(&web.net);
    lab.peer.batch(&format!("route add 10.90.0.0/16 via {HOST4}\nroute add fd00:90::/64 via {HOST6}\n"));
    for ipv6 in BOTH {
        silent(&lab.peer, host(ipv6), 81);
        silent(&lab.peer, web.address(ipv6), 81);
        // The published one too: only by the host's address is it published.
        silent(&lab.peer, web.address(ipv6), 80);
    }
    let arrived = capture.drain();
    assert!(!arrived.iter().any(|seen| seen.is_syn_to(81) || seen.is_syn_to(80)), "a SYN arrived");
    for ipv6 in BOTH {
        answers(&lab.peer, host(ipv6), 8080, "web");
    }
    assert!(capture.drain().iter().any(|seen| seen.is_syn_to(80)), "the capture sees SYNs");
}

#[test]
#[ignore = "needs root"]
fn traffic_through_the_host_is_not_hijacked() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "8080:80")]);
    let _web = Server::tcp(&web.net, 80, "web");
    let _internet = Server::tcp(&lab.wan, 8080, "internet");
    // The host routes for its LAN by the administrator's will: ocinet found forwarding on.
    let lab2 = Lab::new();
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        lab2.host.sysctl(setting, "1");
    }
    let other = dual(&lab2, "web", &[("net.ports", "8080:80")]);
    let _other = Server::tcp(&other.net, 80, "web");
    let _internet2 = Server::tcp(&lab2.wan, 8080, "internet");
    lab2.peer.batch(&format!("route add {INTERNET4} via {HOST4}\nroute add {INTERNET6} via {HOST6}\n"));
    for (ipv6, internet) in [(false, INTERNET4), (true, INTERNET6)] {
        answers(&lab2.peer, internet, 8080, "internet");
        answers(&lab2.peer, host(ipv6), 8080, "web");
        // What the host itself sends elsewhere is not hijacked either, nor what containers send.
        answers(&lab.host, internet, 8080, "internet");
        answers(&web.net, internet, 8080, "internet");
    }
}

#[test]
#[ignore = "needs root"]
fn no_transit_where_ocinet_turned_forwarding_on() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "8080:80")]);
    let _web = Server::tcp(&web.net, 80, "web");
    let _internet = Server::tcp(&lab.wan, 8080, "internet");
    lab.peer.batch(&format!("route add {INTERNET4} via {HOST4}\nroute add {INTERNET6} via {HOST6}\n"));
    for (ipv6, internet) in [(false, INTERNET4), (true, INTERNET6)] {
        silent(&lab.peer, internet, 8080);
        answers(&lab.peer, host(ipv6), 8080, "web");
        answers(&web.net, internet, 8080, "internet");
    }
}

#[test]
#[ignore = "needs root"]
fn counters_count_connections_and_bytes() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "8080:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    let _internet = Server::tcp(&lab.wan, 80, "internet");
    for ipv6 in BOTH {
        for _ in 0..3 {
            answers(&lab.peer, host(ipv6), 8080, "web");
        }
        answers(&lab.host, host(ipv6), 8080, "web");
    }
    answers(&web.net, INTERNET4, 80, "internet");
    let counters = lab.counters("web");
    let port = &counters["ports"][0];
    assert_eq!(port["connections"], 8);
    assert_eq!(counters["masqueraded_connections"], 1);
    for direction in ["in", "out"] {
        let packets = port[direction]["packets"].as_u64().unwrap();
        // A connection with one short answer takes from 3 to 8 packets each way.
        assert!((8 * 3..=8 * 8).contains(&packets), "{packets} packets {direction}");
    }
    assert!(
        counters["sent"]["bytes"].as_u64().unwrap() > 0
            && counters["received"]["bytes"].as_u64().unwrap() > 0
    );
}

/// How many packets a container's counters have: of its port, and routed; each in and out.
fn packets(lab: &Lab, id: &str) -> [u64; 4] {
    let counters = lab.counters(id);
    let port = &counters["ports"][0];
    [&port["in"], &port["out"], &counters["received"], &counters["sent"]]
        .map(|counter| counter["packets"].as_u64().unwrap_or_default())
}

/// Asks so many times, from this port, and gets as many answers.
fn ask_often(from: &Netns, port: u16, to: SocketAddr) {
    let any: IpAddr = if to.is_ipv6() { "::".parse().unwrap() } else { "0.0.0.0".parse().unwrap() };
    let socket = from.bind(|| UdpSocket::bind((any, port)));
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..OFTEN {
        socket.send(b"hello").unwrap();
        socket.recv(&mut [0; 64]).unwrap_or_else(|error| panic!("{to}: {error}"));
    }
}

const OFTEN: u64 = 5;

/// Each packet is counted once, the first of a connection as well, wherever the client is. What does not leave its network is
/// not routed.
#[test]
#[ignore = "needs root"]
fn every_packet_is_counted_once_whoever_asks() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "8080:80/udp")]);
    let near = dual(&lab, "near", &[]);
    let far = [("net.network", "far"), ("net.subnet", "10.97.0.0/24,fd00:97::/64")];
    let far = lab.attach("far", &far);
    let _servers = [Server::udp(&web.net, 80, "web"), Server::udp(&lab.peer, 7000, "peer")];
    for ipv6 in BOTH {
        let published = SocketAddr::new(host(ipv6), 8080);
        let loopback = SocketAddr::new("127.0.0.1".parse().unwrap(), 8080);
        let clients = [
            ("the LAN", &lab.peer, 0, published, [OFTEN; 4]),
            ("the host", &lab.host, 0, published, [OFTEN, OFTEN, 0, 0]),
            (
                "the host's loopback",
                &lab.host,
                0,
                if ipv6 { published } else { loopback },
                [OFTEN, OFTEN, 0, 0],
            ),
            // From the number of the published port itself.
            ("a neighbour", &near.net, 8080, published, [OFTEN, OFTEN, 0, 0]),
            ("the container itself", &web.net, 0, published, [OFTEN, OFTEN, 0, 0]),
            ("another network", &far.net, 0, published, [OFTEN; 4]),
        ];
        for (who, from, port, to, expected) in clients {
            let before = packets(&lab, "web");
            ask_often(from, port, to);
            let now = packets(&lab, "web");
            let counted: Vec<u64> = now.iter().zip(before).map(|(now, before)| now - before).collect();
            assert_eq!(counted, expected, "{who}, IPv6 {ipv6}: port in, port out, received, sent");
        }
        let before = packets(&lab, "far");
        ask_often(&far.net, 0, published);
        ask_often(&far.net, 0, SocketAddr::new(if ipv6 { PEER6 } else { PEER4 }, 7000));
        let now = packets(&lab, "far");
        assert_eq!([now[2] - before[2], now[3] - before[3]], [2 * OFTEN; 2], "IPv6 {ipv6}: as a client");
    }
}

#[test]
#[ignore = "needs root"]
fn two_host_ports_of_one_container_port_are_counted_apart() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "8080:80,8081:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    for ipv6 in BOTH {
        answers(&lab.peer, host(ipv6), 8080, "web");
        answers(&lab.peer, host(ipv6), 8080, "web");
        answers(&lab.peer, host(ipv6), 8081, "web");
    }
    let counters = lab.counters("web");
    let packets = |port: usize| counters["ports"][port]["in"]["packets"].as_u64().unwrap();
    for (port, connections) in [(0, 4), (1, 2)] {
        assert_eq!(counters["ports"][port]["connections"], connections);
        assert!((connections * 3..=connections * 8).contains(&packets(port)), "{counters}");
    }
}
