//! Routes.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use nix::errno::Errno;

use super::addr::netlink_family;
use super::channel::Channel;
use super::{Change, KernelError};
use crate::cidr::{Cidr, Family};

/// The table of the host's own addresses (`RT_TABLE_LOCAL` of linux/rtnetlink.h).
const RT_TABLE_LOCAL: u8 = 255;

/// Who made a route (`rtm_protocol` of rtnetlink(7)): ocinet itself, for a container. The number is free in
/// linux/rtnetlink.h and in iproute2's rt_protos.
const OCINET: RouteProtocol = RouteProtocol::Other(111);

/// A route of the host, as far as ocinet needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub destination: Cidr,
    /// The index of the link that it leaves by, where it names one.
    pub link: Option<u32>,
    /// The gateway, where it names one.
    pub gateway: Option<IpAddr>,
    /// How it ranks among routes to the same destination; the least is used.
    pub metric: u32,
    /// Whether it is in the main table, which is looked up for every packet that no rule (ip-rule(8)) leads elsewhere.
    pub in_main: bool,
    /// Whether a router advertisement (RFC 4861) made it.
    pub from_router_advertisement: bool,
    /// Whether ocinet made it for a container.
    pub to_container: bool,
}

/// A way by a gateway, as a container is given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Where it leads.
    pub to: Cidr,
    /// The gateway; without one, the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// Whether the gateway is on the link although no address of the link says so.
    pub onlink: bool,
    /// The routing table; the main one without.
    pub table: Option<u8>,
}

/// The message that adds a way over a link.
#[must_use]
pub fn add(index: u32, way: &Way) -> Change {
    let mut message = to(way.to);
    message.header.table = way.table.unwrap_or(RouteHeader::RT_TABLE_MAIN);
    if way.gateway.is_none() && way.to.family() == Family::Ipv4 {
        message.header.scope = RouteScope::Link;
    }
    message.attributes.extend(way.gateway.map(|gateway| RouteAttribute::Gateway(route_address(gateway))));
    if way.onlink {
        message.header.flags = RouteFlags::Onlink;
    }
    message.attributes.push(RouteAttribute::Oif(index));
    (RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// The message that makes a link the host's way to one address, whichever link was before: one of a container that had
/// the address earlier may not be gone yet. Larger packets than `mtu`, in bytes, the host cuts up, or refuses as their
/// sender's next link would.
#[must_use]
pub fn to_container(index: u32, address: IpAddr, mtu: Option<u32>) -> Change {
    let mut message = to(Cidr::host(address));
    message.header.protocol = OCINET;
    if address.is_ipv4() {
        message.header.scope = RouteScope::Link;
    }
    message.attributes.push(RouteAttribute::Oif(index));
    message.attributes.extend(mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    (RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Deletes the host's way to one address over a link; one that is gone counts as deleted.
///
/// # Errors
/// Any other refusal.
pub fn delete_to_container(channel: &mut Channel, index: u32, address: IpAddr) -> Result<(), KernelError> {
    let mut message = to(Cidr::host(address));
    message.header.protocol = OCINET;
    message.header.scope = RouteScope::NoWhere;
    message.attributes.push(RouteAttribute::Oif(index));
    let delete = vec![(RouteNetlinkMessage::DelRoute(message), 0)];
    match channel.change(delete, |_| format!("delete the route to {address}")) {
        Err(KernelError { errno: Errno::ESRCH | Errno::ENODEV, .. }) => Ok(()),
        other => other,
    }
}

fn to(destination: Cidr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = netlink_family(destination.family());
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.header.destination_prefix_length = destination.prefix();
    if destination.prefix() > 0 {
        message.attributes.push(RouteAttribute::Destination(route_address(destination.address())));
    }
    message
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

/// The unicast routes of a family in every table but the local one; one by several links is as many.
///
/// # Errors
/// A refusal of the dump.
pub fn list(channel: &mut Channel, family: Family) -> Result<Vec<Route>, KernelError> {
    let mut request = RouteMessage::default();
    request.header.address_family = netlink_family(family);
    let answers = channel.dump(&RouteNetlinkMessage::GetRoute(request), "list the routes")?;
    Ok(answers.into_iter().flat_map(|answer| from_message(answer, family)).collect())
}

/// The unicast routes of both families, as [`list`] has them.
///
/// # Errors
/// A refusal of a dump.
pub fn list_all(channel: &mut Channel) -> Result<Vec<Route>, KernelError> {
    let mut all = Vec::new();
    for family in Family::ALL {
        all.extend(list(channel, family)?);
    }
    Ok(all)
}

/// Where a packet to an address would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// To this very host.
    Local,
    /// Out of the link with this index.
    By(u32),
}

/// Where a packet to an address would go; `None` where there is no way.
///
/// # Errors
/// Any refusal but that there is no way.
pub fn towards(channel: &mut Channel, address: IpAddr) -> Result<Option<Hop>, KernelError> {
    let mut message = RouteMessage::default();
    message.header.address_family = netlink_family(Family::of(address));
    message.header.destination_prefix_length = Family::of(address).bits();
    message.attributes.push(RouteAttribute::Destination(route_address(address)));
    let doing = format!("look up the route to {address}");
    match channel.get(RouteNetlinkMessage::GetRoute(message), &doing) {
        Ok(Some(RouteNetlinkMessage::NewRoute(route))) if route.header.kind == RouteType::Local => {
            Ok(Some(Hop::Local))
        }
        Ok(Some(RouteNetlinkMessage::NewRoute(route))) => {
            Ok(route.attributes.into_iter().find_map(|attribute| {
                if let RouteAttribute::Oif(index) = attribute { Some(Hop::By(index)) } else { None }
            }))
        }
        Ok(_) | Err(KernelError { errno: Errno::ENETUNREACH | Errno::EHOSTUNREACH, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an address is the host's own, at which others reach it: no broadcast address, whatever bind(2) takes.
///
/// # Errors
/// Any refusal but that there is no way.
pub fn is_own(channel: &mut Channel, address: IpAddr) -> Result<bool, KernelError> {
    Ok(towards(channel, address)? == Some(Hop::Local))
}

fn from_message(answer: RouteNetlinkMessage, family: Family) -> Vec<Route> {
    let RouteNetlinkMessage::NewRoute(message) = answer else { return Vec::new() };
    if message.header.kind != RouteType::Unicast || message.header.table == RT_TABLE_LOCAL {
        return Vec::new();
    }
    let mut address = family.unspecified();
    let (mut link, mut metric) = (None, 0);
    let gateway = gateway_of(&message.attributes);
    let mut hops = Vec::new();
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => address = to.into(),
            RouteAttribute::Destination(RouteAddress::Inet6(to)) => address = to.into(),
            RouteAttribute::Priority(priority) => metric = priority,
            RouteAttribute::Oif(index) => link = Some(index),
            RouteAttribute::MultiPath(several) => {
                hops.extend(
                    several.iter().map(|hop| (Some(hop.interface_index), gateway_of(&hop.attributes))),
                );
            }
            _ => {}
        }
    }
    let Some(destination) = Cidr::new(address, message.header.destination_prefix_length) else {
        return Vec::new();
    };
    if hops.is_empty() {
        hops.push((link, gateway));
    }
    let route = |(link, gateway)| Route {
        destination,
        link,
        gateway,
        metric,
        in_main: message.header.table == RouteHeader::RT_TABLE_MAIN,
        from_router_advertisement: message.header.protocol == RouteProtocol::Ra,
        to_container: message.header.protocol == OCINET,
    };
    hops.into_iter().map(route).collect()
}

fn gateway_of(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(via)) => Some((*via).into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(via)) => Some((*via).into()),
        _ => None,
    })
}
