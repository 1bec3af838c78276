//! `net.driver=vxlan`: containers of three hosts on one network, over each kind of underlay.

mod apart;
mod clashes;
mod life;
mod moves;
mod wire;

use std::net::SocketAddr;

use ocinet_tests::lab::{Attached, Capture, Host, Lab, Seen, full_size_ping, ping, transfer};

use crate::PATIENCE;
use crate::conflict::refused_as_it_is as refused;

/// The network's subnets on every host.
const SUBNET: &str = "10.99.0.0/24,fd00:99::/64";
/// What is before the content of an echo request: by IPv4, and by IPv6.
const ECHO: [usize; 2] = [28, 48];

/// By what the hosts find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Underlay {
    Peers4,
    Peers6,
    Group4,
    Group6,
}

impl Underlay {
    const ALL: [Self; 4] = [Self::Peers4, Self::Peers6, Self::Group4, Self::Group6];

    fn is_ipv6(self) -> bool {
        matches!(self, Self::Peers6 | Self::Group6)
    }

    /// What fits through the tunnels of an underlay with this MTU.
    fn inside(self, mtu: usize) -> usize {
        mtu - if self.is_ipv6() { 70 } else { 50 }
    }
}

/// Three hosts that are to have a network in common.
struct Overlay {
    lab: Lab,
    further: [Host; 2],
    underlay: Underlay,
}

impl Overlay {
    fn new(underlay: Underlay) -> Self {
        let lab = Lab::new();
        let further = [lab.another_host(1), lab.another_host(2)];
        Self { lab, further, underlay }
    }

    fn hosts(&self) -> [&Host; 3] {
        [&self.lab, &self.further[0], &self.further[1]]
    }

    /// What says to a host how to find the others.
    fn reach(&self, host: usize) -> (&'static str, String) {
        match self.underlay {
            Underlay::Group4 => ("net.group", "239.1.1.7".to_owned()),
            Underlay::Group6 => ("net.group", "ff05::107".to_owned()),
            Underlay::Peers4 | Underlay::Peers6 => {
                let others = self.hosts().into_iter().enumerate().filter(|(other, _)| *other != host);
                let peers = others.map(|(_, other)| other.address(self.underlay.is_ipv6()).to_string());
                ("net.peers", peers.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// A container of the network, by its number: `c5` is at 10.99.0.5 and fd00:99::5.
    #[track_caller]
    fn attach(&self, host: usize, number: u8, more: &[(&str, &str)]) -> Attached {
        let address = format!("10.99.0.{number},fd00:99::{number}");
        let (key, value) = self.reach(host);
        let mut annotations = vec![
            ("net.driver", "vxlan"),
            ("net.vni", "7"),
            ("net.subnet", SUBNET),
            ("net.ip", &address),
            (key, &value),
        ];
        annotations.retain(|(key, _)| !more.iter().any(|(other, _)| other == key));
        annotations.extend(more.iter().filter(|(_, value)| !value.is_empty()));
        self.hosts()[host].attach(&format!("c{number}"), &annotations)
    }
}

#[track_caller]
fn mtu_of(container: &Attached) -> usize {
    container.net.link("eth0").mtu
}

/// Whole segments in both directions, and nothing larger: `mtu` is that inside, `underlay` that of the hosts' links.
#[track_caller]
fn carries_full_size(overlay: &Overlay, from: &Attached, to: (usize, &Attached), mtu: usize) {
    let (host, to) = to;
    for ipv6 in [false, true] {
        let echo = ECHO[usize::from(ipv6)];
        for (from, to) in [(from, to), (to, from)] {
            assert!(full_size_ping(&from.net, to.address(ipv6), mtu - echo), "IPv6 {ipv6}, MTU {mtu}");
            assert!(!full_size_ping(&from.net, to.address(ipv6), mtu - echo + 1), "IPv6 {ipv6}, MTU {mtu}");
        }
        let arrivals = Capture::new(&overlay.hosts()[host].net);
        let took = transfer(&to.net, &from.net, SocketAddr::new(to.address(ipv6), 8080), 3_000_000);
        assert!(took.is_some(), "IPv6 {ipv6}, MTU {mtu}");
        let longest = arrivals.drain().iter().map(Seen::length).max();
        let outside = if overlay.underlay.is_ipv6() { 70 } else { 50 };
        assert_eq!(longest, Some(14 + mtu + outside), "whole segments, one by one");
    }
}

fn three_hosts(underlay: Underlay) {
    let overlay = Overlay::new(underlay);
    let containers = [0, 1, 2].map(|host| overlay.attach(host, 10 + host as u8, &[]));
    for from in &containers {
        for to in &containers {
            for ipv6 in [false, true] {
                assert!(ping(&from.net, to.address(ipv6), PATIENCE), "{} to {}", from.id(), to.id());
            }
        }
    }
    let mtu = underlay.inside(1500);
    assert_eq!(mtu_of(&containers[0]), mtu);
    carries_full_size(&overlay, &containers[0], (1, &containers[1]), mtu);
    carries_full_size(&overlay, &containers[1], (2, &containers[2]), mtu);
}

#[test]
#[ignore = "needs root"]
fn three_hosts_by_peers_over_ipv4() {
    three_hosts(Underlay::Peers4);
}

#[test]
#[ignore = "needs root"]
fn three_hosts_by_peers_over_ipv6() {
    three_hosts(Underlay::Peers6);
}

#[test]
#[ignore = "needs root"]
fn three_hosts_by_a_group_over_ipv4() {
    three_hosts(Underlay::Group4);
}

#[test]
#[ignore = "needs root"]
fn three_hosts_by_a_group_over_ipv6() {
    three_hosts(Underlay::Group6);
}

#[test]
#[ignore = "needs root"]
fn the_mtu_follows_the_underlay() {
    for underlay in Underlay::ALL {
        let overlay = Overlay::new(underlay);
        for host in overlay.hosts() {
            host.net.batch("link set eth0 mtu 1400\n");
        }
        let (a, b) = (overlay.attach(0, 10, &[]), overlay.attach(1, 11, &[]));
        let mtu = underlay.inside(1400);
        assert_eq!(mtu_of(&a), mtu, "{underlay:?}");
        carries_full_size(&overlay, &a, (1, &b), mtu);
    }
}

#[test]
#[ignore = "needs root"]
fn a_lower_mtu_is_honoured_and_a_larger_one_refused() {
    let overlay = Overlay::new(Underlay::Peers4);
    let (key, peers) = overlay.reach(0);
    let new = [("net.driver", "vxlan"), ("net.vni", "7"), ("net.subnet", SUBNET), (key, &peers)];
    let with = |mtu| [&new[..], &[("net.ip", "10.99.0.9"), ("net.mtu", mtu)]].concat();
    refused(&overlay.lab, &with("1451"), 3, "more than the 1450");
    let a = overlay.attach(0, 10, &[("net.mtu", "1390")]);
    let lower = overlay.attach(0, 12, &[("net.mtu", "1300")]);
    let b = overlay.attach(1, 11, &[("net.mtu", "1390")]);
    assert_eq!([mtu_of(&a), mtu_of(&lower), mtu_of(&b)], [1390, 1300, 1390]);
    carries_full_size(&overlay, &a, (1, &b), 1390);
    refused(&overlay.lab, &with("1391"), 3, "more than the 1390");
}

/// Of the links by which the peers are reached, the one with the least MTU counts.
#[test]
#[ignore = "needs root"]
fn the_mtu_is_that_of_the_narrowest_way_to_a_peer() {
    let overlay = Overlay::new(Underlay::Peers4);
    let lab = &overlay.lab;
    lab.host.batch(
        "link add wg0 type bridge\nlink set wg0 mtu 1420 up\naddr add 192.0.2.1/24 dev wg0\n\
         addr add 2001:db8:2::1/64 dev wg0 nodad\n",
    );
    for (number, peers, mtu) in [
        (10, "198.51.100.31,198.51.100.32", 1450),
        (11, "192.0.2.9,198.51.100.31", 1370),
        (12, "198.51.100.31,198.51.100.32,192.0.2.9", 1370),
        (13, "2001:db8:1::31,2001:db8:2::9", 1350),
    ] {
        let container = overlay.attach(0, number, &[("net.peers", peers)]);
        assert_eq!(mtu_of(&container), mtu, "{peers}");
        lab.detach(container);
    }
}

/// A group is heard on the link of its own family's default route, whatever the families inside are.
#[test]
#[ignore = "needs root"]
fn a_group_is_on_the_link_of_its_own_family() {
    for (underlay, inside) in [(Underlay::Group4, 1), (Underlay::Group6, 0)] {
        let overlay = Overlay::new(underlay);
        // The default routes of the other family lead elsewhere.
        for host in overlay.hosts() {
            let (via, all) =
                if underlay.is_ipv6() { ("198.51.100.1", "0.0.0.0/0") } else { ("2001:db8:1::1", "::/0") };
            host.net.batch(&format!(
                "link add other0 type bridge\nlink set other0 up\nroute del default via {via}\nroute add {all} dev other0\n"
            ));
        }
        let subnet = ("net.subnet", SUBNET.split(',').nth(inside).unwrap());
        let address = |number: usize| ["10.99.0.1", "fd00:99::1"][inside].to_owned() + &number.to_string();
        let own = [0, 1].map(address);
        let [a, b] = [0, 1].map(|host| overlay.attach(host, 10, &[subnet, ("net.ip", &own[host])]));
        assert!(ping(&a.net, b.address(inside == 1), PATIENCE), "{underlay:?}");
        assert!(ping(&b.net, a.address(inside == 1), PATIENCE), "{underlay:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn an_underlay_that_carries_less_than_the_overlay_sends() {
    for underlay in [Underlay::Peers4, Underlay::Peers6, Underlay::Group4] {
        let overlay = Overlay::new(underlay);
        let host = overlay.hosts()[0];
        let [one, two] = [0, 1].map(|host| overlay.attach(host, 10 + host as u8, &[]));
        assert_eq!(host.run(&["doctor"], "").ok().lines().last(), Some("nothing is wrong"));
        host.net.batch("link set eth0 mtu 1400\n");
        let most = underlay.inside(1400);
        assert!(!full_size_ping(&one.net, two.address(false), underlay.inside(1500) - ECHO[0]));
        let said = host.run(&["doctor"], "");
        assert_eq!(said.code, 1, "{}{}", said.stdout, said.stderr);
        let says =
            format!("oc-vni7 of network vxlan-7 has an MTU of {}, the 1400 of eth0", underlay.inside(1500));
        assert!(said.stdout.contains(&says), "{}", said.stdout);
        for command in said.stdout.lines().filter_map(|line| line.strip_prefix("  $ ")) {
            host.net.ok(&["sh", "-c", command]);
        }
        assert_eq!(mtu_of(&one), most);
        assert!(full_size_ping(&one.net, two.address(false), most - ECHO[0]));
        assert_eq!(host.run(&["doctor"], "").ok().lines().last(), Some("nothing is wrong"));
    }
}
