//! Whether the base tables have all their rules.

use std::collections::{BTreeMap, BTreeSet};

use super::super::KernelError;
use super::super::channel::Channel;
use super::super::raw::{Attributes, Request, long_be};
use super::batch::{NFGENMSG_LENGTH, NFNL_SUBSYS_NFTABLES, TABLE};
use super::chains::{NFT_MSG_GETRULE, NFTA_RULE_CHAIN, NFTA_RULE_HANDLE, NFTA_RULE_TABLE, text};
use super::counted::header;
use super::install::BASE;
use crate::element::Table;

/// The first chain of a base table that has fewer rules than ocinet gave it, or is not there; `None` where all are whole.
///
/// # Errors
/// A refusal of the dump.
pub fn incomplete_chain(channel: &mut Channel, table: Table) -> Result<Option<&'static str>, KernelError> {
    let request = Request::new(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE, &header(table))
        .with_text(NFTA_RULE_TABLE, TABLE);
    // A dump that a change interrupted hands over the same once more.
    let mut found: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    channel.stream(&request, "list the rules of the base tables", &mut |payload| {
        let find = |kind| Attributes::behind(payload, NFGENMSG_LENGTH).find(kind);
        if let (Some(chain), Some(handle)) = (find(NFTA_RULE_CHAIN), find(NFTA_RULE_HANDLE).and_then(long_be))
        {
            found.entry(text(chain)).or_default().insert(handle);
        }
    })?;
    let lacks = |(chain, rules): &(&str, usize)| found.get(*chain).map_or(0, BTreeSet::len) < *rules;
    Ok(rules(table).into_iter().find(lacks).map(|(chain, _)| chain))
}

/// The chains of a base table and how many rules each has, as `base.nft` says: each rule is a line of its own.
fn rules(table: Table) -> Vec<(&'static str, usize)> {
    let mut chains: Vec<(&str, usize)> = Vec::new();
    let (mut is_meant, mut is_chain) = (false, false);
    for line in BASE.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["table", family, ..] => is_meant = *family == table.family(),
            ["chain", name, "{"] => {
                is_chain = is_meant;
                chains.extend(is_meant.then_some((*name, 0)));
            }
            ["}"] => is_chain = false,
            [] | ["type" | "policy", ..] => {}
            [first, ..] if first.starts_with('#') => {}
            _ => {
                if let Some((_, rules)) = chains.last_mut().filter(|_| is_chain) {
                    *rules += 1;
                }
            }
        }
    }
    chains
}
