//! Whether the base tables are as ocinet made them.

use super::chains;
use super::chains::{
    Chain, NF_ACCEPT, NF_DROP, NFT_GOTO, NFT_JUMP, NFT_MSG_GETRULE, NFT_RETURN, NFTA_RULE_TABLE, Rule,
    VERDICT_REGISTER,
};
use super::listing::is_dormant;
use super::messages::{NFTABLES, TABLE, header};
use super::parts;
use super::parts::Part;
use crate::kernel::KernelError;
use crate::kernel::netlink::NetlinkSocket;
use crate::kernel::raw::{Attributes, NetlinkRequest};
use crate::model::element::Table;

/// What decides about a packet, or changes it, in a chain of somebody else's.
const DECIDES: [&str; 10] =
    ["immediate", "reject", "nat", "masq", "redir", "tproxy", "queue", "notrack", "fwd", "synproxy"];

/// Something in a base table that is not as ocinet made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// The whole table is not asked (`flags dormant`).
    Dormant,
    /// A chain has fewer rules than ocinet gave it, or is not there.
    Lacks(&'static str),
    /// A chain has more rules than ocinet's, or others.
    Others(&'static str),
    /// A chain has another policy than ocinet's.
    Policy(&'static str),
    /// A chain that is not ocinet's decides about packets.
    Foreign(String),
}

impl Flaw {
    /// Whether writing the base tables anew fixes it: what somebody added is not ocinet's to delete.
    #[must_use]
    pub fn is_fixed_by_reload(&self) -> bool {
        !matches!(self, Self::Foreign(_))
    }
}

/// What is wrong with a base table that is there: of chains whose rules are not ocinet's, the first.
///
/// # Errors
/// A refusal of a dump.
pub fn flaws(socket: &mut NetlinkSocket, table: Table) -> Result<Vec<Flaw>, KernelError> {
    let found = look(socket, table)?;
    // A dump beside a reload has the old rules and the new ones.
    if found.is_empty() { Ok(found) } else { look(socket, table) }
}

fn look(socket: &mut NetlinkSocket, table: Table) -> Result<Vec<Flaw>, KernelError> {
    let mut found = Vec::new();
    if is_dormant(socket, table)? {
        found.push(Flaw::Dormant);
    }
    let of_family = NetlinkRequest::new(NFTABLES | chains::NFT_MSG_GETCHAIN, &header(table));
    let of_table =
        NetlinkRequest::new(NFTABLES | NFT_MSG_GETRULE, &header(table)).with_text(NFTA_RULE_TABLE, TABLE);
    let there = chains::answers(socket, &of_family, &of_table)?;
    let there: Vec<&Chain> = there.iter().filter(|chain| chain.table == TABLE).collect();
    let texts = parts::there(socket)?.into_iter().map(Part::text);
    let wanted = wanted(table, std::iter::once(parts::base()).chain(texts));
    let by_name = |name: &str| there.iter().find(|chain| chain.name == name);
    let rules_of = |name: &str| by_name(name).map_or(&[][..], |chain| &chain.rules);
    let lacks = wanted.iter().find(|(name, rules)| rules_of(name).len() < rules.len());
    found.extend(lacks.map(|(name, _)| Flaw::Lacks(name)));
    let others = wanted.iter().find(|(name, rules)| {
        let has: Vec<Vec<String>> = rules_of(name).iter().map(print).collect();
        has.len() >= rules.len() && has != *rules
    });
    found.extend(others.map(|(name, _)| Flaw::Others(name)));
    let drops = |chain: &Chain| chain.hook.is_some_and(|hook| hook.drops);
    let policy = wanted.iter().filter(|(name, _)| by_name(name).is_some_and(|chain| drops(chain)));
    found.extend(policy.map(|(name, _)| Flaw::Policy(name)));
    let foreign = there.iter().filter(|chain| wanted.iter().all(|(name, _)| *name != chain.name));
    let decides = foreign.filter(|chain| chain.hook.is_some() && (drops(chain) || has_verdict(chain)));
    found.extend(decides.map(|chain| Flaw::Foreign(chain.name.clone())));
    Ok(found)
}

fn has_verdict(chain: &Chain) -> bool {
    // A map of verdicts writes what it finds into the register of the verdict (NFTA_LOOKUP_DREG).
    let is_map_of_verdicts = |name: &str, data: &[u8]| {
        name == "lookup" && Attributes::new(data).find(3).and_then(chains::number) == Some(VERDICT_REGISTER)
    };
    let mut expressions = chain.rules.iter().flat_map(|rule| &rule.expressions);
    expressions.any(|(name, data)| DECIDES.contains(&name.as_str()) || is_map_of_verdicts(name, data))
}

/// What is compared of a rule: the sets that it names, and its verdict.
fn print(rule: &Rule) -> Vec<String> {
    let number = |data: &[u8], kind| Attributes::new(data).find(kind).and_then(chains::number);
    let mut words = Vec::new();
    let mut verdict = None;
    for (name, data) in &rule.expressions {
        match name.as_str() {
            "lookup" => words.extend(Attributes::new(data).find(1).map(chains::text)),
            "immediate" if number(data, 1) == Some(VERDICT_REGISTER) => {
                let data = Attributes::new(data).find(2).unwrap_or_default();
                let of = Attributes::new(Attributes::new(data).find(2).unwrap_or_default());
                let code = Attributes::new(data).find(2).and_then(|verdict| number(verdict, 1));
                verdict = code.map(|code| word(code.cast_signed(), of.find(2).map(chains::text)));
            }
            _ => {}
        }
    }
    // A set without a name is called __set and a number.
    words.retain(|name| !name.starts_with("__"));
    words.sort_unstable();
    words.extend(verdict);
    words
}

fn word(code: i32, chain: Option<String>) -> String {
    let chain = chain.unwrap_or_default();
    match code {
        NF_DROP => "drop".to_owned(),
        NF_ACCEPT => "accept".to_owned(),
        NFT_RETURN => "return".to_owned(),
        NFT_JUMP => format!("jump {chain}"),
        NFT_GOTO => format!("goto {chain}"),
        other => other.to_string(),
    }
}

/// The chains of a base table and the same of their rules, as `base.nft` says: each rule is a line of its own.
fn wanted(table: Table, texts: impl Iterator<Item = &'static str>) -> Vec<(&'static str, Vec<Vec<String>>)> {
    let mut chains: Vec<(&str, Vec<Vec<String>>)> = Vec::new();
    let (mut is_meant, mut is_chain) = (false, false);
    for line in texts.flat_map(str::lines).map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["table", family, ..] => is_meant = *family == table.family(),
            ["chain", name, "{"] => {
                is_chain = is_meant;
                chains.extend(is_meant.then_some((*name, Vec::new())));
            }
            ["}"] => is_chain = false,
            [] | ["type" | "policy", ..] => {}
            [first, ..] if first.starts_with('#') => {}
            words => {
                if let Some((_, rules)) = chains.last_mut().filter(|_| is_chain) {
                    rules.push(written(words));
                }
            }
        }
    }
    chains
}

/// [`print`] of a rule as it is written.
fn written(words: &[&str]) -> Vec<String> {
    // `@th,96,24` is a part of a packet.
    let sets = words.iter().filter_map(|word| word.strip_prefix('@')).filter(|name| !name.contains(','));
    let mut all: Vec<String> = sets.map(str::to_owned).collect();
    all.sort_unstable();
    all.extend(match words {
        [.., kind @ ("jump" | "goto"), chain] => Some(format!("{kind} {chain}")),
        [.., last @ ("drop" | "accept" | "return")] => Some((*last).to_owned()),
        _ => None,
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_told_by_its_sets_and_its_verdict() {
        let inet = wanted(Table::Inet, std::iter::once(parts::base()));
        let of = |name: &str| &inet.iter().find(|(chain, _)| *chain == name).unwrap().1;
        assert_eq!(of("publish")[1], ["accept"]);
        assert_eq!(of("publish")[2], ["publish4"]);
        assert_eq!(of("forward")[0], ["goto from_network"]);
        assert_eq!(of("between")[0], ["within", "goto same_network"]);
        assert_eq!(of("from_network")[0], ["goto between"]);
        assert_eq!(of("let_in").len(), 2);
    }
}
