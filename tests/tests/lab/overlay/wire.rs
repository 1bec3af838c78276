//! What leaves on the underlay: by which addresses and ports, to whom, and what stays on its host.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use ocinet_tests::lab::{
    Attached, Capture, HOST_SECOND4, HOST_SECOND6, INTERNET4, INTERNET6, Netns, Seen, Server, ask_tcp,
    link_address, ping,
};

use super::{Overlay, Underlay};
use crate::PATIENCE;
use crate::reach::{does_not_reach, reaches};

const GATEWAYS: [&str; 2] = ["10.99.0.1", "fd00:99::1"];

fn gateway(ipv6: bool) -> IpAddr {
    GATEWAYS[usize::from(ipv6)].parse().unwrap()
}

fn forget_neighbours(net: &Netns) {
    net.ok(&["ip", "neigh", "flush", "dev", "eth0"]);
    net.ok(&["ip", "-6", "neigh", "flush", "dev", "eth0"]);
}

/// The network's frames among these, by tunnels of that port.
fn inner(seen: &[Seen], port: u16) -> Vec<Seen> {
    seen.iter().filter_map(|seen| seen.tunnelled(port)).map(|(_, frame)| frame).collect()
}

fn own_end_and_port(underlay: Underlay, local: IpAddr) {
    let overlay = Overlay::new(underlay);
    let (local, one) = (local.to_string(), overlay.further[0].address(underlay.is_ipv6()));
    let peers = one.to_string();
    let port = ("net.port", "4790");
    let a = overlay.attach(0, 10, &[("net.local", &local), port, ("net.peers", &peers)]);
    let b = overlay.attach(1, 11, &[("net.peers", &local), port]);
    let wire = Capture::new(&overlay.lab.switch);
    for ipv6 in [false, true] {
        assert!(ping(&a.net, b.address(ipv6), PATIENCE) && ping(&b.net, a.address(ipv6), PATIENCE));
    }
    let seen = wire.drain();
    assert!(!seen.iter().any(|seen| seen.is_udp_to(4789)));
    let ends: Vec<_> = seen
        .iter()
        .filter(|seen| seen.tunnelled(4790).is_some())
        .map(|seen| (seen.source().unwrap(), seen.destination().unwrap()))
        .collect();
    let local: IpAddr = local.parse().unwrap();
    for pair in [(local, one), (one, local)] {
        assert!(ends.contains(&pair), "{ends:?}");
    }
    assert!(ends.iter().all(|pair| [(local, one), (one, local)].contains(pair)), "{ends:?}");
}

#[test]
#[ignore = "needs root"]
fn packets_leave_from_the_local_address_to_the_port() {
    own_end_and_port(Underlay::Peers4, HOST_SECOND4);
    own_end_and_port(Underlay::Peers6, HOST_SECOND6);
}

#[test]
#[ignore = "needs root"]
fn nothing_is_sent_to_a_host_that_is_no_peer() {
    for underlay in [Underlay::Peers4, Underlay::Peers6] {
        let overlay = Overlay::new(underlay);
        let address = |host: usize| overlay.hosts()[host].address(underlay.is_ipv6()).to_string();
        let at = [0, 2].map(|host| Capture::new(&overlay.hosts()[host].net));
        let neighbour = Capture::new(&overlay.lab.peer);
        let a = overlay.attach(0, 10, &[("net.peers", &address(1))]);
        let b = overlay.attach(1, 11, &[("net.peers", &address(0))]);
        // Host 2 sends to host 0 unasked.
        let c = overlay.attach(2, 12, &[("net.peers", &address(0))]);
        for ipv6 in [false, true] {
            assert!(ping(&a.net, b.address(ipv6), PATIENCE) && ping(&b.net, a.address(ipv6), PATIENCE));
            assert!(!ping(&a.net, c.address(ipv6), crate::SILENCE), "what is for everybody went to host 2");
        }
        let seen = at.map(|at| inner(&at.drain(), 4789).len());
        assert!(seen[0] > 0 && seen[1] == 0, "{underlay:?}: {seen:?}");
        assert_eq!(inner(&neighbour.drain(), 4789).len(), 0, "{underlay:?}");
    }
}

/// Every host may be given one list of all hosts.
#[test]
#[ignore = "needs root"]
fn a_host_is_not_its_own_peer() {
    for underlay in [Underlay::Peers4, Underlay::Peers6] {
        let overlay = Overlay::new(underlay);
        let all = overlay.hosts().map(|host| host.address(underlay.is_ipv6()).to_string()).join(",");
        let everyone = [("net.peers", all.as_str())];
        let a = overlay.attach(0, 10, &everyone);
        let beside = overlay.attach(0, 13, &everyone);
        let b = overlay.attach(1, 11, &everyone);
        let flood = overlay.lab.host.ok(&["bridge", "fdb", "show", "dev", "oc-vni7"]);
        let own = overlay.lab.address(underlay.is_ipv6()).to_string();
        assert!(!flood.split_whitespace().any(|word| word == own), "{flood}");
        for ipv6 in [false, true] {
            for (from, to) in [(&a, &beside), (&a, &b), (&beside, &b), (&b, &a), (&beside, &a)] {
                assert!(ping(&from.net, to.address(ipv6), PATIENCE), "{underlay:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn each_host_is_the_gateway_of_its_own_containers() {
    for underlay in [Underlay::Peers4, Underlay::Group6] {
        let overlay = Overlay::new(underlay);
        let containers: [Attached; 3] =
            std::array::from_fn(|host| overlay.attach(host, 10 + u8::try_from(host).unwrap(), &[]));
        let servers = ["host 0", "host 1", "host 2"];
        let _servers: Vec<_> = overlay
            .hosts()
            .iter()
            .zip(servers)
            .map(|(host, name)| Server::tcp(&host.net, 7000, name))
            .collect();
        let wire = Capture::new(&overlay.lab.switch);
        for ipv6 in [false, true] {
            for (container, name) in containers.iter().zip(servers) {
                forget_neighbours(&container.net);
                reaches(&container.net, gateway(ipv6), 7000, name);
            }
            assert!(ping(&containers[0].net, containers[1].address(ipv6), PATIENCE));
        }
        let asked: Vec<IpAddr> = inner(&wire.drain(), 4789).iter().filter_map(Seen::asked_for).collect();
        for ipv6 in [false, true] {
            assert!(asked.contains(&containers[1].address(ipv6)), "{underlay:?}: {asked:?}");
            assert!(!asked.contains(&gateway(ipv6)), "{underlay:?}: {asked:?}");
        }
    }
}

/// Every host has the gateway's Ethernet address: where another host's bridge learned it by a tunnel, its containers would lose
/// their own.
#[test]
#[ignore = "needs root"]
fn a_hosts_gateway_sends_nothing_by_a_tunnel() {
    let overlay = Overlay::new(Underlay::Peers4);
    let [a, b] = [overlay.attach(0, 10, &[]), overlay.attach(1, 11, &[])];
    let own = link_address(&overlay.lab.host, "oc-vxlan-7");
    let wire = Capture::new(&overlay.lab.switch);
    for ipv6 in [false, true] {
        // The host asks for a container of another host, which it does not reach.
        let _ =
            overlay.lab.host.run(&["busybox", "ping", "-c", "2", "-W", "1", &b.address(ipv6).to_string()]);
        assert!(ping(&a.net, b.address(ipv6), PATIENCE));
    }
    let sent = inner(&wire.drain(), 4789);
    let by = |mac: [u8; 6]| sent.iter().filter(|seen| seen.source_mac() == Some(mac)).count();
    assert!(by(link_address(&a.net, "eth0")) > 0, "a container's frames");
    assert_eq!(by(own), 0, "the gateway's frames");
}

/// Hosts that give the network different names have gateways with different Ethernet addresses.
#[test]
#[ignore = "needs root"]
fn gateways_of_hosts_that_name_the_network_differently_are_apart() {
    let overlay = Overlay::new(Underlay::Peers4);
    let a = overlay.attach(0, 10, &[("net.network", "red")]);
    let b = overlay.attach(1, 11, &[("net.network", "blue")]);
    let _servers = [
        Server::tcp(&overlay.lab.host, 7000, "host 0"),
        Server::tcp(&overlay.further[0].net, 7000, "host 1"),
    ];
    for ipv6 in [false, true] {
        for (container, name) in [(&a, "host 0"), (&b, "host 1")] {
            for _ in 0..5 {
                forget_neighbours(&container.net);
                reaches(&container.net, gateway(ipv6), 7000, name);
            }
        }
        assert!(ping(&a.net, b.address(ipv6), PATIENCE));
    }
}

#[test]
#[ignore = "needs root"]
fn ports_and_the_internet_by_the_container_s_own_host() {
    let overlay = Overlay::new(Underlay::Peers6);
    let a = overlay.attach(0, 10, &[("net.ports", "8080:80,127.0.0.1:8081:80")]);
    let (beside, b) = (overlay.attach(0, 13, &[]), overlay.attach(1, 11, &[("net.ports", "8080:80")]));
    let _servers = [
        Server::tcp(&a.net, 80, "a"),
        Server::tcp(&b.net, 80, "b"),
        Server::tcp(&overlay.lab.wan, 80, "internet"),
    ];
    let hosts = overlay.hosts();
    for (ipv6, internet) in [(false, INTERNET4), (true, INTERNET6)] {
        for (host, who) in [(0, "a"), (1, "b")] {
            let to = hosts[host].address(ipv6);
            for from in [&overlay.lab.peer, &hosts[0].net, &hosts[1].net, &a.net, &beside.net, &b.net] {
                reaches(from, to, 8080, who);
            }
        }
        for (from, host) in [(&a, 0), (&b, 1)] {
            let answer = ask_tcp(&from.net, SocketAddr::new(internet, 80), PATIENCE).expect("the internet");
            let own = [hosts[host].address(ipv6), [HOST_SECOND4, HOST_SECOND6][usize::from(ipv6)]];
            assert!(own[..2 - host].contains(&answer.seen_as), "{answer:?}");
        }
        // Unpublished ports are closed to the LAN.
        let subnet = ["10.99.0.0/24", "fd00:99::/64"][usize::from(ipv6)];
        overlay.lab.peer.batch(&format!("route add {subnet} via {}\n", hosts[0].address(ipv6)));
        does_not_reach(&overlay.lab.peer, a.address(ipv6), 80);
    }
    reaches(&overlay.lab.host, [127, 0, 0, 1].into(), 8081, "a");
}

/// Where bridges ask the rules, a neighbour's error comes from an address that no set of this host has.
#[test]
#[ignore = "needs root"]
fn a_neighbours_errors_arrive_from_another_host() {
    for calls in ["0", "1"] {
        let overlay = Overlay::new(Underlay::Peers4);
        let [a, b] = [(0, 10), (1, 11)].map(|(host, last)| overlay.attach(host, last, &[]));
        for host in overlay.hosts() {
            host.net.sysctl("bridge/bridge-nf-call-iptables", calls);
            host.net.sysctl("bridge/bridge-nf-call-ip6tables", calls);
        }
        for ipv6 in [false, true] {
            let socket = a.net.bind(|| UdpSocket::bind(SocketAddr::new(a.address(ipv6), 0)));
            socket.connect((b.address(ipv6), 9)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send(b"hello").unwrap();
            let refused = socket.recv(&mut [0; 8]).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "bridge-nf-call {calls}, IPv6 {ipv6}");
        }
    }
}
