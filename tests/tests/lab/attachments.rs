//! One container on several networks: each interface works by itself, and answers leave by the one that was asked.

use std::net::{IpAddr, SocketAddr};

use ocinet_tests::lab::{
    Attached, DUAL, HOST_SECOND4, HOST_SECOND6, HOST4, HOST6, Host, INTERNET4, INTERNET6, Lab, PEER4, PEER6,
    Sandbox, Server, Snapshot, ask_tcp, until,
};

use crate::PATIENCE;
use crate::conflict::refused_as_it_is as refused;
use crate::faults::every_point_of_a_start;
use crate::reach::reaches;

/// The addresses by which a container with all three interfaces is known on the LAN and in the overlay.
const ON_LAN: [&str; 2] = ["198.51.100.50", "2001:db8:1::50"];
const IN_OVERLAY: [&str; 2] = ["10.99.0.2", "fd00:99::2"];
const FAR: [&str; 2] = ["10.99.0.3", "fd00:99::3"];
const OVERLAY: &str = "10.99.0.0/24,fd00:99::/64";

/// A bridge, a macvlan and a tunnel whose other end is the lab's host 1.
const THREE: [(&str, &str); 9] = [
    ("net.subnet", DUAL),
    ("net.eth1.driver", "macvlan"),
    ("net.eth1.parent", "eth0"),
    ("net.eth1.ip", "198.51.100.50,2001:db8:1::50"),
    ("net.eth2.driver", "vxlan"),
    ("net.eth2.vni", "7"),
    ("net.eth2.subnet", OVERLAY),
    ("net.eth2.ip", "10.99.0.2,fd00:99::2"),
    ("net.eth2.peers", "198.51.100.31"),
];

fn three<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    THREE.iter().chain(more).copied().collect()
}

fn far(host: &Host) -> Attached {
    let overlay = [
        ("net.driver", "vxlan"),
        ("net.vni", "7"),
        ("net.subnet", OVERLAY),
        ("net.ip", "10.99.0.3,fd00:99::3"),
        ("net.peers", "198.51.100.10"),
    ];
    host.attach("far", &overlay)
}

fn address(of: [&str; 2], ipv6: bool) -> IpAddr {
    of[usize::from(ipv6)].parse().unwrap()
}

/// The first container makes the tables, which stay.
fn used(lab: &Lab) {
    let first = lab.attach("first", &[("net.subnet", DUAL)]);
    lab.detach(first);
    assert!(until(|| lab.host.links_named("oc-").is_empty()));
}

fn internet(lab: &Lab) -> Server {
    Server::tcp(&lab.wan, 80, "internet")
}

fn seen_by_internet(from: &Attached, ipv6: bool) -> IpAddr {
    let internet = SocketAddr::new(if ipv6 { INTERNET6 } else { INTERNET4 }, 80);
    ask_tcp(&from.net, internet, PATIENCE).expect("the internet answers").seen_as
}

#[test]
#[ignore = "needs root"]
fn bridge_macvlan_and_vxlan_on_one_container() {
    let lab = Lab::new();
    let one = lab.another_host(1);
    let neighbour = lab.attach("neighbour", &[("net.subnet", DUAL)]);
    let (web, far) = (lab.attach("web", &THREE), far(&one));
    let _servers = [
        Server::tcp(&web.net, 80, "web"),
        Server::tcp(&neighbour.net, 80, "neighbour"),
        Server::tcp(&lab.peer, 80, "peer"),
        Server::tcp(&far.net, 80, "far"),
        internet(&lab),
    ];
    for ipv6 in [false, true] {
        reaches(&neighbour.net, web.address(ipv6), 80, "web");
        reaches(&lab.peer, address(ON_LAN, ipv6), 80, "web");
        reaches(&far.net, address(IN_OVERLAY, ipv6), 80, "web");
        let peer = if ipv6 { PEER6 } else { PEER4 };
        for (to, who, own) in [
            (neighbour.address(ipv6), "neighbour", web.address(ipv6)),
            (peer, "peer", address(ON_LAN, ipv6)),
            (address(FAR, ipv6), "far", address(IN_OVERLAY, ipv6)),
        ] {
            let answer = ask_tcp(&web.net, SocketAddr::new(to, 80), PATIENCE);
            assert_eq!(answer.map(|answer| (answer.from, answer.seen_as)), Some((who.to_owned(), own)));
        }
        // The first interface is the way out, and the only one.
        let hosts = if ipv6 { [HOST6, HOST_SECOND6] } else { [HOST4, HOST_SECOND4] };
        assert!(hosts.contains(&seen_by_internet(&web, ipv6)));
        let by: Vec<_> = web.net.default_routes(ipv6).iter().map(|route| route.link).collect();
        assert_eq!(by, [Some(web.net.link("eth0").index)]);
    }
}

/// Whoever asks by one interface is answered by it, whichever is the default way out: a client that is on the network of
/// another interface, or on none.
fn published_by_every_way_out(default_route: &str) {
    let lab = Lab::new();
    let annotations = three(&[
        ("net.default-route", default_route),
        ("net.ports", "8080:80"),
        ("net.eth2.ports", "8082:82"),
    ]);
    let web = lab.attach("web", &annotations);
    let _servers = [Server::tcp(&web.net, 80, "web"), Server::tcp(&web.net, 82, "overlay")];
    for (ipv6, host, internet, peer) in [(false, HOST4, INTERNET4, PEER4), (true, HOST6, INTERNET6, PEER6)] {
        lab.wan.batch(&format!("route add {host} dev eth0 src {internet}\n"));
        for (port, who) in [(8080, "web"), (8082, "overlay")] {
            for (from, client) in [(&lab.peer, peer), (&lab.wan, internet)] {
                let answer = ask_tcp(from, SocketAddr::new(host, port), PATIENCE);
                assert_eq!(
                    answer.map(|answer| (answer.from, answer.seen_as)),
                    Some((who.to_owned(), client))
                );
            }
            reaches(&lab.host, host, port, who);
        }
        // It is a neighbour on the LAN all the same.
        reaches(&lab.peer, address(ON_LAN, ipv6), 80, "web");
        reaches(&lab.wan, address(ON_LAN, ipv6), 80, "web");
    }
    for (port, who) in [(8080, "web"), (8082, "overlay")] {
        reaches(&lab.host, [127, 0, 0, 1].into(), port, who);
    }
    let one = lab.another_host(1);
    let far = far(&one);
    let _internet = internet(&lab);
    for ipv6 in [false, true] {
        reaches(&far.net, address(IN_OVERLAY, ipv6), 80, "web");
        let seen_as = seen_by_internet(&web, ipv6);
        assert_eq!(seen_as == address(ON_LAN, ipv6), default_route == "eth1", "{seen_as}");
    }
}

#[test]
#[ignore = "needs root"]
fn published_ports_answer_with_the_bridge_as_the_way_out() {
    published_by_every_way_out("eth0");
}

#[test]
#[ignore = "needs root"]
fn published_ports_answer_with_the_macvlan_as_the_way_out() {
    published_by_every_way_out("eth1");
}

#[test]
#[ignore = "needs root"]
fn published_ports_answer_with_the_overlay_as_the_way_out() {
    published_by_every_way_out("eth2");
}

/// A host that checks by which link a packet should have come hands that on to its containers' namespaces.
#[test]
#[ignore = "needs root"]
fn published_ports_answer_under_a_strict_reverse_path_filter() {
    let lab = Lab::new();
    let strict = three(&[
        ("net.default-route", "eth1"),
        ("net.ports", "8080:80"),
        ("net.sysctl", "net.ipv4.conf.all.rp_filter=1"),
    ]);
    let web = lab.attach("web", &strict);
    let _server = Server::tcp(&web.net, 80, "web");
    lab.wan.batch(&format!("route add {HOST4} dev eth0 src {INTERNET4}\n"));
    for from in [&lab.peer, &lab.wan, &lab.host] {
        reaches(from, HOST4, 8080, "web");
    }
    reaches(&lab.peer, address(ON_LAN, false), 80, "web");
}

/// A veth has no subnet of its own on the link: its neighbours, too, are behind its gateway.
#[test]
#[ignore = "needs root"]
fn a_veth_beside_a_macvlan() {
    let lab = Lab::new();
    let web = lab.attach(
        "web",
        &[
            ("net.driver", "veth"),
            ("net.subnet", "10.98.0.0/24,fd00:98::/64"),
            ("net.ports", "8080:80"),
            ("net.eth1.driver", "macvlan"),
            ("net.eth1.ip", "198.51.100.50,2001:db8:1::50"),
            ("net.default-route", "eth1"),
        ],
    );
    let neighbour = lab.attach("neighbour", &[("net.network", "veth")]);
    let _servers =
        [Server::tcp(&web.net, 80, "web"), Server::tcp(&neighbour.net, 80, "neighbour"), internet(&lab)];
    for (ipv6, host) in [(false, HOST4), (true, HOST6)] {
        for from in [&lab.peer, &lab.host] {
            reaches(from, host, 8080, "web");
        }
        reaches(&lab.peer, address(ON_LAN, ipv6), 80, "web");
        reaches(&neighbour.net, web.address(ipv6), 80, "web");
        reaches(&web.net, neighbour.address(ipv6), 80, "neighbour");
        assert_eq!(seen_by_internet(&web, ipv6), address(ON_LAN, ipv6));
    }
}

/// One family's default route may be the wanted interface's, the other's that of the first that has one.
#[test]
#[ignore = "needs root"]
fn a_way_out_of_one_family() {
    let lab = Lab::new();
    let web = lab.attach(
        "web",
        &[
            ("net.subnet", DUAL),
            ("net.eth1.driver", "macvlan"),
            ("net.eth1.ip", "198.51.100.50"),
            ("net.default-route", "eth1"),
        ],
    );
    let _internet = internet(&lab);
    assert_eq!(seen_by_internet(&web, false), address(ON_LAN, false));
    assert!([HOST6, HOST_SECOND6].contains(&seen_by_internet(&web, true)));
}

#[test]
#[ignore = "needs root"]
fn only_named_interfaces() {
    let lab = Lab::new();
    let web = lab.attach("web", &[("net.eth1.subnet", DUAL), ("net.eth1.ports", "8080:80")]);
    // The kernel may have links of its own in every namespace, which are down.
    let names: Vec<String> = web.net.links_named("eth").into_iter().map(|link| link.name).collect();
    assert_eq!(names, ["eth1"]);
    let _server = Server::tcp(&web.net, 80, "web");
    for host in [HOST4, HOST6] {
        reaches(&lab.peer, host, 8080, "web");
    }
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_together_is_refused() {
    let lab = Lab::new();
    used(&lab);
    let twice = [("net.subnet", DUAL), ("net.eth0.driver", "macvlan"), ("net.eth0.ip", "198.51.100.50")];
    refused(&lab, &twice, 3, "eth0 is configured twice");
    let renamed = [("net.ifname", "eth1"), ("net.eth1.network", "other")];
    refused(&lab, &renamed, 3, "eth1 is configured twice");
    let one_network = [("net.network", "default"), ("net.eth1.network", "default")];
    refused(&lab, &one_network, 3, "eth0 and eth1 are both on network default");
    let same_port = [("net.ports", "8080:80"), ("net.eth1.network", "other"), ("net.eth1.ports", "8080:81")];
    refused(&lab, &same_port, 3, "are the same host port");
    refused(&lab, &three(&[("net.eth1.ports", "8080:80")]), 3, "net.eth1.ports: the driver macvlan");
    refused(&lab, &three(&[("net.default-route", "eth3")]), 3, "the container has no interface eth3");
    let alone = [("net.subnet", DUAL), ("net.eth1.driver", "none")];
    refused(&lab, &alone, 3, "attaches the container to nothing");
    let internal = [
        ("net.subnet", DUAL),
        ("net.eth1.network", "shut"),
        ("net.eth1.internal", "true"),
        ("net.default-route", "eth1"),
    ];
    refused(&lab, &internal, 3, "the network of eth1 has no gateway");
    let overlapping = [("net.subnet", DUAL), ("net.eth1.network", "n"), ("net.eth1.subnet", "10.90.1.0/24")];
    refused(&lab, &overlapping, 4, "it overlaps the subnet of network default");
    let misspelt = [("net.subnet", DUAL), ("net.eth1.driver", "brigde")];
    refused(&lab, &misspelt, 3, "net.eth1.driver: there is no driver");
    let outside = [("net.subnet", DUAL), ("net.eth1.network", "n"), ("net.eth1.ip", "10.95.0.7")];
    refused(&lab, &outside, 3, "net.eth1.ip: 10.95.0.7 is outside");
}

#[test]
#[ignore = "needs root"]
fn a_later_interface_that_fails_takes_the_earlier_ones_back() {
    let lab = Lab::new();
    used(&lab);
    let lan = [("net.driver", "macvlan"), ("net.parent", "eth0"), ("net.ip", "198.51.100.50,2001:db8:1::50")];
    let holder = lab.attach("holder", &lan);
    refused(&lab, &three(&[]), 4, "container holder has it");
    lab.detach(holder);
    // It is found out only when the first two interfaces are there.
    let before = Snapshot::of(&lab);
    let late = Sandbox::new("late");
    late.net().batch("link add eth2 type bridge\n");
    let finished = lab.create(&late, &three(&[("net.ports", "8080:80")]));
    assert_eq!(finished.code, 4, "{}", finished.stderr);
    assert!(finished.stderr.contains("its network namespace has an interface eth2 already"));
    before.assert_is_back(&lab, "a refusal at the third interface");
    let left: Vec<String> = late.net().links_named("eth").into_iter().map(|link| link.name).collect();
    assert_eq!(left, ["eth2"]);
    refused(&lab, &three(&[("net.sysctl", "net.core.nothing=1")]), 3, "no such sysctl");
}

#[test]
#[ignore = "needs root"]
fn a_stop_takes_all_interfaces_back() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let annotations = three(&[("net.default-route", "eth1"), ("net.ports", "8080:80")]);
    let attached = lab.attach("web", &annotations);
    lab.detach(attached);
    before.assert_is_back(&lab, "a stop");
    let attached = lab.attach("web", &annotations);
    let pinned = attached.net.again();
    lab.detach(attached);
    before.assert_is_back(&lab, "a stop with a pinned namespace");
    assert_eq!(pinned.links_named("eth"), []);
}

#[test]
#[ignore = "needs root"]
fn a_start_with_three_interfaces_killed_at_every_step() {
    every_point_of_a_start("signal=SIGKILL", false, &three(&[("net.ports", "8080:80")]));
}
