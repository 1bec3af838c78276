//! Which routing rule and which route decide where a packet goes (ip-rule(8)).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ocinet_shared::kernel::route::{Hop, LOCAL, MAIN, Route};
use ocinet_shared::kernel::rule::{Action, Packet, Rule};
use ocinet_shared::model::cidr::{Cidr, Family};

/// The link by which the host's own packets come, to rules.
pub(super) const OWN: &str = "lo";

/// What decides where a packet goes.
pub(super) enum Decision<'a> {
    /// A rule ends it, as ip-rule(8) calls it.
    Refused(&'a Rule, &'static str),
    /// A rule leads it to a table, by the number, and a route of that is used.
    Led(&'a Rule, u32, &'a Route),
}

impl<'a> Decision<'a> {
    pub(super) fn rule(&self) -> &'a Rule {
        match self {
            Self::Refused(rule, _) | Self::Led(rule, ..) => rule,
        }
    }

    /// The rule and its table, where that is not the main one.
    pub(super) fn elsewhere(&self) -> Option<(&'a Rule, u32, &'a Route)> {
        match *self {
            Self::Led(rule, table, route) if table != MAIN => Some((rule, table, route)),
            _ => None,
        }
    }

    /// The same where a packet goes as the kernel says that it does; of routes to several links, the one by that link.
    pub(super) fn agreed(self, hop: Option<Hop>, routes: &'a [Route]) -> Option<Self> {
        let (rule, table, route) = match self {
            Self::Refused(..) => return hop.is_none().then_some(self),
            Self::Led(rule, table, route) => (rule, table, route),
        };
        let of_hop = |other: &&Route| {
            let is_same = (other.table, other.destination, other.metric)
                == (route.table, route.destination, route.metric);
            is_same
                && match hop {
                    None => other.leads_nowhere.is_some(),
                    Some(Hop::By(link)) => other.leads_nowhere.is_none() && other.link == Some(link),
                    Some(Hop::Local) => false,
                }
        };
        Some(Self::Led(rule, table, routes.iter().find(of_hop)?))
    }
}

/// What a packet follows. A packet to somebody anywhere goes as those to most of the addresses do.
pub(super) fn decide<'a>(
    rules: &'a [Rule],
    routes: &'a [Route],
    packet: &Packet<'_>,
) -> Option<Decision<'a>> {
    let mut least = 0;
    for rule in rules {
        if rule.priority < least || !rule.is_for(packet) {
            continue;
        }
        match rule.action {
            Action::Refuse(kind) => return Some(Decision::Refused(rule, kind)),
            Action::GoTo(priority) if rules.iter().any(|rule| rule.priority == priority) => least = priority,
            Action::GoTo(_) | Action::Table(LOCAL) => {}
            Action::Table(table) => {
                let of_table: Vec<&Route> = routes.iter().filter(|route| route.table == table).collect();
                let best = best(&of_table, packet);
                if let Some(route) = best.filter(|route| counts(rule, route)) {
                    return Some(Decision::Led(rule, table, route));
                }
            }
        }
    }
    None
}

/// Of a table's routes, the longest prefix is used, and of those the least metric.
fn best<'a>(routes: &[&'a Route], packet: &Packet<'_>) -> Option<&'a Route> {
    let family = packet.to.or(packet.from).map(Family::of);
    let of_family = || routes.iter().copied().filter(|route| Some(route.destination.family()) == family);
    let ends_all = packet.to.is_none() && end_all(of_family());
    let leads = |route: &&Route| match packet.to {
        Some(to) => route.destination.contains(to),
        None => {
            let is_part = ends_all && is_wide_end(route);
            route.destination.prefix() == 0 || route.is_of_everywhere() || is_part
        }
    };
    of_family().filter(leads).min_by_key(|route| (u8::MAX - route.destination.prefix(), route.metric))
}

/// Whether a route ends what goes to a large part of everywhere, or to all of it.
pub(super) fn is_wide_end(route: &Route) -> bool {
    route.is_wide() && route.leads_nowhere.is_some_and(|kind| kind != "throw")
}

/// Whether routes of one family that end what they are for are together for everywhere, such as the two halves.
fn end_all<'a>(routes: impl Iterator<Item = &'a Route>) -> bool {
    let parts: BTreeSet<Cidr> =
        routes.filter(|route| is_wide_end(route)).map(|route| route.destination).collect();
    let is_of_another = |part: &Cidr| {
        parts.iter().any(|other| other.prefix() < part.prefix() && other.contains(part.address()))
    };
    let size = |part: &Cidr| 1_u64 << (32 - u32::from(part.prefix()).min(32));
    parts.iter().filter(|part| !is_of_another(part)).map(size).sum::<u64>() == 1 << 32
}

fn counts(rule: &Rule, route: &Route) -> bool {
    let length = u32::from(route.destination.prefix());
    // The kernel suppresses no route that leads nowhere.
    let is_suppressed = route.leads_nowhere.is_none() && rule.suppresses.is_some_and(|least| length <= least);
    route.leads_nowhere != Some("throw") && !is_suppressed
}

/// A packet of the host's own to a container.
pub(super) fn sent_to(address: IpAddr) -> Packet<'static> {
    Packet { from: None, to: Some(address), by: OWN }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSE: Action = Action::Refuse("blackhole");

    fn rule(priority: u32, table: u32) -> Rule {
        Rule::new(priority, Action::Table(table))
    }

    fn route(to: &str, table: u32, metric: u32) -> Route {
        Route { metric, table, ..Route::new(to.parse().unwrap(), Some(table)) }
    }

    /// The priority of the rule, and the destination of the route, that a packet follows.
    fn decided(rules: &[Rule], routes: &[Route], packet: &Packet<'_>) -> Option<(u32, Option<String>)> {
        let decision = decide(rules, routes, packet)?;
        let Decision::Led(_, _, route) = decision else { return Some((decision.rule().priority, None)) };
        Some((decision.rule().priority, Some(route.destination.to_string())))
    }

    #[test]
    fn the_first_table_that_knows_a_way_decides() {
        let routes = [
            route("10.90.0.0/16", MAIN, 0),
            route("0.0.0.0/0", 52, 0),
            Route { leads_nowhere: Some("throw"), ..route("10.0.0.0/8", 51, 0) },
        ];
        let decided = |rules: &[Rule]| decided(rules, &routes, &sent_to("10.90.0.7".parse().unwrap()));
        let by_main = Some((9, Some("10.90.0.0/16".to_owned())));
        assert_eq!(decided(&[rule(0, LOCAL), rule(9, MAIN), rule(10, 52)]), by_main);
        let by_52 = Some((5, Some("0.0.0.0/0".to_owned())));
        assert_eq!(decided(&[rule(5, 52), rule(9, MAIN)]), by_52);
        assert_eq!(decided(&[Rule { suppresses: Some(16), ..rule(4, MAIN) }, rule(5, 52)]), by_52);
        assert_eq!(decided(&[Rule::new(3, Action::GoTo(5)), rule(4, MAIN), rule(5, 52)]), by_52);
        assert_eq!(decided(&[Rule::new(3, REFUSE), rule(9, MAIN)]), Some((3, None)));
        for skipped in [
            Rule { is_of_few: true, ..rule(5, 52) },
            Rule { suppresses: Some(0), ..rule(5, 52) },
            rule(5, 51),
            rule(5, 50),
            Rule::new(5, Action::GoTo(8)),
        ] {
            assert_eq!(decided(&[skipped, rule(9, MAIN)]), by_main);
        }
    }

    #[test]
    fn the_longest_prefix_decides_and_then_the_least_metric() {
        let one = |metric| Route { leads_nowhere: Some("blackhole"), ..route("10.90.0.0/24", MAIN, metric) };
        let routes = [route("10.90.0.0/16", MAIN, 0), route("10.90.0.0/24", MAIN, 20), one(10)];
        let rules = [Rule { suppresses: Some(24), ..rule(9, MAIN) }];
        let decision = decide(&rules, &routes, &sent_to("10.90.0.7".parse().unwrap()));
        let Some(Decision::Led(_, _, route)) = decision else { panic!("no route") };
        assert_eq!((route.metric, route.leads_nowhere), (10, Some("blackhole")));
    }

    #[test]
    fn what_goes_anywhere_follows_wide_routes() {
        let nowhere = Route { leads_nowhere: Some("unreachable"), ..route("0.0.0.0/0", 53, 0) };
        let routes = [route("10.0.0.0/8", 53, 0), nowhere, route("128.0.0.0/1", 54, 0), route("::/0", 53, 0)];
        let packet = Packet { from: Some("10.90.0.7".parse().unwrap()), to: None, by: "ocinet0" };
        let rules = [rule(5, 53), rule(9, 54)];
        assert_eq!(decided(&rules, &routes, &packet), Some((5, Some("0.0.0.0/0".to_owned()))));
        assert_eq!(decided(&rules[1..], &routes, &packet), Some((9, Some("128.0.0.0/1".to_owned()))));
    }

    #[test]
    fn the_kernels_answer_tells_a_decision_from_a_guess() {
        let routes = [route("10.90.0.0/16", MAIN, 0)];
        let rules = [rule(9, MAIN)];
        let agrees = |hop| {
            let decision = decide(&rules, &routes, &sent_to("10.90.0.7".parse().unwrap())).unwrap();
            decision.agreed(hop, &routes).is_some()
        };
        assert!(agrees(Some(Hop::By(MAIN))));
        assert!(!agrees(Some(Hop::By(2))) && !agrees(Some(Hop::Local)) && !agrees(None));
    }
}
