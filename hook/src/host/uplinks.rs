//! Which of the host's links are its own uplinks, and which are another program's network. Pure.

use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::route::Route;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::element::{Element, Field, Set};
use ocinet_shared::model::network::HOST_MACVLAN_GROUP;

/// The kinds of links on top of network cards: an uplink where what they are on is one.
const ON_TOP: [&str; 5] = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"];
/// The kinds of links that make one uplink of several network cards.
const JOINING: [&str; 2] = ["bond", "team"];
/// How many links are on top of each other at most; a loop ends there.
const DEPTH: usize = 8;

/// The host's links and routes.
#[derive(Debug, Clone, Copy)]
pub struct Links<'a> {
    /// All links.
    pub links: &'a [Link],
    /// The routes of both families.
    pub routes: &'a [Route],
}

impl<'a> Links<'a> {
    /// The elements by which the rules know uplinks that have a kind. They know ocinet's own links by their group.
    pub fn elements(&self) -> Vec<Element> {
        let name = |link: &Link| Field::Interface(link.name.clone());
        let has_element = |link: &&Link| {
            !link.kind.is_empty() && link.group != HOST_MACVLAN_GROUP && self.is_uplink(link, DEPTH)
        };
        let mut elements = Vec::new();
        for link in self.links.iter().filter(has_element) {
            elements.push(Element::new(Set::Uplinks, vec![name(link)]));
            if link.kind == "bridge" {
                elements.push(Element::new(Set::Bridged, vec![name(link), name(link)]));
            }
        }
        elements
    }

    /// Where a default route of either family leaves, a network card, or what is on top of network cards.
    fn is_uplink(&self, link: &Link, depth: usize) -> bool {
        let is_on_uplink = || {
            let below = link.peer.filter(|_| link.peer_namespace.is_none());
            let below = below.and_then(|index| self.links.iter().find(|other| other.index == index));
            below.is_some_and(|below| depth > 0 && self.is_uplink(below, depth - 1))
        };
        match link.kind.as_str() {
            "" => !link.is_loopback,
            kind if JOINING.contains(&kind) => true,
            kind if ON_TOP.contains(&kind) && is_on_uplink() => true,
            _ => self.has_default_route(link),
        }
    }

    /// Whether a link is an uplink, or a default route of any table leaves by it.
    pub fn is_way_out(&self, link: &Link) -> bool {
        let is_default = |route: &Route| Family::ALL.into_iter().any(|family| route.is_default_of(family));
        self.is_uplink(link, DEPTH)
            || self.routes.iter().any(|route| route.link == Some(link.index) && is_default(route))
    }

    fn has_default_route(&self, link: &Link) -> bool {
        Family::ALL
            .into_iter()
            .any(|family| links_of_default_routes(self.routes, family).any(|index| index == link.index))
    }

    /// Whether the host has a route of a family by a link.
    pub fn leads_by(&self, link: &Link, family: Family) -> bool {
        self.routes_by(link, family).next().is_some()
    }

    fn routes_by(&self, link: &Link, family: Family) -> impl Iterator<Item = &'a Route> {
        let index = link.index;
        self.routes.iter().filter(move |route| {
            route.link == Some(index)
                && route.destination.family() == family
                && !route.destination.is_link_local()
        })
    }

    /// A link of another program's network that the host has a route to: it may need forwarding.
    pub fn others(&self, family: Family) -> Option<&'a Link> {
        let leads_to = |link: &Link| self.routes_by(link, family).any(|route| !route.to_container);
        let is_others = |link: &&Link| {
            link.is_up
                && !link.kind.is_empty()
                && !link::is_ours(link)
                && !self.is_uplink(link, DEPTH)
                && leads_to(link)
        };
        self.links.iter().find(is_others)
    }
}

/// The indexes of the links by which the main table's default routes of a family leave.
pub fn links_of_default_routes(routes: &[Route], family: Family) -> impl Iterator<Item = u32> {
    let is_default = move |route: &&Route| route.is_in_main() && route.is_default_of(family);
    routes.iter().filter(is_default).filter_map(|route| route.link)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: &str, below: Option<u32>) -> Link {
        Link {
            index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            mac: None,
            is_up: true,
            has_carrier: true,
            is_settling: false,
            is_loopback: name == "lo",
            is_ethernet: true,
            mtu: 1500,
            group: 0,
            controller: None,
            alias: String::new(),
            peer: below,
            peer_namespace: None,
            vxlan: None,
        }
    }

    fn route(to: &str, index: u32) -> Route {
        Route::new(to.parse().unwrap(), Some(index))
    }

    #[test]
    fn uplinks_are_network_cards_what_is_on_them_and_where_default_routes_leave() {
        let links = [
            link(1, "lo", "", None),
            link(2, "eth0", "", None),
            link(3, "eth0.7", "vlan", Some(2)),
            link(4, "bond0", "bond", None),
            link(5, "bond0.8", "vlan", Some(4)),
            link(6, "br0", "bridge", None),
            link(7, "podman0", "bridge", None),
            link(8, "podman0.9", "vlan", Some(7)),
            link(9, "ppp0", "ppp", None),
            link(10, "wg0", "wireguard", None),
            link(11, "lan0", "macvlan", Some(2)),
            Link { group: HOST_MACVLAN_GROUP, ..link(12, "oc-0123456789ab", "macvlan", Some(2)) },
        ];
        let mut other_table = route("0.0.0.0/0", 10);
        other_table.table = 52;
        let routes = [route("0.0.0.0/0", 6), route("::/0", 9), other_table, route("10.88.0.0/16", 7)];
        let found = Links { links: &links, routes: &routes };
        let names: Vec<String> = found.elements().iter().map(Element::nft).collect();
        assert_eq!(
            names,
            [
                "\"eth0.7\"",
                "\"bond0\"",
                "\"bond0.8\"",
                "\"br0\"",
                "\"br0\" . \"br0\"",
                "\"ppp0\"",
                "\"lan0\""
            ]
        );
    }

    #[test]
    fn another_programs_network_has_a_kind_a_route_and_is_no_uplink() {
        let mut ended = link(4, "oc-abcdefghijkl", "veth", None);
        ended.alias.clear();
        let links = [link(2, "eth0", "veth", None), link(3, "podman0", "bridge", None), ended];
        let theirs = [route("0.0.0.0/0", 2), route("198.51.100.0/24", 2), route("10.88.0.0/16", 3)];
        let others = |routes: &[Route], family| {
            Links { links: &links, routes }.others(family).map(|link| link.name.clone())
        };
        assert_eq!(others(&theirs, Family::Ipv4).as_deref(), Some("podman0"));
        assert_eq!(others(&theirs, Family::Ipv6), None);
        assert_eq!(others(&[route("fe80::/64", 3), route("10.90.0.2/32", 4)], Family::Ipv6), None);
        assert_eq!(others(&[route("0.0.0.0/0", 2), route("10.90.0.2/32", 4)], Family::Ipv4), None);
    }
}
