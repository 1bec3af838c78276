//! Addresses for containers: which to try. Who gets one is decided by the file system (`state/leases.rs`).

use std::net::IpAddr;

use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::mac::fnv1a;
use ocinet_shared::model::network::{Network, not_a_host};

use crate::error::Error;
use crate::input::request::AttachmentRequest;

/// How many addresses are tried before a pool counts as full; every pool up to a /16 is tried whole.
const MAX_TRIES: u128 = 1 << 16;

/// The addresses of a pool in the order in which a container tries them.
///
/// It begins at a place that the container's id decides: a container that comes back finds its address again where it
/// is still free, and no scan grows with the number of leases before it.
pub fn candidates<'a>(
    network: &'a Network,
    pool: Cidr,
    id: &ContainerId,
) -> impl Iterator<Item = IpAddr> + use<'a> {
    let size = pool.size();
    let start = u128::from(fnv1a(id.as_str().as_bytes())) % size;
    let subnet = network.subnet(pool.family()).unwrap_or(pool);
    (0..size.min(MAX_TRIES))
        .map(move |step| pool.nth(start.wrapping_add(step) % size))
        .filter(move |address| not_a_host(&subnet, *address).is_none() && !network.is_reserved(*address))
}

/// The addresses of a new network that the host itself takes: the last of each family's range that its containers'
/// addresses are from.
///
/// # Errors
/// A family of which no range is named: any address of the LAN may be somebody's.
pub fn for_host(request: &AttachmentRequest, network: &Network) -> Result<Vec<IpAddr>, Error> {
    let mut addresses = Vec::new();
    for subnet in network.subnets() {
        let range =
            request.ip_ranges.iter().find(|range| range.family() == subnet.family()).ok_or_else(|| {
                let cause = format!("the host, too, needs an address of {subnet}");
                request
                    .label("host-access")
                    .error(cause, "say by net.ip-range which addresses are free to be given out")
            })?;
        let last = range.size().min(MAX_TRIES) - 1;
        let free = (0..=last).rev().map(|offset| range.nth(offset)).find(|address| {
            not_a_host(&subnet, *address).is_none()
                && !network.is_reserved(*address)
                && !request.addresses.contains(address)
        });
        addresses.push(free.ok_or_else(|| {
            let cause = format!("{range} has no address left for the host");
            request.label("ip-range").error(cause, "give a wider range")
        })?);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocinet_shared::model::cidr::Family;
    use ocinet_shared::model::driver_settings::DriverSettings;
    use ocinet_shared::model::network::Subnet;
    use std::collections::BTreeSet;

    #[test]
    fn a_pool_of_sixteen_gives_thirteen() {
        let network = Network {
            name: "n".parse().unwrap(),
            settings: DriverSettings::Veth,
            subnets: [("10.0.0.0/28", "10.0.0.1"), ("fd00::/64", "fd00::1")]
                .map(|(range, gateway)| Subnet {
                    range: range.parse().unwrap(),
                    gateway: Some(gateway.parse().unwrap()),
                    next_hop: None,
                })
                .to_vec(),
            ip_ranges: Vec::new(),
            reserved: Vec::new(),
            internal: false,
            isolate: true,
            mtu: None,
            group: 1,
            links: Vec::new(),
        };
        let id = "web".parse().unwrap();
        let ipv4: BTreeSet<IpAddr> = candidates(&network, "10.0.0.0/28".parse().unwrap(), &id).collect();
        assert_eq!(ipv4.len(), 13);
        assert_eq!(network.pool_size("10.0.0.0/28".parse().unwrap()), 13);
        assert_eq!(network.pool_size("10.0.0.8/29".parse().unwrap()), 7);
        let ipv6_pool = network.pool(Family::Ipv6).unwrap();
        assert_eq!(network.pool_size(ipv6_pool), (1 << 64) - 2);
        let again: Vec<IpAddr> = candidates(&network, "10.0.0.0/28".parse().unwrap(), &id).take(1).collect();
        let first: Vec<IpAddr> = candidates(&network, "10.0.0.0/28".parse().unwrap(), &id).take(1).collect();
        assert_eq!(again, first);
        let ipv6 = candidates(&network, "fd00::/64".parse().unwrap(), &id).next().unwrap();
        assert!(ipv6.is_ipv6());
    }
}
