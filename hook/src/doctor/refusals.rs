//! Routing rules that refuse: those of the actions blackhole, unreachable and prohibit (ip-rule(8)).

use std::net::IpAddr;

use ocinet_shared::cidr::Family;
use ocinet_shared::kernel::route::Route;
use ocinet_shared::kernel::rule::{self, Rule};

use super::routes::{decide, ip, wanted};
use super::{Finding, Surroundings};
use crate::error::Error;

/// Rules that end what containers send, or what is sent to them.
pub(super) fn rules(around: &mut Surroundings) -> Result<Vec<Finding>, Error> {
    let mut findings: Vec<Finding> = Vec::new();
    for family in Family::ALL {
        let rules = rule::list(&mut around.found.route, family)?;
        if rules.iter().all(|rule| rule.refuses.is_none()) {
            continue;
        }
        let routes = &around.found.routes;
        for wanted in wanted(around).into_iter().filter(|wanted| Family::of(wanted.address) == family) {
            let out = of_what_is_sent_by(&rules, routes, (wanted.address, &wanted.link));
            let refusals = [(out, "sends"), (of_what_is_sent_to(&rules, routes, wanted.address), "is sent")];
            for (rule, does) in refusals {
                let Some((rule, kind)) = rule.and_then(|rule| Some((rule, rule.refuses?))) else { continue };
                let finding = Finding::new(
                    format!(
                        "the routing rule {} ({kind}) ends what container {} {does}",
                        rule.priority, wanted.id
                    ),
                    format!("the host looks at it before its routes: {} is cut off", wanted.address),
                    format!("{} rule del {}", ip(family), text(rule, kind)),
                );
                if !findings.iter().any(|other| other.mend == finding.mend) {
                    findings.push(finding);
                }
            }
        }
    }
    Ok(findings)
}

/// A rule as ip-rule(8) names it.
fn text(rule: &Rule, kind: &str) -> String {
    let from = rule.from.map(|from| format!("from {from} "));
    let to = rule.to.map(|to| format!("to {to} "));
    let link = rule.by_link.as_ref().map(|link| format!("iif {link} "));
    let words = [from, to, link].into_iter().flatten().collect::<String>();
    format!("priority {} {words}{kind}", rule.priority)
}

/// The rule that refuses what a container sends by the host, whoever it is for; none where an earlier rule has a way for
/// all of it.
fn of_what_is_sent_by<'a>(
    rules: &'a [Rule],
    routes: &[Route],
    (own, link): (IpAddr, &str),
) -> Option<&'a Rule> {
    let is_of = |rule: &&Rule| {
        let is_by = !rule.is_of_few || rule.by_link.as_deref() == Some(link);
        is_by && rule.from.is_none_or(|from| from.contains(own)) && rule.to.is_none_or(|to| to.prefix() == 0)
    };
    let is_way_out = |rule: &&Rule| {
        let of_table =
            |route: &&Route| route.table == rule.table && route.destination.family() == Family::of(own);
        rule.refuses.is_some()
            || (!rule.suppresses_defaults && routes.iter().filter(of_table).any(Route::is_of_everywhere))
    };
    let first = rules.iter().filter(is_of).find(is_way_out)?;
    first.refuses.is_some().then_some(first)
}

/// The rule that refuses what is sent to a container, whoever sends it; none where an earlier rule has a way there.
pub(super) fn of_what_is_sent_to<'a>(
    rules: &'a [Rule],
    routes: &[Route],
    address: IpAddr,
) -> Option<&'a Rule> {
    let is_for = |rule: &&Rule| {
        let is_from_all = rule.from.is_none_or(|from| from.prefix() == 0);
        rule.refuses.is_some()
            && !rule.is_of_few
            && is_from_all
            && rule.to.is_none_or(|to| to.contains(address))
    };
    let refuses = rules.iter().find(is_for)?;
    let leads = decide(rules, routes, address, None).map(|decision| decision.rule.priority);
    leads.is_none_or(|leads| leads > refuses.priority).then_some(refuses)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLACKHOLE: Option<&str> = Some("blackhole");

    fn rule(priority: u32, table: u32, refuses: Option<&'static str>) -> Rule {
        Rule {
            priority,
            table,
            refuses,
            from: None,
            to: None,
            is_by_mark: false,
            by_link: None,
            is_of_few: false,
            suppresses_defaults: false,
        }
    }

    fn route(to: &str, table: u32) -> Route {
        Route { table, ..Route::new(to.parse().unwrap(), Some(2)) }
    }

    /// Whether what 10.90.0.7 sends, and what is sent to it, is refused.
    fn refused(rules: &[Rule]) -> [bool; 2] {
        let routes = [route("10.90.0.0/16", 254), route("0.0.0.0/0", 254)];
        let own: IpAddr = "10.90.0.7".parse().unwrap();
        [
            of_what_is_sent_by(rules, &routes, (own, "ocinet0")).is_some(),
            of_what_is_sent_to(rules, &routes, own).is_some(),
        ]
    }

    #[test]
    fn a_rule_refuses_what_it_is_for_and_comes_first_to() {
        let cidr = |text: &str| Some(text.parse().unwrap());
        let main = rule(32_766, 254, None);
        let at = |priority| rule(priority, 0, BLACKHOLE);
        let few =
            |by_link: Option<&str>| Rule { is_of_few: true, by_link: by_link.map(str::to_owned), ..at(5) };
        for (rule, expected) in [
            (at(5), [true, true]),
            (Rule { from: cidr("10.90.0.0/16"), ..at(5) }, [true, false]),
            (Rule { to: cidr("10.0.0.0/8"), ..at(5) }, [false, true]),
            (Rule { from: cidr("192.0.2.0/24"), ..at(5) }, [false, false]),
            (Rule { to: cidr("192.0.2.0/24"), ..at(5) }, [false, false]),
            (few(None), [false, false]),
            (few(Some("ocinet0")), [true, false]),
            (few(Some("eth0")), [false, false]),
            (at(32_767), [false, false]),
        ] {
            let mut rules = vec![rule.clone(), main.clone()];
            rules.sort_by_key(|rule| rule.priority);
            assert_eq!(refused(&rules), expected, "{rule:?}");
        }
    }
}
