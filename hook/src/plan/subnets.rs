//! Choosing a subnet for a new network, and which gateways are on its link.

use std::net::IpAddr;

use ocinet_shared::model::cidr::{Cidr, Family};

use crate::error::{Class, Error};
use crate::input::config::Setting;
use crate::model::driver_spec::AddressScope;
use crate::model::host_network::Occupied;

/// The size of a network that names no subnet.
const POOL_PREFIX: u8 = 24;

/// Whether a gateway is reached on a network's link: LANs know their IPv6 routers by link-local addresses.
#[must_use]
pub fn is_on_link(scope: AddressScope, range: &Cidr, gateway: IpAddr) -> bool {
    let link_local =
        scope == AddressScope::Lan && range.family() == Family::Ipv6 && Cidr::link_local6().contains(gateway);
    range.contains(gateway) || link_local
}

/// Items as an annotation has them.
pub fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The first subnet of the pool that the host does not use.
///
/// # Errors
/// [`Class::Conflict`] where all are in use.
pub fn next_free(pool: &Setting<Cidr>, occupied: &[Occupied]) -> Result<Cidr, Error> {
    let (pool, is_named) = (pool.value, pool.is_named);
    let step = 1_u128 << (Family::Ipv4.bits() - POOL_PREFIX);
    let count = pool.size() / step;
    let spoiled = |subnet: &Cidr| occupied.iter().any(|one| one.spoils(subnet, &pool, is_named));
    let mut subnets = (0..count).filter_map(|index| Cidr::new(pool.nth(index * step), POOL_PREFIX));
    subnets.find(|subnet| !spoiled(subnet)).ok_or_else(|| {
        let widest = occupied
            .iter()
            .filter(|one| one.spoils(&pool, &pool, is_named))
            .min_by_key(|one| one.range.prefix());
        let widest = widest.map_or("other networks", |one| one.by.as_str());
        Error::new(
            Class::Conflict,
            "choose a subnet for a new network",
            format!("all {count} of the pool {pool} are in use, most by {widest}"),
            "give the network a free net.subnet, or set another subnet-pool in the configuration",
        )
    })
}
