//! A macvlan container and its own host: apart, unless `net.host-access` gives the host a macvlan, too.

use std::net::{IpAddr, SocketAddr};

use ocinet_tests::lab::{
    Attached, DUAL, HOST_SECOND4, HOST_SECOND6, HOST4, HOST6, INTERNET4, INTERNET6, Lab, PEER4, PEER6,
    Server, Snapshot, ask_tcp, full_size_ping, ping,
};

use crate::PATIENCE;
use crate::life::used;
use crate::macvlan::{IP, RANGE, known_as, on_lan, second_link};
use crate::reach::{does_not_reach, reaches};

const FAMILIES: [(bool, IpAddr, IpAddr, IpAddr); 2] =
    [(false, HOST4, PEER4, INTERNET4), (true, HOST6, PEER6, INTERNET6)];
const ACCESS: [(&str, &str); 2] = [("net.ip-range", RANGE), ("net.host-access", "true")];

/// The host's addresses on its own macvlan: the last of the range.
pub(crate) fn hosts_own(ipv6: bool) -> IpAddr {
    if ipv6 { "2001:db8:1::47" } else { "198.51.100.71" }.parse().unwrap()
}

fn host_links(lab: &Lab) -> usize {
    lab.host.links_of_kind("macvlan").len()
}

/// The host's traffic with the LAN, by its own addresses.
fn host_is_on_the_lan(lab: &Lab) {
    let _servers = [
        Server::tcp(&lab.host, 7000, "host"),
        Server::tcp(&lab.peer, 7000, "peer"),
        Server::tcp(&lab.wan, 7000, "internet"),
    ];
    for (_, host, peer, internet) in FAMILIES {
        reaches(&lab.peer, host, 7000, "host");
        for to in [peer, internet] {
            let answer = ask_tcp(&lab.host, SocketAddr::new(to, 7000), PATIENCE).expect("an answer");
            let own = [HOST4, HOST6, HOST_SECOND4, HOST_SECOND6];
            assert!(own.contains(&answer.seen_as), "{answer:?}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn the_host_and_a_macvlan_container_do_not_reach_each_other() {
    let lab = Lab::new();
    let web = on_lan(&lab, "web", &[("net.ip", IP)]);
    let _servers = [Server::tcp(&web.net, 80, "web"), Server::tcp(&lab.host, 81, "host")];
    for (ipv6, host, ..) in FAMILIES {
        does_not_reach(&lab.host, web.address(ipv6), 80);
        does_not_reach(&web.net, host, 81);
        reaches(&lab.peer, web.address(ipv6), 80, "web");
        reaches(&lab.peer, host, 81, "host");
    }
}

fn reach_each_other(lab: &Lab, web: &Attached) {
    let _servers = [Server::tcp(&web.net, 80, "web"), Server::tcp(&lab.host, 81, "host")];
    for (ipv6, ..) in FAMILIES {
        let answer = ask_tcp(&lab.host, web.at(ipv6, 80), PATIENCE).expect("an answer");
        assert_eq!((answer.from.as_str(), answer.seen_as), ("web", hosts_own(ipv6)));
        let answer = ask_tcp(&web.net, SocketAddr::new(hosts_own(ipv6), 81), PATIENCE).expect("an answer");
        assert_eq!((answer.from.as_str(), answer.seen_as), ("host", web.address(ipv6)));
        reaches(&lab.peer, web.address(ipv6), 80, "web");
    }
}

#[test]
#[ignore = "needs root"]
fn with_host_access_the_host_and_the_container_reach_each_other() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let one = on_lan(&lab, "one", &ACCESS);
    reach_each_other(&lab, &one);
    host_is_on_the_lan(&lab);
    let two = on_lan(&lab, "two", &[("net.ip", IP)]);
    reach_each_other(&lab, &two);
    assert_eq!(host_links(&lab), 1);
    lab.detach(one);
    assert_eq!(host_links(&lab), 1, "it stays while a container is there");
    reach_each_other(&lab, &two);
    lab.detach(two);
    assert_eq!(host_links(&lab), 0, "it goes with the last container");
    host_is_on_the_lan(&lab);
    before.assert_is_back(&lab, "two containers with host access");
}

/// A host that checks by which link a packet should have come.
#[test]
#[ignore = "needs root"]
fn with_host_access_under_a_strict_reverse_path_filter() {
    let lab = Lab::new();
    for name in ["all", "default", "eth0"] {
        lab.host.sysctl(&format!("ipv4/conf/{name}/rp_filter"), "1");
    }
    let web = on_lan(&lab, "web", &ACCESS);
    reach_each_other(&lab, &web);
    host_is_on_the_lan(&lab);
}

#[test]
#[ignore = "needs root"]
fn with_host_access_of_one_family_the_other_is_untouched() {
    let lab = Lab::new();
    let four = [("net.ip-range", "198.51.100.64/29"), ("net.host-access", "true")];
    let web = on_lan(&lab, "web", &four);
    let _server = Server::tcp(&web.net, 80, "web");
    reaches(&lab.host, web.address(false), 80, "web");
    let links = lab.host.links_named("oc-");
    let addresses = links.iter().flat_map(|link| lab.host.addresses(&link.name));
    assert_eq!(addresses.filter(|address| address.ip.is_ipv6()).count(), 0);
    host_is_on_the_lan(&lab);
}

/// Containers behind the host's own address are the host, to a container on the LAN.
#[test]
#[ignore = "needs root"]
fn with_host_access_the_hosts_other_containers_reach_it_too() {
    let lab = Lab::new();
    let web = on_lan(&lab, "web", &ACCESS);
    let app = lab.attach("app", &[("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "8080:80")]);
    let _servers = [Server::tcp(&web.net, 80, "web"), Server::tcp(&app.net, 80, "app")];
    for (ipv6, ..) in FAMILIES {
        let answer = ask_tcp(&app.net, web.at(ipv6, 80), PATIENCE).expect("an answer");
        assert_eq!((answer.from.as_str(), answer.seen_as), ("web", hosts_own(ipv6)));
        // What the host publishes is published by this address of its, too.
        let answer = ask_tcp(&web.net, SocketAddr::new(hosts_own(ipv6), 8080), PATIENCE).expect("an answer");
        assert_eq!((answer.from.as_str(), answer.seen_as), ("app", web.address(ipv6)));
    }
    // That the host routes for its containers does not let a neighbour in, whichever link it comes by.
    web.net.batch(&format!(
        "route add 10.90.0.0/16 via {}\nroute add fd00:90::/64 via {}\n",
        hosts_own(false),
        hosts_own(true)
    ));
    for (ipv6, ..) in FAMILIES {
        does_not_reach(&web.net, app.address(ipv6), 80);
    }
}

/// A container may have less than its parent, and less than another.
#[test]
#[ignore = "needs root"]
fn with_host_access_full_size_packets_pass_whatever_a_containers_mtu() {
    let lab = Lab::new();
    let mut containers = Vec::new();
    for (id, mtu) in [("less", 1400), ("all", 1500), ("least", 1280)] {
        let web = on_lan(&lab, id, &[&ACCESS[..], &[("net.mtu", &mtu.to_string())]].concat());
        for (ipv6, ..) in FAMILIES {
            let largest = mtu - if ipv6 { 48 } else { 28 };
            assert!(full_size_ping(&lab.host, web.address(ipv6), largest), "to {id}, IPv6 {ipv6}");
            assert!(full_size_ping(&web.net, hosts_own(ipv6), largest), "from {id}, IPv6 {ipv6}");
            assert!(!full_size_ping(&lab.host, web.address(ipv6), largest + 1), "to {id}, IPv6 {ipv6}");
        }
        containers.push(web);
    }
}

/// The host and a neighbour on the same parent remember the Ethernet address of the container before.
#[test]
#[ignore = "needs root"]
fn with_host_access_an_address_belongs_at_once_to_the_next_container() {
    let lab = Lab::new();
    let friend = on_lan(&lab, "friend", &ACCESS);
    for round in 0..6 {
        let name = format!("c{round}");
        let mac = format!("02:00:00:00:00:0{round}");
        let web = on_lan(&lab, &name, &[("net.ip", IP), ("net.mac", &mac)]);
        let _server = Server::tcp(&web.net, 80, &name);
        for (ipv6, ..) in FAMILIES {
            for from in [&lab.host, &friend.net, &lab.peer] {
                reaches(from, web.address(ipv6), 80, &name);
                assert_eq!(known_as(from, web.address(ipv6)), mac);
            }
        }
        drop(_server);
        lab.detach(web);
    }
}

/// The parent is the LAN of the network's addresses, wherever an earlier network of the same name was.
#[test]
#[ignore = "needs root"]
fn a_hosts_macvlan_that_was_left_behind_on_another_parent_is_made_anew() {
    let lab = Lab::new();
    let first = on_lan(&lab, "first", &[&ACCESS[..], &[("net.network", "n")]].concat());
    assert!(ping(&lab.host, first.address(false), PATIENCE));
    std::fs::remove_dir_all(lab.state_dir()).unwrap();
    drop(first);
    second_link(&lab, &["198.51.100.13/24", "2001:db8:1::13/64"]);
    let on_second = [("net.network", "n"), ("net.parent", "eth1")];
    let second = on_lan(&lab, "second", &[&ACCESS[..], &on_second].concat());
    reach_each_other(&lab, &second);
    let below: Vec<_> = lab.host.links_of_kind("macvlan").iter().map(|link| link.below).collect();
    assert_eq!(below, [Some(lab.host.link("eth1").index)]);
    lab.detach(second);
    assert_eq!(host_links(&lab), 0);
}

/// The container ended, and nobody said so: whoever wants its address next finds the host's way to it gone, too.
#[test]
#[ignore = "needs root"]
fn with_host_access_the_address_of_one_that_died_is_had_by_the_next() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut dead =
        on_lan(&lab, "dead", &[&ACCESS[..], &[("net.ip", IP), ("net.mac", "02:00:00:00:00:07")]].concat());
    drop(dead.net);
    dead.sandbox.end();
    let next = on_lan(&lab, "next", &[&ACCESS[..], &[("net.ip", IP)]].concat());
    reach_each_other(&lab, &next);
    assert!(lab.record("dead").is_none());
    lab.detach(next);
    before.assert_is_back(&lab, "a sweep");
}
