//! What a network was made with.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::cidr::{Cidr, Family};
use crate::container_id::ContainerId;
use crate::ifname::IfName;

/// A network that has containers on this host: what its first container made it with, which every later one shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: ContainerId,
    /// Its bridge.
    pub bridge: IfName,
    /// Its subnets, at most one a family, IPv4 first; each with the gateway's address in it.
    pub gateways: Vec<Cidr>,
    /// Whether it reaches nothing outside itself.
    pub internal: bool,
    /// Whether it is kept apart from other networks.
    pub isolate: bool,
    /// The MTU of its bridge in bytes; the kernel's default without.
    pub mtu: Option<u32>,
}

impl Network {
    /// The subnet of a family.
    #[must_use]
    pub fn subnet(&self, family: Family) -> Option<Cidr> {
        self.gateways.iter().find(|gateway| gateway.family() == family).map(Cidr::network)
    }

    /// All subnets, IPv4 first.
    pub fn subnets(&self) -> impl Iterator<Item = Cidr> {
        self.gateways.iter().map(Cidr::network)
    }

    /// The gateway of an address's family.
    #[must_use]
    pub fn gateway(&self, family: Family) -> Option<IpAddr> {
        self.gateways.iter().find(|gateway| gateway.family() == family).map(Cidr::address)
    }
}
