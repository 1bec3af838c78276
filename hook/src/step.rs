//! The changes that a plan consists of, and what takes each one back. The list is closed.

use std::fmt;
use std::net::IpAddr;

use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::container_id::ContainerId;
use ocinet_shared::element::Element;
use ocinet_shared::ifname::IfName;
use ocinet_shared::mac::Mac;
use ocinet_shared::network::Network;
use ocinet_shared::port::PublishedPort;
use ocinet_shared::record::Undo;

/// One change to the kernel or to the state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Shares a network, and makes it with its bridge where this is its first container.
    JoinNetwork {
        /// What the network is, or is to be made with.
        network: Network,
    },
    /// Takes an address from the network's pool.
    TakeLease {
        /// The network.
        network: ContainerId,
        /// The address.
        address: IpAddr,
    },
    /// Claims a port on one host address against those who publish it on every address.
    ClaimPort {
        /// The port.
        port: PublishedPort,
    },
    /// Makes the host forward packets of a family, if it does not yet.
    Forward {
        /// The family.
        family: Family,
    },
    /// Adds elements in one transaction.
    AddElements {
        /// The elements.
        elements: Vec<Element>,
    },
    /// Makes the link between the bridge and the container.
    MakeVeth {
        /// The host's end.
        host_interface: IfName,
        /// The bridge that it joins.
        bridge: IfName,
        /// The container's end.
        interface: IfName,
        /// The Ethernet address of the container's end.
        mac: Mac,
        /// The MTU of both ends; the kernel's default without.
        mtu: Option<u32>,
        /// Whether the bridge sends frames back out of the port that they came in by: with br_netfilter on, it
        /// bridges a container's packet to its own published port without routing it.
        hairpin: bool,
    },
    /// Gives the container's end its addresses and routes, and brings it up.
    ConfigureInterface {
        /// The container's end.
        interface: IfName,
        /// Its addresses.
        addresses: Vec<Cidr>,
        /// The default gateways.
        gateways: Vec<IpAddr>,
    },
    /// Brings up the container's loopback.
    BringUpLoopback,
}

impl Step {
    /// What takes the step back; nothing where the container's namespace takes it along, or where it stays: the host
    /// goes on forwarding, because others may have come to rely on it.
    #[must_use]
    pub fn undo(&self) -> Option<Undo> {
        match self {
            Self::JoinNetwork { network } => Some(Undo::LeaveNetwork { network: network.name.clone() }),
            Self::TakeLease { network, address } => {
                Some(Undo::ReleaseLease { network: network.clone(), address: *address })
            }
            Self::ClaimPort { port } => Some(Undo::ReleasePort(*port)),
            Self::AddElements { elements } => Some(Undo::DeleteElements { elements: elements.clone() }),
            Self::MakeVeth { host_interface, .. } => Some(Undo::DeleteLink { name: host_interface.clone() }),
            Self::Forward { .. } | Self::ConfigureInterface { .. } | Self::BringUpLoopback => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinNetwork { network } => {
                write!(
                    f,
                    "join network {} on bridge {} ({})",
                    network.name,
                    network.bridge,
                    join(&network.gateways)
                )?;
                f.write_str(if network.internal { ", internal" } else { "" })?;
                f.write_str(if network.isolate { "" } else { ", not isolated" })
            }
            Self::TakeLease { network, address } => write!(f, "lease {address} from network {network}"),
            Self::ClaimPort { port } => write!(f, "claim port {port}"),
            Self::Forward { family } => write!(f, "forward {family}"),
            Self::AddElements { elements } => {
                f.write_str("add elements")?;
                elements.iter().try_for_each(|element| write!(f, "\n  {element}"))
            }
            Self::MakeVeth { host_interface, bridge, interface, mac, mtu, hairpin } => {
                write!(
                    f,
                    "make link {host_interface} on {bridge} with {interface} ({mac}) in the container"
                )?;
                mtu.map_or(Ok(()), |mtu| write!(f, ", MTU {mtu}"))?;
                f.write_str(if *hairpin { ", hairpin" } else { "" })
            }
            Self::ConfigureInterface { interface, addresses, gateways } => {
                write!(f, "configure {interface}: addresses {}", join(addresses))?;
                if gateways.is_empty() { Ok(()) } else { write!(f, ", default route via {}", join(gateways)) }
            }
            Self::BringUpLoopback => f.write_str("bring up the container's loopback"),
        }
    }
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
