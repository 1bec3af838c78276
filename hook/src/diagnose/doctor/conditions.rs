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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::doctor::packet::Transport;
    use ocinet_shared::kernel::raw::{HEADER_LENGTH, NetlinkRequest};

    fn packet(is_ipv6: bool, transport: Transport) -> Packet<'static> {
        Packet { is_ipv6, from: None, to: None, transport }
    }

    /// `struct xt_conntrack_mtinfo3`, which is 156 bytes long, with what is asked, what of it is inverted, and the states.
    fn states(asked: u16, inverted: u16, states: u16) -> Vec<u8> {
        let mut info = vec![0xff; 156];
        for (at, number) in [(146, asked), (148, inverted), (150, states)] {
            info[at..at + 2].copy_from_slice(&number.to_ne_bytes());
        }
        info
    }

    /// The bits of `linux/netfilter/xt_conntrack.h`: invalid 1, established 2, related 4, new 8, snat 64, dnat 128.
    #[test]
    fn iptables_asks_for_the_states_of_a_connection() {
        let established = Transport { is_established: true, ..Transport::default() };
        let translated = Transport { is_translated: true, ..Transport::default() };
        for (says, info, [new, of_established, of_translated]) in [
            ("RELATED,ESTABLISHED", states(1, 0, 6), [Some(false), Some(true), Some(false)]),
            ("! RELATED,ESTABLISHED", states(1, 1, 6), [Some(true), Some(false), Some(true)]),
            ("NEW", states(1, 0, 8), [Some(true), Some(false), Some(true)]),
            ("INVALID", states(1, 0, 1), [Some(false); 3]),
            ("DNAT", states(1, 0, 128), [Some(false), Some(false), Some(true)]),
            ("! DNAT", states(1, 1, 128), [Some(true), Some(true), Some(false)]),
            ("SNAT", states(1, 0, 64), [Some(false); 3]),
            ("NEW, of somebody", states(1 | 4, 0, 8), [None; 3]),
            ("of somebody", states(4, 0, 8), [None; 3]),
            // Of what is not asked, it does not count that it is inverted.
            ("NEW, and another bit", states(1, 4, 8), [Some(true), Some(false), Some(true)]),
            ("cut off", states(1, 0, 8)[..151].to_vec(), [None; 3]),
        ] {
            let holds = |transport| of_iptables(&packet(false, transport), Some("conntrack"), Some(&info));
            assert_eq!(holds(Transport::default()), new, "{says}");
            assert_eq!(holds(established), of_established, "{says}, established");
            assert_eq!(holds(translated), of_translated, "{says}, translated");
        }
        let packet = packet(false, Transport::default());
        assert_eq!(of_iptables(&packet, Some("conntrack"), None), None);
    }

    #[test]
    fn a_condition_of_iptables_that_nobody_knows_may_hold() {
        for (name, expected) in [
            (Some("comment"), Some(true)),
            (Some("frag"), Some(false)),
            (Some("ipv6header"), Some(false)),
            (Some("physdev"), None),
            (Some(""), None),
            (None, None),
        ] {
            let packet = packet(true, Transport::default());
            assert_eq!(of_iptables(&packet, name, Some(&[])), expected, "{name:?}");
        }
    }

    #[test]
    fn nobody_is_there_where_the_answer_says_so_of_an_ipv6_address() {
        let reject = |kind: u32, code: &[u8]| {
            let mut bytes = Vec::new();
            NetlinkRequest::new(0, &[]).with(1, &kind.to_be_bytes()).with(2, code).write(0, 0, &mut bytes);
            bytes.split_off(HEADER_LENGTH)
        };
        for (is_ipv6, answer, expected) in [
            (true, reject(0, &[3]), true),
            (false, reject(0, &[3]), false),
            (true, reject(0, &[4]), false),
            // A reset (1), and what both families have (2).
            (true, reject(1, &[3]), false),
            (true, reject(2, &[3]), false),
            (true, reject(0, &[]), false),
            (true, Vec::new(), false),
        ] {
            let packet = packet(is_ipv6, Transport::default());
            assert_eq!(says_nobody_is_there(&packet, &answer), expected, "{is_ipv6} {answer:?}");
        }
    }
}
