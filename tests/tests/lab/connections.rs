//! What belongs to a container that has ended, or to nobody, does not stick to what clients go on sending.

mod others;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::PATIENCE;
use crate::reload::Connection;

use ocinet_tests::lab::{
    Attached, Capture, DUAL, Endpoint, Frame, HOST_SECOND4, HOST_SECOND6, HOST4, HOST6, INTERNET4, INTERNET6,
    Lab, Netns, PEER4, PEER6, Seen, Server, Wire, link_address, until,
};

const BOTH: [(bool, IpAddr, IpAddr); 2] = [(false, HOST4, INTERNET4), (true, HOST6, INTERNET6)];

/// A client that sends from one port all the time.
struct Client {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Client {
    fn new(net: &Netns, port: u16, to: SocketAddr) -> Self {
        let any: IpAddr = if to.is_ipv6() { "::".parse().unwrap() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = net.bind(|| UdpSocket::bind((any, port)));
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self { socket, to }
    }

    /// Who answers one datagram.
    fn ask(&self) -> Option<String> {
        self.socket.send_to(b"?", self.to).unwrap();
        let mut answer = [0; 64];
        let (length, _) = self.socket.recv_from(&mut answer).ok()?;
        let text = String::from_utf8_lossy(&answer[..length]).into_owned();
        text.split_whitespace().next().map(str::to_owned)
    }

    #[track_caller]
    fn is_answered_by(&self, name: &str) {
        // The first datagram may come before the server.
        assert!(until(|| self.ask().is_some()), "{} answers", self.to);
        assert_eq!(self.ask().as_deref(), Some(name), "{}", self.to);
    }
}

fn web(lab: &Lab, id: &str, address: &str) -> Attached {
    let own = [("net.subnet", DUAL), ("net.ip", address), ("net.ports", "5353:53/udp")];
    lab.attach(id, &own)
}

#[test]
#[ignore = "needs root"]
fn a_client_that_goes_on_sending_reaches_the_next_container_at_once() {
    let lab = Lab::new();
    let _other = lab.attach("other", &[("net.subnet", DUAL)]);
    for (ipv6, host, _) in BOTH {
        let old = web(&lab, "old", "10.90.0.7,fd00:90::7");
        let served = Server::udp(&old.net, 53, "old");
        let client = Client::new(&lab.peer, 4000, SocketAddr::new(host, 5353));
        client.is_answered_by("old");
        drop(served);
        lab.detach(old);
        client.socket.send_to(b"?", client.to).unwrap();
        let new = web(&lab, "new", "10.90.0.8,fd00:90::8");
        let _served = Server::udp(&new.net, 53, "new");
        client.is_answered_by("new");
        assert!(!ipv6 || lab.peer.ok(&["ip", "-6", "route"]).contains("2001"));
        lab.detach(new);
    }
}

/// More connections of the host than are read as text. None has to do with a port below 20,000, or ends during a test.
pub fn crowd(lab: &Lab) {
    lab.host.sysctl("netfilter/nf_conntrack_udp_timeout", "600");
    let socket = lab.host.bind(|| UdpSocket::bind("0.0.0.0:0"));
    for port in 20000..20300 {
        socket.send_to(b"?", SocketAddr::new(INTERNET4, port)).unwrap();
    }
    let count = lab.host.ok(&["cat", "/proc/sys/net/netfilter/nf_conntrack_count"]);
    assert!(count.trim().parse::<usize>().unwrap() >= 300, "{count}");
}

#[track_caller]
fn is_served_though_it_sent_before(lab: &Lab, host: IpAddr) {
    let client = Client::new(&lab.peer, 4001, SocketAddr::new(host, 5353));
    assert!((0..3).all(|_| client.ask().is_none()), "nobody publishes the port yet");
    let web = web(lab, "web", "10.90.0.7,fd00:90::7");
    let _served = Server::udp(&web.net, 53, "web");
    client.is_answered_by("web");
    lab.detach(web);
}

#[test]
#[ignore = "needs root"]
fn a_client_that_sent_before_the_port_was_published_is_served() {
    let lab = Lab::new();
    let _other = lab.attach("other", &[("net.subnet", DUAL), ("net.ports", "80")]);
    for (crowded, (_, host, _)) in
        [false, true].into_iter().flat_map(|crowded| BOTH.map(|both| (crowded, both)))
    {
        if crowded {
            crowd(&lab);
        }
        is_served_though_it_sent_before(&lab, host);
    }
}

/// The rules translate in every zone.
#[test]
#[ignore = "needs root"]
fn a_client_that_a_firewall_tracks_in_a_zone_is_served_though_it_sent_before() {
    let lab = Lab::new();
    let _other = lab.attach("other", &[("net.subnet", DUAL), ("net.ports", "80")]);
    lab.host.ok(&[
        "nft",
        "table inet zones { chain arrives { type filter hook prerouting priority raw; ct zone set 7; }; \
         chain leaves { type filter hook output priority raw; ct zone set 7; }; }",
    ]);
    for (_, host, _) in BOTH {
        is_served_though_it_sent_before(&lab, host);
    }
}

#[test]
#[ignore = "needs root"]
fn a_client_of_one_host_address_is_served_though_it_sent_before() {
    let lab = Lab::new();
    let _other = lab.attach("other", &[("net.ports", "80")]);
    let client = Client::new(&lab.peer, 4002, SocketAddr::new(HOST4, 5353));
    assert!((0..3).all(|_| client.ask().is_none()), "nobody publishes the port yet");
    let web = lab.attach("web", &[("net.ports", &format!("{HOST4}:5353:53/udp"))]);
    let _served = Server::udp(&web.net, 53, "web");
    client.is_answered_by("web");
}

/// Others' connections to the same port number elsewhere go on, with the source port that they have.
#[test]
#[ignore = "needs root"]
fn what_is_sent_elsewhere_to_the_same_port_number_goes_on() {
    let lab = Lab::new();
    let app = lab.attach("app", &[("net.subnet", DUAL)]);
    let socket = lab.wan.bind(|| UdpSocket::bind((INTERNET4, 5353)));
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let client = Client::new(&app.net, 4003, SocketAddr::new(INTERNET4, 5353));
    client.socket.send_to(b"?", client.to).unwrap();
    let (_, seen_as) = socket.recv_from(&mut [0; 8]).unwrap();
    let web = web(&lab, "web", "10.90.0.7,fd00:90::7");
    socket.send_to(b"late", seen_as).unwrap();
    let mut answer = [0; 8];
    client.socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert_eq!(
        client.socket.recv_from(&mut answer).unwrap().0,
        4,
        "the answer comes by the connection that was open"
    );
    lab.detach(web);
}

#[test]
#[ignore = "needs root"]
fn the_next_with_an_address_gets_nothing_of_the_one_before() {
    let lab = Lab::new();
    let _other = lab.attach("other", &[("net.subnet", DUAL)]);
    let passes =
        [false, true].into_iter().flat_map(|crowded| BOTH.map(|(_, _, internet)| (crowded, internet)));
    for (crowded, internet) in passes {
        if crowded {
            crowd(&lab);
        }
        let attach = |id: &str| lab.attach(id, &[("net.subnet", DUAL), ("net.ip", "10.90.0.7,fd00:90::7")]);
        let old = attach("old");
        let socket = lab.wan.bind(|| UdpSocket::bind((internet, 5353)));
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let client = Client::new(&old.net, 4004, SocketAddr::new(internet, 5353));
        client.socket.send_to(b"?", client.to).unwrap();
        let (_, seen_as) = socket.recv_from(&mut [0; 8]).unwrap();
        drop(client);
        lab.detach(old);
        let new = attach("new");
        let capture = Capture::new(&new.net);
        socket.send_to(b"late", seen_as).unwrap();
        let client = Client::new(&new.net, 4005, SocketAddr::new(internet, 5353));
        client.socket.send_to(b"?", client.to).unwrap();
        let (_, seen_as) = socket.recv_from(&mut [0; 8]).unwrap();
        socket.send_to(b"own", seen_as).unwrap();
        let seen = capture.wait_for("its own answer", |seen| seen.is_udp_to(4005));
        assert!(!seen.iter().any(|seen| seen.is_udp_to(4004)), "an answer to the container before arrived");
        lab.detach(new);
    }
}

/// A container's end is no other's: what it ends is told by its address.
#[test]
#[ignore = "needs root"]
fn others_connections_go_on_when_a_container_ends() {
    let lab = Lab::new();
    let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "8080:80")]);
    for (_, host, internet) in BOTH {
        let published = Connection::new(&lab.peer, &web.net, 80, SocketAddr::new(host, 8080));
        let outward = Connection::new(&web.net, &lab.wan, 81, SocketAddr::new(internet, 81));
        let old = lab.attach("old", &[("net.subnet", DUAL), ("net.ports", "5353:53/udp")]);
        let own = Connection::new(&old.net, &lab.wan, 82, SocketAddr::new(internet, 82));
        own.carries("before");
        drop(own);
        lab.detach(old);
        // The client's next packet would begin the connection anew; the server's shows that it is still known.
        published.is_told("after");
        outward.is_told("after");
        published.carries("in the end");
        outward.carries("in the end");
    }
}

/// A TFTP server answers from another port than it was asked at (RFC 1350), which connection tracking lets in where the
/// host has its helper.
#[test]
#[ignore = "needs root"]
fn what_a_helper_expects_is_let_in_and_goes_on() {
    let lab = Lab::new();
    lab.host.ok(&[
        "nft",
        "table inet other { ct helper files { type \"tftp\" protocol udp; }; chain helps { type \
                   filter hook prerouting priority 0; udp dport 69 ct helper set \"files\"; }; }",
    ]);
    lab.peer.batch(&format!("route add 10.90.0.0/16 via {HOST4}\n"));
    for masquerade in ["true", "false"] {
        let app = lab.attach("app", &[("net.subnet", DUAL), ("net.masquerade", masquerade)]);
        is_served_by_tftp(&app.net, &lab.peer, SocketAddr::new(PEER4, 69));
        lab.detach(app);
    }
    // The same in another network, where nothing but the published port lets a container in.
    let app = lab.attach("app", &[("net.subnet", DUAL)]);
    let files = lab.attach(
        "files",
        &[("net.network", "files"), ("net.subnet", "10.97.0.0/24"), ("net.ports", "6900:69/udp")],
    );
    is_served_by_tftp(&app.net, &files.net, SocketAddr::new(HOST4, 6900));
}

fn is_served_by_tftp(client: &Netns, at: &Netns, asked: SocketAddr) {
    let client = client.bind(|| UdpSocket::bind("0.0.0.0:0"));
    let server = at.bind(|| UdpSocket::bind("0.0.0.0:69"));
    let sends = at.bind(|| UdpSocket::bind("0.0.0.0:0"));
    let other = at.bind(|| UdpSocket::bind("0.0.0.0:0"));
    for socket in [&client, &server, &sends] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut buffer = [0; 64];
    client.send_to(b"\0\x01file\0octet\0", asked).unwrap();
    let (_, asked_by) = server.recv_from(&mut buffer).unwrap();
    // A stranger's port is expected only once.
    for block in 1..4 {
        sends.send_to(&[0, 3, 0, block], asked_by).unwrap();
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        let expected = SocketAddr::new(asked.ip(), port(&sends));
        assert_eq!((&buffer[..length], from), (&[0, 3, 0, block][..], expected));
        if block == 1 {
            other.send_to(b"a stranger", asked_by).unwrap();
        }
        client.send_to(&[0, 4, 0, block], from).unwrap();
        sends.recv_from(&mut buffer).unwrap();
    }
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().unwrap().port()
}

/// A container that sends from a port which another publishes gets nothing that is meant for the other.
#[test]
#[ignore = "needs root"]
fn a_masqueraded_connection_does_not_take_a_published_port() {
    let snat = format!("{HOST_SECOND4},{HOST_SECOND6}");
    for late in [false, true] {
        for leaves_by in [&[][..], &[("net.snat", snat.as_str())]] {
            let lab = Lab::new();
            let sends = lab.attach("sends", &[&[("net.subnet", DUAL)], leaves_by].concat());
            for (ipv6, ..) in BOTH {
                keeps_a_port(&lab, &sends, ipv6, late);
            }
        }
    }
}

fn keeps_a_port(lab: &Lab, sends: &Attached, ipv6: bool, late: bool) {
    let any: IpAddr = if ipv6 { "::".parse().unwrap() } else { Ipv4Addr::UNSPECIFIED.into() };
    let publish = || {
        let app = lab.attach("app", &[("net.subnet", DUAL), ("net.ports", "10101:53/udp")]);
        (Server::udp(&app.net, 53, "app"), app)
    };
    let early = (!late).then(publish);
    let peer = lab.peer.bind(|| UdpSocket::bind((any, 4010)));
    let own = sends.net.bind(|| UdpSocket::bind((any, 10101)));
    [&peer, &own].iter().for_each(|socket| socket.set_read_timeout(Some(PATIENCE)).unwrap());
    let to = SocketAddr::new(if ipv6 { PEER6 } else { PEER4 }, 4010);
    let mut buffer = [0; 64];
    let mut seen_as = || {
        own.send_to(b"out", to).unwrap();
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"out");
        from
    };
    let mut seen = seen_as();
    // A port that nobody publishes is kept.
    assert_eq!(seen.port() == 10101, late, "IPv6 {ipv6}");
    let (_served, app) = early.unwrap_or_else(publish);
    let published = SocketAddr::new(seen.ip(), 10101);
    peer.send_to(b"in", published).unwrap();
    let (length, from) = peer.recv_from(&mut buffer).unwrap();
    let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(answer.starts_with("app ") && from == published, "IPv6 {ipv6}, late {late}: {answer} of {from}");
    if late {
        own.send_to(b"out", to).unwrap();
        seen = peer.recv_from(&mut buffer).unwrap().1;
    }
    assert_ne!(seen.port(), 10101, "IPv6 {ipv6}, late {late}");
    peer.send_to(b"back", seen).unwrap();
    let (length, _) = own.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"back", "IPv6 {ipv6}, late {late}");
    drop(_served);
    lab.detach(app);
}

/// Of 1,024 published ports, one that is chosen at random is soon hit.
#[test]
#[ignore = "needs root"]
fn no_connection_leaves_by_any_published_port() {
    let lab = Lab::new();
    let _app = lab.attach("app", &[("net.subnet", DUAL), ("net.ports", "40000-41022:1-1023,10101:80")]);
    let sends = lab.attach("sends", &[("net.subnet", DUAL)]);
    let from = link_address(&sends.net, "eth0");
    let gateway = link_address(&lab.host, "ocinet0");
    let wire = Wire::of(&sends.net, "eth0");
    for (ipv6, peer) in [(false, PEER4), (true, PEER6)] {
        let capture = Capture::new(&lab.peer);
        let own = |port| Endpoint::new(from, sends.address(ipv6), port);
        for number in 0..1_000 {
            // Each to another port of the neighbour's, so that each is a connection.
            let to = Endpoint::new(gateway, peer, 20_000 + number);
            wire.send(&Frame::new(own(10101), to).tcp_syn());
        }
        wire.send(&Frame::new(own(5), Endpoint::new(gateway, peer, 9)).udp(b"last"));
        let seen = capture.wait_for("the last datagram", |seen| seen.is_udp_to(9));
        let ports: Vec<u16> = seen
            .iter()
            .filter(|seen| (20_000..21_000).any(|port| seen.is_syn_to(port)))
            .filter_map(Seen::source_port)
            .collect();
        assert!(ports.len() > 900, "IPv6 {ipv6}: {} connections", ports.len());
        let taken: Vec<_> =
            ports.iter().filter(|port| (40_000..41_023).contains(*port) || **port == 10101).collect();
        assert!(taken.is_empty(), "IPv6 {ipv6}: {taken:?}");
    }
}
