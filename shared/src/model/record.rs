//! What ocinet wrote down about a container: enough to undo, inspect and apply it again.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::model::cidr::Cidr;
use crate::model::container_id::ContainerId;
use crate::model::element::Element;
use crate::model::ifname::IfName;
use crate::model::mac::Mac;
use crate::model::names::Told;
use crate::model::namespace_id::NamespaceId;
use crate::model::port::PublishedPort;

/// The version of the record's form. A newer ocinet undoes what an older one wrote; an older one leaves a newer
/// one's records alone.
pub const VERSION: u32 = 1;

/// How far the set-up of a container got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Begun: any of the steps may have been taken.
    Pending,
    /// Done: all of them were.
    Ready,
}

/// A link that several containers are on: frames for one Ethernet address get to one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedLink {
    /// The bridge of a network.
    Network(ContainerId),
    /// A link of the host that macvlans are on, of whatever network.
    Parent(IfName),
}

impl fmt::Display for SharedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => write!(f, "network {network}"),
            Self::Parent(parent) => write!(f, "the parent {parent}"),
        }
    }
}

/// Something that a container has on the host, and that is removed when it is detached. The list is closed: a record cannot
/// ask for anything else. In a record's file, each is named by what removes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owned {
    /// An address of a network.
    #[serde(rename = "release_lease")]
    Lease {
        /// The network.
        network: ContainerId,
        /// The address.
        address: IpAddr,
    },
    /// A share in another container's attachments. That container is detached if this was the last of them.
    #[serde(rename = "unshare")]
    Share {
        /// The other container.
        owner: ContainerId,
    },
    /// A place on a network, which goes with its last container.
    #[serde(rename = "leave_network")]
    Membership {
        /// The network.
        network: ContainerId,
    },
    /// The claim to a port on one host address.
    #[serde(rename = "release_port")]
    PortClaim(PublishedPort),
    /// The claim to an Ethernet address.
    #[serde(rename = "release_mac")]
    MacClaim {
        /// Where it is one container's alone.
        on: SharedLink,
        /// The address.
        mac: Mac,
    },
    /// The host's end of a link, with which the container's end goes.
    #[serde(rename = "delete_link")]
    Link {
        /// The host's end.
        name: IfName,
    },
    /// A link that is in the container's namespace as a whole, as long as that namespace lives.
    #[serde(rename = "delete_inside")]
    InnerLink {
        /// The link's name there.
        interface: IfName,
    },
    /// A link that shapes what the container sends; nothing else is on it.
    #[serde(rename = "delete_shaper")]
    Shaper {
        /// The link on the host.
        name: IfName,
    },
    /// The host's routes to the container's addresses over a link of the host's own.
    #[serde(rename = "delete_routes")]
    Routes {
        /// The link.
        link: IfName,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// Elements of the sets.
    #[serde(rename = "delete_elements")]
    Elements {
        /// The elements, as they were added.
        elements: Vec<Element>,
    },
}

/// One interface of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The interface's name in the container.
    pub interface: IfName,
    /// The driver that attached it.
    pub driver: String,
    /// The network it belongs to.
    pub network: ContainerId,
    /// The host's link that it is on: a bridge, or the parent of a macvlan or ipvlan.
    pub parent: Option<IfName>,
    /// The host's end of the link, where the link has two.
    pub host_interface: Option<IfName>,
    /// The index of the host's end, by which the kernel finds its counters; 0 while pending, and without a host's end.
    pub host_ifindex: u32,
    /// The Ethernet address in the container; an ipvlan has its parent's.
    pub mac: Option<Mac>,
    /// The MTU in bytes, where it was asked for.
    pub mtu: Option<u32>,
    /// The addresses, with the prefix length that they have on the interface.
    pub addresses: Vec<Cidr>,
    /// The gateways that it can leave by, one a family.
    pub gateways: Vec<IpAddr>,
    /// The router that IPv4 leaves by, where it is known by its IPv6 address alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<Ipv6Addr>,
    /// The ports that are published to it.
    pub ports: Vec<PublishedPort>,
}

/// What people call a container, where its annotations tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The image that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The pod that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}

/// What is written down about a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`] of the ocinet that wrote it.
    pub version: u32,
    /// The container's id.
    pub id: ContainerId,
    /// The boot that it belongs to; another boot's records mean nothing any more.
    pub boot_id: String,
    /// How far its set-up got.
    pub phase: Phase,
    /// The container's first process.
    pub pid: u32,
    /// When that process was started, in clock ticks since boot.
    pub pid_start: u64,
    /// The container's network namespace.
    pub netns: NamespaceId,
    /// The number by which the host's namespace knows it (ip-netns(8), `list-id`), where a step needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns_number: Option<i32>,
    /// The container whose attachments it shares, because it joined that container's network namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<ContainerId>,
    /// The container's bundle, as the runtime named it; empty where it is not known.
    #[serde(default)]
    pub bundle: String,
    /// What people call it.
    #[serde(default)]
    pub labels: Labels,
    /// What its own files were told about names.
    #[serde(default, skip_serializing_if = "Told::is_nothing")]
    pub told: Told,
    /// When the set-up began, in seconds since 1970-01-01 UTC.
    pub created: u64,
    /// Its interfaces.
    pub attachments: Vec<Attachment>,
    /// What it has, in the order in which it got it. It is removed in the reverse order.
    #[serde(rename = "undo")]
    pub owned: Vec<Owned>,
    /// How long the set-up took, in microseconds; 0 while pending.
    pub setup_us: u64,
}

impl Record {
    /// What to call the container: its name, or its id as [`ContainerId::short`] has it.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.labels.name.as_deref().unwrap_or(self.id.short())
    }

    /// All elements that the container has.
    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.owned.iter().flat_map(|owned| match owned {
            Owned::Elements { elements } => elements.as_slice(),
            _ => &[],
        })
    }

    /// All addresses of the container.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.attachments.iter().flat_map(|attachment| attachment.addresses.iter().map(Cidr::address))
    }

    /// All its published ports.
    pub fn ports(&self) -> impl Iterator<Item = &PublishedPort> {
        self.attachments.iter().flat_map(|attachment| &attachment.ports)
    }
}

/// Which process a record is about: enough of it to see that a container lives.
#[derive(Debug, Deserialize)]
pub struct RecordedProcess {
    /// The boot that it belongs to.
    pub boot_id: String,
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks since boot.
    pub pid_start: u64,
}
