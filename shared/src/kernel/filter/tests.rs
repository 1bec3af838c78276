//! What each filter lets pass, frame by frame, and that no check of one can be removed without a frame that shows it.

mod discovery;
mod frames;
mod kernel;
mod table;

use std::net::IpAddr;

use self::discovery::discovery;
use self::frames::{
    ADDRESS4, ADDRESS6, ARP, GATEWAY, ICMPV6, IPV4, IPV6, NEIGHBOUR4, NOTHING, OTHER, OWN, UDP,
    advertisement, arp, changed, cut, ethernet, extension, ipv4, ipv6, ipv6_of,
};
use self::table::{Case, Table};
use super::interpreter::Packet;
use super::programs::{receiver, sender, shortcut, tunnel};
use super::{MARK, Sender};
use crate::model::cidr::Cidr;
use crate::model::mac::Mac;

fn sender_table(addresses: &[&str], confined_to: &[&str]) -> Table {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let confined_to: Vec<Cidr> = confined_to.iter().map(|text| text.parse().unwrap()).collect();
    Table::new(sender(&Sender { mac: OWN, addresses: &addresses, confined_to: &confined_to }))
}

/// What a container with both families sends to its neighbours.
fn sent(table: &mut Table) {
    let (datagram, answer, packet) = (ipv4(ADDRESS4, NEIGHBOUR4), arp(ADDRESS4), ipv6(UDP, &[0; 8]));
    for (what, frame) in [("a datagram", &datagram), ("ARP", &answer), ("IPv6", &packet)] {
        table.passes(what, frame.clone());
        table.passes_changed(&format!("{what}, to another"), frame, 0..6);
        table.drops_changed(&format!("{what}, from another Ethernet address"), frame, 6..12);
        table.drops_changed(&format!("{what}, as another protocol"), frame, 12..14);
        table.packet(
            format!("{what} with a tag"),
            Packet { bytes: frame.clone(), has_tag: true, mark: 0 },
            false,
        );
    }
    // LLC, RARP, VLAN tags in the frame, MPLS, PPPoE, 802.1X, LLDP.
    for protocol in [0, 0x26, 0x8035, 0x8100, 0x88a8, 0x8847, 0x8863, 0x8864, 0x888e, 0x88cc, 0xffff] {
        table.drops(format!("protocol {protocol:#x}"), ethernet(OTHER, OWN, protocol, &datagram[14..]));
    }
    table.passes("its first address", ipv4("10.90.0.10", NEIGHBOUR4));
    table.drops_changed("IPv4, from another", &datagram, 26..30);
    table.passes("a header of IPv4", cut(&datagram, 34));
    table.drops("less than a header of IPv4", cut(&datagram, 33));
    table.passes("ARP for its first address", arp("10.90.0.10"));
    table.drops_changed("ARP, of another form", &answer, 14..20);
    table.passes_changed("ARP, another question", &answer, 21..22);
    table.drops_changed("ARP, as another", &answer, 22..32);
    table.passes_changed("ARP, about another", &answer, 32..42);
    table.passes("a message of ARP", cut(&answer, 42));
    table.drops("less than a message of ARP", cut(&answer, 41));
    let link_local = ipv6_of(&OWN.link_local().to_string(), "ff02::2", (UDP, 1), &[0; 8]);
    table.passes("from its link-local address", link_local.clone());
    table.drops_changed("from another link-local address", &link_local, 22..38);
    table.drops("from no address", ipv6_of("::", "ff02::2", (UDP, 1), &[0; 8]));
    table.drops_changed("IPv6, from another", &packet, 22..38);
    table.passes("a header of IPv6", ipv6(NOTHING, &[]));
    table.drops("less than a header of IPv6", cut(&packet, 53));
    for target in [ADDRESS6, &OWN.link_local().to_string()] {
        let advertisement = advertisement(target);
        table.passes(format!("{target} is advertised"), advertisement.clone());
        table.drops_changed(&format!("{target} is advertised"), &advertisement, 62..78);
        table.drops("less than an advertisement", cut(&advertisement, 77));
    }
    discovery(table);
}

fn of_both_families() -> Table {
    let mut table = sender_table(&["10.90.0.10", ADDRESS4, ADDRESS6], &[]);
    sent(&mut table);
    table.passes_changed("IPv4, to another", &ipv4(ADDRESS4, NEIGHBOUR4), 30..34);
    table.passes_changed("IPv6, to another", &ipv6(UDP, &[0; 8]), 38..54);
    for (to, passes) in
        [("126.255.255.255", true), ("127.0.0.0", false), ("127.255.255.255", false), ("128.0.0.0", true)]
    {
        table.judges(format!("to {to}"), ipv4(ADDRESS4, to), passes);
    }
    table
}

/// A container of an internal network.
fn confined() -> Table {
    let ranges = ["10.90.0.0/16", "10.99.0.4/30", "fd00:90::/64", "fd00:99::8/125"];
    let mut table = sender_table(&["10.90.0.10", ADDRESS4, ADDRESS6], &ranges);
    sent(&mut table);
    for (to, passes) in [
        ("127.0.0.1", false),
        ("10.89.255.255", false),
        ("10.90.0.0", true),
        ("10.90.255.255", true),
        ("10.91.0.0", false),
        ("10.99.0.3", false),
        ("10.99.0.4", true),
        ("10.99.0.7", true),
        ("10.99.0.8", false),
        ("223.255.255.255", false),
        ("224.0.0.0", true),
        ("239.255.255.255", true),
        ("240.0.0.0", false),
        ("255.255.255.254", false),
        ("255.255.255.255", true),
    ] {
        table.judges(format!("to {to}"), ipv4(ADDRESS4, to), passes);
    }
    for (to, passes) in [
        ("fd00:8f:ffff:ffff:ffff::", false),
        ("fd00:90::", true),
        ("fd00:90:0:0:ffff:ffff:ffff:ffff", true),
        ("fd00:90:0:1::", false),
        ("fd00:99::7", false),
        ("fd00:99::8", true),
        ("fd00:99::f", true),
        ("fd00:99::10", false),
        ("fd00:99::1:8", false),
        ("fd00:99:0:1::8", false),
        ("fd01:99::8", false),
        ("2001:db8::1", false),
        ("fe7f::1", false),
        ("fe80::1", true),
        ("fe80:1::1", true),
        ("febf::1", true),
        ("fec0::1", false),
        ("feff:ffff::1", false),
        ("ff00::1", true),
        ("ff02:1::1", true),
        ("ffff::1", true),
    ] {
        table.judges(format!("to {to}"), ipv6_of(ADDRESS6, to, (UDP, 64), &[0; 8]), passes);
    }
    for (range, to, bytes) in [("a /64", "fd00:90::", 38..46), ("a /125", "fd00:99::f", 38..53)] {
        let packet = ipv6_of(ADDRESS6, to, (UDP, 64), &[0; 8]);
        table.drops_changed(&format!("to beside {range}"), &packet, bytes);
    }
    table
}

/// What a container receives. On a bridge, what neighbours send passes.
fn received(gateway: Option<Mac>) -> Table {
    let mut table = Table::new(receiver(gateway));
    let from = gateway.unwrap_or(OTHER);
    let by_host = |frame: Vec<u8>| [&frame[..6], &from.0, &frame[12..]].concat();
    let datagram = by_host(ipv4("192.0.2.9", ADDRESS4));
    let marked = |mark| Packet { bytes: datagram.clone(), has_tag: false, mark };
    table.packet("what the rules let in", marked(MARK), true);
    table.packet("what the rules let in, with another's marks", marked(u32::MAX), true);
    table.packet("another's marks", marked(!MARK), false);
    table.drops("a datagram", datagram.clone());
    table.drops_changed("a datagram of the host's", &datagram, 0..6);
    for at in 6..12 {
        let what = format!("a neighbour's datagram, byte {at} changed");
        table.judges(what, changed(&datagram, at), gateway.is_some());
    }
    table.passes("ARP", by_host(arp("10.90.0.1")));
    for protocol in [0, 0x0805, 0x0807, 0x8100, 0x86dc, 0x88cc] {
        // Where ICMPv6 would have its type, a question.
        let frame = ethernet(OWN, from, protocol, &ipv6(ICMPV6, &[135; 24])[14..]);
        table.drops(format!("protocol {protocol:#x}"), frame);
    }
    for kind in 0..=255 {
        let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &[0; 16]].concat();
        let passes = matches!(kind, 135 | 136);
        table.judges(format!("type {kind}"), by_host(ipv6(ICMPV6, &message)), passes);
        table.drops(
            format!("type {kind} behind options"),
            by_host(ipv6(60, &[&extension(60, ICMPV6, 0)[..], &message].concat())),
        );
    }
    for next in [0, UDP, 57, 59] {
        table.drops(format!("next header {next}"), by_host(ipv6(next, &[135; 24])));
    }
    for hop_limit in [0, 64, 254] {
        let routed = ipv6_of(ADDRESS6, "fd00:90::6", (ICMPV6, hop_limit), &[135; 24]);
        table.drops(format!("a routed question, hop limit {hop_limit}"), by_host(routed));
    }
    table
}

/// What comes out of a tunnel.
fn out_of_a_tunnel() -> Table {
    let (gateway4, gateway6, other_gateway6) = ("10.90.0.1", "fd00:90::1", "fe80::1");
    let addresses = [gateway4, gateway6, other_gateway6].map(|text| text.parse().unwrap());
    let mut table = Table::new(tunnel(GATEWAY, &addresses));
    let (datagram, answer, packet) = (ipv4(ADDRESS4, "10.90.0.6"), arp(ADDRESS4), ipv6(UDP, &[0; 8]));
    for (what, frame) in [("a datagram", &datagram), ("ARP", &answer), ("IPv6", &packet)] {
        table.passes(what, frame.clone());
        table.packet(
            format!("{what} with a tag"),
            Packet { bytes: frame.clone(), has_tag: true, mark: 0 },
            false,
        );
        for (whose, at) in [("to", 0), ("from", 6)] {
            let of_gateway = [&frame[..at], &GATEWAY.0, &frame[at + 6..]].concat();
            table.passes_changed(&format!("{what}, {whose} nearly the gateway"), &of_gateway, at..at + 6);
            table.drops(format!("{what}, {whose} the gateway"), of_gateway);
        }
    }
    for as_gateway in
        [ipv4(gateway4, "10.90.0.6"), arp(gateway4), ipv6_of(gateway6, "fd00:90::6", (UDP, 64), &[0; 8])]
    {
        table.passes("another protocol", ethernet(OTHER, OWN, 0x88cc, &as_gateway[14..]));
    }
    table.drops("ARP as the gateway", arp(gateway4));
    table.passes_changed("ARP as nearly the gateway", &arp(gateway4), 28..32);
    table.drops("IPv4 as the gateway", ipv4(gateway4, "10.90.0.6"));
    table.passes_changed("IPv4 as nearly the gateway", &ipv4(gateway4, "10.90.0.6"), 26..30);
    for (end, passes) in
        [("126.255.255.255", true), ("127.0.0.0", false), ("127.255.255.255", false), ("128.0.0.0", true)]
    {
        table.judges(format!("to {end}"), ipv4(ADDRESS4, end), passes);
        table.judges(format!("from {end}"), ipv4(end, ADDRESS4), passes);
    }
    for gateway in [gateway6, other_gateway6] {
        let packet = ipv6_of(gateway, "fd00:90::6", (UDP, 64), &[0; 8]);
        table.passes_changed(&format!("IPv6 as nearly {gateway}"), &packet, 22..38);
        table.drops(format!("IPv6 as {gateway}"), packet);
        let advertisement = advertisement(gateway);
        table.passes_changed(&format!("{gateway} is nearly advertised"), &advertisement, 62..78);
        table.drops(format!("{gateway} is advertised"), advertisement.clone());
    }
    table.passes("a neighbour is advertised", advertisement(ADDRESS6));
    table.passes("no more than an advertisement", cut(&advertisement(ADDRESS6), 78));
    table.drops("less than an advertisement", cut(&advertisement(ADDRESS6), 77));
    discovery(&mut table);
    table
}

/// What a container sends to its gateway goes past the bridge's ports where the filter before lets it pass.
fn shortened() -> Table {
    let addresses: Vec<IpAddr> =
        ["10.90.0.10", ADDRESS4, ADDRESS6].iter().map(|text| text.parse().unwrap()).collect();
    let own = Sender { mac: OWN, addresses: &addresses, confined_to: &[] };
    let mut table = Table::of_action(shortcut(&own, GATEWAY));
    let to = |mac: Mac, frame: &[u8]| [&mac.0, &frame[6..]].concat();
    for frame in [ipv4(ADDRESS4, NEIGHBOUR4), ipv6(UDP, &[0; 8])].map(|frame| to(GATEWAY, &frame)) {
        table.passes("to the gateway", frame.clone());
        table.drops_changed("to another", &frame, 0..6);
        table.drops_changed("as another protocol", &frame, 12..14);
    }
    table.drops("ARP", to(GATEWAY, &arp(ADDRESS4)));
    // All else that the table of a sender says of IP packets.
    for Case { what, packet, passes } in of_both_families().cases {
        if packet.bytes.get(12..14).is_some_and(|at| [[8, 0], [0x86, 0xdd]].contains(&[at[0], at[1]])) {
            let bytes = to(GATEWAY, &packet.bytes);
            table.packet(what, Packet { bytes, ..packet }, passes);
        }
    }
    table
}

#[test]
fn a_shortcut_is_for_what_the_senders_filter_lets_pass() {
    let table = shortened();
    table.holds();
    // Behind its own checks is the sender's program, which has a table of its own.
    let own = table.program.len() - of_both_families().program.len();
    let survivors = table.survivors();
    let is_own =
        |line: &&str| line.split(':').next().is_some_and(|at| at.parse().is_ok_and(|at: usize| at < own));
    assert_eq!(survivors.lines().filter(is_own).collect::<Vec<_>>(), Vec::<&str>::new());
}

fn tables() -> [(&'static str, Table); 5] {
    [
        ("what a container sends", of_both_families()),
        ("what a container of an internal network sends", confined()),
        ("what a container receives on a bridge", received(Some(GATEWAY))),
        ("what a container receives on its own link", received(None)),
        ("what comes out of a tunnel", out_of_a_tunnel()),
    ]
}

#[test]
fn every_filter_lets_pass_what_it_should() {
    for (what, table) in tables() {
        println!("{what}: {} frames, {} instructions", table.cases.len(), table.program.len());
        table.holds();
    }
}

#[test]
fn a_container_of_one_family_sends_no_other() {
    let mut table = sender_table(&[ADDRESS4], &[]);
    table.passes("IPv4", ipv4(ADDRESS4, "192.0.2.9"));
    table.drops("IPv6", ipv6(UDP, &[0; 8]));
    table.drops("link-local", ipv6_of(&OWN.link_local().to_string(), "ff02::2", (UDP, 1), &[0; 8]));
    table.holds();
    let mut table = sender_table(&[ADDRESS6], &[]);
    table.passes("IPv6", ipv6(UDP, &[0; 8]));
    table.drops("IPv4", ipv4(ADDRESS4, "192.0.2.9"));
    table.drops("ARP", arp(ADDRESS4));
    table.holds();
}

#[test]
fn no_other_protocol_leaves_a_container() {
    let mut table = sender_table(&[ADDRESS4, ADDRESS6], &[]);
    for protocol in (0..=u16::MAX).filter(|protocol| ![IPV4, ARP, IPV6].contains(protocol)) {
        table.drops(
            format!("{protocol:#x}"),
            ethernet(OTHER, OWN, protocol, &ipv4(ADDRESS4, "10.90.0.6")[14..]),
        );
    }
    table.holds();
}

#[test]
fn no_check_of_a_filter_can_be_removed_unnoticed() {
    for (what, table) in tables() {
        let survivors = table.survivors();
        assert!(survivors.is_empty(), "{what}:\n{survivors}");
    }
}
