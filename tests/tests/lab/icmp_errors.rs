//! Errors of ICMP from a container: whoever they quote, they are about the container's own connections alone.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use ocinet_tests::lab::{
    Attached, Capture, Endpoint, Forwarding, Frame, HOST4, HOST6, Lab, Netns, PEER4, PEER6, Seen,
    link_address, send_frame, until,
};

use crate::PATIENCE;
use crate::disguise::host_end;

const SERVICE: u16 = 5300;

fn peer(ipv6: bool) -> IpAddr {
    if ipv6 { PEER6 } else { PEER4 }
}

/// A datagram that was sent, and the socket that waits for its answer.
struct Flow {
    socket: UdpSocket,
    own: SocketAddr,
    to: SocketAddr,
}

impl Flow {
    fn new(net: &Netns, to: SocketAddr) -> Self {
        let flow = Self::silent(net, to);
        flow.socket.send(b"hello").unwrap();
        flow
    }

    /// One that sends nothing: no connection tracking knows of it.
    fn silent(net: &Netns, to: SocketAddr) -> Self {
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = net.bind(|| UdpSocket::bind(any));
        socket.connect(to).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { own: socket.local_addr().unwrap(), socket, to }
    }

    /// Whether an error has ended it, now or after further datagrams: the kernel sends so many errors a second, and no more.
    fn is_refused_in_the_end(&self) -> bool {
        until(|| self.is_refused() || self.socket.send(b"again").is_err())
    }

    /// Whether an error has ended it.
    fn is_refused(&self) -> bool {
        self.socket.recv(&mut [0; 64]).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    }
}

/// What `attacker` sends to `at`: that nobody listens where a datagram went to.
fn complain(lab: &Lab, attacker: &Attached, at: IpAddr, quoted: (SocketAddr, SocketAddr)) {
    quote(lab, attacker, at, quoted, Frame::port_unreachable);
}

/// The same: that a datagram was too big.
fn too_big(lab: &Lab, attacker: &Attached, at: IpAddr, quoted: (SocketAddr, SocketAddr)) {
    quote(lab, attacker, at, quoted, |error, packet| error.too_big(packet, 1300));
}

fn quote(
    lab: &Lab,
    attacker: &Attached,
    at: IpAddr,
    (from, to): (SocketAddr, SocketAddr),
    say: fn(&Frame, &[u8]) -> Vec<u8>,
) {
    let gateway = attacker.record["attachments"][0]["parent"]
        .as_str()
        .map_or_else(|| host_end(attacker), str::to_owned);
    let gateway = link_address(&lab.host, &gateway);
    let mac = link_address(&attacker.net, "eth0");
    let end = |at: SocketAddr| Endpoint::new(mac, at.ip(), at.port());
    let quoted = Frame::new(end(from), end(to)).udp(b"hello");
    let me = Endpoint::new(mac, attacker.address(at.is_ipv6()), 0);
    let error = Frame::new(me, Endpoint::new(gateway, at, 0));
    send_frame(&attacker.net, "eth0", &say(&error, &quoted[14..]));
}

/// A port without a server of a container's link-local address, as the host sees it.
fn link_local(lab: &Lab, app: &Attached) -> SocketAddr {
    let link = app.record["attachments"][0]["parent"].as_str().map_or_else(|| host_end(app), str::to_owned);
    let own = app.net.link_local("eth0");
    SocketAddr::V6(SocketAddrV6::new(own, SERVICE + 1, 0, lab.host.link(&link).index))
}

fn attach(lab: &Lab, driver: &str, id: &str, number: u8, more: &[(&str, &str)]) -> Attached {
    let (network, subnet) = (format!("net{number}"), format!("10.9{number}.0.0/24,fd00:9{number}::/64"));
    let (vni, range) = (number.to_string(), format!("10.9{number}.0.128/25,fd00:9{number}::100/120"));
    let mut annotations = vec![("net.driver", driver), ("net.network", &network), ("net.subnet", &subnet)];
    if driver == "vxlan" {
        annotations.extend([("net.vni", vni.as_str()), ("net.ip-range", &range)]);
    }
    annotations.extend(more);
    lab.attach(id, &annotations)
}

/// A container ends neither another network's connection nor the host's own, wherever it sends its error to.
#[test]
#[ignore = "needs root"]
fn a_container_ends_no_connection_of_others_by_an_error() {
    for driver in ["bridge", "veth", "vxlan"] {
        // Networks that reach each other are no exception.
        for (forwarding, isolate) in
            [(Forwarding::Off, "true"), (Forwarding::Unchecked, "true"), (Forwarding::Off, "false")]
        {
            let lab = Lab::with(forwarding);
            let isolate = [("net.isolate", isolate)];
            let (victim, attacker) =
                (attach(&lab, driver, "victim", 3, &isolate), attach(&lab, driver, "attacker", 4, &isolate));
            for ipv6 in [false, true] {
                let service = SocketAddr::new(peer(ipv6), SERVICE);
                let _server = lab.peer.bind(|| UdpSocket::bind(service));
                let host = if ipv6 { HOST6 } else { HOST4 };
                let (of_victim, of_host) = (Flow::new(&victim.net, service), Flow::new(&lab.host, service));
                sleep(Duration::from_millis(20));
                let outside = SocketAddr::new(host, of_victim.own.port());
                let what = format!("{driver}, {forwarding:?}, IPv6 {ipv6}");
                let heard = Capture::new(&lab.peer);
                let gateway: IpAddr = if ipv6 { "fd00:94::1" } else { "10.94.0.1" }.parse().unwrap();
                let hosts = (SocketAddr::new(host, of_host.own.port()), of_host.to);
                for (at, quoted) in [
                    // To another of the host's addresses, about what it never was in.
                    (gateway, hosts),
                    (of_victim.own.ip(), (of_victim.own, of_victim.to)),
                    // As the host has translated it.
                    (host, (outside, of_victim.to)),
                    (host, hosts),
                    // To the far side, about its answer.
                    (service.ip(), (service, of_victim.own)),
                ] {
                    complain(&lab, &attacker, at, quoted);
                }
                sleep(Duration::from_millis(50));
                assert!(!of_victim.is_refused(), "{what}: the victim's");
                assert!(!of_host.is_refused(), "{what}: the host's");
                assert!(!heard.drain().iter().any(Seen::is_unreachable), "{what}: at the far side");
                // The twin: the far side's own error arrives.
                drop(_server);
                let refused = Flow::new(&victim.net, service);
                assert!(refused.is_refused_in_the_end(), "{what}: the far side's own");
            }
        }
    }
}

/// On a veth network the host carries what neighbours send, and so it judges their errors as well.
#[test]
#[ignore = "needs root"]
fn a_neighbour_on_a_veth_network_ends_no_connection_of_others_by_an_error() {
    for forwarding in [Forwarding::Off, Forwarding::Unchecked] {
        let lab = Lab::with(forwarding);
        let [victim, mate, attacker] =
            ["victim", "mate", "attacker"].map(|id| attach(&lab, "veth", id, 3, &[]));
        for ipv6 in [false, true] {
            let what = format!("{forwarding:?}, IPv6 {ipv6}");
            let services = [peer(ipv6), mate.address(ipv6)].map(|at| SocketAddr::new(at, SERVICE));
            let bind = |net: &Netns, at| net.bind(|| UdpSocket::bind(SocketAddr::new(at, SERVICE)));
            let _servers = [bind(&lab.peer, services[0].ip()), bind(&mate.net, services[1].ip())];
            let [far, near] = services.map(|service| Flow::new(&victim.net, service));
            let silent = Flow::silent(&victim.net, services[0]);
            sleep(Duration::from_millis(20));
            for flow in [&far, &near, &silent] {
                complain(&lab, &attacker, flow.own.ip(), (flow.own, flow.to));
            }
            sleep(Duration::from_millis(50));
            assert!(!far.is_refused(), "{what}: with the far side");
            assert!(!near.is_refused(), "{what}: with a neighbour");
            assert!(!silent.is_refused(), "{what}: before its first packet");
            // The twin: a neighbour's own error arrives.
            let closed = Flow::new(&victim.net, SocketAddr::new(attacker.address(ipv6), SERVICE));
            assert!(closed.is_refused_in_the_end(), "{what}: the neighbour's own");
        }
    }
}

/// The kernel believes what an error says of a way's size without a connection, where connection tracking knows of none.
#[test]
#[ignore = "needs root"]
fn a_container_makes_none_of_the_hosts_packets_small() {
    for driver in ["bridge", "veth"] {
        let lab = Lab::new();
        let attacker = attach(&lab, driver, "attacker", 4, &[("net.internal", "false")]);
        for ipv6 in [false, true] {
            let host = if ipv6 { HOST6 } else { HOST4 };
            let [from, to] = [(host, 5353), (peer(ipv6), 5353)].map(|(ip, port)| SocketAddr::new(ip, port));
            let _socket = lab.host.bind(|| UdpSocket::bind(SocketAddr::new(host, 5353)));
            let gateway: IpAddr = if ipv6 { "fd00:94::1" } else { "10.94.0.1" }.parse().unwrap();
            for at in [host, gateway] {
                too_big(&lab, &attacker, at, (from, to));
            }
            sleep(Duration::from_millis(50));
            let mtu = || lab.host.route_to(to.ip()).expect("a route").mtu;
            assert_eq!(mtu(), None, "{driver}");
            // The twin: a machine of the LAN is believed.
            let (mac, own) = (link_address(&lab.peer, "eth0"), link_address(&lab.host, "eth0"));
            let [near, far] = [Endpoint::new(mac, to.ip(), 0), Endpoint::new(own, host, 0)];
            let quoted =
                Frame::new(Endpoint { port: 5353, ..far }, Endpoint { port: 5353, ..near }).udp(b"big");
            send_frame(&lab.peer, "eth0", &Frame::new(near, far).too_big(&quoted[14..], 1300));
            assert!(until(|| mtu() == Some(1300)), "{driver}, IPv6 {ipv6}: the LAN's own");
        }
    }
}

/// A container's own errors do arrive: that a published port has no server, and that an answer came too late.
#[test]
#[ignore = "needs root"]
fn a_containers_own_errors_arrive() {
    for driver in ["bridge", "veth", "vxlan"] {
        let lab = Lab::new();
        let app = attach(&lab, driver, "app", 7, &[("net.ports", "5300:5300/udp")]);
        for ipv6 in [false, true] {
            let what = format!("{driver}, IPv6 {ipv6}");
            let published = SocketAddr::new(lab.address(ipv6), SERVICE);
            let from_outside = Flow::new(&lab.peer, published);
            assert!(from_outside.is_refused_in_the_end(), "{what}: a port without a server");
            let by_host = Flow::new(&lab.host, SocketAddr::new(app.address(ipv6), SERVICE + 1));
            assert!(by_host.is_refused_in_the_end(), "{what}: to the host");
            if let Some(on_link) = ipv6.then(|| link_local(&lab, &app)) {
                let by_host = Flow::new(&lab.host, on_link);
                assert!(by_host.is_refused_in_the_end(), "{what}: to the host, from its link-local address");
            }
            // The container asks, and does not listen any more when it is answered.
            let server = lab.peer.bind(|| UdpSocket::bind(SocketAddr::new(peer(ipv6), SERVICE)));
            server.set_read_timeout(Some(PATIENCE)).unwrap();
            drop(Flow::new(&app.net, server.local_addr().unwrap()));
            let (_, client) = server.recv_from(&mut [0; 64]).unwrap();
            server.connect(client).unwrap();
            server.set_nonblocking(true).unwrap();
            // The kernel sends so many errors a second, and no more: the next late answer has one.
            let is_refused = || {
                let said = server.send(b"late").and_then(|_| server.recv(&mut [0; 64]));
                said.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
            };
            assert!(until(is_refused), "{what}: a late answer");
        }
    }
}
