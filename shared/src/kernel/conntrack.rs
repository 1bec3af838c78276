//! Connection tracking: which connections are open.

use std::net::IpAddr;

use super::KernelError;
use super::channel::Channel;
use super::raw::{Attributes, Request};

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_GET` (linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h).
const CT_GET: u16 = 1 << 8 | 1;
/// `struct nfgenmsg` of linux/netfilter/nfnetlink.h; all zero, it asks for both families.
const NFGENMSG_LENGTH: usize = 4;
// Attributes of an entry, from linux/netfilter/nfnetlink_conntrack.h.
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
/// `CTA_IP_V4_SRC` to `CTA_IP_V6_DST`.
const CTA_IP: std::ops::RangeInclusive<u16> = 1..=4;

/// Hands over the addresses of every open connection: source and destination as they were sent, and as they are
/// answered. One may come several times.
///
/// # Errors
/// A refusal of the dump.
pub fn entries(channel: &mut Channel, mut take: impl FnMut(&[IpAddr])) -> Result<(), KernelError> {
    let request = Request::new(CT_GET, &[0; NFGENMSG_LENGTH]);
    let mut addresses = Vec::with_capacity(4);
    channel.stream(&request, "list the open connections", &mut |payload| {
        answer(payload, &mut addresses);
        take(&addresses);
    })
}

fn answer(payload: &[u8], addresses: &mut Vec<IpAddr>) {
    addresses.clear();
    for (kind, tuple) in Attributes::behind(payload, NFGENMSG_LENGTH) {
        if !matches!(kind, CTA_TUPLE_ORIG | CTA_TUPLE_REPLY) {
            continue;
        }
        let ends = Attributes::new(Attributes::new(tuple).find(CTA_TUPLE_IP).unwrap_or_default());
        addresses.extend(ends.filter(|(kind, _)| CTA_IP.contains(kind)).filter_map(|(_, end)| address(end)));
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let ipv4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    ipv4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;
    use crate::kernel::raw::{captured, every_beginning};

    #[test]
    fn reads_the_addresses_of_both_directions() {
        let answers = captured(include_str!("captured/conntrack.hex"));
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
}
