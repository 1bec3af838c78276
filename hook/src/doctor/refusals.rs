//! Routing rules that refuse: those of the actions blackhole, unreachable and prohibit (ip-rule(8)).

use std::net::IpAddr;

use ocinet_shared::cidr::Family;
use ocinet_shared::kernel::route::{self, Route};
use ocinet_shared::kernel::rule::{self, Action, Packet, Rule};

use super::decisions::{Decision, decide, sent_to};
use super::routes::{Wanted, arriving, ip, is_of_own, uplinks, wanted};
use super::{Finding, Surroundings};
use crate::error::Error;

/// Rules that end what containers send, or what is sent to them.
pub(super) fn rules(around: &mut Surroundings) -> Result<Vec<Finding>, Error> {
    let mut findings: Vec<Finding> = Vec::new();
    for family in Family::ALL {
        let rules = rule::list(&mut around.found.route, family)?;
        let refuses = rules.iter().any(|rule| matches!(rule.action, Action::Refuse(_)));
        if !refuses {
            continue;
        }
        let uplinks = uplinks(around, &rules);
        for wanted in wanted(around).into_iter().filter(|wanted| Family::of(wanted.address) == family) {
            findings.extend(of_what_it_sends(&rules, &around.found.routes, &wanted));
            if let Some((rule, kind)) = of_what_is_sent_to(&rules, &around.found.routes, wanted.address) {
                // Rules may be passed over for a reason that ocinet does not know.
                if route::towards(&mut around.found.route, wanted.address)?.is_none() {
                    let what = if is_of_own(rule) {
                        format!("the host sends to container {}", wanted.id)
                    } else {
                        format!("container {} is sent", wanted.id)
                    };
                    findings.push(by_action(rule, kind, &wanted, &what));
                }
            }
            for (link, decision) in arriving(around, &rules, &uplinks, &wanted) {
                if let Decision::Refused(rule, kind) = decision {
                    let what = format!("comes by {link} for container {}", wanted.id);
                    findings.push(by_action(rule, kind, &wanted, &what));
                }
            }
        }
    }
    let mut told: Vec<Finding> = Vec::new();
    for finding in findings {
        if !told.iter().any(|other| other.mend == finding.mend) {
            told.push(finding);
        }
    }
    Ok(told)
}

fn by_action(rule: &Rule, kind: &str, wanted: &Wanted, what: &str) -> Finding {
    Finding::new(
        format!("the routing rule {} ({kind}) ends what {what}", rule.priority),
        format!("the host looks at it before its routes: {} is cut off", wanted.address),
        format!("{} rule del {rule}", ip(Family::of(wanted.address))),
    )
}

/// The rule that ends what a container sends by the host, whoever it is for.
fn of_what_it_sends(rules: &[Rule], routes: &[Route], wanted: &Wanted) -> Option<Finding> {
    let packet = Packet { from: Some(wanted.address), to: None, by: &wanted.link };
    match decide(rules, routes, &packet)? {
        Decision::Refused(rule, kind) => {
            Some(by_action(rule, kind, wanted, &format!("container {} sends", wanted.id)))
        }
        Decision::Led(..) => None,
    }
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
    use ocinet_shared::kernel::route::MAIN;

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
            of_what_it_sends(rules, &routes, &web()).is_some(),
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
}
