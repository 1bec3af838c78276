//! Conditions and answers of rules that need more than a comparison.

use nix::libc;
use ocinet_shared::kernel::nft::chains::number;
use ocinet_shared::kernel::raw::Attributes;

use super::packet::Packet;

// Numbers of linux/netfilter/nf_tables.h and linux/icmpv6.h.
const NFT_REJECT_ICMP_UNREACH: u32 = libc::NFT_REJECT_ICMP_UNREACH.cast_unsigned();
const ADDRESS_UNREACHABLE: u8 = 3;
/// What iptables asks of headers behind IPv6's own: the first packet of a connection has none.
const FURTHER_HEADERS: [&str; 8] = ["rt", "frag", "hbh", "dst", "ah", "esp", "mh", "ipv6header"];

/// Whether a condition of iptables' own holds; `None` where that is not known.
pub(super) fn of_iptables(packet: &Packet<'_>, name: Option<&str>, info: Option<&[u8]>) -> Option<bool> {
    match name? {
        "comment" => Some(true),
        "conntrack" => is_of_state(packet, info?),
        name if FURTHER_HEADERS.contains(&name) => Some(false),
        _ => None,
    }
}

/// `struct xt_conntrack_mtinfo3` of linux/netfilter/xt_conntrack.h, where it asks for nothing but states.
fn is_of_state(packet: &Packet<'_>, info: &[u8]) -> Option<bool> {
    const BY_STATE: u16 = 1;
    const XT_CONNTRACK_STATE_DNAT: u16 = 1 << 7;
    let at = |offset: usize| Some(u16::from_ne_bytes([*info.get(offset)?, *info.get(offset + 1)?]));
    let (asked, inverted, states) = (at(146)?, at(148)?, at(150)?);
    let own = packet.transport.state() as u16
        | if packet.transport.is_translated { XT_CONNTRACK_STATE_DNAT } else { 0 };
    (asked == BY_STATE).then_some((states & own != 0) != (inverted & BY_STATE != 0))
}

/// An answer to packets for addresses that nobody has, such as firewalld's to IPv4 addresses inside of IPv6's.
pub(super) fn says_nobody_is_there(packet: &Packet<'_>, reject: &[u8]) -> bool {
    let of = |kind| Attributes::new(reject).find(kind);
    packet.is_ipv6
        && of(1).and_then(number) == Some(NFT_REJECT_ICMP_UNREACH)
        && of(2).and_then(<[u8]>::first) == Some(&ADDRESS_UNREACHABLE)
}
