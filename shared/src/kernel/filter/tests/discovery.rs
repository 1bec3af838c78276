//! Neighbour discovery, plain and in disguise: the same for what a container sends and for what comes out of a tunnel.

use super::frames::{ADDRESS6, EXTENSIONS, FRAGMENT, ICMPV6, NOTHING, UDP, chain, ipv6, ipv6_of};
use super::table::Table;

/// Every message that neighbour discovery is told from, and what happens to it behind other headers.
pub(super) const MESSAGES: [(u8, bool); 7] =
    [(132, true), (133, false), (134, false), (135, false), (136, false), (137, false), (138, true)];

/// Frames of neighbour discovery behind other headers and in fragments.
pub(super) fn disguised(table: &mut Table) {
    let message = |kind: u8| [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &[0; 16]].concat();
    let chains = EXTENSIONS.iter().flat_map(|kind| [0, 1, 2].map(|units| (*kind, units)));
    let mut all: Vec<Vec<(u8, u8)>> = chains.clone().map(|header| vec![header]).collect();
    for first in EXTENSIONS {
        all.extend(chains.clone().map(|second| vec![(first, 1), second]));
        all.extend(EXTENSIONS.map(|second| vec![(60, 0), (first, 2), (second, 1)]));
    }
    for kinds in &all {
        for (kind, passes) in MESSAGES {
            let (next, behind) = chain(kinds, ICMPV6, &message(kind));
            table.judges(format!("type {kind} behind {kinds:?}"), ipv6(next, &behind), passes);
            let routed = ipv6_of(ADDRESS6, "fd00:90::6", (next, 254), &behind);
            table.passes(format!("type {kind} behind {kinds:?} with another hop limit"), routed);
        }
        let (next, behind) = chain(kinds, UDP, &[136; 8]);
        table.passes(format!("a datagram behind {kinds:?}"), ipv6(next, &behind));
        let (next, behind) = chain(kinds, ICMPV6, &[]);
        table.drops(format!("nothing of a message behind {kinds:?}"), ipv6(next, &behind));
        for (kind, passes) in [(128, true), (133, false)] {
            let (next, behind) = chain(kinds, ICMPV6, &[kind]);
            table.judges(format!("a byte of type {kind} behind {kinds:?}"), ipv6(next, &behind), passes);
        }
        let (next, behind) = chain(kinds, NOTHING, &[]);
        table.passes(format!("nothing behind {kinds:?}"), ipv6(next, &behind));
        let (_, but_the_last) = chain(&kinds[..kinds.len() - 1], UDP, &[]);
        for more in 0..8 {
            let part = &behind[..but_the_last.len() + more];
            table.drops(format!("{more} bytes of the last header of {kinds:?}"), ipv6(next, part));
        }
    }
    for kind in EXTENSIONS {
        let (next, behind) = chain(&[(60, 0), (60, 0), (60, 0), (kind, 0)], UDP, &[0; 8]);
        table.drops(format!("the fourth header, {kind}"), ipv6(next, &behind));
        let routed = ipv6_of(ADDRESS6, "fd00:90::6", (next, 64), &behind);
        table.passes(format!("the fourth header, {kind}, with another hop limit"), routed);
        // A header that says that it is longer than the frame.
        if kind != FRAGMENT {
            for next in [ICMPV6, 60] {
                let long = [&[next, 255][..], &[0; 40]].concat();
                table.drops(
                    format!("a header {kind} that leads out of the frame to {next}"),
                    ipv6(kind, &long),
                );
            }
        }
    }
    for before in [&[][..], &[(60, 0)], &[(0, 0), (43, 1)]] {
        fragments(table, before);
    }
}

/// Fragments whose header is behind others.
pub(super) fn fragments(table: &mut Table, before: &[(u8, u8)]) {
    let fragment = |next: u8, offset: u16, behind: &[u8]| {
        let [high, low] = offset.to_be_bytes();
        let fragment = [&[next, 0, high, low, 0, 0, 0, 1][..], behind].concat();
        let (next, behind) = chain(before, FRAGMENT, &fragment);
        ipv6(next, &behind)
    };
    // The lowest three bits are none of the offset.
    for offset in 0..8 {
        table.drops(format!("a first fragment, offset {offset}"), fragment(ICMPV6, offset, &[136; 24]));
        table.passes(
            format!("a first fragment of an echo, offset {offset}"),
            fragment(ICMPV6, offset, &[128; 24]),
        );
    }
    for offset in [8, 16, 0x100, 0xfff8, 0xfff9] {
        table.passes(format!("a later fragment, offset {offset}"), fragment(ICMPV6, offset, &[136; 24]));
    }
    table.passes("a first fragment of a datagram", fragment(UDP, 1, &[136; 24]));
}

/// What is judged of IPv6 in what a container sends and in what comes out of a tunnel.
pub(super) fn discovery(table: &mut Table) {
    for kind in 0..=255 {
        let message = [kind, 0, 0, 0, 0, 0, 0, 0];
        let passes = !matches!(kind, 134 | 136 | 137);
        table.judges(format!("type {kind} without more"), ipv6(ICMPV6, &message), passes);
    }
    table.drops("no byte of ICMPv6", ipv6(ICMPV6, &[]));
    table.passes("one byte of ICMPv6", ipv6(ICMPV6, &[128]));
    disguised(table);
}
