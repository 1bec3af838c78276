//! The modes of `net.driver=macvlan`: whom a container reaches of those on the same parent.

use ocinet_tests::lab::{Attached, HOST4, Lab, PEER4, PEER6, Sandbox, Server, Snapshot, link_address, ping};

use crate::conflict::refused_as_it_is as refused;
use crate::life::used;
use crate::macvlan::{IP, IP2, known_as, on_lan, second_link, with};
use crate::reach::{does_not_reach, reaches};
use crate::{PATIENCE, SILENCE};

/// Two containers in a mode, each with a server, the second with a neighbour on the LAN to show that it is there.
struct Two {
    lab: Lab,
    one: Attached,
    two: Attached,
    _servers: [Server; 3],
}

fn two_in_mode(mode: &str) -> Two {
    let lab = Lab::new();
    let one = on_lan(&lab, "one", &[("net.ip", IP), ("net.mode", mode)]);
    let two = on_lan(&lab, "two", &[("net.ip", IP2), ("net.mode", mode)]);
    let servers = [
        Server::tcp(&one.net, 80, "one"),
        Server::tcp(&two.net, 80, "two"),
        Server::tcp(&lab.peer, 80, "peer"),
    ];
    for (ipv6, peer) in [(false, PEER4), (true, PEER6)] {
        for (container, who) in [(&one, "one"), (&two, "two")] {
            reaches(&lab.peer, container.address(ipv6), 80, who);
            reaches(&container.net, peer, 80, "peer");
        }
    }
    Two { lab, one, two, _servers: servers }
}

impl Two {
    fn reach_each_other(&self) {
        for ipv6 in [false, true] {
            reaches(&self.one.net, self.two.address(ipv6), 80, "two");
            reaches(&self.two.net, self.one.address(ipv6), 80, "one");
        }
    }

    fn do_not_reach_each_other(&self) {
        for ipv6 in [false, true] {
            does_not_reach(&self.one.net, self.two.address(ipv6), 80);
            does_not_reach(&self.two.net, self.one.address(ipv6), 80);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn in_mode_bridge_containers_reach_each_other() {
    two_in_mode("bridge").reach_each_other();
}

#[test]
#[ignore = "needs root"]
fn in_mode_private_containers_reach_the_lan_and_not_each_other() {
    let two = two_in_mode("private");
    two.do_not_reach_each_other();
    two.lab.switch.batch("link set host type bridge_slave hairpin on\n");
    two.do_not_reach_each_other();
}

#[test]
#[ignore = "needs root"]
fn in_mode_vepa_containers_reach_each_other_where_the_switch_reflects() {
    let two = two_in_mode("vepa");
    two.do_not_reach_each_other();
    two.lab.switch.batch("link set host type bridge_slave hairpin on\n");
    two.reach_each_other();
    two.lab.switch.batch("link set host type bridge_slave hairpin off\n");
    for address in [two.two.address(false), two.two.address(true)] {
        let _ = two.one.net.run(&["ip", "neighbour", "del", &address.to_string(), "dev", "eth0"]);
    }
    two.do_not_reach_each_other();
}

const ALONE: [(&str, &str); 3] =
    [("net.parent", "eth1"), ("net.mode", "passthru"), ("net.ip", "198.51.100.50,2001:db8:1::50")];
const ON_SECOND: [&str; 2] = ["198.51.100.13/24", "2001:db8:1::13/64"];

#[test]
#[ignore = "needs root"]
fn in_mode_passthru_one_container_has_the_parent_for_itself() {
    let lab = Lab::new();
    used(&lab);
    second_link(&lab, &ON_SECOND);
    let before = Snapshot::of(&lab);
    // Again and again: the link of the one before may still be going.
    for _ in 0..5 {
        let web = on_lan(&lab, "web", &ALONE);
        let _server = Server::tcp(&web.net, 80, "web");
        assert_eq!(link_address(&web.net, "eth0"), link_address(&lab.host, "eth1"));
        for (ipv6, peer) in [(false, PEER4), (true, PEER6)] {
            reaches(&lab.peer, web.address(ipv6), 80, "web");
            assert!(ping(&web.net, peer, PATIENCE));
        }
        let second = [("net.network", "macvlan-eth1"), ("net.ip", IP2)];
        refused(&lab, &with(&second), 4, "eth1");
        reaches(&lab.peer, web.address(false), 80, "web");
        drop(_server);
        lab.detach(web);
    }
    before.assert_is_back(&lab, "five lives of a container in mode passthru");
}

/// What is one container's alone is its pod's.
#[test]
#[ignore = "needs root"]
fn in_mode_passthru_a_pod_has_the_parent_for_itself() {
    let lab = Lab::new();
    used(&lab);
    second_link(&lab, &ON_SECOND);
    let before = Snapshot::of(&lab);
    let owner = on_lan(&lab, "owner", &ALONE);
    let mut member = Sandbox::beside("member", &owner.net);
    let joined = lab.create(&member, &with(&ALONE));
    assert_eq!((joined.code, joined.stderr.as_str()), (0, ""));
    assert_eq!(lab.record("member").expect("a record")["shares"], "owner");
    assert!(ping(&lab.peer, owner.address(false), PATIENCE));
    member.end();
    assert_eq!(lab.poststop("member").code, 0);
    assert!(ping(&lab.peer, owner.address(true), PATIENCE));
    lab.detach(owner);
    before.assert_is_back(&lab, "a pod in mode passthru");
}

#[test]
#[ignore = "needs root"]
fn in_mode_passthru_a_mac_is_the_parents_for_as_long_as_the_container_lives() {
    let lab = Lab::new();
    used(&lab);
    second_link(&lab, &ON_SECOND);
    let before = Snapshot::of(&lab);
    let mac = "02:00:00:00:00:77";
    let web = on_lan(&lab, "web", &[&ALONE[..], &[("net.mac", mac)]].concat());
    let _server = Server::tcp(&web.net, 80, "web");
    for ipv6 in [false, true] {
        reaches(&lab.peer, web.address(ipv6), 80, "web");
        assert_eq!(known_as(&lab.peer, web.address(ipv6)), mac);
    }
    drop(_server);
    let pinned = web.net.again();
    lab.detach(web);
    before.assert_is_back(&lab, "a container in mode passthru with a net.mac");
    drop(pinned);
}

/// A parent that others have already cannot be one container's alone, nor the reverse.
#[test]
#[ignore = "needs root"]
fn in_mode_passthru_a_parent_that_others_use_is_refused() {
    let lab = Lab::new();
    used(&lab);
    second_link(&lab, &ON_SECOND);
    lab.host.batch("link add link eth1 name other0 type macvlan mode bridge\n");
    refused(&lab, &with(&ALONE), 4, "eth1");
    lab.host.batch("link del other0\n");
    lab.host.batch("link add link eth1 name other0 type macvlan mode passthru\n");
    refused(&lab, &with(&ALONE), 4, "eth1");
    refused(&lab, &with(&[("net.parent", "eth1"), ("net.ip", IP)]), 4, "eth1");
    lab.host.batch("link del other0\n");
    let web = on_lan(&lab, "web", &ALONE);
    assert!(ping(&lab.peer, web.address(true), PATIENCE));
}

/// The link by which the host itself is reached is taken from it only where the administrator names it.
#[test]
#[ignore = "needs root"]
fn in_mode_passthru_the_parent_must_be_named() {
    let lab = Lab::new();
    used(&lab);
    refused(&lab, &with(&[("net.mode", "passthru"), ("net.ip", IP)]), 3, "net.parent");
    refused(&lab, &with(&[("net.mode", "passthru"), ("net.ip", IP), ("net.parent", "eth0")]), 9, "eth0");
    lab.configure("[network.lan]\ndriver = \"macvlan\"\nmode = \"passthru\"\nparent = \"eth0\"\n");
    let _web = lab.attach("web", &[("net.network", "lan"), ("net.ip", IP)]);
    assert!(ping(&lab.peer, "198.51.100.50".parse().unwrap(), PATIENCE));
    assert!(!ping(&lab.peer, HOST4, SILENCE));
}
