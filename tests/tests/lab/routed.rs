//! `net.driver=veth`: containers on links of their own, without a bridge.

use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use ocinet_tests::lab::{
    Attached, Capture, Endpoint, Frame, HOST_SECOND4, HOST_SECOND6, HOST4, HOST6, INTERNET4, INTERNET6, Lab,
    PEER4, PEER6, Runtime, Sandbox, Server, Snapshot, ask_tcp, ask_udp, link_address, ping, reaches_nobody,
    send_frame,
};

use crate::PATIENCE;
use crate::disguise::{Guards, host_end};
use crate::life::{lives_and_leaves_nothing, used};

const SUBNET: &str = "10.94.0.0/24,fd00:94::/64";
/// Either family: the host's and a LAN neighbour's addresses.
const FAMILIES: [(bool, IpAddr, IpAddr); 2] = [(false, HOST4, PEER4), (true, HOST6, PEER6)];

fn routed(lab: &Lab, id: &str, more: &[(&str, &str)]) -> Attached {
    let mut annotations = vec![("net.driver", "veth"), ("net.subnet", SUBNET)];
    annotations.extend(more);
    lab.attach(id, &annotations)
}

#[track_caller]
fn answers(from: &Attached, to: SocketAddr, who: &str) {
    let answer = ask_tcp(&from.net, to, PATIENCE);
    assert_eq!(answer.map(|answer| answer.from).as_deref(), Some(who), "TCP to {to}");
}

#[test]
#[ignore = "needs root"]
fn a_routed_container_has_its_addresses_alone() {
    let lab = Lab::new();
    let app = routed(&lab, "app", &[]);
    let addresses = app.net.addresses("eth0").into_iter().filter(|address| address.is_global);
    let addresses: Vec<_> = addresses.map(|address| (address.ip, address.length)).collect();
    assert_eq!(addresses, [(app.address(false), 32), (app.address(true), 128)]);
    assert_eq!(lab.host.links_of_kind("bridge"), []);
}

#[test]
#[ignore = "needs root"]
fn routed_neighbours_gateway_and_internet() {
    let lab = Lab::new();
    let (a, b) = (routed(&lab, "a", &[]), routed(&lab, "b", &[]));
    let _b = Server::tcp(&b.net, 80, "b");
    let _udp = Server::udp(&b.net, 53, "b");
    let _internet = Server::tcp(&lab.wan, 80, "internet");
    for (ipv6, gateway, internet) in [(false, "10.94.0.1", INTERNET4), (true, "fd00:94::1", INTERNET6)] {
        answers(&a, b.at(ipv6, 80), "b");
        let answer = ask_udp(&a.net, b.at(ipv6, 53), PATIENCE).expect("an answer");
        assert_eq!(answer.seen_as, a.address(ipv6));
        assert!(ping(&a.net, gateway.parse().unwrap(), PATIENCE), "the gateway");
        assert!(ping(&lab.host, a.address(ipv6), PATIENCE), "from the host");
        let answer = ask_tcp(&a.net, SocketAddr::new(internet, 80), PATIENCE).expect("an answer");
        let hosts = [HOST4, HOST6, HOST_SECOND4, HOST_SECOND6];
        assert!(hosts.contains(&answer.seen_as), "{answer:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn routed_ports_are_reached_from_everywhere() {
    let lab = Lab::new();
    let web = routed(&lab, "web", &[("net.ports", "8080:80,127.0.0.1:8081:80")]);
    let friend = routed(&lab, "friend", &[]);
    let other = lab.attach("other", &[("net.driver", "bridge"), ("net.subnet", ocinet_tests::lab::DUAL)]);
    let _web = Server::tcp(&web.net, 80, "web");
    for (ipv6, host, peer) in FAMILIES {
        let port = SocketAddr::new(host, 8080);
        let answer = ask_tcp(&lab.peer, port, PATIENCE).expect("an answer");
        assert_eq!((answer.from.as_str(), answer.seen_as), ("web", peer));
        for (from, who) in
            [(&lab.host, "host"), (&friend.net, "friend"), (&other.net, "other"), (&web.net, "itself")]
        {
            let answer = ask_tcp(from, port, PATIENCE);
            assert_eq!(answer.map(|a| a.from).as_deref(), Some("web"), "from {who}, IPv6 {ipv6}");
        }
    }
    for port in [8080, 8081] {
        let local = SocketAddr::new([127, 0, 0, 1].into(), port);
        assert_eq!(ask_tcp(&lab.host, local, PATIENCE).expect("an answer").from, "web");
    }
    let counters = lab.counters("web");
    assert_eq!(counters["ports"][0]["connections"], 11, "{counters}");
    assert!(counters["ports"][0]["in"]["bytes"].as_u64() > Some(0), "{counters}");
    assert!(counters["received"]["bytes"].as_u64() > Some(0), "{counters}");
}

#[test]
#[ignore = "needs root"]
fn routed_containers_are_closed_and_apart() {
    let lab = Lab::new();
    let web = routed(&lab, "web", &[]);
    let other =
        routed(&lab, "other", &[("net.network", "apart"), ("net.subnet", "10.95.0.0/24,fd00:95::/64")]);
    let bridged = lab.attach("bridged", &[("net.driver", "bridge"), ("net.subnet", ocinet_tests::lab::DUAL)]);
    let _web = Server::tcp(&web.net, 80, "web");
    lab.peer.batch(&format!("route add 10.94.0.0/24 via {HOST4}\nroute add fd00:94::/64 via {HOST6}\n"));
    for ipv6 in [false, true] {
        for from in [&lab.peer, &other.net, &bridged.net] {
            reaches_nobody(from, web.at(ipv6, 80));
        }
        assert!(ask_tcp(&lab.host, web.at(ipv6, 80), PATIENCE).is_some());
    }
}

#[test]
#[ignore = "needs root"]
fn an_internal_routed_network_reaches_only_itself() {
    let lab = Lab::new();
    let internal = [("net.internal", "true")];
    let (a, b) = (routed(&lab, "a", &internal), routed(&lab, "b", &internal));
    let _b = Server::tcp(&b.net, 80, "b");
    let _internet = Server::tcp(&lab.wan, 80, "internet");
    let _host = Server::tcp(&lab.host, 81, "host");
    for (ipv6, internet, host) in [(false, INTERNET4, HOST4), (true, INTERNET6, HOST6)] {
        answers(&a, b.at(ipv6, 80), "b");
        reaches_nobody(&a.net, SocketAddr::new(internet, 80));
        reaches_nobody(&a.net, SocketAddr::new(host, 81));
    }
}

/// The host's default route would take it out of the network: no filter sees that nobody has the address.
#[test]
#[ignore = "needs root"]
fn what_nobody_has_of_an_internal_routed_network_leads_nowhere() {
    for guards in Guards::ALL {
        let lab = Lab::new();
        let internal = [("net.internal", "true")];
        let [a, b, c] = ["a", "b", "c"].map(|id| routed(&lab, id, &internal));
        // The ways of the others stay when one goes.
        lab.detach(b);
        let links = [&a, &c].map(host_end);
        guards.alone(&lab, &links);
        let (mac, gateway) = (link_address(&a.net, "eth0"), link_address(&lab.host, &links[0]));
        let outside = [Capture::new(&lab.wan), Capture::new(&lab.peer), Capture::new(&c.net)];
        for nobody in ["10.94.0.200", "fd00:94::c8"] {
            let nobody: IpAddr = nobody.parse().unwrap();
            let own = Endpoint::new(mac, a.address(nobody.is_ipv6()), 40000);
            let frame = Frame::new(own, Endpoint::new(gateway, nobody, 40000)).udp(b"to nobody");
            send_frame(&a.net, "eth0", &frame);
        }
        sleep(Duration::from_millis(50));
        let seen = outside.iter().flat_map(Capture::drain).filter(|seen| seen.ends_with(b"to nobody"));
        assert_eq!(seen.count(), 0, "{guards:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_routed_container_sends_from_its_own_addresses_only() {
    let lab = Lab::new();
    let (attacker, victim) = (routed(&lab, "attacker", &[]), routed(&lab, "victim", &[]));
    let third = routed(&lab, "third", &[]);
    let host_end = attacker.record["attachments"][0]["host_interface"].as_str().unwrap().to_owned();
    let gateway = link_address(&lab.host, &host_end);
    let mac = link_address(&attacker.net, "eth0");
    for ipv6 in [false, true] {
        let capture = Capture::new(&victim.net);
        let to = |port| Endpoint::new(gateway, victim.address(ipv6), port);
        let stranger: IpAddr = if ipv6 { "2001:db8::66" } else { "192.0.2.66" }.parse().unwrap();
        for (port, from) in [(1, third.address(ipv6)), (2, stranger), (9, attacker.address(ipv6))] {
            let frame = Frame::new(Endpoint::new(mac, from, 40000), to(port)).udp(b"who am I");
            send_frame(&attacker.net, "eth0", &frame);
        }
        let seen = capture.wait_for("the honest datagram", |seen| seen.is_udp_to(9));
        assert!(
            !seen.iter().any(|seen| seen.is_udp_to(1) || seen.is_udp_to(2)),
            "a lie arrived, IPv6 {ipv6}"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn the_address_of_a_routed_container_belongs_at_once_to_the_next() {
    let lab = Lab::new();
    let _other = routed(&lab, "other", &[]);
    for round in 0..5 {
        let name = format!("c{round}");
        let web = routed(&lab, &name, &[("net.ip", "10.94.0.7,fd00:94::7"), ("net.ports", "8080:80")]);
        let _web = Server::tcp(&web.net, 80, &name);
        for (_, host, _) in FAMILIES {
            let answer = ask_tcp(&lab.peer, SocketAddr::new(host, 8080), PATIENCE);
            assert_eq!(answer.map(|answer| answer.from), Some(name.clone()));
        }
        drop(_web);
        lab.detach(web);
    }
}

#[test]
#[ignore = "needs root"]
fn a_routed_container_that_is_killed_or_pinned_leaves_nothing() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let attached = routed(&lab, "web", &[("net.ports", "8080:80")]);
    let pinned = attached.net.pin();
    lab.detach(attached);
    before.assert_is_back(&lab, "poststop with a pinned namespace");
    drop(pinned);
    let mut sandbox = Sandbox::new("late");
    let wrong = [("net.driver", "veth"), ("net.subnet", SUBNET), ("net.routes", "10.0.0.0/8 via 10.94.0.9")];
    let refused = lab.create(&sandbox, &wrong);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    sandbox.end();
    before.assert_is_back(&lab, "a refusal");
}

#[test]
#[ignore = "needs root"]
fn routed_containers_of_every_runtime_live_and_leave_nothing() {
    for runtime in Runtime::ALL {
        lives_and_leaves_nothing(
            runtime,
            &[("net.driver", "veth"), ("net.subnet", SUBNET), ("net.ports", "8080:80")],
        );
    }
}
