//! Answers of published ports that leave by another uplink than they were asked by.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ocinet_shared::kernel::filter::MARK;
use ocinet_shared::kernel::route::{MAIN, Route};
use ocinet_shared::kernel::rule;
use ocinet_shared::kernel::rule::{Packet, Rule};
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::quoted;

use super::context::DoctorContext;
use super::decisions::OWN;
use super::finding::Finding;
use super::routes::ip;
use crate::error::Error;

/// A mark of an answer for the commands of [`answers`] where nobody uses it; else one of the bits beside it.
const ANSWER: u32 = 0x0100_0000;
const _: () = assert!(ANSWER & MARK == 0);

/// Published ports that are asked at an address whose own packets leave by another uplink than containers' do: their
/// answers leave by the first uplink, because the kernel chooses their way before it gives them the host's address.
pub(super) fn answers(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut marks = Marks::read(context)?;
    for family in Family::ALL {
        let serves = context.records.iter().any(|record| record.ports().any(|port| port.serves(family)));
        if !serves {
            continue;
        }
        let rules = rule::list(&mut context.found.route, family)?;
        let by_source = rules.iter().filter(|rule| !rule.is_inverted);
        for (rule, from) in by_source.filter_map(|rule| Some((rule, rule.from?))) {
            findings.extend(astray(context, (&rules, &mut marks), rule, from));
        }
    }
    Ok(findings)
}

/// What a rule by source leads elsewhere that containers' answers do not follow.
fn astray(
    context: &DoctorContext,
    (rules, marks): (&[Rule], &mut Marks),
    rule: &Rule,
    from: Cidr,
) -> Option<Finding> {
    let table = rule.table().filter(|table| *table != MAIN)?;
    let own = context.found.addresses.iter().find(|(_, own)| from.contains(own.address()))?;
    let address = own.1.address();
    if !is_of_source(rule, address, OWN) {
        return None;
    }
    let is_way_out = |route: &&Route| route.table == table && route.is_default_of(from.family());
    let route = context.found.routes.iter().find(is_way_out)?;
    let uplink = context.found.link_at(route.link?)?;
    let first = context.default_link(from.family())?;
    let of_table = || rules.iter().filter(|other| other.table() == Some(table) && !other.is_inverted);
    let is_marked = of_table().any(|other| leads_by_mark(other, rules));
    if first.index == uplink.index || is_marked {
        return None;
    }
    // A container whose own packets leave by that table answers there as well.
    let follows = |own: &Cidr, by: &str| {
        of_table().any(|other| other.from.is_some() && is_of_source(other, own.address(), by))
    };
    let publishes = |port: &ocinet_shared::model::port::PublishedPort| {
        port.bound_address().map_or(port.serves(from.family()), |bound| bound == address)
    };
    let (record, attachment) = context.attachments().find(|(_, attachment)| {
        let mut own = attachment.addresses.iter().filter(|own| own.family() == from.family());
        let by = context.router(attachment).map_or("", |link| link.as_str());
        attachment.ports.iter().any(publishes) && own.any(|own| !follows(own, by))
    })?;
    let port = attachment.ports.iter().find(|port| publishes(port))?;
    Some(Finding {
        what: format!(
            "answers of port {}/{}, which container {} publishes, to who asks {address} leave by {}, and not by {}",
            port.host_port, port.protocol, record.id, first.name, uplink.name
        ),
        why: format!(
            "the rule \"from {from} lookup {table}\" sees the container's address, which the answer has until it leaves"
        ),
        fix: by_mark(&uplink.name, table, marks.of(table), from.family()),
    })
}

/// Whether a rule is for what an address sends by a link, if only to the rule's own destinations.
fn is_of_source(rule: &Rule, from: IpAddr, by: &str) -> bool {
    rule.is_for(&Packet { from: Some(from), to: rule.to.map(|to| to.address()), by })
}

/// Whether a rule leads what bears its mark, and no earlier one leads that elsewhere.
fn leads_by_mark(rule: &Rule, rules: &[Rule]) -> bool {
    let Some((mark, mask)) = rule.mark.filter(|(mark, mask)| mark & mask != 0) else { return false };
    let takes = |other: &Rule| {
        let is_for = |(of, by): (u32, u32)| of & by != 0 && mark & mask & by == of & by;
        other.table() != rule.table() && !other.is_inverted && other.mark.is_some_and(is_for)
    };
    !rules.iter().take_while(|other| !std::ptr::eq(*other, rule)).any(takes)
}

/// The marks of the host's rules, and those that this look gave to tables.
struct Marks {
    rules: Vec<Rule>,
    given: BTreeMap<u32, u32>,
}

impl Marks {
    fn read(context: &mut DoctorContext) -> Result<Self, Error> {
        let mut rules = Vec::new();
        for family in Family::ALL {
            rules.extend(rule::list(&mut context.found.route, family)?);
        }
        Ok(Self { rules, given: BTreeMap::new() })
    }

    /// A bit for the answers of a table that no rule to another table asks for.
    fn of(&mut self, table: u32) -> u32 {
        let others = self.rules.iter().filter(|rule| rule.table() != Some(table));
        // A rule may compare the whole mark: then the bits that it wants are taken.
        let used = others
            .filter_map(|rule| rule.mark)
            .fold(MARK, |used, (mark, mask)| used | if mask == u32::MAX { mark } else { mask });
        let is_free = |bit: &u32| used & bit == 0 && self.given.values().all(|given| given != bit);
        let free = (0..u32::BITS).map(|turn| ANSWER.rotate_left(turn)).find(is_free).unwrap_or(ANSWER);
        *self.given.entry(table).or_insert(free)
    }
}

/// Commands that let a connection's packets leave by the link that it came by: the connection is marked, and its
/// answers are. The marks of others, by which ocinet's filters know what was let in, are kept.
fn by_mark(uplink: &str, table: u32, mark: u32, family: Family) -> Vec<String> {
    let chain = format!("inet answers_{table} prerouting");
    vec![
        format!("nft add table inet answers_{table}"),
        format!("nft 'add chain {chain} {{ type filter hook prerouting priority -150; }}'"),
        format!("nft flush chain {chain}"),
        format!(
            "nft add rule {chain} iifname {} ct state new ct mark set ct mark or {mark:#x}",
            quoted::nft(uplink)
        ),
        format!(
            "nft add rule {chain} ct direction reply ct mark and {mark:#x} != 0 meta mark set meta mark or {mark:#x}"
        ),
        format!("{} rule add fwmark {mark:#x}/{mark:#x} lookup {table}", ip(family)),
    ]
}
