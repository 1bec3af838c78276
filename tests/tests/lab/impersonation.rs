//! A LAN neighbour who sends the host packets as from a container, so that connection tracking takes what the neighbour
//! sends next for the answer to the container.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use ocinet_tests::lab::{
    Attached, Capture, Endpoint, Forwarding, Frame, Lab, PEER4, PEER6, Seen, Server, ask_tcp, ask_udp,
    link_address, send_frame,
};

use crate::PATIENCE;

/// Closed ports of the container, and those that are published.
const CLOSED_UDP: u16 = 5300;
const CLOSED_TCP: u16 = 80;
const OPEN_UDP: u16 = 5301;
const OPEN_TCP: u16 = 8080;
/// Where the neighbour sends from, and to.
const NEIGHBOUR: u16 = 4000;

const DRIVERS: [&[(&str, &str)]; 3] =
    [&[("net.driver", "bridge")], &[("net.driver", "veth")], &[("net.driver", "vxlan"), ("net.vni", "7")]];

fn container(lab: &Lab, driver: &[(&str, &str)], more: &[(&str, &str)]) -> Attached {
    let common = [
        ("net.network", "target"),
        ("net.subnet", "10.97.0.0/24,fd00:97::/64"),
        ("net.ip", "10.97.0.7,fd00:97::7"),
        ("net.ports", "5301:5301/udp,8080:8080"),
    ];
    lab.attach("app", &[driver, &common, more].concat())
}

fn address(ipv6: bool) -> IpAddr {
    if ipv6 { "fd00:97::7" } else { "10.97.0.7" }.parse().unwrap()
}

/// The neighbour, and the Ethernet addresses that it uses.
struct Neighbour<'a> {
    lab: &'a Lab,
    own: [u8; 6],
    host: [u8; 6],
}

impl<'a> Neighbour<'a> {
    fn new(lab: &'a Lab) -> Self {
        Self { lab, own: link_address(&lab.peer, "eth0"), host: link_address(&lab.host, "eth0") }
    }

    fn send(&self, from: SocketAddr, to: SocketAddr, tcp: bool) {
        let from = Endpoint::new(self.own, from.ip(), from.port());
        let frame = Frame::new(from, Endpoint::new(self.host, to.ip(), to.port()));
        send_frame(&self.lab.peer, "eth0", &if tcp { frame.tcp_syn() } else { frame.udp(b"hello") });
    }

    /// Sends an error about what it was sent from there.
    fn complain(&self, about: SocketAddr, tcp: bool) {
        let own = Self::address(about.is_ipv6());
        let [own, about] =
            [(self.own, own), (self.host, about)].map(|(mac, at)| Endpoint::new(mac, at.ip(), at.port()));
        let sent = Frame::new(about, own);
        let sent = if tcp { sent.tcp_syn() } else { sent.udp(b"hello") };
        send_frame(&self.lab.peer, "eth0", &Frame::new(own, about).port_unreachable(&sent[14..]));
    }

    fn address(ipv6: bool) -> SocketAddr {
        SocketAddr::new(if ipv6 { PEER6 } else { PEER4 }, NEIGHBOUR)
    }

    /// Sends as the container to itself.
    fn impersonate(&self) {
        for (ipv6, tcp, port) in closed_ports() {
            self.send(SocketAddr::new(address(ipv6), port), Self::address(ipv6), tcp);
        }
        sleep(Duration::from_millis(20));
    }

    /// Sends what looks like the answer, to where the host may have translated the container's address to, and to the
    /// container itself.
    fn answer(&self) {
        for (ipv6, tcp, port) in closed_ports() {
            for to in [self.lab.address(ipv6), address(ipv6)] {
                self.send(Self::address(ipv6), SocketAddr::new(to, port), tcp);
                self.complain(SocketAddr::new(to, port), tcp);
            }
        }
    }
}

fn closed_ports() -> impl Iterator<Item = (bool, bool, u16)> {
    let ports = [(false, CLOSED_UDP), (true, CLOSED_TCP)];
    [false, true].into_iter().flat_map(move |ipv6| ports.map(|(tcp, port)| (ipv6, tcp, port)))
}

fn of_the_neighbour(seen: &Seen) -> bool {
    let is_closed = seen.is_udp_to(CLOSED_UDP) || seen.is_syn_to(CLOSED_TCP) || seen.is_unreachable();
    is_closed && [Some(PEER4), Some(PEER6)].contains(&seen.source())
}

/// The container and what listens in it.
struct App {
    attached: Attached,
    closed: [Server; 2],
    _open: [Server; 2],
    arrivals: Capture,
}

impl App {
    fn new(attached: Attached) -> Self {
        let net = &attached.net;
        Self {
            closed: [Server::udp(net, CLOSED_UDP, "closed"), Server::tcp(net, CLOSED_TCP, "closed")],
            _open: [Server::udp(net, OPEN_UDP, "open"), Server::tcp(net, OPEN_TCP, "open")],
            arrivals: Capture::new(net),
            attached,
        }
    }

    fn end(self, lab: &Lab) {
        let Self { attached, closed, _open, arrivals } = self;
        drop((closed, _open, arrivals));
        lab.detach(attached);
    }

    /// Nothing of the neighbour's came to the closed ports, though it reaches the published ones.
    #[track_caller]
    fn was_left_alone(&self, lab: &Lab, what: &str) {
        for ipv6 in [false, true] {
            let host = |port| SocketAddr::new(lab.address(ipv6), port);
            let udp = ask_udp(&lab.peer, host(OPEN_UDP), PATIENCE);
            let tcp = ask_tcp(&lab.peer, host(OPEN_TCP), PATIENCE);
            for answer in [udp, tcp] {
                assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("open"), "{what}, IPv6 {ipv6}");
            }
        }
        let arrived: Vec<_> = self.arrivals.drain().into_iter().filter(of_the_neighbour).collect();
        let ports: Vec<_> = arrived.iter().map(|seen| (seen.source(), seen.is_udp_to(CLOSED_UDP))).collect();
        assert!(ports.is_empty(), "{what}: of the neighbour's came (sender, UDP) {ports:?}");
        let clients: Vec<IpAddr> = self.closed.iter().flat_map(Server::all_clients).collect();
        assert!(clients.is_empty(), "{what}: the closed ports were reached by {clients:?}");
    }
}

fn everywhere(mut check: impl FnMut(&Lab, &[(&str, &str)], &str)) {
    for driver in DRIVERS {
        for forwarding in Forwarding::ALL {
            check(&Lab::with(forwarding), driver, &format!("{driver:?}, {forwarding:?}"));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_neighbour_that_sends_as_a_container_opens_none_of_its_ports() {
    everywhere(|lab, driver, what| {
        for masquerade in ["true", "false"] {
            let app = App::new(container(lab, driver, &[("net.masquerade", masquerade)]));
            let neighbour = Neighbour::new(lab);
            let services = [false, true].map(|ipv6| SocketAddr::new(lab.address(ipv6), 7000));
            let hosts = services.map(|service| Server::udp_at(&lab.host, service, "host"));
            let reflected = Capture::new(&lab.peer);
            neighbour.impersonate();
            neighbour.answer();
            for service in services {
                neighbour.send(SocketAddr::new(address(service.is_ipv6()), 1), service, false);
                assert!(ask_udp(&lab.peer, service, PATIENCE).is_some(), "{what}");
            }
            app.was_left_alone(lab, what);
            // Neither does the host forward it, or take it for the container's.
            let own = |seen: &Seen| seen.is_udp_to(NEIGHBOUR) || seen.is_syn_to(NEIGHBOUR);
            assert!(!reflected.drain().iter().any(own), "{what}: the host forwarded for the neighbour");
            let clients: Vec<IpAddr> = hosts.iter().flat_map(Server::clients).collect();
            assert!(clients.iter().all(|client| [PEER4, PEER6].contains(client)), "{what}: {clients:?}");
            app.end(lab);
        }
    });
}

/// Addresses are chosen by the container's name: whoever knows one can be early.
#[test]
#[ignore = "needs root"]
fn what_a_neighbour_sent_as_a_container_before_its_start_opens_none_of_its_ports() {
    everywhere(|lab, driver, what| {
        // The tables are there, and connections are tracked.
        let first = container(lab, driver, &[]);
        lab.detach(first);
        let neighbour = Neighbour::new(lab);
        neighbour.impersonate();
        neighbour.answer();
        let app = App::new(container(lab, driver, &[]));
        neighbour.answer();
        app.was_left_alone(lab, what);
    });
}

/// Another program's rules keep connection tracking going.
#[test]
#[ignore = "needs root"]
fn what_a_neighbour_sent_as_a_container_during_a_flush_opens_none_of_its_ports() {
    everywhere(|lab, driver, what| {
        let app = App::new(container(lab, driver, &[]));
        let neighbour = Neighbour::new(lab);
        lab.host.ok(&[
            "nft",
            "flush ruleset; add table inet other; add chain inet other tracks { type filter \
                       hook forward priority 0; }; add rule inet other tracks ct state new accept",
        ]);
        neighbour.impersonate();
        neighbour.answer();
        let _ = lab.run(&["reload"], "").ok();
        neighbour.answer();
        app.was_left_alone(lab, what);
    });
}

/// A firewall that refuses what the host sends answers the host as from the container.
#[test]
#[ignore = "needs root"]
fn what_the_hosts_own_firewall_answers_as_a_container_is_heard() {
    let lab = Lab::new();
    let app = container(&lab, DRIVERS[0], &[]);
    lab.host.ok(&[
        "nft",
        "add table inet other; add chain inet other refuses { type filter hook output priority 0; }; \
                   add rule inet other refuses tcp dport 80 reject with tcp reset",
    ]);
    for ipv6 in [false, true] {
        let refused = lab.host.within(|| TcpStream::connect_timeout(&app.at(ipv6, CLOSED_TCP), PATIENCE));
        assert_eq!(
            refused.map_err(|error| error.kind()).err(),
            Some(ErrorKind::ConnectionRefused),
            "IPv6 {ipv6}"
        );
    }
}

/// Who knows the ports of a connection between two containers can send as one of them.
#[test]
#[ignore = "needs root"]
fn nobody_outside_speaks_on_a_connection_between_containers() {
    for forwarding in [Forwarding::Off, Forwarding::Unchecked] {
        let lab = Lab::with(forwarding);
        let [asker, server] =
            [("asker", "10.97.1.0/24,fd00:97:1::/64"), ("server", "10.97.2.0/24,fd00:97:2::/64")].map(
                |(name, subnet)| {
                    let common = [("net.network", name), ("net.subnet", subnet), ("net.isolate", "false")];
                    lab.attach(
                        name,
                        &[
                            &common[..],
                            &[("net.ports", if name == "server" { "5301:5301/udp" } else { "5302:1" })],
                        ]
                        .concat(),
                    )
                },
            );
        let served = Server::udp(&server.net, OPEN_UDP, "server");
        let neighbour = Neighbour::new(&lab);
        for ipv6 in [false, true] {
            // By the container's own address, and by its published port.
            for to in [server.at(ipv6, OPEN_UDP), SocketAddr::new(lab.address(ipv6), OPEN_UDP)] {
                let socket = asker.net.within(|| UdpSocket::bind((asker.address(ipv6), 0))).unwrap();
                socket.connect(to).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                for _ in 0..2 {
                    socket.send(b"hello").unwrap();
                    socket.recv(&mut [0; 64]).unwrap_or_else(|error| panic!("{forwarding:?}, {to}: {error}"));
                }
                let (own, before) = (socket.local_addr().unwrap(), served.all_clients().len());
                let arrivals = [&asker.net, &server.net].map(Capture::new);
                neighbour.send(server.at(ipv6, OPEN_UDP), own, false);
                neighbour.send(own, to, false);
                neighbour.send(own, server.at(ipv6, OPEN_UDP), false);
                assert_eq!(
                    served.all_clients().len(),
                    before,
                    "{forwarding:?}, {to}: somebody spoke as the asker"
                );
                let spoke = |seen: &Seen| seen.is_udp_to(own.port()) || seen.is_udp_to(OPEN_UDP);
                let came = arrivals.iter().flat_map(Capture::drain).filter(spoke).count();
                assert_eq!(came, 0, "{forwarding:?}, {to}: packets of the neighbour's came");
            }
        }
    }
}
