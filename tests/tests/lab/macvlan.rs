//! `net.driver=macvlan`: containers that are neighbours on the LAN, with Ethernet addresses of their own.

mod faults;
mod host;
mod lan;
mod modes;
mod refused;

pub(crate) use host::hosts_own;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ocinet_tests::lab::{
    Attached, DUAL, Endpoint, Frame, INTERNET4, INTERNET6, Lab, Netns, PEER4, PEER6, Runtime, Server,
    Snapshot, addresses, ask_tcp, ask_udp, full_size_ping, link_address, ping, send_frame, until,
};

use crate::conflict::refused_as_it_is as refused;
use crate::life::{starts_and_leaves_nothing, used};
use crate::reach::{does_not_reach, reaches};
use crate::{PATIENCE, SILENCE};

/// Less than the second after which a neighbour is asked again (RFC 4861, RETRANS_TIMER).
const AT_ONCE: Duration = Duration::from_millis(800);

/// Addresses of the lab's LAN that nobody else has.
pub(crate) const RANGE: &str = "198.51.100.64/29,2001:db8:1::40/125";
pub(crate) const IP: &str = "198.51.100.50,2001:db8:1::50";
pub(crate) const IP2: &str = "198.51.100.51,2001:db8:1::51";
/// Either family: the peer's address, and one of the internet's.
const FAMILIES: [(bool, IpAddr, IpAddr); 2] = [(false, PEER4, INTERNET4), (true, PEER6, INTERNET6)];

pub(crate) fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [("net.driver", "macvlan")].iter().chain(more).copied().collect()
}

#[must_use]
#[track_caller]
pub(crate) fn on_lan(lab: &Lab, id: &str, more: &[(&str, &str)]) -> Attached {
    lab.attach(id, &with(more))
}

/// A second link of the host on the same LAN, eth1, with these addresses.
pub(crate) fn second_link(lab: &Lab, addresses: &[&str]) {
    let path = lab.host.path();
    lab.switch.batch(&format!(
        "link add second type veth peer name eth1 netns {path}\nlink set second master lan up\n"
    ));
    lab.host.sysctl("ipv6/conf/eth1/accept_dad", "0");
    let lines: String = addresses.iter().map(|address| format!("addr add {address} dev eth1\n")).collect();
    lab.host.batch(&(lines + "link set eth1 up\n"));
    settles(lab, "eth1");
}

/// Waits until the kernel's own work on a link that was brought up is done: what it is then, it stays.
pub(crate) fn settles(lab: &Lab, link: &str) {
    let is_done = || {
        let mut addresses = lab.host.addresses(link).into_iter();
        addresses.any(|own| own.ip.is_ipv6() && !own.is_global) && lab.host.is_settled(link)
    };
    assert!(until(is_done), "{link} is not up");
}

pub(crate) fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// By which Ethernet address a namespace knows an address.
pub(crate) fn known_as(net: &Netns, address: IpAddr) -> String {
    let entry = net.ok(&["ip", "neighbour", "show", &address.to_string()]);
    let mut words = entry.split_whitespace().skip_while(|word| *word != "lladdr");
    words.nth(1).unwrap_or_else(|| panic!("{address} is not known: {entry:?}")).to_owned()
}

/// It reaches and is reached as any machine of the LAN is, under its own addresses.
fn is_a_neighbour(lab: &Lab, web: &Attached) {
    let _servers = [
        Server::tcp(&web.net, 80, "web"),
        Server::udp(&web.net, 53, "web"),
        Server::tcp(&lab.peer, 80, "peer"),
        Server::tcp(&lab.wan, 80, "internet"),
    ];
    let own = text(link_address(&web.net, "eth0"));
    assert_ne!(own, text(link_address(&lab.host, "eth0")));
    for (ipv6, peer, internet) in FAMILIES {
        reaches(&lab.peer, web.address(ipv6), 80, "web");
        assert_eq!(known_as(&lab.peer, web.address(ipv6)), own);
        reaches(&lab.wan, web.address(ipv6), 80, "web");
        let answer = ask_udp(&lab.peer, web.at(ipv6, 53), PATIENCE).expect("an answer");
        assert_eq!((answer.from.as_str(), answer.seen_as), ("web", peer));
        for (to, who) in [(peer, "peer"), (internet, "internet")] {
            let answer = ask_tcp(&web.net, SocketAddr::new(to, 80), PATIENCE).expect(who);
            assert_eq!((answer.from.as_str(), answer.seen_as), (who, web.address(ipv6)));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_container_with_an_address_of_its_own_is_a_neighbour_on_the_lan() {
    let lab = Lab::new();
    let web = on_lan(&lab, "web", &[("net.ip", IP)]);
    assert_eq!(addresses(&web.record), IP.split(',').map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>());
    is_a_neighbour(&lab, &web);
}

#[test]
#[ignore = "needs root"]
fn a_container_with_a_leased_address_is_a_neighbour_on_the_lan() {
    let lab = Lab::new();
    let web = on_lan(&lab, "web", &[("net.ip-range", RANGE), ("net.parent", "eth0")]);
    let [four, six] = addresses(&web.record)[..] else { panic!("{}", web.record) };
    assert!(four.to_string().starts_with("198.51.100.6") || four.to_string().starts_with("198.51.100.7"));
    assert!(six.to_string().starts_with("2001:db8:1::4"), "{six}");
    is_a_neighbour(&lab, &web);
}

#[test]
#[ignore = "needs root"]
fn leases_of_the_lan_are_distinct_and_come_back() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let range = [("net.ip-range", RANGE)];
    let mut containers: Vec<Attached> =
        (0..8).map(|number| on_lan(&lab, &format!("c{number}"), &range)).collect();
    let taken: BTreeSet<IpAddr> = containers.iter().flat_map(|one| addresses(&one.record)).collect();
    assert_eq!(taken.len(), 16);
    refused(&lab, &with(&range), 4, "every address of 198.51.100.64/29 is taken");
    let theirs = format!("{},{}", containers[3].address(false), containers[3].address(true));
    refused(&lab, &with(&[("net.ip", &theirs)]), 4, "container c3 has it");
    let gone = containers.remove(3);
    let free = addresses(&gone.record);
    lab.detach(gone);
    let next = on_lan(&lab, "next", &range);
    assert_eq!(addresses(&next.record), free);
    is_a_neighbour(&lab, &next);
    for container in containers.into_iter().chain([next]) {
        lab.detach(container);
    }
    before.assert_is_back(&lab, "eight containers");
}

/// A neighbour that remembers another Ethernet address for it is told, and need not wait until it has forgotten.
#[test]
#[ignore = "needs root"]
fn the_address_of_a_stopped_container_belongs_at_once_to_the_next() {
    let lab = Lab::new();
    for round in 0..6 {
        let name = format!("c{round}");
        let mac = format!("02:00:00:00:00:0{round}");
        let web = on_lan(&lab, &name, &[("net.ip", IP), ("net.mac", &mac)]);
        let _server = Server::tcp(&web.net, 80, &name);
        for ipv6 in [false, true] {
            // The first of them is asked for, the others are known by their announcement alone.
            assert!(round == 0 || until(|| known_as(&lab.peer, web.address(ipv6)) == mac), "IPv6 {ipv6}");
            let answer = ask_tcp(&lab.peer, web.at(ipv6, 80), PATIENCE);
            assert_eq!(answer.map(|answer| answer.from), Some(name.clone()));
            assert_eq!(known_as(&lab.peer, web.address(ipv6)), mac);
        }
        drop(_server);
        lab.detach(web);
    }
}

/// A neighbour that asks anew at this very moment is answered by the next container, and not by the one that is going.
#[test]
#[ignore = "needs root"]
fn the_address_of_a_stopped_container_is_answered_for_by_the_next_alone() {
    let lab = Lab::new();
    for round in 0..40 {
        let mac = format!("02:00:00:00:00:{round:02}");
        let web = on_lan(&lab, &format!("c{round}"), &[("net.ip", IP), ("net.mac", &mac)]);
        for ipv6 in [false, true] {
            lab.peer.batch(&format!("neigh flush to {}\n", web.address(ipv6)));
            assert!(ping(&lab.peer, web.address(ipv6), PATIENCE));
            assert_eq!(known_as(&lab.peer, web.address(ipv6)), mac, "round {round}");
        }
        lab.detach(web);
        // The kernel takes the link down some milliseconds after the container's end.
        let received_for = lab.host.ok(&["bridge", "fdb", "show", "dev", "eth0"]);
        assert!(!received_for.contains(&mac), "round {round}: {received_for}");
    }
}

/// The same Ethernet address as the one before, whose link the kernel removes some milliseconds after its end.
#[test]
#[ignore = "needs root"]
fn a_container_is_started_again_as_soon_as_it_has_stopped() {
    let lab = Lab::new();
    for round in 0..6 {
        let web = on_lan(&lab, "web", &[("net.ip", IP)]);
        is_a_neighbour(&lab, &web);
        assert_eq!(text(link_address(&web.net, "eth0")), "02:6f:c6:33:64:32", "round {round}");
        lab.detach(web);
    }
}

/// Its very first packet is answered: a neighbour that is asked in vain is asked again only a second later.
#[test]
#[ignore = "needs root"]
fn a_container_speaks_ipv6_from_its_first_moment() {
    let lab = Lab::new();
    let bridged = [("net.driver", "bridge"), ("net.subnet", DUAL)];
    let _friend = lab.attach("friend", &bridged);
    for round in 0..40 {
        let web = on_lan(&lab, "web", &[("net.ip", IP)]);
        assert!(ping(&web.net, PEER6, AT_ONCE), "macvlan, round {round}");
        let app = lab.attach("app", &bridged);
        assert!(ping(&app.net, PEER6, AT_ONCE), "bridge, round {round}");
        lab.detach(web);
        lab.detach(app);
    }
}

/// IPv4's headers and ICMP's are 28 bytes, IPv6's and ICMPv6's 48.
fn largest(mtu: usize, ipv6: bool) -> usize {
    mtu - if ipv6 { 48 } else { 28 }
}

#[test]
#[ignore = "needs root"]
fn the_parents_mtu_is_the_containers_unless_it_asks_for_less() {
    for (parent, asked, mtu) in [("1500", None, 1500), ("9000", None, 9000), ("1500", Some("1400"), 1400)] {
        let lab = Lab::new();
        for (net, link) in
            [(&lab.switch, "host"), (&lab.switch, "peer"), (&lab.host, "eth0"), (&lab.peer, "eth0")]
        {
            net.batch(&format!("link set {link} mtu {parent}\n"));
        }
        let mut annotations = vec![("net.ip", IP)];
        annotations.extend(asked.map(|mtu| ("net.mtu", mtu)));
        let web = on_lan(&lab, "web", &annotations);
        for (ipv6, peer, _) in FAMILIES {
            assert!(full_size_ping(&web.net, peer, largest(mtu, ipv6)), "MTU {mtu}, IPv6 {ipv6}");
            assert!(
                full_size_ping(&lab.peer, web.address(ipv6), largest(mtu.max(1500), ipv6)),
                "IPv6 {ipv6}"
            );
            assert!(!full_size_ping(&web.net, peer, largest(mtu, ipv6) + 1), "above MTU {mtu}");
        }
    }
}

/// A LAN's routers are known by link-local addresses where they advertise themselves.
#[test]
#[ignore = "needs root"]
fn a_router_that_advertises_itself_is_the_containers_too() {
    let lab = Lab::new();
    let router = "fe80::99";
    lab.wan.batch(&format!("addr add {router}/64 dev eth0 nodad\n"));
    lab.host.batch(&format!(
        "route del default via 2001:db8:1::1\nroute add default via {router} dev eth0 proto ra\n"
    ));
    let web = on_lan(&lab, "web", &[("net.ip", IP)]);
    is_a_neighbour(&lab, &web);
}

/// The LAN of the address that a container asks for, where the parent has several.
#[test]
#[ignore = "needs root"]
fn a_parent_with_addresses_of_several_networks() {
    let lab = Lab::new();
    second_link(
        &lab,
        &["2001:db8:9::7/128", "192.0.2.7/32", "10.20.0.7/24", "198.51.100.13/24", "2001:db8:1::13/64"],
    );
    let web = on_lan(&lab, "web", &[("net.ip", IP), ("net.parent", "eth1")]);
    let gateways = [("net.gateway", "198.51.100.1,2001:db8:1::1"), ("net.network", "other")];
    let _server = Server::tcp(&web.net, 80, "web");
    for ipv6 in [false, true] {
        reaches(&lab.peer, web.address(ipv6), 80, "web");
    }
    drop(_server);
    lab.detach(web);
    let annotations = [&gateways[..], &[("net.ip-range", RANGE), ("net.parent", "eth1")]].concat();
    is_a_neighbour(&lab, &on_lan(&lab, "web", &annotations));
}

/// A host whose own address is on a bridge, as hosts of virtual machines have it.
#[test]
#[ignore = "needs root"]
fn a_bridge_of_the_host_can_be_the_parent() {
    let lab = Lab::new();
    lab.host.batch("link add br0 type bridge mcast_snooping 0\n");
    lab.host.sysctl("ipv6/conf/br0/accept_dad", "0");
    second_link(&lab, &[]);
    lab.host.batch(
        "link set eth1 master br0\nlink set br0 up\naddr add 198.51.100.13/24 dev br0\n\
         addr add 2001:db8:1::13/64 dev br0 nodad\n",
    );
    let gateway = ("net.gateway", "198.51.100.1,2001:db8:1::1");
    let web = on_lan(&lab, "web", &[("net.ip", IP), ("net.parent", "br0"), gateway]);
    is_a_neighbour(&lab, &web);
}

/// Routers that advertise themselves change nothing in a container; others on the LAN go by them.
#[test]
#[ignore = "needs root"]
fn a_rogue_router_advertisement_changes_nothing_in_a_container() {
    let lab = Lab::new();
    let web = on_lan(&lab, "web", &[("net.ip", IP)]);
    let machine = lab.another_host(1);
    let state = |net: &Netns| net.ok(&["ip", "-6", "route"]) + &net.ok(&["ip", "-6", "-br", "address"]);
    let before = state(&web.net);
    let mac = link_address(&lab.peer, "eth0");
    let (own, all) = ("fe80::66".parse().unwrap(), "ff02::1".parse().unwrap());
    let frame = Frame::new(Endpoint::new(mac, own, 0), Endpoint::new([0x33, 0x33, 0, 0, 0, 1], all, 0));
    send_frame(&lab.peer, "eth0", &frame.router_advertisement("2001:db8:666::".parse().unwrap()));
    assert!(until(|| state(&machine.net).contains("2001:db8:666:")));
    assert_eq!(state(&web.net), before);
}

/// Which families a network has, its parent tells, and not which container came first.
#[test]
#[ignore = "needs root"]
fn one_container_has_ipv4_and_the_next_both() {
    let lab = Lab::new();
    let one = on_lan(&lab, "one", &[("net.ip", "198.51.100.50")]);
    assert!(one.net.addresses("eth0").iter().all(|address| address.ip.is_ipv4()));
    let two = on_lan(&lab, "two", &[("net.ip", IP2)]);
    is_a_neighbour(&lab, &two);
    let _server = Server::tcp(&two.net, 81, "two");
    reaches(&one.net, two.address(false), 81, "two");
    let six = on_lan(&lab, "six", &[("net.ip", "2001:db8:1::52")]);
    let _server = Server::tcp(&six.net, 81, "six");
    reaches(&lab.peer, six.address(true), 81, "six");
}

#[test]
#[ignore = "needs root"]
fn a_stop_with_a_pinned_namespace_takes_the_macvlan_out_of_it() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let web = on_lan(&lab, "web", &[("net.ip-range", RANGE), ("net.host-access", "true")]);
    let address = web.address(false);
    assert!(ping(&lab.peer, address, PATIENCE));
    let pinned = web.net.again();
    lab.detach(web);
    before.assert_is_back(&lab, "a stop with a pinned namespace");
    assert_eq!(pinned.links_named("eth"), []);
    assert!(!ping(&lab.peer, address, SILENCE));
}

#[test]
#[ignore = "needs root"]
fn macvlan_containers_of_every_runtime_live_and_leave_nothing() {
    for runtime in Runtime::ALL {
        for annotations in [vec![("net.ip", IP)], vec![("net.ip-range", RANGE), ("net.host-access", "true")]]
        {
            starts_and_leaves_nothing(runtime, &with(&annotations), |lab, net| {
                let _servers = [Server::tcp(net, 80, "web"), Server::tcp(&lab.wan, 80, "internet")];
                for internet in [INTERNET4, INTERNET6] {
                    let mut own = net.addresses("eth0").into_iter().filter(|address| address.is_global);
                    let own = own.find(|address| address.ip.is_ipv6() == internet.is_ipv6());
                    let own = own.expect("an address").ip;
                    reaches(&lab.peer, own, 80, "web");
                    let answer = ask_tcp(net, SocketAddr::new(internet, 80), PATIENCE).expect("an answer");
                    assert_eq!(answer.seen_as, own, "{runtime:?}");
                    if annotations.len() > 1 {
                        reaches(&lab.host, own, 80, "web");
                    } else {
                        does_not_reach(&lab.host, own, 80);
                    }
                }
            });
        }
    }
}
