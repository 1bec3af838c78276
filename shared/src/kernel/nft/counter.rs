//! A counter of an element.

use crate::kernel::raw::{Attributes, long_be};

// Attributes of an expression, and of a counter (linux/netfilter/nf_tables.h).
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;

/// What an element counted since it was added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    /// Bytes of IP packets.
    pub bytes: u64,
    /// Packets; for a NAT map's element, connections.
    pub packets: u64,
}

/// What an element's counter expression says.
pub(super) fn counter(expression: &[u8]) -> Option<Counter> {
    let (mut bytes, mut packets) = (None, None);
    for (kind, payload) in Attributes::new(Attributes::new(expression).find(NFTA_EXPR_DATA)?) {
        match kind {
            NFTA_COUNTER_BYTES => bytes = long_be(payload),
            NFTA_COUNTER_PACKETS => packets = long_be(payload),
            _ => {}
        }
    }
    Some(Counter { bytes: bytes?, packets: packets? })
}
