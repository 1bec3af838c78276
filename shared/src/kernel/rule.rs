//! Routing policy: which table a packet's route is looked up in (ip-rule(8)).

use std::net::IpAddr;

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::addr::netlink_family;
use super::channel::Channel;
use super::{Change, KernelError};
use crate::cidr::{Cidr, Family};

/// A rule of the host that leads to a table or refuses, as far as ocinet needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its place: the least number is looked at first.
    pub priority: u32,
    /// The table that it leads to; 0 where it refuses.
    pub table: u32,
    /// How it ends what it is for, as ip-rule(8) calls it: `blackhole`, `unreachable` or `prohibit`. Others lead to a table.
    pub refuses: Option<&'static str>,
    /// Whose packets it is for; everybody's without.
    pub from: Option<Cidr>,
    /// For what destinations it is; all without.
    pub to: Option<Cidr>,
    /// Whether it is for packets with a mark.
    pub is_by_mark: bool,
    /// The link whose packets it is for, where only `from` and `to` narrow it down besides.
    pub by_link: Option<String>,
    /// Whether it is for some packets alone besides: those with a mark, of a link, a port, or a user.
    pub is_of_few: bool,
    /// Whether it does not count where the route that it finds is a default route (`suppress_prefixlength`).
    pub suppresses_defaults: bool,
}

/// The message that makes a packet from an address look into a table, before those of a higher priority number.
#[must_use]
pub fn from_address(address: IpAddr, table: u8, priority: u32) -> Change {
    let mut message = RuleMessage::default();
    message.header.family = netlink_family(Family::of(address));
    message.header.src_len = Family::of(address).bits();
    message.header.table = table;
    message.header.action = RuleAction::ToTable;
    message.attributes.push(RuleAttribute::Priority(priority));
    message.attributes.push(RuleAttribute::Source(address));
    (RouteNetlinkMessage::NewRule(message), NLM_F_CREATE)
}

/// The rules of a family that lead to tables or refuse, in the order in which they are looked at. Those of VRFs, whose tables are
/// for packets of their own links alone, are left out.
///
/// # Errors
/// A refusal of the dump.
pub fn list(channel: &mut Channel, family: Family) -> Result<Vec<Rule>, KernelError> {
    let mut request = RuleMessage::default();
    request.header.family = netlink_family(family);
    let answers = channel.dump(&RouteNetlinkMessage::GetRule(request), "list the routing rules")?;
    let mut rules: Vec<Rule> = answers.into_iter().filter_map(from_message).collect();
    rules.sort_by_key(|rule| rule.priority);
    Ok(rules)
}

fn from_message(answer: RouteNetlinkMessage) -> Option<Rule> {
    let RouteNetlinkMessage::NewRule(message) = answer else { return None };
    let refuses = match message.header.action {
        RuleAction::ToTable => None,
        RuleAction::Blackhole => Some("blackhole"),
        RuleAction::Unreachable => Some("unreachable"),
        RuleAction::Prohibit => Some("prohibit"),
        _ => return None,
    };
    let mut by_link = None;
    let mut rule = Rule {
        priority: 0,
        table: u32::from(message.header.table),
        refuses,
        from: None,
        to: None,
        by_link: None,
        is_by_mark: false,
        is_of_few: message.header.tos != 0,
        suppresses_defaults: false,
    };
    for attribute in message.attributes {
        match attribute {
            RuleAttribute::L3MDev(true) => return None,
            RuleAttribute::Priority(priority) => rule.priority = priority,
            RuleAttribute::Table(table) => rule.table = table,
            RuleAttribute::Source(from) => rule.from = Cidr::new(from, message.header.src_len),
            RuleAttribute::Destination(to) => rule.to = Cidr::new(to, message.header.dst_len),
            // Where nothing is suppressed, it is the greatest number.
            RuleAttribute::SuppressPrefixLen(length) => rule.suppresses_defaults = length < 128,
            RuleAttribute::FwMark(_) => rule.is_by_mark = true,
            RuleAttribute::Iifname(link) => by_link = Some(link),
            RuleAttribute::Oifname(_)
            | RuleAttribute::TunId(_)
            | RuleAttribute::UidRange(_)
            | RuleAttribute::IpProtocol(_)
            | RuleAttribute::SourcePortRange(_)
            | RuleAttribute::DestinationPortRange(_) => rule.is_of_few = true,
            _ => {}
        }
    }
    // What it is not for may be anything, but for a mark: hardly a packet has one.
    let is_inverted = message.header.flags.contains(RuleFlags::Invert);
    let has_others = rule.from.is_some() || rule.to.is_some() || rule.is_of_few || by_link.is_some();
    let is_of_fewer = rule.is_of_few || rule.is_by_mark || is_inverted;
    rule.is_of_few = if is_inverted { has_others } else { is_of_fewer || by_link.is_some() };
    rule.by_link = by_link.filter(|_| !is_of_fewer);
    rule.is_by_mark &= !is_inverted;
    Some(rule)
}
