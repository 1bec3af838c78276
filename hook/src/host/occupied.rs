//! The ranges that a new network must keep clear of: found by reading only.

use std::collections::BTreeSet;

use ocinet_shared::kernel::link;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::route::Route;
use ocinet_shared::kernel::rule;
use ocinet_shared::kernel::rule::Rule;
use ocinet_shared::kernel::{KernelError, addr};
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::network::Network;

use crate::error::Error;
use crate::input::request::AttachmentRequest;
use crate::model::driver_spec::AddressScope;
use crate::model::host_network::{Leaves, Occupied};
use crate::plan::drivers;

/// A LAN whose prefix is this long or shorter is as wide as a whole private range (RFC 1918, section 3): a host on it has no
/// other addresses of that range for a network.
const WIDE_LAN: u8 = 12;

/// The subnets of other networks and, where ocinet alone is to hand out its addresses, what the host's routes lead to.
///
/// # Errors
/// Those of asking the kernel, or a bridge whose name cannot be.
pub fn list(
    socket: &mut NetlinkSocket,
    others: &[Network],
    request: &AttachmentRequest,
    routes: &[Route],
) -> Result<Vec<Occupied>, Error> {
    let mut occupied: Vec<Occupied> = Vec::new();
    for other in others {
        let by = format!("the subnet of network {}", other.name);
        let nothing = |range| Occupied { range, by: by.clone(), leaves: Leaves::Nothing };
        occupied.extend(other.subnets().map(nothing));
    }
    if request.driver.addresses() == AddressScope::Lan {
        return Ok(occupied);
    }
    // A bridge that an interrupted start left behind has routes of its own, which are no one else's.
    let own = match drivers::of(&request.driver).bridge(request)? {
        Some(bridge) => link::find(socket, &bridge)?.map(|link| link.index),
        None => None,
    };
    // A route to a container is its network's, or goes with the link of a container that has just ended.
    let counts = |route: &&Route| !route.to_container && (own.is_none() || route.link != own);
    let tables = tables_in_use(socket, routes)?;
    let counted = || routes.iter().filter(counts).filter(|route| tables.contains(&route.table));
    occupied.extend(counted().filter_map(destination));
    occupied.extend(counted().filter_map(gateway));
    let wide_lan = |occupied: &Occupied| occupied.leaves == Leaves::Named;
    if occupied.iter().any(wide_lan) {
        for (index, cidr) in addr::list(socket)?.into_iter().filter(|(index, _)| Some(*index) != own) {
            if routes.iter().any(|route| route.is_connected && route.link == Some(index)) {
                let by = format!("the host's own address {}", cidr.address());
                occupied.push(Occupied { range: Cidr::host(cidr.address()), by, leaves: Leaves::Nothing });
            }
        }
    }
    Ok(occupied)
}

/// The main table, and those that a rule leads to. Tables of VRFs are left out: their routes are for their own links' packets.
fn tables_in_use(socket: &mut NetlinkSocket, routes: &[Route]) -> Result<BTreeSet<u32>, KernelError> {
    let mut tables: BTreeSet<u32> = routes.iter().filter(|r| r.is_in_main()).map(|r| r.table).collect();
    for family in Family::ALL {
        if routes.iter().any(|route| !route.is_in_main() && route.destination.family() == family) {
            tables.extend(rule::list(socket, family)?.iter().filter_map(Rule::table));
        }
    }
    Ok(tables)
}

/// What a route leads to. Everything overlaps a default route, and a link-local one is on every link.
fn destination(route: &Route) -> Option<Occupied> {
    let range = route.destination;
    let leaves = match (route.is_connected, range.prefix() <= WIDE_LAN) {
        (true, false) => Leaves::Nothing,
        (true, true) => Leaves::Named,
        (false, _) => Leaves::Parts,
    };
    let is_one = !route.is_wide() && !is_on_every_link(&range);
    is_one.then(|| Occupied { range, by: name(route), leaves })
}

/// A route's gateway, without which it leads nowhere.
fn gateway(route: &Route) -> Option<Occupied> {
    let gateway = route.gateway.filter(|_| route.is_in_main())?;
    let by = format!("{gateway}, the gateway of {}", name(route));
    Some(Occupied { range: Cidr::host(gateway), by, leaves: Leaves::Nothing })
}

fn name(route: &Route) -> String {
    let table = if route.is_in_main() { String::new() } else { format!(" in table {}", route.table) };
    format!("the host's route to {}{table}", route.destination)
}

fn is_on_every_link(range: &Cidr) -> bool {
    range.is_link_local() || (range.family() == Family::Ipv6 && range.address().is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::host_network::Leaves;

    fn route(to: &str, gateway: Option<&str>, is_connected: bool) -> Route {
        let gateway = gateway.map(|gateway| gateway.parse().unwrap());
        Route { gateway, is_connected, ..Route::new(to.parse().unwrap(), Some(2)) }
    }

    /// What a route leaves of each range, by the range.
    fn leaves(to: &str, by: Option<&str>, is_connected: bool) -> Vec<(String, Leaves)> {
        let route = route(to, by, is_connected);
        let all = destination(&route).into_iter().chain(gateway(&route));
        all.map(|one| (one.range.to_string(), one.leaves)).collect()
    }

    #[test]
    fn parts_of_everywhere_are_a_default_route() {
        for to in ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "8.0.0.0/7", "::/1", "2000::/3", "fc00::/7"] {
            assert_eq!(leaves(to, None, false), []);
        }
        assert_eq!(
            leaves("128.0.0.0/1", Some("10.8.0.1"), false),
            [("10.8.0.1/32".to_owned(), Leaves::Nothing)]
        );
    }

    #[test]
    fn what_is_far_away_leaves_parts_and_a_lan_does_not() {
        for (to, is_connected, wanted) in [
            ("10.0.0.0/8", false, Leaves::Parts),
            ("fd00::/8", false, Leaves::Parts),
            ("10.90.0.0/16", false, Leaves::Parts),
            ("10.0.0.0/8", true, Leaves::Named),
            ("172.16.0.0/12", true, Leaves::Named),
            ("192.168.0.0/16", true, Leaves::Nothing),
            ("fd00:1::/64", true, Leaves::Nothing),
        ] {
            assert_eq!(leaves(to, None, is_connected), [(to.to_owned(), wanted)]);
        }
    }
}
