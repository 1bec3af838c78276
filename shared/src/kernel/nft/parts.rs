//! The parts of the base tables: what is always there, and what only some containers and networks need.
//!
//! A base chain costs every packet of the host, also where it has nothing to do. So the chains that are for veths without a bridge
//! alone, or for tunnels alone, are made with the first of these.

use std::collections::BTreeSet;

use super::listing;
use crate::kernel::KernelError;
use crate::kernel::netlink::NetlinkSocket;
use crate::model::element::Set;

/// The whole rule set with all its parts, as nft reads it.
pub(super) const RULES: &str = include_str!("base.nft");

/// What begins a part in `base.nft`; its name stands behind it.
const MARKER: &str = "\n# part ";

/// A part of the base tables that is made when it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// For containers on a link of their own, without a bridge.
    Routed,
    /// For networks with tunnels to other hosts.
    Tunnels,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Routed, Self::Tunnels];

    fn name(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Tunnels => "tunnels",
        }
    }

    /// The part that a set belongs to; none where the set is always there.
    #[must_use]
    pub fn of(set: Set) -> Option<Self> {
        match set {
            Set::Routed | Set::RoutedSource4 | Set::RoutedSource6 => Some(Self::Routed),
            Set::Overlays | Set::TunnelsOut => Some(Self::Tunnels),
            _ => None,
        }
    }

    /// The set by which it is told whether the part is there.
    fn set(self) -> Set {
        match self {
            Self::Routed => Set::Routed,
            Self::Tunnels => Set::TunnelsOut,
        }
    }

    /// Its tables, sets, chains and rules, as nft reads them.
    pub(super) fn text(self) -> &'static str {
        let mut parts = RULES.split(MARKER).skip(1).filter_map(|part| part.split_once('\n'));
        parts.find(|(name, _)| *name == self.name()).map_or("", |(_, text)| text)
    }
}

/// What is always there, as nft reads it.
pub(super) fn base() -> &'static str {
    RULES.split_once(MARKER).map_or(RULES, |(base, _)| base)
}

/// The parts that are there.
///
/// # Errors
/// The kernel's refusal of a dump; a missing set is no error.
pub fn there(socket: &mut NetlinkSocket) -> Result<BTreeSet<Part>, KernelError> {
    let mut there = BTreeSet::new();
    for part in Part::ALL {
        if listing::elements(socket, part.set(), |_, _| {})? {
            there.insert(part);
        }
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declares(text: &str, set: Set) -> bool {
        let (table, name) = set.place();
        let of_table = text.split("table ").find(|part| part.starts_with(table.family()));
        let declared = |line: &str| {
            let mut words = line.split_whitespace();
            matches!(words.next(), Some("set" | "map")) && words.next() == Some(name)
        };
        of_table.is_some_and(|text| text.lines().any(declared))
    }

    #[test]
    fn every_set_is_declared_by_its_part_alone() {
        for set in Set::ALL {
            assert_eq!(declares(base(), *set), Part::of(*set).is_none(), "{set:?}");
            for part in Part::ALL {
                assert_eq!(declares(part.text(), *set), Part::of(*set) == Some(part), "{set:?}, {part:?}");
            }
        }
    }

    #[test]
    fn the_rules_are_the_base_and_its_parts() {
        let named = RULES.matches(MARKER).count();
        assert_eq!(named, Part::ALL.len());
        for part in Part::ALL {
            assert_eq!(Part::of(part.set()), Some(part));
            assert!(part.text().contains("hook"), "{part:?}");
        }
    }
}
