use super::messages::{CTA_PROTO_DST_PORT, CTA_PROTO_NUM, CTA_TUPLE_PROTO, IPS_SRC_NAT};
use super::published::{Bounds, bounds, names, why};
use super::text::{Looked, look};
use super::*;
use crate::kernel::raw::{captured, every_beginning};

const CTA_IP_DST: [u16; 2] = [2, 4];

/// What a kernel before 6.10 has to be shown one by one.
#[test]
fn connections_to_end_are_told_in_a_dump_too() {
    let answers = captured(include_str!("../captured/conntrack.hex"));
    let web: IpAddr = [10, 90, 30, 241].into();
    let of = |direction| {
        answers.iter().filter(|answer| ends(answer, direction).first() == Some(&web)).collect::<Vec<_>>()
    };
    let (began, led_to) = (of(CTA_TUPLE_ORIG), of(CTA_TUPLE_REPLY));
    assert_eq!((began.len(), led_to.len()), (1, 1));
    let mut message = Vec::new();
    deletion(led_to[0]).unwrap().write(0, 1, &mut message);
    let payload = &message[crate::kernel::raw::HEADER_LENGTH..];
    assert_eq!(payload[0], 2);
    assert_eq!(ends(payload, CTA_TUPLE_ORIG), ends(led_to[0], CTA_TUPLE_ORIG));
    assert!(Attributes::behind(payload, NFGENMSG_LENGTH).find(CTA_ID).is_some_and(|id| id.len() == 4));
    // TCP, and translated: nothing that was sent before a UDP port was published.
    assert!(!answers.iter().any(|answer| why(answer, &published(8080, None)).is_some()));
}

fn published(port: u16, bound: Option<IpAddr>) -> Bounds {
    let other = NowPublished { family: Family::Ipv4, bound: None, port: 5354 };
    bounds([NowPublished { bound, port, ..other }, other].iter())
}

/// An entry whose packets of both directions are sent to one port.
fn entry(status: u32, protocol: u8, port: u16, [source, target]: [IpAddr; 2]) -> Vec<u8> {
    let tuple = |request: NetlinkRequest, kind, [source, target]: [IpAddr; 2]| {
        request.with_nested(kind, |tuple| {
            let ends = |ip| with_address(with_address(ip, CTA_IP_SRC, source), CTA_IP_DST, target);
            tuple.with_nested(CTA_TUPLE_IP, ends).with_nested(CTA_TUPLE_PROTO, |of| {
                of.with(CTA_PROTO_NUM, &[protocol]).with(CTA_PROTO_DST_PORT, &port.to_be_bytes())
            })
        })
    };
    let request = tuple(of_family(CT_GET, Family::Ipv4), CTA_TUPLE_ORIG, [source, target]);
    let request = tuple(request, CTA_TUPLE_REPLY, [target, source]).with(CTA_STATUS, &status.to_be_bytes());
    let mut message = Vec::new();
    request.write(0, 1, &mut message);
    message[crate::kernel::raw::HEADER_LENGTH..].to_vec()
}

/// An entry in a zone: attribute 18, of two bytes, with two more behind it.
fn in_zone(entry: &[u8]) -> Vec<u8> {
    [entry, &[6, 0, 18, 0, 0, 7, 0, 0]].concat()
}

/// Bits of a status that say nothing about translation.
const CONFIRMED: u32 = 1 << 3;

#[test]
fn what_was_sent_before_a_port_was_published_is_told() {
    let (client, host): (IpAddr, IpAddr) = ([198, 51, 100, 20].into(), [198, 51, 100, 10].into());
    let untranslated = entry(CONFIRMED, 17, 5353, [client, host]);
    for bound in [None, Some(host)] {
        let found = why(&untranslated, &published(5353, bound));
        assert_eq!(found, Some(InTheWay::SentTo(host)));
    }
    assert_eq!(why(&untranslated, &published(5353, Some(client))), None);
    for other in
        [entry(CONFIRMED | IPS_NAT_MASK, 17, 5353, [client, host]), entry(CONFIRMED, 6, 5353, [client, host])]
    {
        assert_eq!(why(&other, &published(5353, None)), None);
    }
    assert_eq!(why(&in_zone(&untranslated), &published(5353, None)), Some(InTheWay::SentTo(host)));
    for never in ["::1", "fe80::1"].map(|address| address.parse().unwrap()) {
        assert_eq!(why(&entry(CONFIRMED, 17, 5353, [client, never]), &published(5353, None)), None);
    }
}

#[test]
fn what_leaves_by_a_port_is_told() {
    let ends: [IpAddr; 2] = [[10, 90, 0, 7].into(), [198, 51, 100, 20].into()];
    let left = |status: u32, protocol: u8| entry(status | CONFIRMED, protocol, 10101, ends);
    let found = why(&left(IPS_SRC_NAT, 17), &published(10101, None));
    assert_eq!(found, Some(InTheWay::BegunBy(ends[0])));
    assert_eq!(why(&left(IPS_SRC_NAT, 17), &published(10101, Some(ends[1]))), None);
    for other in [left(IPS_NAT_MASK, 17), left(IPS_SRC_NAT, 6), in_zone(&left(IPS_SRC_NAT, 17))] {
        assert_eq!(why(&other, &published(10101, None)), None);
    }
}

/// As Linux 6.18 writes them: a connection by TCP, one by UDP over IPv6, and one that leaves by a port.
const TEXT: &str = "\
ipv4     2 tcp      6 119 SYN_SENT src=198.51.100.20 dst=198.51.100.10 sport=4000 dport=80 [UNREPLIED] \
src=198.51.100.10 dst=198.51.100.20 sport=80 dport=4000 mark=0 zone=0 use=2
ipv6     10 udp      17 30 src=2001:0db8:0000:0000:0000:0000:0000:0001 dst=2001:0db8:0000:0000:0000:0000:0000:0002 \
sport=4001 dport=5353 [UNREPLIED] src=2001:0db8:0000:0000:0000:0000:0000:0002 \
dst=2001:0db8:0000:0000:0000:0000:0000:0001 sport=5353 dport=4001 mark=0 zone=0 use=2
ipv4     2 udp      17 30 src=10.90.0.7 dst=198.51.100.7 sport=51820 dport=700 [UNREPLIED] src=198.51.100.7 \
dst=198.51.100.10 sport=700 dport=10101 mark=0 zone=0 use=3
";

#[test]
fn a_port_that_no_connection_by_udp_names_is_told_from_the_text() {
    let looked = |port: u16, count: usize| {
        let other = NowPublished { family: Family::Ipv4, bound: None, port: 1 };
        look(TEXT, count, names(&[other, NowPublished { port, ..other }]))
    };
    for named in [5353, 4001, 700, 10101] {
        assert_eq!((looked(named, 3), looked(named, 4)), (Looked::Found, Looked::Found));
    }
    // By TCP, as a source that is translated, part of another number, and nowhere.
    for other in [80, 4000, 51820, 535, 101, 53530, 9] {
        assert_eq!((looked(other, 3), looked(other, 4)), (Looked::NotThere, Looked::Part));
    }
}

#[test]
fn an_address_that_sends_on_no_connection_is_told_from_the_text() {
    let looked = |address: &str| look(TEXT, 3, is_sent_by(address.parse().unwrap()));
    for sends in ["10.90.0.7", "198.51.100.7", "198.51.100.20", "2001:db8::1", "2001:db8::2"] {
        assert_eq!(looked(sends), Looked::Found, "{sends}");
    }
    for other in ["10.90.0.70", "0.90.0.7", "198.51.100.2", "2001:db8::", "2001:db8::10"] {
        assert_eq!(looked(other), Looked::NotThere, "{other}");
    }
}

#[test]
fn reads_the_addresses_of_both_directions() {
    let answers = captured(include_str!("../captured/conntrack.hex"));
    let mut seen = Vec::new();
    for payload in &answers {
        let mut addresses = Vec::new();
        answer(payload, &mut addresses);
        seen.push(addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
        every_beginning(payload, |part| {
            let mut fewer = Vec::new();
            answer(part, &mut fewer);
            assert!(addresses.starts_with(&fewer));
        });
    }
    seen.sort();
    let masqueraded = ["10.90.30.241", "203.0.113.1", "203.0.113.1", "198.51.100.10"];
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[0], masqueraded);
    let published = ["198.51.100.20", "198.51.100.10", "10.90.30.241", "198.51.100.20"];
    assert_eq!(seen[1], published);
    assert!(seen[2..].iter().all(|addresses| addresses.len() == 4 && addresses[0].contains(':')));
}
