//! The host's links of networks and containers, and the neighbours on them.

use std::net::IpAddr;

use ocinet_shared::kernel::{neighbour, route};
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::network::{HostLink, Network};
use ocinet_shared::quoted::word;

use super::context::DoctorContext;
use super::finding::Finding;
use super::rules::RELOAD;
use crate::error::Error;

/// Links that are gone, down, or not a port of their bridge.
pub(super) fn states(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let of_networks = context.networks.iter().flat_map(|network| {
        network.links.iter().map(move |link| (&link.name, format!("network {}", network.name), None))
    });
    let of_containers = context.attachments().filter_map(|(record, attachment)| {
        let bridge =
            context.router(attachment).filter(|router| Some(*router) != attachment.host_interface.as_ref());
        Some((attachment.host_interface.as_ref()?, format!("container {}", record.id), bridge))
    });
    for (name, whose, bridge) in of_networks.chain(of_containers) {
        let Some(link) = context.link(name) else {
            findings.push(Finding::new(
                format!("link {name} of {whose} is gone"),
                "somebody deleted it; a start makes a network's links again, and a container's own",
                format!("# start the containers of {whose} anew"),
            ));
            continue;
        };
        if !link.is_up {
            let why = "nothing passes a link that is down";
            findings.push(Finding::new(
                format!("link {name} of {whose} is down"),
                why,
                format!("ip link set {name} up"),
            ));
        }
        let Some(bridge) = bridge.and_then(|bridge| context.link(bridge)) else { continue };
        if link.controller != Some(bridge.index) {
            // Its shortcut leads to the bridge that it was a port of before.
            findings.push(Finding {
                what: format!("link {name} of {whose} is not a port of {}", bridge.name),
                why: "what the container sends does not reach its network".to_owned(),
                fix: vec![format!("ip link set {name} master {}", bridge.name), RELOAD.to_owned()],
            });
        }
    }
    Ok(findings)
}

/// Bridges with another Ethernet address than their network's.
pub(super) fn bridges(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let bridges = context.networks.iter().filter_map(|network| Some((network, network.bridge_link()?)));
    let is_other = |name: &IfName, mac: Mac| context.link(name).is_some_and(|there| there.mac != Some(mac));
    let others = bridges.filter(|(_, bridge)| is_other(&bridge.name, bridge.mac));
    let finding = |(network, bridge): (&Network, &HostLink)| {
        Finding::new(
            format!(
                "{} of network {} has another Ethernet address than ocinet gave it",
                bridge.name, network.name
            ),
            "the filters on containers' links know by it what the host sends, and take that for a neighbour's now: without the \
             rules, it is let in",
            format!("ip link set dev {} address {}", word(bridge.name.as_str()), bridge.mac),
        )
    };
    Ok(others.map(finding).collect())
}

/// Gateways that the host does not have any more.
pub(super) fn gateways(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for network in context.routed() {
        for name in context.routers(network) {
            // What a link lost by going down is looked at once it is up again.
            let Some(link) = context.link(&name).filter(|link| link.is_up) else { continue };
            for gateway in network.gateways() {
                if context.found.has_address(link.index, gateway.address()) {
                    continue;
                }
                let own = if network.bridge().is_some() { gateway } else { Cidr::host(gateway.address()) };
                let no_detection = if own.family() == Family::Ipv6 { " nodad" } else { "" };
                findings.push(Finding::new(
                    format!("{name} does not have the gateway {} of network {}", own.address(), network.name),
                    "containers send what leaves their network there",
                    format!("ip address add {own} dev {name}{no_detection}"),
                ));
            }
        }
    }
    Ok(findings)
}

/// Containers' addresses that the host has as well.
pub(super) fn clashes(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for (record, attachment) in context.attachments() {
        for own in &attachment.addresses {
            for (index, cidr) in
                context.found.addresses.iter().filter(|(_, cidr)| cidr.address() == own.address())
            {
                let link = context.found.link_at(*index);
                let link = link.map_or("lo", |link| link.name.as_str());
                findings.push(Finding::new(
                    format!("{} of container {} is also the host's own, on {link}", own.address(), record.id),
                    "the host answers for it, and sends the container nothing",
                    format!("ip address del {cidr} dev {}", word(link)),
                ));
            }
        }
    }
    Ok(findings)
}

/// Neighbour entries of containers that name another Ethernet address than theirs.
pub(super) fn neighbours(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let known = neighbour::list(&mut context.found.route)?;
    let mut findings = Vec::new();
    for (record, attachment) in context.attachments() {
        let Some(link) = context.router(attachment).and_then(|name| context.link(name)) else { continue };
        let Some(mac) = attachment.mac else { continue };
        let is_own = |address: IpAddr| attachment.addresses.iter().any(|own| own.address() == address);
        for (_, address, other) in known
            .iter()
            .filter(|(index, address, other)| *index == link.index && is_own(*address) && *other != mac)
        {
            findings.push(Finding::new(
                format!("the host takes {address} of container {} for {other}", record.id),
                format!("the container is {mac}: what the host sends it on {} gets to nobody", link.name),
                format!("ip neighbour replace {address} lladdr {mac} dev {} nud reachable", link.name),
            ));
        }
    }
    Ok(findings)
}

/// Containers whose packets may be larger than the host's way out takes.
pub(super) fn mtu(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let routes =
        Family::ALL.into_iter().flat_map(|family| route::routes_to_everywhere(&context.found.routes, family));
    let links = routes.filter_map(|route| context.found.link_at(route.link?));
    let least = links.min_by_key(|link| link.mtu);
    let Some(way_out) = least else { return Ok(findings) };
    for (record, attachment) in context.attachments() {
        let network = context.routed().find(|network| network.name == attachment.network);
        let Some(network) = network.filter(|network| !network.internal) else { continue };
        let Some(end) = attachment.host_interface.as_ref().and_then(|name| context.link(name)) else {
            continue;
        };
        if end.mtu <= way_out.mtu {
            continue;
        }
        let (interface, pid, mtu) = (&attachment.interface, record.pid, way_out.mtu);
        let bridge = network.bridge().map(|bridge| format!("ip link set {bridge} mtu {mtu}"));
        findings.push(Finding {
            what: format!(
                "{interface} of container {} has an MTU of {}, the host's {} {mtu}",
                record.id, end.mtu, way_out.name
            ),
            why: "larger packets than the path takes are lost where ICMP is filtered".to_owned(),
            fix: [
                format!("nsenter --target {pid} --net ip link set {interface} mtu {mtu}"),
                format!("ip link set {} mtu {mtu}", end.name),
            ]
            .into_iter()
            .chain(bridge)
            .collect(),
        });
    }
    Ok(findings)
}
