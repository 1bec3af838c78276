//! Routing rules that refuse (ip-rule(8)): those of the actions blackhole, unreachable and prohibit, and those to tables that
//! lead nowhere.

use std::net::IpAddr;

use ocinet_shared::kernel::route;
use ocinet_shared::kernel::route::{MAIN, Route};
use ocinet_shared::kernel::rule;
use ocinet_shared::kernel::rule::{Action, Packet, Rule};
use ocinet_shared::model::cidr::{Cidr, Family};

use super::context::DoctorContext;
use super::decisions::{Decision, OWN, decide, is_wide_end, sent_to};
use super::finding::{Finding, add};
use super::routes::{Wanted, arriving, ip, is_of_own, is_reached, uplinks, wanted};
use crate::error::Error;

/// Rules that end what containers send, or what is sent to them.
pub(super) fn rules(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings: Vec<Finding> = Vec::new();
    for family in Family::ALL {
        let rules = rule::list(&mut context.found.route, family)?;
        let refuses = rules.iter().any(|rule| matches!(rule.action, Action::Refuse(_)));
        if !refuses && !context.found.routes.iter().any(may_end_all) {
            continue;
        }
        let uplinks = uplinks(context, &rules);
        for wanted in wanted(context).into_iter().filter(|wanted| Family::of(wanted.address) == family) {
            // The host forwards nothing of an internal network, and itself sends from its subnet.
            let by = if is_reached(context, &wanted) { wanted.link.as_str() } else { OWN };
            findings.extend(of_what_it_sends(&rules, &context.found.routes, &wanted, by));
            if let Some((rule, kind)) = of_what_is_sent_to(&rules, &context.found.routes, wanted.address) {
                // Rules may be passed over for a reason that ocinet does not know.
                if route::lookup(&mut context.found.route, wanted.address)?.is_none() {
                    let what = if is_of_own(rule) {
                        format!("the host sends to container {}", wanted.id)
                    } else {
                        format!("container {} is sent", wanted.id)
                    };
                    findings.push(by_action(rule, kind, &wanted, &what));
                }
            }
            for (link, decision) in arriving(context, &rules, &uplinks, &wanted) {
                if let Decision::Refused(rule, kind) = decision {
                    let what = format!("comes by {link} for container {}", wanted.id);
                    findings.push(by_action(rule, kind, &wanted, &what));
                }
            }
        }
    }
    let mut told: Vec<Finding> = Vec::new();
    for finding in findings {
        add(&mut told, finding);
    }
    Ok(told)
}

/// Whether a route of another table than the main one ends all that finds no other, or a part of that.
fn may_end_all(route: &Route) -> bool {
    !route.is_in_main() && is_wide_end(route)
}

fn by_action(rule: &Rule, kind: &str, wanted: &Wanted, what: &str) -> Finding {
    Finding::new(
        format!("the routing rule {} ({kind}) ends what {what}", rule.priority),
        format!("the host looks at it before its routes: {} is cut off", wanted.address),
        format!("{} rule del {rule}", ip(Family::of(wanted.address))),
    )
}

/// The rule that ends what a container sends by the host, whoever it is for.
fn of_what_it_sends(rules: &[Rule], routes: &[Route], wanted: &Wanted, by: &str) -> Option<Finding> {
    let packet = Packet { from: Some(wanted.address), to: None, by };
    let (rule, table, route) = match decide(rules, routes, &packet)? {
        Decision::Refused(rule, kind) => {
            return Some(by_action(rule, kind, wanted, &format!("container {} sends", wanted.id)));
        }
        Decision::Led(rule, table, route) => (rule, table, route),
    };
    let kind = route.leads_nowhere.filter(|_| table != MAIN)?;
    let own = |from: &Cidr| !rule.is_inverted && wanted.to.contains(from.address());
    let from = rule.from.filter(own).unwrap_or(wanted.to);
    let ip = ip(from.family());
    // The kernel puts a rule behind those of the same priority.
    let fix = match rule.priority.checked_sub(1) {
        Some(before) => format!("{ip} rule add from {from} lookup main priority {before}"),
        None => format!("{ip} rule del {rule}"),
    };
    Some(Finding::new(
        format!(
            "the routing rule {} leads what container {} sends to table {table}",
            rule.priority, wanted.id
        ),
        format!(
            "that table has no way out but a route of the type {kind} to {}: {} is cut off",
            route.destination, wanted.address
        ),
        fix,
    ))
}

/// The rule that refuses what is sent to a container, by the host if nobody else.
fn of_what_is_sent_to<'a>(
    rules: &'a [Rule],
    routes: &'a [Route],
    address: IpAddr,
) -> Option<(&'a Rule, &'static str)> {
    match decide(rules, routes, &sent_to(address))? {
        Decision::Refused(rule, kind) => Some((rule, kind)),
        Decision::Led(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(to: &str, table: u32) -> Route {
        Route { table, ..Route::new(to.parse().unwrap(), Some(2)) }
    }

    fn web() -> Wanted {
        Wanted {
            id: "web".parse().unwrap(),
            address: "10.90.0.7".parse().unwrap(),
            index: 3,
            link: "ocinet0".to_owned(),
            to: "10.90.0.0/16".parse().unwrap(),
        }
    }

    /// Whether what 10.90.0.7 sends, and what is sent to it, is refused.
    fn refused(rules: &[Rule]) -> [bool; 2] {
        let routes = [route("10.90.0.0/16", MAIN), route("0.0.0.0/0", MAIN)];
        [
            of_what_it_sends(rules, &routes, &web(), "ocinet0").is_some(),
            of_what_is_sent_to(rules, &routes, web().address).is_some(),
        ]
    }

    #[test]
    fn a_rule_refuses_what_it_is_for_and_comes_first_to() {
        let cidr = |text: &str| Some(text.parse().unwrap());
        let main = Rule::new(32_766, Action::Table(MAIN));
        let at = |priority| Rule::new(priority, Action::Refuse("blackhole"));
        let by = |link: &str| Rule { by_link: Some(link.to_owned()), ..at(5) };
        for (rule, expected) in [
            (at(5), [true, true]),
            (Rule { from: cidr("10.90.0.0/16"), ..at(5) }, [true, false]),
            (Rule { to: cidr("10.0.0.0/8"), ..at(5) }, [false, true]),
            (Rule { from: cidr("192.0.2.0/24"), ..at(5) }, [false, false]),
            (Rule { to: cidr("192.0.2.0/24"), ..at(5) }, [false, false]),
            (Rule { is_of_few: true, ..at(5) }, [false, false]),
            (by("ocinet0"), [true, false]),
            (by("eth0"), [false, false]),
            (by("lo"), [false, true]),
            (Rule { is_inverted: true, ..by("eth0") }, [true, true]),
            (at(32_767), [false, false]),
        ] {
            let mut rules = vec![rule.clone(), main.clone()];
            rules.sort_by_key(|rule| rule.priority);
            assert_eq!(refused(&rules), expected, "{rule:?}");
        }
    }

    #[test]
    fn the_rule_that_goes_before_is_no_wider_than_the_network_or_the_rule() {
        let nowhere = Route { leads_nowhere: Some("blackhole"), ..route("0.0.0.0/0", 53) };
        for (from, fixed) in
            [("10.0.0.0/8", "10.90.0.0/16"), ("10.90.0.0/24", "10.90.0.0/24"), ("0.0.0.0/0", "10.90.0.0/16")]
        {
            let rule = Rule { from: Some(from.parse().unwrap()), ..Rule::new(100, Action::Table(53)) };
            let finding =
                of_what_it_sends(&[rule], std::slice::from_ref(&nowhere), &web(), "ocinet0").unwrap();
            let fix = format!("ip rule add from {fixed} lookup main priority 99");
            assert_eq!(finding.fix, [fix]);
        }
    }
}
