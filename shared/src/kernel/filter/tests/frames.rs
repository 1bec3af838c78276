//! Frames of a container that is OWN, as others than its kernel may put them together.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::model::mac::Mac;

pub(super) const OWN: Mac = Mac([0x02, 0x6f, 0x0a, 0x5a, 0x00, 0x05]);
pub(super) const GATEWAY: Mac = Mac([0x02, 0x6e, 0x11, 0x22, 0x33, 0x44]);
pub(super) const OTHER: Mac = Mac([0x02, 0x6f, 0x0a, 0x5a, 0x00, 0x06]);

pub(super) const IPV4: u16 = 0x0800;
pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV6: u16 = 0x86dd;
pub(super) const ICMPV6: u8 = 58;
pub(super) const UDP: u8 = 17;
pub(super) const FRAGMENT: u8 = 44;
pub(super) const AUTHENTICATION: u8 = 51;
pub(super) const EXTENSIONS: [u8; 5] = [0, 43, 60, FRAGMENT, AUTHENTICATION];
/// What is behind a header that nothing follows (RFC 8200, section 4.7).
pub(super) const NOTHING: u8 = 59;

pub(super) fn changed(frame: &[u8], at: usize) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at] ^= 1;
    frame
}

pub(super) fn cut(frame: &[u8], length: usize) -> Vec<u8> {
    frame[..length].to_vec()
}

pub(super) fn ethernet(to: Mac, from: Mac, protocol: u16, behind: &[u8]) -> Vec<u8> {
    [&to.0[..], &from.0, &protocol.to_be_bytes(), behind].concat()
}

/// A datagram of OWN's.
pub(super) fn ipv4(from: &str, to: &str) -> Vec<u8> {
    let [from, to] = [from, to].map(|text| text.parse::<Ipv4Addr>().unwrap().octets());
    let header = [0x45, 0, 0, 24, 0, 1, 0, 0, 64, UDP, 0, 0];
    ethernet(OTHER, OWN, IPV4, &[&header[..], &from, &to, &[0; 8]].concat())
}

pub(super) fn arp(sender: &str) -> Vec<u8> {
    let sender = sender.parse::<Ipv4Addr>().unwrap().octets();
    let behind = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &OWN.0, &sender, &OTHER.0, &[10, 90, 0, 6]].concat();
    ethernet(OTHER, OWN, ARP, &behind)
}

/// A packet of OWN's with that next header and hop limit, and all that is behind its header.
pub(super) fn ipv6_of(from: &str, to: &str, (next, hop_limit): (u8, u8), behind: &[u8]) -> Vec<u8> {
    let [from, to] = [from, to].map(|text| text.parse::<Ipv6Addr>().unwrap().octets());
    let length = u16::try_from(behind.len()).unwrap().to_be_bytes();
    let header = [&[0x60, 0, 0, 0][..], &length, &[next, hop_limit], &from, &to].concat();
    ethernet(OTHER, OWN, IPV6, &[&header[..], behind].concat())
}

pub(super) const ADDRESS4: &str = "10.90.0.5";
pub(super) const ADDRESS6: &str = "fd00:90::5";
pub(super) const NEIGHBOUR4: &str = "10.90.0.6";

pub(super) fn ipv6(next: u8, behind: &[u8]) -> Vec<u8> {
    ipv6_of(ADDRESS6, "fd00:90::6", (next, 255), behind)
}

pub(super) fn advertisement(target: &str) -> Vec<u8> {
    let target = target.parse::<Ipv6Addr>().unwrap().octets();
    ipv6(ICMPV6, &[&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &target].concat())
}

/// An extension header of a kind, with so many units behind its first eight bytes.
pub(super) fn extension(kind: u8, next: u8, units: u8) -> Vec<u8> {
    let length = match kind {
        FRAGMENT => 8,
        AUTHENTICATION => 8 + 4 * usize::from(units),
        _ => 8 + 8 * usize::from(units),
    };
    let mut header = vec![0; length];
    header[0] = next;
    // A fragment header has no length (RFC 8200, section 4.5). What is there is not one.
    header[1] = if kind == FRAGMENT { 9 } else { units };
    header
}

/// Headers, one behind the other, in front of a message.
pub(super) fn chain(kinds: &[(u8, u8)], last: u8, message: &[u8]) -> (u8, Vec<u8>) {
    let mut behind = message.to_vec();
    let mut next = last;
    for (kind, units) in kinds.iter().rev() {
        behind = [extension(*kind, next, *units), behind].concat();
        next = *kind;
    }
    (next, behind)
}
