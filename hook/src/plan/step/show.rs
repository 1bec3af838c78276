//! Steps as `ocinet plan` prints them.

use std::fmt;

use ocinet_shared::kernel::route::RouteSpec;
use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::names::{ToldHosts, ToldResolver};
use ocinet_shared::model::network::{HostLinkKind, Network, Tunnel};

use super::{
    AskLan, ConfigureInterface, FilterHostEnd, LimitRates, MakeChild, MakeVeth, RouteFromHost,
    RouteToContainer, Step,
};

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinNetwork(network) => show_network(f, network),
            Self::Share(owner) => write!(f, "share the network of container {owner}"),
            Self::TakeLease { network, address } => write!(f, "lease {address} from network {network}"),
            Self::ClaimPort(port) => write!(f, "claim port {port}"),
            Self::ClaimMac { on, mac } => write!(f, "claim {mac} on {on}"),
            Self::AskLan(AskLan { parent, addresses, for_host, .. }) => {
                write!(f, "ask on {parent} who has {}", join(addresses))?;
                let is_any = !for_host.is_empty();
                if is_any { write!(f, ", and {} for the host", join(for_host)) } else { Ok(()) }
            }
            Self::Forward(family) => write!(f, "forward {family}"),
            Self::AddElements(elements) => {
                f.write_str("add elements")?;
                elements.iter().try_for_each(|element| write!(f, "\n  {element}"))
            }
            Self::MakeVeth(MakeVeth { host_interface, bridge, interface, mac, mtu, hairpin, .. }) => {
                write!(f, "make link {host_interface}")?;
                bridge.as_ref().map_or(Ok(()), |bridge| write!(f, " on {bridge}"))?;
                write!(f, " with {interface} ({mac}) in the container")?;
                mtu.map_or(Ok(()), |mtu| write!(f, ", MTU {mtu}"))?;
                f.write_str(if *hairpin { ", hairpin" } else { "" })
            }
            Self::FilterHostEnd(filter) => show_filter(f, filter),
            Self::MakeChild(MakeChild { parent, kind, interface, mac, mtu }) => {
                write!(f, "make {kind} {interface} on {parent} in the container, mode {}", kind.mode())?;
                mac.map_or(Ok(()), |mac| write!(f, ", {mac}"))?;
                mtu.map_or(Ok(()), |mtu| write!(f, ", MTU {mtu}"))
            }
            Self::LimitRates(LimitRates { host_interface, receive, send, shaper }) => {
                let receives = receive.map(|rate| format!("the container receives {rate} bit/s"));
                let sends = send.map(|rate| format!("it sends {rate} bit/s by {shaper}"));
                let limits: Vec<String> = receives.into_iter().chain(sends).collect();
                write!(f, "limit {host_interface}: {}", limits.join(", "))
            }
            Self::RouteToContainer(to) => {
                let RouteToContainer { host_interface, gateways, addresses, mac, confined_to } = to;
                let (addresses, gateways, last) = (join(addresses), join(gateways), last_of(confined_to));
                write!(f, "route {addresses} ({mac}) to {host_interface}, which is gateway {gateways}{last}")
            }
            Self::RouteFromHost(RouteFromHost { link, addresses, mtu }) => {
                write!(f, "route {} to {link}", join(addresses))?;
                mtu.map_or(Ok(()), |mtu| write!(f, ", MTU {mtu}"))
            }
            Self::ConfigureInterface(interface) => show_interface(f, interface),
            Self::WriteSysctls(sysctls) => write!(f, "write sysctls {}", join(sysctls)),
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
    write!(f, "join {} network {}", network.settings.driver(), network.name)?;
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

fn show_interface(f: &mut fmt::Formatter<'_>, of: &ConfigureInterface) -> fmt::Result {
    let ConfigureInterface { interface, addresses, routes, own_table, announce, .. } = of;
    write!(f, "configure {interface}: addresses {}", join(addresses))?;
    routes.iter().try_for_each(|route| show_route(f, route))?;
    if let Some(own) = own_table {
        write!(f, "; table {} for packets from {}", own.number, join(&own.addresses))?;
        own.routes.iter().try_for_each(|route| show_route(f, route))?;
    }
    f.write_str(if *announce { ", announced to the neighbours" } else { "" })
}

fn show_filter(f: &mut fmt::Formatter<'_>, filter: &FilterHostEnd) -> fmt::Result {
    let FilterHostEnd { host_interface, mac, addresses, confined_to, bridge, .. } = filter;
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

fn show_route(f: &mut fmt::Formatter<'_>, route: &RouteSpec) -> fmt::Result {
    if route.to.prefix() == 0 {
        f.write_str(", default route")?;
    } else {
        write!(f, ", route to {}", route.to)?;
    }
    match route.gateway {
        Some(gateway) => write!(f, " via {gateway}"),
        None => f.write_str(" by the link itself"),
    }
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
