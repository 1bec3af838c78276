//! What the host has that a new network must go by: ranges in use, and the link that packets leave by.

use std::net::{IpAddr, Ipv6Addr};

use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::ifname::IfName;

/// What a range of the host's leaves for new networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaves {
    /// Nothing: others answer to its addresses, on a link of the host's or in another network.
    Nothing,
    /// Parts of it to a network whose subnet somebody named: it is a LAN as wide as a whole private range (RFC 1918).
    Named,
    /// Parts of it also to a network whose subnet is chosen, where the whole pool is inside it: it is far away, and reached by a
    /// gateway.
    Parts,
}

/// A range of addresses that is in use on the host, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupied {
    /// The range.
    pub range: Cidr,
    /// What uses it, for a message: `the host's route to 10.0.0.0/8`.
    pub by: String,
    /// What is left of it.
    pub leaves: Leaves,
}

impl Occupied {
    /// Whether a subnet that a network is given cannot be made: more specific routes win over wider ones.
    #[must_use]
    pub fn bars(&self, subnet: &Cidr) -> bool {
        let is_part = self.range.prefix() < subnet.prefix() && self.leaves != Leaves::Nothing;
        self.range.overlaps(subnet) && !is_part
    }

    /// Whether a subnet is not to be chosen from a pool, which an administrator may have named.
    #[must_use]
    pub fn spoils(&self, subnet: &Cidr, pool: &Cidr, is_named: bool) -> bool {
        let covers_all = self.range.prefix() < pool.prefix() && self.range.contains(pool.address());
        let leaves_it = self.leaves == Leaves::Parts || (is_named && self.leaves == Leaves::Named);
        self.range.overlaps(subnet) && !(covers_all && leaves_it)
    }
}

/// The link that a network's packets leave the host by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    /// Its name.
    pub name: IfName,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its addresses with the prefix length of their subnets, IPv4 first; no link-local ones.
    pub addresses: Vec<Cidr>,
    /// The gateways of the host's default routes by it.
    pub gateways: Vec<IpAddr>,
    /// The IPv6 address by which the host's default route of IPv4 leads over it.
    pub next_hop: Option<Ipv6Addr>,
}
