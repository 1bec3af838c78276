//! Routing policy: which table a packet's route is looked up in (ip-rule(8)).

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, Nla};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::addr::netlink_family;
use super::netlink::NetlinkSocket;
use super::{Change, KernelError};
use crate::model::cidr::{Cidr, Family};
use crate::quoted::word;

// Attributes of linux/fib_rules.h that netlink-packet-route does not know.
const FRA_DSCP: u16 = 25;
const FRA_FLOWLABEL: u16 = 26;

/// What a rule does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Its way is looked up in a table.
    Table(u32),
    /// It ends, as ip-rule(8) calls it: `blackhole`, `unreachable` or `prohibit`.
    Refuse(&'static str),
    /// The rules before a priority are passed over, where one has that priority.
    GoTo(u32),
}

/// A rule of the host, as far as ocinet needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its place: the least number is looked at first.
    pub priority: u32,
    /// What it does.
    pub action: Action,
    /// Whose packets it is for; everybody's without.
    pub from: Option<Cidr>,
    /// For what destinations it is; all without.
    pub to: Option<Cidr>,
    /// The link whose packets it is for; `lo` is for what the host itself sends.
    pub by_link: Option<String>,
    /// The users whose packets it is for.
    pub users: Option<RangeInclusive<u32>>,
    /// The mark that it is for, and which bits of a packet's are compared.
    pub mark: Option<(u32, u32)>,
    /// Whether it is for few packets besides: those of a port, a protocol, a tunnel, a service class, or a socket's link.
    pub is_of_few: bool,
    /// Whether it is for all packets but those (`not`).
    pub is_inverted: bool,
    /// It does not count where the route that it finds has a prefix of this length or a shorter one
    /// (`suppress_prefixlength`).
    pub suppresses: Option<u32>,
}

/// A packet as rules see it. It has no mark, and nothing that few packets have; what is forwarded is the superuser's to them,
/// as what doctor itself would send is.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Whose it is; of somebody anywhere without.
    pub from: Option<IpAddr>,
    /// Whom it is for; somebody anywhere without.
    pub to: Option<IpAddr>,
    /// The link that it came by.
    pub by: &'a str,
}

impl Rule {
    /// One for all packets.
    #[must_use]
    pub fn new(priority: u32, action: Action) -> Self {
        let (from, to, by_link, users, mark, suppresses) = (None, None, None, None, None, None);
        let (is_of_few, is_inverted) = (false, false);
        Self { priority, action, from, to, by_link, users, mark, is_of_few, is_inverted, suppresses }
    }

    /// The table that it leads to.
    #[must_use]
    pub fn table(&self) -> Option<u32> {
        if let Action::Table(table) = self.action { Some(table) } else { None }
    }

    /// Whether it is for a packet.
    #[must_use]
    pub fn is_for(&self, packet: &Packet<'_>) -> bool {
        let holds = |range: Option<Cidr>, address: Option<IpAddr>| {
            range.is_none_or(|range| {
                range.prefix() == 0 || address.is_some_and(|address| range.contains(address))
            })
        };
        let is_meant = holds(self.from, packet.from)
            && holds(self.to, packet.to)
            && self.by_link.as_ref().is_none_or(|link| link == packet.by)
            && self.users.as_ref().is_none_or(|users| users.contains(&0))
            && self.mark.is_none_or(|(mark, mask)| mark & mask == 0)
            && !self.is_of_few;
        is_meant != self.is_inverted
    }

    fn take(&mut self, attribute: RuleAttribute, lengths: (u8, u8)) {
        match attribute {
            RuleAttribute::Priority(priority) => self.priority = priority,
            RuleAttribute::Table(table) if self.table().is_some() => self.action = Action::Table(table),
            RuleAttribute::Goto(priority) => self.action = Action::GoTo(priority),
            RuleAttribute::Source(from) => self.from = Cidr::new(from, lengths.0),
            RuleAttribute::Destination(to) => self.to = Cidr::new(to, lengths.1),
            // Where nothing is suppressed, it is the greatest number.
            RuleAttribute::SuppressPrefixLen(length) => {
                self.suppresses = (length != u32::MAX).then_some(length)
            }
            // The mask comes behind the mark.
            RuleAttribute::FwMark(mark) => self.mark = Some((mark, u32::MAX)),
            RuleAttribute::FwMask(mask) => {
                let mark = self.mark.map_or(0, |(mark, _)| mark);
                // The kernel tells it of a rule that has neither, too.
                self.mark = (mark != 0 || mask != 0).then_some((mark, mask));
            }
            RuleAttribute::Iifname(link) => self.by_link = Some(link),
            RuleAttribute::UidRange(users) => self.users = Some(users.start..=users.end),
            RuleAttribute::Oifname(_)
            | RuleAttribute::TunId(_)
            | RuleAttribute::IpProtocol(_)
            | RuleAttribute::SourcePortRange(_)
            | RuleAttribute::DestinationPortRange(_) => self.is_of_few = true,
            RuleAttribute::Other(other) => match (other.kind(), value(&other).as_slice()) {
                (FRA_DSCP, class) => self.is_of_few |= *class != [0],
                (FRA_FLOWLABEL, _) => self.is_of_few = true,
                _ => {}
            },
            _ => {}
        }
    }
}

/// As `ip rule del` takes it: what it leaves out is compared with nothing.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "priority {}", self.priority)?;
        if self.is_inverted {
            f.write_str(" not")?;
        }
        let (from, to) = (self.from.map(|from| ("from", from)), self.to.map(|to| ("to", to)));
        for (word, range) in [from, to].into_iter().flatten() {
            write!(f, " {word} {range}")?;
        }
        if let Some(link) = &self.by_link {
            write!(f, " iif {}", word(link))?;
        }
        if let Some(users) = &self.users {
            write!(f, " uidrange {}-{}", users.start(), users.end())?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        match self.action {
            Action::Table(table) => write!(f, " lookup {table}"),
            Action::Refuse(kind) => write!(f, " {kind}"),
            Action::GoTo(priority) => write!(f, " goto {priority}"),
        }
    }
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

/// The rules of a family, in the order in which they are looked at. Those of VRFs, whose tables are for packets of their own
/// links alone, are left out, and those that do nothing.
///
/// # Errors
/// A refusal of the dump.
pub fn list(socket: &mut NetlinkSocket, family: Family) -> Result<Vec<Rule>, KernelError> {
    let mut request = RuleMessage::default();
    request.header.family = netlink_family(family);
    let answers = socket.dump(&RouteNetlinkMessage::GetRule(request), "list the routing rules")?;
    let mut rules: Vec<Rule> = answers.into_iter().filter_map(from_message).collect();
    rules.sort_by_key(|rule| rule.priority);
    Ok(rules)
}

fn from_message(answer: RouteNetlinkMessage) -> Option<Rule> {
    let RouteNetlinkMessage::NewRule(message) = answer else { return None };
    let action = match message.header.action {
        RuleAction::ToTable => Action::Table(u32::from(message.header.table)),
        RuleAction::Blackhole => Action::Refuse("blackhole"),
        RuleAction::Unreachable => Action::Refuse("unreachable"),
        RuleAction::Prohibit => Action::Refuse("prohibit"),
        // Its attribute says whereto.
        RuleAction::Goto => Action::GoTo(0),
        _ => return None,
    };
    let lengths = (message.header.src_len, message.header.dst_len);
    let mut rule = Rule::new(0, action);
    rule.is_of_few = message.header.tos != 0;
    rule.is_inverted = message.header.flags.contains(RuleFlags::Invert);
    for attribute in message.attributes {
        if attribute == RuleAttribute::L3MDev(true) {
            return None;
        }
        rule.take(attribute, lengths);
    }
    Some(rule)
}

fn value(attribute: &DefaultNla) -> Vec<u8> {
    let mut bytes = vec![0; attribute.value_len()];
    attribute.emit_value(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_for_what_all_its_words_hold_of() {
        let cidr = |text: &str| Some(text.parse().unwrap());
        let any = || Rule::new(9, Action::Table(52));
        let to: IpAddr = "10.90.0.7".parse().unwrap();
        let sent = Packet { from: None, to: Some(to), by: "lo" };
        let comes = Packet { by: "eth0", ..sent };
        let by = |link: &str| Some(link.to_owned());
        for (rule, of_sent, of_comes) in [
            (any(), true, true),
            (Rule { by_link: by("lo"), ..any() }, true, false),
            (Rule { by_link: by("eth0"), ..any() }, false, true),
            (Rule { users: Some(0..=0), ..any() }, true, true),
            (Rule { users: Some(1..=9), ..any() }, false, false),
            (Rule { mark: Some((5, u32::MAX)), ..any() }, false, false),
            (Rule { mark: Some((0, 5)), ..any() }, true, true),
            (Rule { from: cidr("192.0.2.77/32"), ..any() }, false, false),
            (Rule { from: cidr("0.0.0.0/0"), ..any() }, true, true),
            (Rule { to: cidr("10.0.0.0/8"), ..any() }, true, true),
            (Rule { to: cidr("192.0.2.0/24"), ..any() }, false, false),
            (Rule { is_of_few: true, ..any() }, false, false),
        ] {
            assert_eq!((rule.is_for(&sent), rule.is_for(&comes)), (of_sent, of_comes), "{rule}");
            let not = Rule { is_inverted: true, ..rule };
            assert_eq!((not.is_for(&sent), not.is_for(&comes)), (!of_sent, !of_comes), "{not}");
        }
    }

    #[test]
    fn a_rule_is_named_as_ip_rule_takes_it() {
        let rule = Rule {
            from: Some("192.0.2.0/24".parse().unwrap()),
            by_link: Some("eth0".to_owned()),
            users: Some(0..=9),
            mark: Some((5, 15)),
            is_inverted: true,
            ..Rule::new(7, Action::Refuse("prohibit"))
        };
        let text = "priority 7 not from 192.0.2.0/24 iif eth0 uidrange 0-9 fwmark 0x5/0xf prohibit";
        assert_eq!(rule.to_string(), text);
    }
}
