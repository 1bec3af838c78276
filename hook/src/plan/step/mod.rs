//! The changes that a plan consists of, and what takes each one back. The list is closed.

use std::fmt;
use std::net::IpAddr;

use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::container_id::ContainerId;
use ocinet_shared::element::Element;
use ocinet_shared::ifname::IfName;
use ocinet_shared::kernel::link::ChildKind;
use ocinet_shared::kernel::route::Way;
use ocinet_shared::mac::Mac;
use ocinet_shared::names::{ToldHosts, ToldResolver};
use ocinet_shared::network::{HostLinkKind, Network, Tunnel};
use ocinet_shared::port::PublishedPort;
use ocinet_shared::record::{SharedLink, Undo};

use crate::model::sysctl::Sysctl;

/// How the host reaches a container that is on a link of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToContainer {
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

/// One change to the kernel or to the state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Shares a network, and makes it with its bridge where this is its first container.
    JoinNetwork {
        /// What the network is, or is to be made with.
        network: Network,
    },
    /// Shares the attachments of the container whose network namespace this one joined.
    Share {
        /// The other container.
        owner: ContainerId,
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
    /// Claims an Ethernet address against the other containers on a link.
    ClaimMac {
        /// The link.
        on: SharedLink,
        /// The address.
        mac: Mac,
    },
    /// Asks the LAN who has the container's addresses; what is answered is heard before its interface comes up.
    AskLan {
        /// The link of the host that the LAN is on.
        parent: IfName,
        /// The interface that is to have the addresses.
        interface: IfName,
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// Those that the host itself is to have on the LAN, unless it has them.
        for_host: Vec<IpAddr>,
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
    /// Makes a link between the host and the container.
    MakeVeth {
        /// The host's end.
        host_interface: IfName,
        /// The Ethernet address of the host's end.
        host_mac: Mac,
        /// The bridge that it joins, if it joins one.
        bridge: Option<IfName>,
        /// The link group of the host's end.
        group: u32,
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
    /// Holds the container to its own addresses, and whoever is routed to it to what the rules let in, by filters on the
    /// host's end of its link: they go with the link, and not with the rules.
    FilterHostEnd {
        /// The host's end.
        host_interface: IfName,
        /// The container's Ethernet address.
        mac: Mac,
        /// Its addresses.
        addresses: Vec<IpAddr>,
        /// The ranges that it may send to, on an internal network; everywhere without.
        confined_to: Vec<Cidr>,
        /// The bridge that the link is on, if it is on one.
        bridge: Option<OnBridge>,
        /// Whether packets for the gateway skip the bridge's ports. With `net.rate-out` they would skip its queue, too.
        shortcut: bool,
    },
    /// Makes a link in the container on top of one of the host's.
    MakeChild {
        /// The host's link.
        parent: IfName,
        /// What it is.
        kind: ChildKind,
        /// Its name in the container.
        interface: IfName,
        /// Its Ethernet address, where it has one of its own.
        mac: Option<Mac>,
        /// The MTU; the parent's without.
        mtu: Option<u32>,
    },
    /// Limits what the container receives and sends.
    LimitRates {
        /// The host's end of the container's link.
        host_interface: IfName,
        /// The most that the container receives, in bits per second.
        receive: Option<u64>,
        /// The most that it sends.
        send: Option<u64>,
        /// A link for what it sends to wait in.
        shaper: IfName,
    },
    /// Makes the host's end of a link the container's gateway, and the host's way to the container.
    RouteToContainer(ToContainer),
    /// Makes a link of the network's the host's way to the container.
    RouteFromHost {
        /// The link.
        link: IfName,
        /// The container's addresses.
        addresses: Vec<IpAddr>,
        /// The MTU of the container's link in bytes, where it is less than the network's.
        mtu: Option<u32>,
    },
    /// Gives the container's interface its addresses and routes, and brings it up.
    ConfigureInterface {
        /// The interface.
        interface: IfName,
        /// Its addresses.
        addresses: Vec<Cidr>,
        /// Routes by it.
        ways: Vec<Way>,
        /// The routing table of its own, where it is beside others.
        own_table: Option<OwnTable>,
        /// Its Ethernet address, where it has one of its own.
        mac: Option<Mac>,
        /// Whether the neighbours are told, because they may know another.
        announce: bool,
    },
    /// Writes sysctls of the container's network namespace.
    WriteSysctls {
        /// The sysctls.
        sysctls: Vec<Sysctl>,
    },
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
    pub ways: Vec<Way>,
}

impl Step {
    /// What takes the step back; nothing where the container's namespace, root or link takes it along, or the last who leaves
    /// the network: forwarding ends with the last network that needs it.
    #[must_use]
    pub fn undo(&self) -> Option<Undo> {
        match self {
            Self::JoinNetwork { network } => Some(Undo::LeaveNetwork { network: network.name.clone() }),
            Self::Share { owner } => Some(Undo::Unshare { owner: owner.clone() }),
            Self::TakeLease { network, address } => {
                Some(Undo::ReleaseLease { network: network.clone(), address: *address })
            }
            Self::ClaimPort { port } => Some(Undo::ReleasePort(*port)),
            Self::ClaimMac { on, mac } => Some(Undo::ReleaseMac { on: on.clone(), mac: *mac }),
            Self::AddElements { elements } => Some(Undo::DeleteElements { elements: elements.clone() }),
            Self::MakeVeth { host_interface, .. } => Some(Undo::DeleteLink { name: host_interface.clone() }),
            Self::MakeChild { interface, .. } => Some(Undo::DeleteInside { interface: interface.clone() }),
            Self::LimitRates { send: Some(_), shaper, .. } => {
                Some(Undo::DeleteShaper { name: shaper.clone() })
            }
            Self::RouteFromHost { link, addresses, .. } => {
                Some(Undo::DeleteRoutes { link: link.clone(), addresses: addresses.clone() })
            }
            Self::AskLan { .. }
            | Self::FilterHostEnd { .. }
            | Self::LimitRates { .. }
            | Self::Forward { .. }
            | Self::RouteToContainer(_)
            | Self::ConfigureInterface { .. }
            | Self::WriteSysctls { .. }
            | Self::WriteResolver(_)
            | Self::WarnWithoutNameServer
            | Self::WriteHosts(_)
            | Self::BringUpLoopback => None,
        }
    }
}

impl Step {
    /// The phase of a start that it is a part of.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        match self {
            Self::JoinNetwork { .. } | Self::Share { .. } => "join the network",
            Self::TakeLease { .. } | Self::ClaimPort { .. } | Self::ClaimMac { .. } => "lease and claim",
            Self::AskLan { .. } => "ask the LAN",
            Self::Forward { .. } => "forward",
            Self::AddElements { .. } => "elements",
            Self::MakeVeth { .. } | Self::MakeChild { .. } => "link",
            Self::FilterHostEnd { .. } => "filters",
            Self::LimitRates { .. } => "rates",
            Self::RouteToContainer(_) | Self::RouteFromHost { .. } => "routes on the host",
            Self::ConfigureInterface { .. } | Self::WriteSysctls { .. } | Self::BringUpLoopback => {
                "interface"
            }
            Self::WriteResolver(_) | Self::WarnWithoutNameServer | Self::WriteHosts(_) => "names",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinNetwork { network } => show_network(f, network),
            Self::Share { owner } => write!(f, "share the network of container {owner}"),
            Self::TakeLease { network, address } => write!(f, "lease {address} from network {network}"),
            Self::ClaimPort { port } => write!(f, "claim port {port}"),
            Self::ClaimMac { on, mac } => write!(f, "claim {mac} on {on}"),
            Self::AskLan { parent, addresses, for_host, .. } => {
                write!(f, "ask on {parent} who has {}", join(addresses))?;
                let is_any = !for_host.is_empty();
                if is_any { write!(f, ", and {} for the host", join(for_host)) } else { Ok(()) }
            }
            Self::Forward { family } => write!(f, "forward {family}"),
            Self::AddElements { elements } => {
                f.write_str("add elements")?;
                elements.iter().try_for_each(|element| write!(f, "\n  {element}"))
            }
            Self::MakeVeth { host_interface, bridge, interface, mac, mtu, hairpin, .. } => {
                write!(f, "make link {host_interface}")?;
                bridge.as_ref().map_or(Ok(()), |bridge| write!(f, " on {bridge}"))?;
                write!(f, " with {interface} ({mac}) in the container")?;
                mtu.map_or(Ok(()), |mtu| write!(f, ", MTU {mtu}"))?;
                f.write_str(if *hairpin { ", hairpin" } else { "" })
            }
            Self::FilterHostEnd { .. } => show_filter(f, self),
            Self::MakeChild { parent, kind, interface, mac, mtu } => {
                write!(f, "make {kind} {interface} on {parent} in the container, mode {}", kind.mode())?;
                mac.map_or(Ok(()), |mac| write!(f, ", {mac}"))?;
                mtu.map_or(Ok(()), |mtu| write!(f, ", MTU {mtu}"))
            }
            Self::LimitRates { host_interface, receive, send, shaper } => {
                let receives = receive.map(|rate| format!("the container receives {rate} bit/s"));
                let sends = send.map(|rate| format!("it sends {rate} bit/s by {shaper}"));
                let limits: Vec<String> = receives.into_iter().chain(sends).collect();
                write!(f, "limit {host_interface}: {}", limits.join(", "))
            }
            Self::RouteToContainer(ToContainer { host_interface, gateways, addresses, mac, confined_to }) => {
                let (addresses, gateways, last) = (join(addresses), join(gateways), last_of(confined_to));
                write!(f, "route {addresses} ({mac}) to {host_interface}, which is gateway {gateways}{last}")
            }
            Self::RouteFromHost { link, addresses, mtu } => {
                write!(f, "route {} to {link}", join(addresses))?;
                mtu.map_or(Ok(()), |mtu| write!(f, ", MTU {mtu}"))
            }
            Self::ConfigureInterface { interface, addresses, ways, own_table, announce, .. } => {
                write!(f, "configure {interface}: addresses {}", join(addresses))?;
                ways.iter().try_for_each(|way| show_way(f, way))?;
                if let Some(own) = own_table {
                    write!(f, "; table {} for packets from {}", own.number, join(&own.addresses))?;
                    own.ways.iter().try_for_each(|way| show_way(f, way))?;
                }
                f.write_str(if *announce { ", announced to the neighbours" } else { "" })
            }
            Self::WriteSysctls { sysctls } => write!(f, "write sysctls {}", join(sysctls)),
            Self::WriteResolver(told) => show_resolver(f, told),
            Self::WarnWithoutNameServer => {
                f.write_str("warn if the container has no name server: the host has none for it")
            }
            Self::WriteHosts(told) => show_hosts(f, told),
            Self::BringUpLoopback => f.write_str("bring up the container's loopback"),
        }
    }
}

fn show_network(f: &mut fmt::Formatter<'_>, network: &Network) -> fmt::Result {
    write!(f, "join {} network {}", network.driver, network.name)?;
    let subnets: Vec<String> = network
        .subnets
        .iter()
        .map(|subnet| match subnet.gateway {
            Some(gateway) => format!("{} by {gateway}", subnet.range),
            None => subnet.range.to_string(),
        })
        .collect();
    write!(f, " ({})", subnets.join(", "))?;
    f.write_str(if network.internal { ", internal" } else { "" })?;
    f.write_str(if network.isolate || network.group == 0 { "" } else { ", not isolated" })?;
    for link in &network.links {
        write!(f, "\n  {} {} ({})", link.kind.name(), link.name, link.mac)?;
        match &link.kind {
            HostLinkKind::Bridge => {}
            HostLinkKind::Vxlan(tunnel) => show_tunnel(f, tunnel)?,
            HostLinkKind::Macvlan { parent, addresses } => {
                write!(f, " on {parent} with {} for the host", join(addresses))?;
            }
        }
    }
    Ok(())
}

fn show_filter(f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
    let Step::FilterHostEnd { host_interface, mac, addresses, confined_to, bridge, .. } = step else {
        return Ok(());
    };
    write!(f, "filter {host_interface}: the container sends from {} ({mac})", join(addresses))?;
    if !confined_to.is_empty() {
        write!(f, " to {}", join(confined_to))?;
    }
    f.write_str(", and receives what the rules let in")?;
    bridge.as_ref().map_or(Ok(()), |bridge| write!(f, " of what {} sends", bridge.mac))
}

fn show_tunnel(f: &mut fmt::Formatter<'_>, tunnel: &Tunnel) -> fmt::Result {
    write!(f, ", VNI {} on port {}", tunnel.vni, tunnel.port)?;
    tunnel.local.map_or(Ok(()), |local| write!(f, " from {local}"))?;
    tunnel.parent.as_ref().map_or(Ok(()), |parent| write!(f, " by {parent}"))?;
    tunnel.group.map_or(Ok(()), |group| write!(f, ", group {group}"))?;
    if tunnel.peers.is_empty() { Ok(()) } else { write!(f, ", peers {}", join(&tunnel.peers)) }
}

fn show_resolver(f: &mut fmt::Formatter<'_>, told: &ToldResolver) -> fmt::Result {
    let asked = told.is_asked_for().then(|| told.asked.to_string());
    let by_default = told.host.as_ref().map(|host| format!("unless it has a name server: {host}"));
    let said: Vec<String> = asked.into_iter().chain(by_default).collect();
    write!(f, "write etc/resolv.conf: {}", said.join("; "))
}

fn show_hosts(f: &mut fmt::Formatter<'_>, told: &ToldHosts) -> fmt::Result {
    let own = told.own.iter().flat_map(|own| own.addresses.iter().map(|address| (address, &own.name)));
    let hosts = own.chain(told.asked.iter().map(|(address, name)| (address, name)));
    let hosts: Vec<String> = hosts.map(|(address, name)| format!("{address} {name}")).collect();
    write!(f, "write etc/hosts: {}", hosts.join(", "))
}

/// The subnets of which what nobody has is routed to a link.
fn last_of(confined_to: &[Cidr]) -> String {
    if confined_to.is_empty() { String::new() } else { format!(", and last of {}", join(confined_to)) }
}

fn show_way(f: &mut fmt::Formatter<'_>, way: &Way) -> fmt::Result {
    if way.to.prefix() == 0 {
        f.write_str(", default route")?;
    } else {
        write!(f, ", route to {}", way.to)?;
    }
    match way.gateway {
        Some(gateway) => write!(f, " via {gateway}"),
        None => f.write_str(" by the link itself"),
    }
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
