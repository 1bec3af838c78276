//! How the host's routes and rules lead to containers.

use std::net::IpAddr;

use ocinet_shared::kernel::route;
use ocinet_shared::kernel::route::{Hop, LOCAL, MAIN, Route};
use ocinet_shared::kernel::rule;
use ocinet_shared::kernel::rule::{Packet, Rule};
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::quoted::word;

use super::context::DoctorContext;
use super::decisions::{Decision, OWN, decide, sent_to};
use super::finding::{Finding, add};
use crate::error::Error;

/// What the host is to send where.
pub(super) struct Wanted {
    pub(super) id: ContainerId,
    pub(super) address: IpAddr,
    pub(super) index: u32,
    pub(super) link: String,
    /// The container's network, or the container alone where it has a link of its own.
    pub(super) to: Cidr,
}

/// Containers' addresses that the host's routes lead elsewhere.
pub(super) fn to_containers(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings: Vec<Finding> = Vec::new();
    let all = wanted(context);
    for wanted in &all {
        let hop = route::lookup(&mut context.found.route, wanted.address)?;
        if hop == Some(Hop::Local) || hop == Some(Hop::By(wanted.index)) {
            continue;
        }
        let rules = rule::list(&mut context.found.route, wanted.to.family())?;
        let routes = &context.found.routes;
        let decision = decide(&rules, routes, &sent_to(wanted.address));
        if let Some(route) = thrown(&rules, routes, wanted, decision.as_ref()) {
            add(&mut findings, by_route(context, wanted, route));
            continue;
        }
        let finding = match decision.map(|decision| decision.agreed(hop, routes)) {
            // It is named among the rules that refuse.
            Some(Some(Decision::Refused(..))) => continue,
            Some(Some(Decision::Led(rule, table, route))) if table != MAIN => {
                by_rule(context, wanted, (&rules, rule, table, route), None)
            }
            // A wider one is used where the container's own is gone.
            Some(Some(Decision::Led(_, _, route))) if route.destination.prefix() >= wanted.to.prefix() => {
                by_route(context, wanted, route)
            }
            Some(Some(_)) => is_gone(context, wanted, hop),
            None if hop.is_none() => is_gone(context, wanted, hop),
            Some(None) | None => by_unknown(context, wanted, hop),
        };
        add(&mut findings, finding);
    }
    arrivals(context, &all, &mut findings)?;
    Ok(findings)
}

/// What comes to containers by an uplink, questions to published ports and answers alike, and follows a rule elsewhere that
/// the host's own packets do not: the kernel chooses its way after the rules gave it the container's address. What other
/// links lead elsewhere is another program's affair.
fn arrivals(context: &mut DoctorContext, all: &[Wanted], findings: &mut Vec<Finding>) -> Result<(), Error> {
    for family in Family::ALL {
        let rules = rule::list(&mut context.found.route, family)?;
        let uplinks = uplinks(context, &rules);
        for wanted in all.iter().filter(|wanted| wanted.to.family() == family) {
            for (link, decision) in arriving(context, &rules, &uplinks, wanted) {
                let Some((rule, table, route)) = decision.elsewhere() else { continue };
                if route.link != Some(wanted.index) || route.leads_nowhere.is_some() {
                    add(findings, by_rule(context, wanted, (&rules, rule, table, route), Some(link)));
                }
            }
        }
    }
    Ok(())
}

/// The uplinks, where any rule asks by which link a packet came.
pub(super) fn uplinks(context: &DoctorContext, rules: &[Rule]) -> Vec<String> {
    if rules.iter().all(|rule| rule.by_link.is_none()) {
        return Vec::new();
    }
    let of_host = context.found.links_and_routes();
    let ups = context.found.links.iter().filter(|link| link.is_up && of_host.is_way_out(link));
    ups.map(|link| link.name.clone()).collect()
}

/// What decides where packets to a container go that come by uplinks, where it is not what decides where the host's own go.
pub(super) fn arriving<'a>(
    context: &'a DoctorContext,
    rules: &'a [Rule],
    uplinks: &'a [String],
    wanted: &Wanted,
) -> Vec<(&'a str, Decision<'a>)> {
    if uplinks.is_empty() || !is_reached(context, wanted) {
        return Vec::new();
    }
    let sent = sent_to(wanted.address);
    let own = decide(rules, &context.found.routes, &sent).map(|decision| decision.rule());
    let of_link = |link: &'a String| {
        let decision = decide(rules, &context.found.routes, &Packet { by: link, ..sent })?;
        let is_other = own.is_none_or(|own| !std::ptr::eq(own, decision.rule()));
        is_other.then_some((link.as_str(), decision))
    };
    uplinks.iter().filter_map(of_link).collect()
}

/// Whether anything from outside its network comes to a container through the host.
pub(super) fn is_reached(context: &DoctorContext, wanted: &Wanted) -> bool {
    let link = context.found.link_at(wanted.index);
    link.is_some_and(|link| context.routed().any(|of| !of.internal && link.is_in_group_of(of)))
}

pub(super) fn wanted(context: &DoctorContext) -> Vec<Wanted> {
    let mut all = Vec::new();
    for (record, attachment) in context.attachments() {
        let link = context.router(attachment).and_then(|name| context.link(name));
        let Some(link) = link.filter(|link| link.is_up) else { continue };
        let network = context.networks.iter().find(|network| network.name == attachment.network);
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

fn name_of(context: &DoctorContext, link: Option<u32>) -> String {
    let link = link.and_then(|index| context.found.link_at(index));
    link.map_or_else(|| "another link".to_owned(), |link| link.name.clone())
}

/// `ip`, with the option by which it knows the family where no address tells it.
pub(super) fn ip(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ip -6",
    }
}

/// A rule that leads past a container what is for it, or what of that comes by a link.
fn by_rule(
    context: &DoctorContext,
    wanted: &Wanted,
    (rules, rule, table, route): (&[Rule], &Rule, u32, &Route),
    by: Option<&str>,
) -> Finding {
    let Wanted { id, address, to, .. } = wanted;
    let why = match route.leads_nowhere {
        Some(kind) => format!("that table has a route of the type {kind} to {}", route.destination),
        None => {
            let link = name_of(context, route.link);
            format!(
                "that table leads to {} by {link}, and is looked at before the host's routes to networks",
                route.destination
            )
        }
    };
    let what = match by {
        Some(link) => format!("what comes by {link} for"),
        None if is_of_own(rule) => "what the host sends to".to_owned(),
        None => "what is for".to_owned(),
    };
    Finding {
        what: format!(
            "the routing rule {} leads {what} {address} of container {id} to table {table}",
            rule.priority
        ),
        why,
        fix: fix_of_rule(rules, rule, *to, by),
    }
}

/// Whether a rule is for what the host itself sends alone.
pub(super) fn is_of_own(rule: &Rule) -> bool {
    rule.by_link.as_deref() == Some(OWN) && !rule.is_inverted
}

/// The commands that have packets to containers find the host's own routes before a rule.
fn fix_of_rule(rules: &[Rule], rule: &Rule, to: Cidr, by: Option<&str>) -> Vec<String> {
    let ip = ip(to.family());
    // The kernel puts a rule behind those of the same priority.
    if rule.priority == 0 {
        return vec![format!("{ip} rule del {rule}")];
    }
    // The kernel puts a rule without a priority before the second rule, which need not be before this one.
    let is_before = rules.get(1).is_some_and(|second| second.priority <= rule.priority);
    // The gateway is the host's own address, which the main table knows nothing of.
    let is_local_first =
        rules.iter().any(|first| first.table() == Some(LOCAL) && first.priority < rule.priority);
    // Of two without a priority, the later one comes to be before the earlier one.
    let at_place = by.is_some() || !is_before || !is_local_first;
    let before = if at_place { format!(" priority {}", rule.priority - 1) } else { String::new() };
    let local = (!is_local_first).then(|| format!("{ip} rule add to {to} lookup local{before}"));
    local.into_iter().chain([format!("{ip} rule add to {to} lookup main{before}")]).collect()
}

/// The route of the main table by which a packet to a container is led on to later rules (`throw`), where none of those
/// before it decides.
fn thrown<'a>(
    rules: &[Rule],
    routes: &'a [Route],
    wanted: &Wanted,
    decision: Option<&Decision<'_>>,
) -> Option<&'a Route> {
    let main =
        rules.iter().find(|rule| rule.table() == Some(MAIN) && rule.is_for(&sent_to(wanted.address)))?;
    if decision.is_some_and(|decision| decision.rule().priority <= main.priority) {
        return None;
    }
    let of_main =
        routes.iter().filter(|route| route.is_in_main() && route.destination.contains(wanted.address));
    let best = of_main.min_by_key(|route| (u8::MAX - route.destination.prefix(), route.metric))?;
    let is_narrow = best.destination.prefix() >= wanted.to.prefix();
    (is_narrow && best.leads_nowhere == Some("throw")).then_some(best)
}

/// The host's own route to a container is gone, and a wider one is used in its place, or none.
fn is_gone(context: &DoctorContext, wanted: &Wanted, hop: Option<Hop>) -> Finding {
    let Wanted { id, address, to, link, .. } = wanted;
    let (what, why) = match hop {
        Some(Hop::By(index)) => (
            format!("the host's route to {to} by {link} is gone"),
            format!("what is for container {id} leaves by {}", name_of(context, Some(index))),
        ),
        _ => (
            format!("the host has no route to {address} of container {id}"),
            "nothing that the host sends or forwards gets there".to_owned(),
        ),
    };
    Finding::new(what, why, format!("ip route add {to} dev {link}"))
}

/// The kernel leads past a container, and none of the rules and routes as ocinet knows them does.
fn by_unknown(context: &DoctorContext, wanted: &Wanted, hop: Option<Hop>) -> Finding {
    let Wanted { id, address, to, link, .. } = wanted;
    let goes = match hop {
        Some(Hop::By(index)) => format!("it leaves by {}", name_of(context, Some(index))),
        _ => "it goes nowhere".to_owned(),
    };
    Finding::new(
        format!(
            "a routing rule that ocinet does not understand leads what is for {address} of container {id} past {link}"
        ),
        format!("{goes}; look for it among the host's rules"),
        format!("{} rule", ip(to.family())),
    )
}

fn by_route(context: &DoctorContext, wanted: &Wanted, route: &Route) -> Finding {
    let Wanted { id, address, link: own, .. } = wanted;
    let to = route.destination;
    match route.leads_nowhere {
        Some(kind) => Finding::new(
            format!("the host's {kind} route to {to} leads past {own}"),
            format!("what is for {address} of container {id} goes nowhere"),
            format!("ip route del {kind} {to}"),
        ),
        None => {
            let link = name_of(context, route.link);
            Finding::new(
                format!("the host's route to {to} by {link} leads past {own}"),
                format!("what is for {address} of container {id} leaves by {link}"),
                // The kernel finds a route by several links, or by a nexthop object, without any of them alone.
                if route.is_by_several {
                    format!("ip route del {to}")
                } else {
                    format!("ip route del {to} dev {}", word(&link))
                },
            )
        }
    }
}
