//! Answers of published ports that leave by another uplink than they were asked by.

use std::net::IpAddr;

use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::kernel::filter::MARK;
use ocinet_shared::kernel::route::{MAIN, Route};
use ocinet_shared::kernel::rule::{self, Packet, Rule};
use ocinet_shared::quoted;

use super::decisions::OWN;
use super::routes::ip;
use super::{Finding, Surroundings};
use crate::error::Error;

/// A mark of an answer for the commands of [`answers`]: any bit that nobody uses.
const ANSWER: u32 = 0x0100_0000;
const _: () = assert!(ANSWER & MARK == 0);

/// Published ports that are asked at an address whose own packets leave by another uplink than containers' do: their
/// answers leave by the first uplink, because the kernel chooses their way before it gives them the host's address.
pub(super) fn answers(around: &mut Surroundings) -> Result<Vec<Finding>, Error> {
    let mut findings: Vec<Finding> = Vec::new();
    for family in Family::ALL {
        let serves = around.records.iter().any(|record| record.ports().any(|port| port.serves(family)));
        if !serves {
            continue;
        }
        let rules = rule::list(&mut around.found.route, family)?;
        let by_source = rules.iter().filter(|rule| !rule.is_inverted);
        for (rule, from) in by_source.filter_map(|rule| Some((rule, rule.from?))) {
            findings.extend(astray(around, &rules, rule, from));
        }
    }
    Ok(findings)
}

/// What a rule by source leads elsewhere that containers' answers do not follow.
fn astray(around: &Surroundings, rules: &[Rule], rule: &Rule, from: Cidr) -> Option<Finding> {
    let table = rule.table().filter(|table| *table != MAIN)?;
    let own = around.found.addresses.iter().find(|(_, own)| from.contains(own.address()))?;
    let address = own.1.address();
    if !is_of_source(rule, address, OWN) {
        return None;
    }
    let is_way_out = |route: &&Route| route.table == table && route.is_default_of(from.family());
    let way = around.found.routes.iter().find(is_way_out)?;
    let uplink = around.found.link_at(way.link?)?;
    let first = around.way_out(from.family())?;
    let of_table = || rules.iter().filter(|other| other.table() == Some(table) && !other.is_inverted);
    let is_marked = of_table().any(|other| other.mark.is_some_and(|(mark, mask)| mark & mask != 0));
    if first.index == uplink.index || is_marked {
        return None;
    }
    // A container whose own packets leave by that table answers there as well.
    let follows = |own: &Cidr, by: &str| {
        of_table().any(|other| other.from.is_some() && is_of_source(other, own.address(), by))
    };
    let publishes = |port: &ocinet_shared::port::PublishedPort| {
        port.bound_address().map_or(port.serves(from.family()), |bound| bound == address)
    };
    let (record, attachment) = around.attachments().find(|(_, attachment)| {
        let mut own = attachment.addresses.iter().filter(|own| own.family() == from.family());
        let by = around.router(attachment).map_or("", |link| link.as_str());
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
        mend: by_mark(&uplink.name, table, from.family()),
    })
}

/// Whether a rule is for what an address sends by a link, if only to the rule's own destinations.
fn is_of_source(rule: &Rule, from: IpAddr, by: &str) -> bool {
    rule.is_for(&Packet { from: Some(from), to: rule.to.map(|to| to.address()), by })
}

/// Commands that let a connection's packets leave by the link that it came by: the connection is marked, and its
/// answers are. The marks of others, by which ocinet's filters know what was let in, are kept.
fn by_mark(uplink: &str, table: u32, family: Family) -> Vec<String> {
    let chain = format!("inet answers_{table} prerouting");
    vec![
        format!("nft add table inet answers_{table}"),
        format!("nft 'add chain {chain} {{ type filter hook prerouting priority -150; }}'"),
        format!(
            "nft add rule {chain} iifname {} ct state new ct mark set ct mark or {ANSWER:#x}",
            quoted::nft(uplink)
        ),
        format!(
            "nft add rule {chain} ct direction reply ct mark and {ANSWER:#x} != 0 meta mark set meta mark or {ANSWER:#x}"
        ),
        format!("{} rule add fwmark {ANSWER:#x}/{ANSWER:#x} lookup {table}", ip(family)),
    ]
}
