//! Routes.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::KernelError;
use super::addr::netlink_family;
use super::channel::Channel;
use crate::cidr::{Cidr, Family};

/// The table of the host's own addresses (`RT_TABLE_LOCAL` of linux/rtnetlink.h).
const RT_TABLE_LOCAL: u8 = 255;

/// A route of the host, as far as ocinet needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub destination: Cidr,
    /// The index of the link that it leaves by, where it names one.
    pub link: Option<u32>,
    /// Whether a router advertisement (RFC 4861) made it.
    pub from_router_advertisement: bool,
}

/// The message that makes a gateway the way to everywhere.
#[must_use]
pub fn add_default(index: u32, gateway: IpAddr) -> (RouteNetlinkMessage, u16) {
    let mut message = RouteMessage::default();
    message.header.address_family = netlink_family(Family::of(gateway));
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Gateway(match gateway {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }));
    message.attributes.push(RouteAttribute::Oif(index));
    (RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// The unicast routes of a family in every table but the local one.
///
/// # Errors
/// A refusal of the dump.
pub fn list(channel: &mut Channel, family: Family) -> Result<Vec<Route>, KernelError> {
    let mut request = RouteMessage::default();
    request.header.address_family = netlink_family(family);
    let answers = channel.dump(&RouteNetlinkMessage::GetRoute(request), "list the routes")?;
    Ok(answers.into_iter().filter_map(|answer| from_message(answer, family)).collect())
}

fn from_message(answer: RouteNetlinkMessage, family: Family) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = answer else { return None };
    if message.header.kind != RouteType::Unicast || message.header.table == RT_TABLE_LOCAL {
        return None;
    }
    let mut address = family.unspecified();
    let mut link = None;
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => address = to.into(),
            RouteAttribute::Destination(RouteAddress::Inet6(to)) => address = to.into(),
            RouteAttribute::Oif(index) => link = Some(index),
            _ => {}
        }
    }
    Some(Route {
        destination: Cidr::new(address, message.header.destination_prefix_length)?,
        link,
        from_router_advertisement: message.header.protocol == RouteProtocol::Ra,
    })
}
