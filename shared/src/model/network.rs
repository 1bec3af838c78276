//! What a network was made with.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::model::cidr::{Cidr, Family};
use crate::model::container_id::ContainerId;
use crate::model::driver_settings::DriverSettings;
use crate::model::ifname::IfName;
use crate::model::mac::{Mac, fnv1a};

/// The group of the host's own macvlans beside containers on a LAN: `base.nft` keeps them apart by it from their first
/// moment to their last. No network has it.
pub const HOST_MACVLAN_GROUP: u32 = 0x6e00_0000;

/// The first byte of every link group that ocinet chooses for a network; what others number by hand begins at 0.
const GROUPS: u32 = 0x6f00_0000;
/// How many link groups there are for networks to choose from.
const GROUP_COUNT: u32 = 0x0100_0000;

/// A range of addresses on one link, and the way out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The range.
    pub range: Cidr,
    /// The gateway, inside the range; a network on a LAN without a router has none.
    pub gateway: Option<IpAddr>,
    /// The LAN's router of IPv4 by its IPv6 address (RFC 5549), where the host knows it by no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<Ipv6Addr>,
}

/// A network that has containers on this host: what its first container made it with, which every later one shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Network {
    /// Its name.
    pub name: ContainerId,
    /// The driver that attaches its containers, and what it was told or chose.
    pub settings: DriverSettings,
    /// Its subnets, at most one a family, IPv4 first.
    pub subnets: Vec<Subnet>,
    /// Where its containers' addresses are taken from, at most one range a family, where not all of a subnet is its own.
    pub ip_ranges: Vec<Cidr>,
    /// Addresses inside the subnets that belong to the host itself.
    pub reserved: Vec<IpAddr>,
    /// Whether it reaches nothing outside itself.
    pub internal: bool,
    /// Whether it is kept apart from other networks.
    pub isolate: bool,
    /// The MTU of its links in bytes; the kernel's default without.
    pub mtu: Option<u32>,
    /// The group of the links by which the host routes for it (`ip link … group`); 0 where the host does not.
    pub group: u32,
    /// The host's links that come with it and go with it, in the order of their making.
    pub links: Vec<HostLink>,
}

/// The form in a network's file.
#[derive(Serialize, Deserialize)]
struct Written {
    name: ContainerId,
    driver: String,
    settings: BTreeMap<String, String>,
    subnets: Vec<Subnet>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ip_ranges: Vec<Cidr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reserved: Vec<IpAddr>,
    internal: bool,
    isolate: bool,
    mtu: Option<u32>,
    group: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    links: Vec<HostLink>,
}

impl From<Written> for Network {
    fn from(written: Written) -> Self {
        let Written {
            driver,
            settings,
            name,
            subnets,
            ip_ranges,
            reserved,
            internal,
            isolate,
            mtu,
            group,
            links,
        } = written;
        Self {
            settings: DriverSettings::read(driver, settings),
            name,
            subnets,
            ip_ranges,
            reserved,
            internal,
            isolate,
            mtu,
            group,
            links,
        }
    }
}

impl From<Network> for Written {
    fn from(network: Network) -> Self {
        let Network { settings, name, subnets, ip_ranges, reserved, internal, isolate, mtu, group, links } =
            network;
        Self {
            driver: settings.driver().to_owned(),
            settings: settings.texts(),
            name,
            subnets,
            ip_ranges,
            reserved,
            internal,
            isolate,
            mtu,
            group,
            links,
        }
    }
}

/// A link of the host that belongs to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLink {
    /// Its name.
    pub name: IfName,
    /// Its Ethernet address, by which ocinet knows it again as its own.
    pub mac: Mac,
    /// What it is.
    #[serde(flatten)]
    pub kind: HostLinkKind,
}

/// What a link of the host is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum HostLinkKind {
    /// A bridge, which has the network's gateway addresses.
    Bridge,
    /// One end of tunnels to other hosts, on the network's bridge.
    Vxlan(Tunnel),
    /// A macvlan beside the containers', by which the host reaches them.
    Macvlan {
        /// The link that it is on.
        parent: IfName,
        /// The host's addresses on it.
        addresses: Vec<IpAddr>,
    },
}

impl HostLinkKind {
    /// The kernel's word for it (`IFLA_INFO_KIND`).
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Vxlan(_) => "vxlan",
            Self::Macvlan { .. } => "macvlan",
        }
    }
}

/// A VXLAN segment (RFC 7348) and who is on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// The bridge that the tunnel's end is a port of.
    pub bridge: IfName,
    /// The VXLAN network identifier.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// This host's address in the underlay.
    pub local: Option<IpAddr>,
    /// The link that the tunnel is bound to.
    pub parent: Option<IfName>,
    /// The multicast group that floods go to.
    pub group: Option<IpAddr>,
    /// The other hosts' addresses, which floods are copied to.
    pub peers: Vec<IpAddr>,
}

impl Tunnel {
    /// The addresses by which its ends find each other: this host's, the group's, the other hosts'.
    pub fn ends(&self) -> impl Iterator<Item = IpAddr> {
        self.local.iter().chain(&self.group).chain(&self.peers).copied()
    }

    /// The family of the packets that carry it.
    #[must_use]
    pub fn family(&self) -> Family {
        self.ends().next().map_or(Family::Ipv4, Family::of)
    }

    /// How many bytes it adds to a packet: the outer IP header, UDP, VXLAN, and the inner Ethernet header.
    #[must_use]
    pub fn overhead(&self) -> u32 {
        let ip = if self.family() == Family::Ipv6 { 40 } else { 20 };
        ip + 8 + 8 + 14
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

impl Network {
    /// Whether the host forwards packets of a family for its containers. Those of an internal network reach each other by
    /// its bridge alone, where it has one.
    #[must_use]
    pub fn is_forwarded(&self, family: Family) -> bool {
        let is_routed = self.group != 0 && (!self.internal || self.bridge().is_none());
        is_routed && self.subnet(family).is_some()
    }

    /// The subnet of a family.
    #[must_use]
    pub fn subnet(&self, family: Family) -> Option<Cidr> {
        self.subnets().find(|subnet| subnet.family() == family)
    }

    /// All subnets, IPv4 first.
    pub fn subnets(&self) -> impl Iterator<Item = Cidr> {
        self.subnets.iter().map(|subnet| subnet.range)
    }

    /// The gateway of a family.
    #[must_use]
    pub fn gateway(&self, family: Family) -> Option<IpAddr> {
        self.gateways().find(|gateway| gateway.family() == family).map(|gateway| gateway.address())
    }

    /// All gateways with the prefix length of their subnet, IPv4 first.
    pub fn gateways(&self) -> impl Iterator<Item = Cidr> {
        self.subnets.iter().filter_map(|subnet| subnet.range.with_address(subnet.gateway?))
    }

    /// Whether the host has this address of the network's, or a container may never have it.
    #[must_use]
    pub fn is_reserved(&self, address: IpAddr) -> bool {
        self.reserved.contains(&address) || self.gateway(Family::of(address)) == Some(address)
    }

    /// Where addresses of a family are taken from for containers that ask for none.
    #[must_use]
    pub fn pool(&self, family: Family) -> Option<Cidr> {
        let ranges = self.ip_ranges.iter().copied();
        ranges.chain(self.subnets()).find(|range| range.family() == family)
    }

    /// How many addresses of a pool of this network's containers can have.
    #[must_use]
    pub fn pool_size(&self, pool: Cidr) -> u128 {
        let subnet = self.subnet(pool.family()).unwrap_or(pool);
        let gateways = self.subnets.iter().filter_map(|subnet| subnet.gateway);
        let mut others: Vec<IpAddr> = self.reserved.iter().copied().chain(gateways).collect();
        others.extend([subnet.nth(0), subnet.last()]);
        others.sort_unstable();
        others.dedup();
        let is_lost = |address: &&IpAddr| {
            pool.contains(**address)
                && (self.is_reserved(**address) || not_a_host(&subnet, **address).is_some())
        };
        pool.size().saturating_sub(others.iter().filter(is_lost).count() as u128)
    }

    /// Its bridge, where it has one.
    #[must_use]
    pub fn bridge(&self) -> Option<&IfName> {
        self.bridge_link().map(|link| &link.name)
    }

    /// Its bridge as a link of the host.
    #[must_use]
    pub fn bridge_link(&self) -> Option<&HostLink> {
        self.links.iter().find(|link| link.kind == HostLinkKind::Bridge)
    }

    /// A link group that no other network has; names rarely hash to the same one.
    #[must_use]
    pub fn free_group(name: &ContainerId, others: &[Self]) -> u32 {
        let first = fnv1a(name.as_str().as_bytes()) as u32 % GROUP_COUNT;
        (0..GROUP_COUNT)
            .map(|step| GROUPS | (first.wrapping_add(step) % GROUP_COUNT))
            .find(|group| others.iter().all(|other| other.group != *group || other.name == *name))
            .unwrap_or(GROUPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_name_the_group_of_the_hosts_macvlans() {
        let rules = include_str!("../kernel/nft/base.nft");
        for rule in ["iifgroup", "oifgroup"] {
            let of_number = |line: &str| {
                let group = line.trim().strip_prefix(rule)?.split_whitespace().next()?;
                group.starts_with("0x").then(|| group.to_owned())
            };
            let named: Vec<String> = rules.lines().filter_map(of_number).collect();
            assert_eq!(named, [format!("{HOST_MACVLAN_GROUP:#x}")], "{rule}");
        }
    }
}
