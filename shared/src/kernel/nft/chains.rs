//! The chains and rules of every table, other programs' as well, as far as a packet's fate needs them.

use nix::libc;
pub use nix::libc::{NF_ACCEPT, NF_DROP, NFT_GOTO, NFT_JUMP, NFT_RETURN};

use super::messages::{NFGENMSG_LENGTH, NFTA_LIST_ELEM, NFTABLES};
use crate::kernel::KernelError;
use crate::kernel::netlink::NetlinkSocket;
use crate::kernel::raw::{Attributes, NetlinkRequest, long_be};

// Messages, from linux/netfilter/nf_tables.h.
pub(super) const NFT_MSG_GETCHAIN: u16 = libc::NFT_MSG_GETCHAIN as u16;
pub(super) const NFT_MSG_GETRULE: u16 = libc::NFT_MSG_GETRULE as u16;
// Verdicts, from the same file and from linux/netfilter.h.
/// The register of the verdict (`NFT_REG_VERDICT`).
pub const VERDICT_REGISTER: u32 = libc::NFT_REG_VERDICT.cast_unsigned();
// Attributes, from the same file.
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
pub(super) const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;

/// `NFPROTO_INET`, `NFPROTO_IPV4`, `NFPROTO_IPV6` of linux/netfilter.h: what a table is for.
pub const INET: u8 = libc::NFPROTO_INET as u8;
/// See [`INET`].
pub const IPV4: u8 = libc::NFPROTO_IPV4 as u8;
/// See [`INET`].
pub const IPV6: u8 = libc::NFPROTO_IPV6 as u8;

/// Where the kernel asks a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `NF_INET_FORWARD` and the like of linux/netfilter.h.
    pub number: u32,
    /// Chains of one hook are asked from the least on.
    pub priority: i32,
    /// Whether what no rule decides is dropped.
    pub drops: bool,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its table's family, [`INET`] and the like.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where it is asked; `None` for one that others jump to.
    pub hook: Option<Hook>,
    /// Its rules in their order.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// The number by which `nft delete rule` finds it.
    pub handle: u64,
    /// Its expressions: the name of each, and its attributes.
    pub expressions: Vec<(String, Vec<u8>)>,
}

/// Reads all chains with their rules.
///
/// # Errors
/// A refusal of a dump: a kernel without nftables.
pub fn list(socket: &mut NetlinkSocket) -> Result<Vec<Chain>, KernelError> {
    let request = |kind| NetlinkRequest::new(NFTABLES | kind, &[0; NFGENMSG_LENGTH]);
    answers(socket, &request(NFT_MSG_GETCHAIN), &request(NFT_MSG_GETRULE))
}

/// The chains that one request asks for, with the rules of another one's.
pub(super) fn answers(
    socket: &mut NetlinkSocket,
    of_chains: &NetlinkRequest,
    of_rules: &NetlinkRequest,
) -> Result<Vec<Chain>, KernelError> {
    let mut chains: Vec<Chain> = Vec::new();
    // A dump that a change interrupted hands over the same once more.
    socket.stream(of_chains, "list the chains of nftables", &mut |payload| {
        if let Some(chain) = chain(payload)
            && !chains.iter().any(|other| is_same(other, (chain.family, &chain.table, &chain.name)))
        {
            chains.push(chain);
        }
    })?;
    socket.stream(of_rules, "list the rules of nftables", &mut |payload| {
        let Some((family, table, name, rule)) = rule(payload) else { return };
        let found = chains.iter_mut().find(|chain| is_same(chain, (family, &table, &name)));
        if let Some(chain) = found
            && !chain.rules.iter().any(|other| other.handle == rule.handle)
        {
            chain.rules.push(rule);
        }
    })?;
    Ok(chains)
}

fn is_same(chain: &Chain, (family, table, name): (u8, &str, &str)) -> bool {
    chain.family == family && chain.table == table && chain.name == name
}

fn chain(payload: &[u8]) -> Option<Chain> {
    let find = |kind| Attributes::behind(payload, NFGENMSG_LENGTH).find(kind);
    let drops =
        find(NFTA_CHAIN_POLICY).and_then(number).is_some_and(|policy| policy.cast_signed() == NF_DROP);
    let hook = find(NFTA_CHAIN_HOOK).and_then(|hook| {
        Some(Hook {
            number: number(Attributes::new(hook).find(NFTA_HOOK_HOOKNUM)?)?,
            priority: number(Attributes::new(hook).find(NFTA_HOOK_PRIORITY)?)?.cast_signed(),
            drops,
        })
    });
    Some(Chain {
        family: *payload.first()?,
        table: text(find(NFTA_CHAIN_TABLE)?),
        name: text(find(NFTA_CHAIN_NAME)?),
        hook,
        rules: Vec::new(),
    })
}

fn rule(payload: &[u8]) -> Option<(u8, String, String, Rule)> {
    let find = |kind| Attributes::behind(payload, NFGENMSG_LENGTH).find(kind);
    let list = Attributes::new(find(NFTA_RULE_EXPRESSIONS).unwrap_or_default());
    let expressions = list.filter(|(kind, _)| *kind == NFTA_LIST_ELEM).filter_map(|(_, expression)| {
        let name = Attributes::new(expression).find(NFTA_EXPR_NAME)?;
        let data = Attributes::new(expression).find(NFTA_EXPR_DATA).unwrap_or_default();
        Some((text(name), data.to_vec()))
    });
    let rule = Rule { handle: long_be(find(NFTA_RULE_HANDLE)?)?, expressions: expressions.collect() };
    Some((*payload.first()?, text(find(NFTA_RULE_TABLE)?), text(find(NFTA_RULE_CHAIN)?), rule))
}

/// A 32-bit number in network order, as nfnetlink writes them.
#[must_use]
pub fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.first_chunk()?))
}

/// A text that ends with NUL; what is not UTF-8 is replaced.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}
