//! How the host's routes and rules lead to containers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::container_id::ContainerId;
use ocinet_shared::kernel::route::{self, Hop, LOCAL, MAIN, Route};
use ocinet_shared::kernel::rule::{self, Rule};

use super::{Finding, Surroundings, refusals};
use crate::error::Error;

/// What the host is to send where.
pub(super) struct Wanted {
    pub(super) id: ContainerId,
    pub(super) address: IpAddr,
    index: u32,
    pub(super) link: String,
    /// The container's network, or the container alone where it has a link of its own.
    to: Cidr,
}

/// What decides where a packet goes: a rule, and a route of its table.
pub(super) struct Decision<'a> {
    pub(super) rule: &'a Rule,
    route: &'a Route,
}

/// Containers' addresses that the host's routes lead elsewhere.
pub(super) fn ways(around: &mut Surroundings) -> Result<Vec<Finding>, Error> {
    let mut findings: Vec<Finding> = Vec::new();
    let all = wanted(around);
    for wanted in &all {
        let hop = route::towards(&mut around.found.route, wanted.address)?;
        if hop == Some(Hop::Local) || hop == Some(Hop::By(wanted.index)) {
            continue;
        }
        let rules = rule::list(&mut around.found.route, wanted.to.family())?;
        // What a rule refuses is named there.
        if refusals::of_what_is_sent_to(&rules, &around.found.routes, wanted.address).is_some() {
            continue;
        }
        let decision = decide(&rules, &around.found.routes, wanted.address, None);
        let finding = match (decision, hop) {
            (Some(Decision { rule, route }), _) if rule.table != MAIN => {
                by_rule(around, wanted, rule, route, None)
            }
            (Some(Decision { route, .. }), _) if !is_default(route) => by_route(around, wanted, route),
            (_, None) => Finding::new(
                format!("the host has no route to {} of container {}", wanted.address, wanted.id),
                "nothing that the host sends or forwards gets there",
                format!("ip route add {} dev {}", wanted.to, wanted.link),
            ),
            (_, Some(Hop::By(index))) => Finding::new(
                format!("the host's route to {} by {} is gone", wanted.to, wanted.link),
                format!("what is for container {} leaves by {}", wanted.id, name_of(around, Some(index))),
                format!("ip route add {} dev {}", wanted.to, wanted.link),
            ),
            (_, Some(Hop::Local)) => continue,
        };
        add(&mut findings, finding);
    }
    arrivals(around, &all, &mut findings)?;
    Ok(findings)
}

/// What one command mends is told once.
fn add(findings: &mut Vec<Finding>, finding: Finding) {
    if !findings.iter().any(|other| other.mend == finding.mend) {
        findings.push(finding);
    }
}

/// What comes to containers by an uplink, questions to published ports and answers alike, and follows a rule by that link
/// elsewhere: the kernel chooses its way after the rules gave it the container's address. What other links lead elsewhere
/// is another program's affair.
fn arrivals(around: &mut Surroundings, all: &[Wanted], findings: &mut Vec<Finding>) -> Result<(), Error> {
    for family in Family::ALL {
        let rules = rule::list(&mut around.found.route, family)?;
        let is_uplink =
            |name: &&str| around.found.link(name).is_some_and(|link| around.found.around().is_way_out(link));
        let links: BTreeSet<&str> =
            rules.iter().filter_map(|rule| rule.by_link.as_deref()).filter(is_uplink).collect();
        if links.is_empty() {
            continue;
        }
        for wanted in all.iter().filter(|wanted| wanted.to.family() == family && has_arrivals(around, wanted))
        {
            for link in &links {
                let decision = decide(&rules, &around.found.routes, wanted.address, Some(link));
                let Some(Decision { rule, route }) = decision else { continue };
                let is_by_link = rule.by_link.as_deref() == Some(link) && rule.table != MAIN;
                let leads_there = route.link == Some(wanted.index) && route.leads_nowhere.is_none();
                if is_by_link && !leads_there {
                    add(findings, by_rule(around, wanted, rule, route, Some(link)));
                }
            }
        }
    }
    Ok(())
}

/// Whether anything from outside its network comes to a container through the host.
fn has_arrivals(around: &Surroundings, wanted: &Wanted) -> bool {
    let link = around.found.link_at(wanted.index);
    link.is_some_and(|link| around.routed().any(|of| !of.internal && link.is_in_group_of(of)))
}

pub(super) fn wanted(around: &Surroundings) -> Vec<Wanted> {
    let mut all = Vec::new();
    for (record, attachment) in around.attachments() {
        let link = around.router(attachment).and_then(|name| around.link(name));
        let Some(link) = link.filter(|link| link.is_up) else { continue };
        let network = around.networks.iter().find(|network| network.name == attachment.network);
        for own in &attachment.addresses {
            let subnet = network.and_then(|network| network.bridge().and(network.subnet(own.family())));
            all.push(Wanted {
                id: record.id.clone(),
                address: own.address(),
                index: link.index,
                link: link.name.clone(),
                to: subnet.unwrap_or_else(|| Cidr::host(own.address())).network(),
            });
        }
    }
    all
}

/// The rule and the route that a packet to an address follows of which nothing else is known but, perhaps, the link that it
/// came by: of a table's routes, the longest prefix is used, and of those the least metric.
pub(super) fn decide<'a>(
    rules: &'a [Rule],
    routes: &'a [Route],
    address: IpAddr,
    by: Option<&str>,
) -> Option<Decision<'a>> {
    let applies = |rule: &&Rule| {
        let is_to = rule.to.is_none_or(|to| to.contains(address));
        let is_by = !rule.is_of_few || (by.is_some() && rule.by_link.as_deref() == by);
        rule.table != LOCAL && rule.refuses.is_none() && is_by && rule.from.is_none() && is_to
    };
    rules.iter().filter(applies).find_map(|rule| {
        let of_table =
            routes.iter().filter(|route| route.table == rule.table && route.destination.contains(address));
        let best = of_table.min_by_key(|route| (u8::MAX - route.destination.prefix(), route.metric))?;
        let is_skipped =
            best.leads_nowhere == Some("throw") || (rule.suppresses_defaults && is_default(best));
        (!is_skipped).then_some(Decision { rule, route: best })
    })
}

fn is_default(route: &Route) -> bool {
    route.destination.prefix() == 0 && route.leads_nowhere.is_none()
}

fn name_of(around: &Surroundings, link: Option<u32>) -> String {
    let link = link.and_then(|index| around.found.link_at(index));
    link.map_or_else(|| "another link".to_owned(), |link| link.name.clone())
}

/// `ip`, with the option by which it knows the family where no address tells it.
pub(super) fn ip(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ip -6",
    }
}

/// A rule that leads past a container, whatever it is sent or what comes by a link alone.
fn by_rule(around: &Surroundings, wanted: &Wanted, rule: &Rule, route: &Route, by: Option<&str>) -> Finding {
    let Wanted { id, address, to, .. } = wanted;
    let what = by.map_or_else(|| "what is".to_owned(), |link| format!("what comes by {link}"));
    let why = match route.leads_nowhere {
        Some(kind) => format!("that table has a route of the type {kind} to {}", route.destination),
        None => {
            let link = name_of(around, route.link);
            format!(
                "that table leads to {} by {link}, and is looked at before the host's routes to networks",
                route.destination
            )
        }
    };
    Finding::new(
        format!(
            "the routing rule {} leads {what} for {address} of container {id} to table {}",
            rule.priority, rule.table
        ),
        why,
        mend_of_rule(rule, *to, by),
    )
}

/// The command that has packets to containers find the host's own routes before a rule.
fn mend_of_rule(rule: &Rule, to: Cidr, by: Option<&str>) -> String {
    let ip = ip(to.family());
    // The kernel puts a rule behind those of the same priority.
    if rule.priority == 0 {
        let to = rule.to.map(|to| format!(" to {to}")).unwrap_or_default();
        let by = by.map(|link| format!(" iif {link}")).unwrap_or_default();
        return format!("{ip} rule del priority 0{by}{to} lookup {}", rule.table);
    }
    // The kernel puts a rule without a priority before the second rule, which need not be before this one.
    let before = by.map(|_| format!(" priority {}", rule.priority - 1)).unwrap_or_default();
    format!("{ip} rule add to {to} lookup main{before}")
}

fn by_route(around: &Surroundings, wanted: &Wanted, route: &Route) -> Finding {
    let Wanted { id, address, link: own, .. } = wanted;
    let to = route.destination;
    match route.leads_nowhere {
        Some(kind) => Finding::new(
            format!("the host's {kind} route to {to} leads past {own}"),
            format!("what is for {address} of container {id} goes nowhere"),
            format!("ip route del {kind} {to}"),
        ),
        None => {
            let link = name_of(around, route.link);
            Finding::new(
                format!("the host's route to {to} by {link} leads past {own}"),
                format!("what is for {address} of container {id} leaves by {link}"),
                format!("ip route del {to} dev {link}"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(priority: u32, table: u32) -> Rule {
        Rule {
            priority,
            table,
            refuses: None,
            from: None,
            to: None,
            by_link: None,
            is_by_mark: false,
            is_of_few: false,
            suppresses_defaults: false,
        }
    }

    fn route(to: &str, table: u32, metric: u32) -> Route {
        Route { metric, table, ..Route::new(to.parse().unwrap(), Some(table)) }
    }

    /// The table, and the destination of its route, that a packet to 10.90.0.7 follows.
    fn decided(rules: &[Rule], routes: &[Route]) -> Option<(u32, String)> {
        let decision = decide(rules, routes, "10.90.0.7".parse().unwrap(), None)?;
        Some((decision.rule.table, decision.route.destination.to_string()))
    }

    #[test]
    fn the_first_table_that_knows_a_way_decides() {
        let routes = [
            route("10.90.0.0/16", MAIN, 0),
            route("0.0.0.0/0", 52, 0),
            Route { leads_nowhere: Some("throw"), ..route("10.0.0.0/8", 51, 0) },
        ];
        let main = Some((MAIN, "10.90.0.0/16".to_owned()));
        assert_eq!(decided(&[rule(0, LOCAL), rule(9, MAIN), rule(10, 52)], &routes), main);
        let by_52 = Some((52, "0.0.0.0/0".to_owned()));
        assert_eq!(decided(&[rule(5, 52), rule(9, MAIN)], &routes), by_52);
        for skipped in [
            Rule { is_of_few: true, ..rule(5, 52) },
            Rule { from: Some("192.0.2.0/24".parse().unwrap()), ..rule(5, 52) },
            Rule { to: Some("192.0.2.0/24".parse().unwrap()), ..rule(5, 52) },
            Rule { suppresses_defaults: true, ..rule(5, 52) },
            rule(5, 51),
            rule(5, 50),
        ] {
            assert_eq!(decided(&[skipped, rule(9, MAIN)], &routes), main);
        }
    }

    #[test]
    fn the_longest_prefix_decides_and_then_the_least_metric() {
        let one = |metric| Route { leads_nowhere: Some("blackhole"), ..route("10.90.0.0/24", MAIN, metric) };
        let routes = [route("10.90.0.0/16", MAIN, 0), route("10.90.0.0/24", MAIN, 20), one(10)];
        let rules = [rule(9, MAIN)];
        let decision = decide(&rules, &routes, "10.90.0.7".parse().unwrap(), None).unwrap();
        assert_eq!((decision.route.metric, decision.route.leads_nowhere), (10, Some("blackhole")));
    }
}
