//! Addresses for containers: which to try. Who gets one is decided by the file system (`files.rs`).

pub mod files;

use std::net::IpAddr;

use ocinet_shared::cidr::Cidr;
use ocinet_shared::container_id::ContainerId;
use ocinet_shared::mac::fnv1a;
use ocinet_shared::network::Network;

use crate::network::not_a_host;

/// How many addresses are tried before a pool counts as full; every pool up to a /16 is tried whole.
const MAX_TRIES: u128 = 1 << 16;

/// The addresses of a pool in the order in which a container tries them.
///
/// It begins at a place that the container's id decides: a container that comes back finds its address again where it
/// is still free, and no scan grows with the number of leases before it.
pub fn candidates(network: &Network, pool: Cidr, id: &ContainerId) -> impl Iterator<Item = IpAddr> {
    let size = pool.size();
    let start = u128::from(fnv1a(id.as_str().as_bytes())) % size;
    let subnet = network.subnet(pool.family()).unwrap_or(pool);
    let gateway = network.gateway(pool.family());
    (0..size.min(MAX_TRIES))
        .map(move |step| pool.nth(start.wrapping_add(step) % size))
        .filter(move |address| not_a_host(&subnet, *address).is_none() && Some(*address) != gateway)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_pool_of_sixteen_gives_thirteen() {
        let network = Network {
            name: "n".parse().unwrap(),
            bridge: "oc-n".parse().unwrap(),
            gateways: vec!["10.0.0.1/28".parse().unwrap(), "fd00::1/64".parse().unwrap()],
            internal: false,
            isolate: true,
            mtu: None,
        };
        let id = "web".parse().unwrap();
        let ipv4: BTreeSet<IpAddr> = candidates(&network, "10.0.0.0/28".parse().unwrap(), &id).collect();
        assert_eq!(ipv4.len(), 13);
        let again: Vec<IpAddr> = candidates(&network, "10.0.0.0/28".parse().unwrap(), &id).take(1).collect();
        let first: Vec<IpAddr> = candidates(&network, "10.0.0.0/28".parse().unwrap(), &id).take(1).collect();
        assert_eq!(again, first);
        let ipv6 = candidates(&network, "fd00::/64".parse().unwrap(), &id).next().unwrap();
        assert!(ipv6.is_ipv6());
    }
}
