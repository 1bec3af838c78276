//! The changes that a plan consists of, and what the container has by each. The list is closed. `show.rs` is how `ocinet plan` prints
//! them.

mod show;

use std::net::IpAddr;

use ocinet_shared::kernel::link::ChildKind;
use ocinet_shared::kernel::route::RouteSpec;
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::element::Element;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::names::{ToldHosts, ToldResolver};
use ocinet_shared::model::network::Network;
use ocinet_shared::model::port::PublishedPort;
use ocinet_shared::model::record::{Owned, SharedLink};

use crate::model::sysctl::Sysctl;

/// How the host reaches a container that is on a link of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteToContainer {
    /// The host's end.
    pub host_interface: IfName,
    /// The gateway's addresses.
    pub gateways: Vec<IpAddr>,
    /// The container's addresses.
    pub addresses: Vec<IpAddr>,
    /// The container's Ethernet address.
    pub mac: Mac,
    /// An internal network's subnets: what nobody has of them leads nowhere else.
    pub confined_to: Vec<Cidr>,
}

/// The bridge that a link is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnBridge {
    /// Its name.
    pub name: IfName,
    /// Its Ethernet address, which is the gateway's, and that of the host's ends on it.
    pub mac: Mac,
}

/// Asks the LAN who has the container's addresses; what is answered is heard before its interface comes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskLan {
    /// The link of the host that the LAN is on.
    pub parent: IfName,
    /// The interface that is to have the addresses.
    pub interface: IfName,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// Those that the host itself is to have on the LAN, unless it has them.
    pub for_host: Vec<IpAddr>,
}

/// Makes a link between the host and the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MakeVeth {
    /// The host's end.
    pub host_interface: IfName,
    /// The Ethernet address of the host's end.
    pub host_mac: Mac,
    /// The bridge that it joins, if it joins one.
    pub bridge: Option<IfName>,
    /// The link group of the host's end.
    pub group: u32,
    /// The container's end.
    pub interface: IfName,
    /// The Ethernet address of the container's end.
    pub mac: Mac,
    /// The MTU of both ends; the kernel's default without.
    pub mtu: Option<u32>,
    /// Whether the bridge sends frames back out of the port that they came in by: with br_netfilter on, it
    /// bridges a container's packet to its own published port without routing it.
    pub hairpin: bool,
}

/// Holds the container to its own addresses, and whoever is routed to it to what the rules let in, by filters on the
/// host's end of its link: they go with the link, and not with the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterHostEnd {
    /// The host's end.
    pub host_interface: IfName,
    /// The container's Ethernet address.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The ranges that it may send to, on an internal network; everywhere without.
    pub confined_to: Vec<Cidr>,
    /// The bridge that the link is on, if it is on one.
    pub bridge: Option<OnBridge>,
    /// Whether packets for the gateway skip the bridge's ports. With `net.rate-out` they would skip its queue, too.
    pub shortcut: bool,
}

/// Makes a link in the container on top of one of the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MakeChild {
    /// The host's link.
    pub parent: IfName,
    /// What it is.
    pub kind: ChildKind,
    /// Its name in the container.
    pub interface: IfName,
    /// Its Ethernet address, where it has one of its own.
    pub mac: Option<Mac>,
    /// The MTU; the parent's without.
    pub mtu: Option<u32>,
}

/// Limits what the container receives and sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitRates {
    /// The host's end of the container's link.
    pub host_interface: IfName,
    /// The most that the container receives, in bits per second.
    pub receive: Option<u64>,
    /// The most that it sends.
    pub send: Option<u64>,
    /// A link for what it sends to wait in.
    pub shaper: IfName,
}

/// Makes a link of the network's the host's route to the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFromHost {
    /// The link.
    pub link: IfName,
    /// The container's addresses.
    pub addresses: Vec<IpAddr>,
    /// The MTU of the container's link in bytes, where it is less than the network's.
    pub mtu: Option<u32>,
}

/// Gives the container's interface its addresses and routes, and brings it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigureInterface {
    /// The interface.
    pub interface: IfName,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// Routes by it.
    pub routes: Vec<RouteSpec>,
    /// The routing table of its own, where it is beside others.
    pub own_table: Option<OwnTable>,
    /// Its Ethernet address, where it has one of its own.
    pub mac: Option<Mac>,
    /// Whether the neighbours are told, because they may know another.
    pub announce: bool,
}

/// One change to the kernel or to the state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Shares a network, and makes it with its bridge where this is its first container.
    JoinNetwork(Network),
    /// Shares the attachments of the container whose network namespace this one joined.
    Share(ContainerId),
    /// Takes an address from the network's pool.
    TakeLease {
        /// The network.
        network: ContainerId,
        /// The address.
        address: IpAddr,
    },
    /// Claims a port on one host address against those who publish it on every address.
    ClaimPort(PublishedPort),
    /// Claims an Ethernet address against the other containers on a link.
    ClaimMac {
        /// The link.
        on: SharedLink,
        /// The address.
        mac: Mac,
    },
    /// Asks the LAN who has the container's addresses; what is answered is heard before its interface comes up.
    AskLan(AskLan),
    /// Makes the host forward packets of a family, if it does not yet.
    Forward(Family),
    /// Adds elements in one transaction.
    AddElements(Vec<Element>),
    /// Makes a link between the host and the container.
    MakeVeth(MakeVeth),
    /// Holds the container to its own addresses, and whoever is routed to it to what the rules let in, by filters on the
    /// host's end of its link: they go with the link, and not with the rules.
    FilterHostEnd(FilterHostEnd),
    /// Makes a link in the container on top of one of the host's.
    MakeChild(MakeChild),
    /// Limits what the container receives and sends.
    LimitRates(LimitRates),
    /// Makes the host's end of a link the container's gateway, and the host's route to the container.
    RouteToContainer(RouteToContainer),
    /// Makes a link of the network's the host's route to the container.
    RouteFromHost(RouteFromHost),
    /// Gives the container's interface its addresses and routes, and brings it up.
    ConfigureInterface(ConfigureInterface),
    /// Writes sysctls of the container's network namespace.
    WriteSysctls(Vec<Sysctl>),
    /// Tells the container's resolver where to ask.
    WriteResolver(ToldResolver),
    /// Warns where the container has no name server. The host has none for it.
    WarnWithoutNameServer,
    /// Tells the container names that need no asking.
    WriteHosts(ToldHosts),
    /// Brings up the container's loopback.
    BringUpLoopback,
}

/// The routing table of an interface beside others, by which what it was asked is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnTable {
    /// Its number.
    pub number: u8,
    /// The addresses whose packets look into it.
    pub addresses: Vec<IpAddr>,
    /// Everything that the interface leads to.
    pub routes: Vec<RouteSpec>,
}

impl Step {
    /// What the container has by the step and has to give back. Nothing where it goes with the container's namespace, root or link,
    /// or with the network: forwarding ends with the last network that needs it.
    #[must_use]
    pub fn owned(&self) -> Option<Owned> {
        match self {
            Self::JoinNetwork(network) => Some(Owned::Membership { network: network.name.clone() }),
            Self::Share(owner) => Some(Owned::Share { owner: owner.clone() }),
            Self::TakeLease { network, address } => {
                Some(Owned::Lease { network: network.clone(), address: *address })
            }
            Self::ClaimPort(port) => Some(Owned::PortClaim(*port)),
            Self::ClaimMac { on, mac } => Some(Owned::MacClaim { on: on.clone(), mac: *mac }),
            Self::AddElements(elements) => Some(Owned::Elements { elements: elements.clone() }),
            Self::MakeVeth(veth) => Some(Owned::Link { name: veth.host_interface.clone() }),
            Self::MakeChild(child) => Some(Owned::InnerLink { interface: child.interface.clone() }),
            Self::LimitRates(limits) => limits.send.map(|_| Owned::Shaper { name: limits.shaper.clone() }),
            Self::RouteFromHost(route) => {
                Some(Owned::Routes { link: route.link.clone(), addresses: route.addresses.clone() })
            }
            Self::AskLan(_)
            | Self::FilterHostEnd(_)
            | Self::Forward(_)
            | Self::RouteToContainer(_)
            | Self::ConfigureInterface(_)
            | Self::WriteSysctls(_)
            | Self::WriteResolver(_)
            | Self::WarnWithoutNameServer
            | Self::WriteHosts(_)
            | Self::BringUpLoopback => None,
        }
    }

    /// The phase of a start that it is a part of.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        match self {
            Self::JoinNetwork(_) | Self::Share(_) => "join the network",
            Self::TakeLease { .. } | Self::ClaimPort(_) | Self::ClaimMac { .. } => "lease and claim",
            Self::AskLan(_) => "ask the LAN",
            Self::Forward(_) => "forward",
            Self::AddElements(_) => "elements",
            Self::MakeVeth(_) | Self::MakeChild(_) => "link",
            Self::FilterHostEnd(_) => "filters",
            Self::LimitRates(_) => "rates",
            Self::RouteToContainer(_) | Self::RouteFromHost(_) => "routes on the host",
            Self::ConfigureInterface(_) | Self::WriteSysctls(_) | Self::BringUpLoopback => "interface",
            Self::WriteResolver(_) | Self::WarnWithoutNameServer | Self::WriteHosts(_) => "names",
        }
    }
}
