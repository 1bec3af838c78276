//! Which network a container belongs to, and what a new one is made with. Pure.

use std::net::IpAddr;

use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::container_id::ContainerId;
use ocinet_shared::ifname::IfName;
use ocinet_shared::mac::fnv1a;
use ocinet_shared::network::Network;

use crate::config::Config;
use crate::error::{Error, annotation, report};
use crate::request::{DEFAULT_NETWORK, Request, unusable};

/// The bridge of the network `default`.
const DEFAULT_BRIDGE: &str = "ocinet0";
/// The size of a network that names no subnet.
const POOL_PREFIX: u8 = 24;

/// A range of addresses that is in use on the host, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupied {
    /// The range.
    pub range: Cidr,
    /// What uses it, for a message: `the route to 10.0.0.0/8`.
    pub by: String,
}

/// Checks what the container says of a network that exists; what it does not say, it shares.
///
/// # Errors
/// [`Error::Conflict`] that shows both, where it says something else.
pub fn share(request: &Request, network: Network) -> Result<Network, Error> {
    let differ = |key: &str, asked: String, has: String| {
        Err(Error::Conflict(report(
            format!("join network {}", network.name),
            format!("net.{key} asks for {asked}, but the network was made with {has}"),
            format!("leave net.{key} out, or use another net.network"),
        )))
    };
    if let Some(bridge) = request.bridge.as_ref().filter(|bridge| **bridge != network.bridge) {
        return differ("bridge", bridge.to_string(), network.bridge.to_string());
    }
    let has: Vec<Cidr> = network.subnets().collect();
    if !request.subnets.is_empty() && request.subnets != has {
        return differ("subnet", list(&request.subnets), list(&has));
    }
    if let Some(gateway) =
        request.gateways.iter().find(|asked| !network.gateways.iter().any(|has| has.address() == **asked))
    {
        return differ("gateway", gateway.to_string(), list(&network.gateways));
    }
    if let Some(internal) = request.internal.filter(|internal| *internal != network.internal) {
        return differ("internal", internal.to_string(), network.internal.to_string());
    }
    if let Some(isolate) = request.isolate.filter(|isolate| *isolate != network.isolate) {
        return differ("isolate", isolate.to_string(), network.isolate.to_string());
    }
    Ok(network)
}

/// What a new network is made with.
///
/// # Errors
/// A bridge or a subnet that is in use, no subnet left, or a gateway that is not in the subnet.
pub fn make(
    request: &Request,
    config: &Config,
    others: &[Network],
    occupied: &[Occupied],
) -> Result<Network, Error> {
    let subnets = match named_subnets(request, config) {
        [] => vec![next_free(config.subnet_pool, occupied)?],
        named => named.to_vec(),
    };
    let bridge = request.bridge.clone().map_or_else(|| bridge_of(&request.network), Ok)?;
    if let Some(other) = others.iter().find(|other| other.bridge == bridge) {
        return Err(Error::Conflict(report(
            format!("use the bridge {bridge}"),
            format!("it is the bridge of network {}", other.name),
            "name another bridge with net.bridge, or that network with net.network",
        )));
    }
    for subnet in &subnets {
        if let Some(overlap) = occupied.iter().find(|occupied| occupied.range.overlaps(subnet)) {
            return Err(Error::Conflict(report(
                format!("make network {} with the subnet {subnet}", request.network),
                format!("it overlaps {}", overlap.by),
                "give the network a free net.subnet",
            )));
        }
    }
    let gateways =
        subnets.iter().map(|subnet| gateway(subnet, &request.gateways)).collect::<Result<_, _>>()?;
    if let Some(stray) =
        request.gateways.iter().find(|gateway| !subnets.iter().any(|subnet| subnet.contains(**gateway)))
    {
        return Err(annotation(
            "net.gateway",
            format!("{stray} is outside {}", list(&subnets)),
            "give an address inside the subnet",
        ));
    }
    Ok(Network {
        name: request.network.clone(),
        bridge,
        gateways,
        internal: request.internal.unwrap_or(false),
        isolate: request.isolate.unwrap_or(true),
        mtu: request.mtu,
    })
}

/// The subnets that the container or the configuration names for a new network; none where one is to be chosen.
fn named_subnets<'a>(request: &'a Request, config: &'a Config) -> &'a [Cidr] {
    let is_default = request.network.as_str() == DEFAULT_NETWORK;
    if request.subnets.is_empty() && is_default { &config.default_subnets } else { &request.subnets }
}

/// The families that a new network will have: only their routes need to be looked at.
#[must_use]
pub fn families(request: &Request, config: &Config) -> Vec<Family> {
    match named_subnets(request, config) {
        [] => vec![config.subnet_pool.family()],
        named => named.iter().map(Cidr::family).collect(),
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn next_free(pool: Cidr, occupied: &[Occupied]) -> Result<Cidr, Error> {
    let step = 1_u128 << (Family::Ipv4.bits() - POOL_PREFIX);
    let count = pool.size() / step;
    (0..count)
        .filter_map(|index| Cidr::new(pool.nth(index * step), POOL_PREFIX))
        .find(|subnet| !occupied.iter().any(|occupied| occupied.range.overlaps(subnet)))
        .ok_or_else(|| {
            Error::Conflict(report(
                "choose a subnet for a new network",
                format!("all {count} of the pool {pool} are in use"),
                "give the network a net.subnet, or widen subnet-pool in the configuration",
            ))
        })
}

fn gateway(subnet: &Cidr, asked: &[IpAddr]) -> Result<Cidr, Error> {
    let address =
        asked.iter().copied().find(|asked| subnet.contains(*asked)).unwrap_or_else(|| subnet.nth(1));
    match not_a_host(subnet, address) {
        Some(what) => Err(annotation(
            "net.gateway",
            format!("{address} is {what} of {subnet}"),
            "give another address inside the subnet",
        )),
        // The address is inside the subnet, so that the families agree.
        None => subnet
            .with_address(address)
            .ok_or_else(|| annotation("net.gateway", "families differ", "give one a family")),
    }
}

/// What an address of a subnet is, where it cannot be a host's.
#[must_use]
pub fn not_a_host(subnet: &Cidr, address: IpAddr) -> Option<&'static str> {
    if address == subnet.nth(0) {
        Some("the network address")
    } else if subnet.family() == Family::Ipv4 && address == subnet.last() {
        Some("the broadcast address")
    } else {
        None
    }
}

/// Checks an address that a container asks for against its network.
///
/// # Errors
/// An address that is not in the network, or that no container of it can have.
pub fn check_address(network: &Network, address: IpAddr) -> Result<(), Error> {
    let hint = format!("give a free address inside {}", list(&network.subnets().collect::<Vec<_>>()));
    let refuse = |cause: String| Err(annotation("net.ip", cause, hint.clone()));
    if let Some(kind) = unusable(address) {
        return refuse(format!("{address} is a {kind} address"));
    }
    let Some(subnet) = network.subnets().find(|subnet| subnet.contains(address)) else {
        return refuse(format!("{address} is outside the subnet of network {}", network.name));
    };
    if let Some(what) = not_a_host(&subnet, address) {
        return refuse(format!("{address} is {what} of {subnet}"));
    }
    if network.gateway(subnet.family()) == Some(address) {
        return refuse(format!("{address} is the gateway of network {}", network.name));
    }
    Ok(())
}

/// `ocinet0` for the default network, `oc-NAME` where that fits, and otherwise a name from the hash of the network's.
///
/// # Errors
/// A name that the kernel does not accept.
pub fn bridge_of(network: &ContainerId) -> Result<IfName, Error> {
    if network.as_str() == DEFAULT_NETWORK {
        return DEFAULT_BRIDGE
            .parse()
            .map_err(|error| annotation("net.bridge", error, "report this as a bug"));
    }
    format!("oc-{network}").parse().or_else(|_| {
        let name = format!("oc-{:012x}", fnv1a(network.as_str().as_bytes()) & 0xffff_ffff_ffff);
        name.parse().map_err(|error| annotation("net.network", error, "name the bridge with net.bridge"))
    })
}
