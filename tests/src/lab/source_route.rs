//! Packets that say by whom they are to be sent on: IPv4's source routes (RFC 791, section 3.1) and IPv6's routing headers
//! (RFC 8200, section 4.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::frame::{Frame, checksum};

const ROUTING: u8 = 43;

/// A frame of either family whose receiver is to send it on to `hop`, in every way that Linux knows.
///
/// # Panics
/// When the frame and the hop are of different families.
#[must_use]
pub fn source_routes(frame: &Frame, packet: &[u8], hop: IpAddr) -> Vec<(&'static str, Vec<u8>)> {
    match (hop, frame.to.ip) {
        (IpAddr::V4(hop), _) => [("loose", 131), ("strict", 137)]
            .map(|(name, option)| (name, with_options(packet, &route(option, hop))))
            .to_vec(),
        (IpAddr::V6(hop), IpAddr::V6(via)) => {
            // The packet's own next header, behind which everything stays as it is.
            let (next, behind) = (packet[20], &packet[54..]);
            [("segment routing", segments(next, hop, via)), ("RPL", low_power(next, hop))]
                .map(|(name, header)| (name, frame.ipv6(ROUTING, &[&header[..], behind].concat())))
                .to_vec()
        }
        (IpAddr::V6(_), IpAddr::V4(_)) => panic!("an IPv6 hop of an IPv4 packet"),
    }
}

/// The option of one hop that is still to come, and the end of the options.
fn route(option: u8, hop: Ipv4Addr) -> [u8; 8] {
    let [a, b, c, d] = hop.octets();
    [option, 7, 4, a, b, c, d, 0]
}

/// The segment routing header (RFC 8754) of a packet that has one segment left.
fn segments(next: u8, hop: Ipv6Addr, via: Ipv6Addr) -> Vec<u8> {
    [&[next, 4, 4, 1, 1, 0, 0, 0][..], &hop.octets(), &via.octets()].concat()
}

/// The routing header of networks of low power (RFC 6554) with one address, which is not compressed.
fn low_power(next: u8, hop: Ipv6Addr) -> Vec<u8> {
    [&[next, 2, 3, 1, 0, 0, 0, 0][..], &hop.octets()].concat()
}

/// An IPv4 packet with options, whose length is a multiple of four bytes.
///
/// # Panics
/// When they are too long.
#[must_use]
pub fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let mut header = packet[14..34].to_vec();
    let words = u8::try_from(options.len() / 4).expect("few options");
    header[0] += words;
    let length = u16::from_be_bytes([header[2], header[3]]) + 4 * u16::from(words);
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[10..12].fill(0);
    header.extend(options);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&packet[..14], &header, &packet[34..]].concat()
}
