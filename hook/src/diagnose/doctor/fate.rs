//! What another program's chains do to a packet: they are walked with what is known of it, and a condition on anything
//! else may hold or not. `registers.rs` has what a rule computes.

mod registers;

use nix::libc::{self, NFT_BREAK, NFT_CONTINUE};
use ocinet_shared::kernel::conntrack::IPS_DST_NAT;
use ocinet_shared::kernel::filter::MARK;
use ocinet_shared::kernel::nft::chains::{
    Chain, IPV4, IPV6, NF_DROP, NFT_GOTO, NFT_JUMP, NFT_RETURN, Rule, VERDICT_REGISTER, number, text,
};
use ocinet_shared::kernel::raw::{Attributes, word};

use self::registers::{Registers, compared, masked, value};
use super::conditions;
use super::packet::{Packet, Place};

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Passes,
    MayDrop,
    Drops,
}

/// What a base chain does to a packet: its fate, and the rule that takes the mark of `chain let_in` from it.
pub(super) fn of(packet: &Packet<'_>, base: &Chain, chains: &[Chain]) -> (Fate, Option<(String, u64)>) {
    let mut walk = Walk::new(packet, chains);
    let ended = walk.chain(base, 0);
    let drops = match ended {
        End::Drop => true,
        End::Accept => false,
        End::Nothing => base.hook.is_some_and(|hook| hook.drops),
    };
    let fate = match (drops, walk.may_accept, walk.may_drop) {
        (true, false, _) => Fate::Drops,
        (true, true, _) | (false, _, true) => Fate::MayDrop,
        (false, _, false) => Fate::Passes,
    };
    (fate, walk.unmarked)
}

/// A rule that a packet meets: its chain and its number, and whether it surely applies.
pub(super) type Hit = (String, u64, bool);

/// The same, before anybody asked for it.
type Met<'a> = (&'a str, u64, bool);

fn hit((chain, handle, is_sure): Met<'_>) -> Hit {
    (chain.to_owned(), handle, is_sure)
}

/// The rule that keeps a packet from connection tracking.
pub(super) fn untracked_by(packet: &Packet<'_>, base: &Chain, chains: &[Chain]) -> Option<Hit> {
    let mut walk = Walk::new(packet, chains);
    walk.chain(base, 0);
    walk.untracked
}

/// The rules that put a packet's connection into a flowtable, each with the flowtable's name.
pub(super) fn offloaded_by(packet: &Packet<'_>, base: &Chain, chains: &[Chain]) -> Vec<(Hit, String)> {
    let mut walk = Walk::new(packet, chains);
    walk.chain(base, 0);
    walk.offloaded
}

/// Deeper jumps than the kernel follows (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: usize = 16;
// Numbers of linux/netfilter/nf_tables.h.
const META_MARK: u32 = libc::NFT_META_MARK.cast_unsigned();
const META_IIF: u32 = libc::NFT_META_IIF.cast_unsigned();
const META_OIF: u32 = libc::NFT_META_OIF.cast_unsigned();
const META_IIFNAME: u32 = libc::NFT_META_IIFNAME.cast_unsigned();
const META_OIFNAME: u32 = libc::NFT_META_OIFNAME.cast_unsigned();
const META_NFPROTO: u32 = libc::NFT_META_NFPROTO.cast_unsigned();
const META_L4PROTO: u32 = libc::NFT_META_L4PROTO.cast_unsigned();
const META_IIFGROUP: u32 = libc::NFT_META_IIFGROUP.cast_unsigned();
const META_OIFGROUP: u32 = libc::NFT_META_OIFGROUP.cast_unsigned();
const NFT_CT_STATE: u32 = libc::NFT_CT_STATE.cast_unsigned();
const NFT_CT_MARK: u32 = libc::NFT_CT_MARK.cast_unsigned();
const NFT_CT_STATUS: u32 = libc::NFT_CT_STATUS.cast_unsigned();
const NFT_EXTHDR_OP_IPV6: u32 = 0;
const NFTA_FLOW_TABLE_NAME: u16 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Accept,
    Drop,
    Nothing,
}

/// What a rule does where its conditions hold.
enum Does {
    Accept,
    Drop,
    Jump(String, bool),
    Return,
    GoOn,
}

struct Walk<'a> {
    packet: &'a Packet<'a>,
    chains: &'a [Chain],
    /// Whether the packet surely meets the rule that is looked at.
    is_certain: bool,
    /// The packet's mark and its connection's, where they are known.
    mark: Option<u32>,
    connection_mark: Option<u32>,
    may_drop: bool,
    may_accept: bool,
    unmarked: Option<(String, u64)>,
    untracked: Option<Hit>,
    offloaded: Vec<(Hit, String)>,
}

/// How a rule's conditions stand: `Some` where it is certain.
type Holds = Option<bool>;

impl<'a> Walk<'a> {
    fn new(packet: &'a Packet<'a>, chains: &'a [Chain]) -> Self {
        Self {
            packet,
            chains,
            is_certain: true,
            mark: Some(MARK),
            connection_mark: Some(0),
            may_drop: false,
            may_accept: false,
            unmarked: None,
            untracked: None,
            offloaded: Vec::new(),
        }
    }

    fn chain(&mut self, chain: &Chain, depth: usize) -> End {
        if depth > DEEPEST {
            return End::Nothing;
        }
        let is_certain = self.is_certain;
        let end = self.rules(chain, depth);
        self.is_certain = is_certain;
        end
    }

    fn rules(&mut self, chain: &Chain, depth: usize) -> End {
        let mut may_have_left = false;
        for rule in &chain.rules {
            let (holds, does) = self.rule(chain, rule);
            if holds == Some(false) {
                continue;
            }
            let end = match does {
                Does::GoOn => continue,
                Does::Return if holds.is_some() => return End::Nothing,
                Does::Return => {
                    may_have_left = true;
                    self.is_certain = false;
                    continue;
                }
                Does::Accept => End::Accept,
                Does::Drop => End::Drop,
                Does::Jump(name, is_goto) => {
                    let same = |other: &&Chain| {
                        other.family == chain.family && other.table == chain.table && other.name == name
                    };
                    let Some(next) = self.chains.iter().find(same) else { continue };
                    let is_certain = self.is_certain;
                    self.is_certain &= holds.is_some();
                    let end = self.chain(next, depth + 1);
                    self.is_certain = is_certain;
                    if holds.is_none() {
                        may_have_left |= is_goto && end == End::Nothing;
                        self.is_certain &= !may_have_left;
                    } else if is_goto {
                        return self.unless_left(may_have_left, end);
                    }
                    end
                }
            };
            match (holds, end) {
                (_, End::Nothing) => {}
                (Some(_), end) => return self.unless_left(may_have_left, end),
                (None, end) => {
                    self.unless_left(true, end);
                }
            }
        }
        End::Nothing
    }

    /// How a chain ends. If the packet may have left it before, the end is only possible: it is noted, and the walk goes on.
    fn unless_left(&mut self, may_have_left: bool, end: End) -> End {
        if !may_have_left {
            return end;
        }
        self.may_accept |= end == End::Accept;
        self.may_drop |= end == End::Drop;
        End::Nothing
    }

    fn rule(&mut self, chain: &Chain, rule: &Rule) -> (Holds, Does) {
        let mut registers = Registers::default();
        let mut holds = Some(true);
        for (name, data) in &rule.expressions {
            let of = |kind| Attributes::new(data).find(kind);
            let at = |kind| of(kind).and_then(number);
            let met = self.met(chain, rule, holds);
            let found = match name.as_str() {
                "counter" | "log" => Some(true),
                "notrack" => self.untrack(met),
                "flow_offload" => {
                    let flowtable = of(NFTA_FLOW_TABLE_NAME).map(text).unwrap_or_default();
                    self.offloaded.push((hit(met), flowtable));
                    Some(true)
                }
                // Only these have a register that they read from in the third place, and set the packet's mark by it.
                "meta" if at(2) == Some(META_MARK) && at(3).is_some() => {
                    let mark = registers.get(at(3)).and_then(|bytes| word(bytes, 0));
                    self.set_mark(mark, met);
                    Some(true)
                }
                // The same of the connection's, with the register in the fourth place.
                "ct" if at(2) == Some(NFT_CT_MARK) && at(4).is_some() => {
                    let mark = registers.get(at(4)).and_then(|bytes| word(bytes, 0));
                    let is_sure = holds.is_some() && self.is_certain;
                    self.connection_mark = mark.filter(|_| is_sure || mark == self.connection_mark);
                    Some(true)
                }
                // A program decides. If none listens, the kernel drops the packet, unless the rule has `bypass`.
                "queue" => {
                    self.may_accept = true;
                    return (holds, Does::Drop);
                }
                "cmp" => registers.get(at(1)).and_then(|bytes| compared(bytes, at(2)?, value(of(3)?)?)),
                "match" => conditions::of_iptables(self.packet, of(1).map(text).as_deref(), of(3)),
                // Without this flag, a packet that lacks the header is not meant.
                "exthdr"
                    if at(6).unwrap_or_default() == NFT_EXTHDR_OP_IPV6 && at(5).unwrap_or_default() == 0 =>
                {
                    Some(false)
                }
                "immediate" if at(1) == Some(VERDICT_REGISTER) => return (holds, verdict(data)),
                "reject" if holds.is_none() && conditions::says_nobody_is_there(self.packet, data) => {
                    Some(true)
                }
                "reject" => return (holds, Does::Drop),
                "masq" | "nat" | "redir" | "tproxy" => return (holds, Does::Accept),
                // `struct xt_ct_target_info` of linux/netfilter/xt_CT.h begins with its flags, of which 1 is XT_CT_NOTRACK.
                "target" if is_notrack(data) => self.untrack(met),
                "target" => match self.target(data, met) {
                    Does::GoOn => Some(true),
                    does => return (holds, does),
                },
                // A map of verdicts: what it drops is mostly not a connection's first packet.
                "lookup" if at(3) == Some(VERDICT_REGISTER) => return (None, Does::Accept),
                name => self.load(&mut registers, name, data),
            };
            match found {
                Some(true) => {}
                Some(false) => return (Some(false), Does::GoOn),
                None => holds = None,
            }
        }
        (holds, Does::GoOn)
    }

    /// What puts something into a register. What it puts there may not be known: every comparison with that is uncertain.
    fn load(&self, registers: &mut Registers, name: &str, data: &[u8]) -> Holds {
        let of = |kind| Attributes::new(data).find(kind);
        let at = |kind| of(kind).and_then(number);
        let (target, loaded) = match name {
            "meta" => (at(1), at(2).and_then(|key| self.meta(key))),
            "ct" => {
                let known = match at(2) {
                    Some(NFT_CT_STATE) => Some(self.packet.transport.state()),
                    // What an established one has is not known.
                    _ if self.packet.transport.is_established => None,
                    Some(NFT_CT_MARK) => self.connection_mark,
                    Some(NFT_CT_STATUS) => {
                        Some(if self.packet.transport.is_translated { IPS_DST_NAT } else { 0 })
                    }
                    _ => None,
                };
                (at(1), known.map(|number| number.to_ne_bytes().to_vec()))
            }
            "bitwise" => {
                let result =
                    registers.get(at(1)).and_then(|source| masked(source, value(of(4)?)?, value(of(5)?)?));
                (at(2), result)
            }
            "immediate" => (at(1), of(2).and_then(value).map(<[u8]>::to_vec)),
            "payload" => (at(1), self.payload(at(2), at(3), at(4))),
            "exthdr" | "numgen" | "rt" | "fib" => (at(1), None),
            "socket" | "hash" => (at(2), None),
            _ => {
                // It is not known which register it writes, so none is known any more.
                *registers = Registers::default();
                return None;
            }
        };
        // One that sets something of the packet's has no target.
        if let Some(target) = target {
            registers.set(target, loaded);
        }
        Some(true)
    }

    /// The destination's port, 2 bytes into the header of the transport protocol (`enum nft_payload_bases`).
    fn payload(&self, base: Option<u32>, offset: Option<u32>, length: Option<u32>) -> Option<Vec<u8>> {
        let port = self.packet.transport.destination?;
        ((base, offset, length) == (Some(2), Some(2), Some(2))).then(|| port.to_be_bytes().to_vec())
    }

    /// The value of a packet's property (`enum nft_meta_keys` of linux/netfilter/nf_tables.h).
    fn meta(&self, key: u32) -> Option<Vec<u8>> {
        let name = |place: Option<&Place>| {
            let mut bytes = place?.name.clone().into_bytes();
            bytes.resize(16, 0);
            Some(bytes)
        };
        let word = |number: Option<u32>| Some(number?.to_ne_bytes().to_vec());
        let Packet { from, to, is_ipv6, transport } = *self.packet;
        match key {
            META_MARK => word(self.mark),
            META_IIF => word(from.map(|place| place.index)),
            META_OIF => word(to.map(|place| place.index)),
            META_IIFNAME => name(from),
            META_OIFNAME => name(to),
            META_L4PROTO => transport.protocol.map(|protocol| vec![protocol]),
            META_NFPROTO => Some(vec![if is_ipv6 { IPV6 } else { IPV4 }]),
            META_IIFGROUP => word(from.map(|place| place.group)),
            META_OIFGROUP => word(to.map(|place| place.group)),
            _ => None,
        }
    }

    fn set_mark(&mut self, mark: Option<u32>, (chain, handle, is_sure): Met<'_>) {
        // What is not known may have been made of the mark itself.
        if mark.is_some_and(|mark| mark & MARK == 0) && self.unmarked.is_none() {
            self.unmarked = Some((chain.to_owned(), handle));
        }
        self.mark = mark.filter(|_| is_sure || mark == self.mark);
    }

    fn met<'c>(&self, chain: &'c Chain, rule: &Rule, holds: Holds) -> Met<'c> {
        (&chain.name, rule.handle, self.is_certain && holds == Some(true))
    }

    /// The first rule is told.
    fn untrack(&mut self, by: Met<'_>) -> Holds {
        self.untracked.get_or_insert_with(|| hit(by));
        Some(true)
    }

    /// An extension of iptables': `struct xt_mark_tginfo2` of linux/netfilter/xt_mark.h, `struct xt_connmark_tginfo1` of
    /// xt_connmark.h.
    fn target(&mut self, data: &[u8], met: Met<'_>) -> Does {
        let info = Attributes::new(data).find(3).unwrap_or_default();
        let at = |offset| word(info, offset).unwrap_or_default();
        let masked = |mask: u32| self.mark.map(|mark| mark & !mask);
        match Attributes::new(data).find(1).map(text).as_deref() {
            Some("REJECT" | "DROP") => return Does::Drop,
            Some("MASQUERADE" | "SNAT" | "DNAT" | "ACCEPT") => return Does::Accept,
            Some("NFQUEUE") => {
                self.may_accept = true;
                return Does::Drop;
            }
            Some("MARK") => self.set_mark(masked(at(4)).map(|mark| mark ^ at(0)), met),
            Some("CONNMARK") if info.get(12) == Some(&2) => {
                let restored = self.connection_mark.filter(|_| !self.packet.transport.is_established);
                let mark = masked(at(8)).zip(restored).map(|(mark, restored)| mark ^ (restored & at(4)));
                self.set_mark(mark, met);
            }
            Some("CONNMARK") => self.connection_mark = None,
            _ => {}
        }
        Does::GoOn
    }
}

fn is_notrack(target: &[u8]) -> bool {
    let of = |kind| Attributes::new(target).find(kind);
    match of(1).map(text).as_deref() {
        Some("NOTRACK") => true,
        Some("CT") => of(3).and_then(<[u8]>::first).is_some_and(|flags| flags & 1 != 0),
        _ => false,
    }
}

fn verdict(immediate: &[u8]) -> Does {
    let verdict = Attributes::new(immediate).find(2).and_then(|data| Attributes::new(data).find(2));
    let verdict = verdict.unwrap_or_default();
    let code = Attributes::new(verdict).find(1).and_then(number).map_or(NFT_CONTINUE, u32::cast_signed);
    let chain = || Attributes::new(verdict).find(2).map(text).unwrap_or_default();
    match code {
        NF_DROP => Does::Drop,
        NFT_JUMP => Does::Jump(chain(), false),
        NFT_GOTO => Does::Jump(chain(), true),
        NFT_RETURN => Does::Return,
        NFT_CONTINUE | NFT_BREAK => Does::GoOn,
        _ => Does::Accept,
    }
}

#[cfg(test)]
mod tests;
