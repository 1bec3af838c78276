//! Routes of the host and of containers. `lookup.rs` asks where a packet would go.

mod lookup;

use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType, RouteVia,
};
use nix::errno::Errno;
use nix::libc;

pub use self::lookup::{Hop, is_own, lookup, own_of, shared_by_many};
use super::addr::netlink_family;
use super::netlink::NetlinkSocket;
use super::{Change, KernelError};
use crate::model::cidr::{Cidr, Family};

/// The main table, which is looked up for every packet that no rule (ip-rule(8)) leads elsewhere.
pub const MAIN: u32 = libc::RT_TABLE_MAIN as u32;
/// The table of the host's own addresses.
pub const LOCAL: u32 = libc::RT_TABLE_LOCAL as u32;

/// Who made a route (`rtm_protocol` of rtnetlink(7)): ocinet itself, for a container. The number is free in
/// linux/rtnetlink.h and in iproute2's rt_protos.
const OCINET: RouteProtocol = RouteProtocol::Other(111);

/// A shorter prefix than this is a part of everywhere: VPNs lead `0.0.0.0/1` and `128.0.0.0/1` in place of a default
/// route, or what is left of the Internet without private ranges. No network of one owner is wider than an IPv4 /8.
const WIDEST: u8 = 8;
/// The unique local addresses, `fc00::/7` (RFC 4193), which are nobody's default route.
const UNIQUE_LOCAL6: Ipv6Addr = Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0);

/// A route of the host, as far as ocinet needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub destination: Cidr,
    /// The index of the link that it leaves by, where it names one.
    pub link: Option<u32>,
    /// The gateway, where it names one: of IPv4 it may be an IPv6 address (`RTA_VIA`).
    pub gateway: Option<IpAddr>,
    /// How it ranks among routes to the same destination; the least is used.
    pub metric: u32,
    /// The number of its table.
    pub table: u32,
    /// Its type in ip-route(8), where packets that match it go nowhere: `blackhole`, `unreachable`, `prohibit`, or `throw`,
    /// which ends the look into this table alone.
    pub leads_nowhere: Option<&'static str>,
    /// Whether the host has an address of its own in it, and neighbours on the link that it leaves by.
    pub is_connected: bool,
    /// Whether a router advertisement (RFC 4861) made it.
    pub from_router_advertisement: bool,
    /// Whether ocinet made it for a container.
    pub to_container: bool,
    /// Whether it leaves by several links, or by a nexthop object (ip-nexthop(8)).
    pub is_by_several: bool,
}

impl Route {
    /// A route of the main table, of which nothing else is known.
    #[must_use]
    pub fn new(destination: Cidr, link: Option<u32>) -> Self {
        Self {
            destination,
            link,
            gateway: None,
            metric: 0,
            table: MAIN,
            leads_nowhere: None,
            is_connected: false,
            from_router_advertisement: false,
            to_container: false,
            is_by_several: false,
        }
    }

    /// Whether it is in the main table.
    #[must_use]
    pub fn is_in_main(&self) -> bool {
        self.table == MAIN
    }

    /// Whether it is a default route of a family, in whatever table and of whatever type.
    #[must_use]
    pub fn is_default_of(&self, family: Family) -> bool {
        self.destination.prefix() == 0 && self.destination.family() == family
    }

    /// Whether it is so wide that everything overlaps it: a default route, or a part of one.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.destination.prefix() < WIDEST
    }

    /// Whether it leads to everywhere, or to a part: multicast groups and unique local addresses are none.
    #[must_use]
    pub fn is_of_everywhere(&self) -> bool {
        let to = self.destination.address();
        let is_of_few = to.is_multicast() || to == IpAddr::V6(UNIQUE_LOCAL6);
        self.leads_nowhere.is_none() && self.is_wide() && !is_of_few
    }

    /// Whether the host's packets to everywhere leave by it: a default route of the main table, or a part of one.
    #[must_use]
    pub fn leads_out(&self) -> bool {
        self.is_in_main() && self.is_of_everywhere()
    }
}

/// The default routes of a family in the main table that are used: those of the least metric, one for each link.
pub fn defaults(routes: &[Route], family: Family) -> impl Iterator<Item = &Route> {
    let is_default = move |route: &&Route| route.is_in_main() && route.is_default_of(family);
    let least = routes.iter().filter(is_default).map(|route| route.metric).min();
    let is_used = move |route: &&Route| Some(route.metric) == least && route.leads_nowhere.is_none();
    routes.iter().filter(is_default).filter(is_used)
}

/// The routes by which a family's packets to everywhere leave: the default routes that are used, and parts of everywhere
/// that lead elsewhere.
pub fn routes_to_everywhere(routes: &[Route], family: Family) -> impl Iterator<Item = &Route> {
    let parts = routes.iter().filter(move |route| {
        let to = route.destination;
        route.leads_out() && to.prefix() > 0 && to.family() == family
    });
    defaults(routes, family).chain(parts)
}

/// A route by a gateway, as a container is given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteSpec {
    /// Where it leads.
    pub to: Cidr,
    /// The gateway, which of IPv4 may be an IPv6 address; without one, the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// Whether the gateway is on the link although no address of the link says so.
    pub onlink: bool,
    /// The routing table; the main one without.
    pub table: Option<u8>,
}

/// The message that adds a route over a link.
#[must_use]
pub fn add(index: u32, route: &RouteSpec) -> Change {
    let mut message = to(route.to);
    message.header.table = route.table.unwrap_or(RouteHeader::RT_TABLE_MAIN);
    if route.gateway.is_none() && route.to.family() == Family::Ipv4 {
        message.header.scope = RouteScope::Link;
    }
    message.attributes.extend(route.gateway.map(|gateway| match gateway {
        IpAddr::V6(next_hop) if route.to.family() == Family::Ipv4 => {
            RouteAttribute::Via(RouteVia::Inet6(next_hop))
        }
        gateway => RouteAttribute::Gateway(RouteAddress::from(gateway)),
    }));
    if route.onlink {
        message.header.flags = RouteFlags::Onlink;
    }
    message.attributes.push(RouteAttribute::Oif(index));
    (RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// The message that makes a link the host's route to one address, whichever link was before: one of a container that had
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

/// The message that makes a link the host's route, among others and as the last, to a network that is behind several links: to
/// addresses of it that nobody has.
#[must_use]
pub fn within(index: u32, network: Cidr) -> Change {
    let mut message = to(network);
    message.header.protocol = OCINET;
    if network.family() == Family::Ipv4 {
        message.header.scope = RouteScope::Link;
    }
    message.attributes.extend([RouteAttribute::Oif(index), RouteAttribute::Priority(u32::MAX)]);
    (RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_APPEND)
}

/// Deletes the host's route to one address over a link; one that is gone counts as deleted.
///
/// # Errors
/// Any other refusal.
pub fn delete_to_container(
    socket: &mut NetlinkSocket,
    index: u32,
    address: IpAddr,
) -> Result<(), KernelError> {
    let mut message = to(Cidr::host(address));
    message.header.protocol = OCINET;
    message.header.scope = RouteScope::NoWhere;
    message.attributes.push(RouteAttribute::Oif(index));
    let delete = vec![(RouteNetlinkMessage::DelRoute(message), 0)];
    match socket.change(delete, |_| format!("delete the route to {address}")) {
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
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(destination.address())));
    }
    message
}

/// The routes of a family in every table but the local one; one by several links is as many. What the kernel learned of
/// single destinations, such as their path's MTU, is left out.
///
/// # Errors
/// A refusal of the dump.
pub fn list(socket: &mut NetlinkSocket, family: Family) -> Result<Vec<Route>, KernelError> {
    let mut request = RouteMessage::default();
    request.header.address_family = netlink_family(family);
    let answers = socket.dump(&RouteNetlinkMessage::GetRoute(request), "list the routes")?;
    Ok(answers.into_iter().flat_map(|answer| from_message(answer, family)).collect())
}

/// The routes of both families, as [`list`] has them.
///
/// # Errors
/// A refusal of a dump.
pub fn list_all(socket: &mut NetlinkSocket) -> Result<Vec<Route>, KernelError> {
    let mut all = Vec::new();
    for family in Family::ALL {
        all.extend(list(socket, family)?);
    }
    Ok(all)
}

fn from_message(answer: RouteNetlinkMessage, family: Family) -> Vec<Route> {
    let RouteNetlinkMessage::NewRoute(message) = answer else { return Vec::new() };
    let leads_nowhere = match message.header.kind {
        RouteType::Unicast => None,
        RouteType::BlackHole => Some("blackhole"),
        RouteType::Unreachable => Some("unreachable"),
        RouteType::Prohibit => Some("prohibit"),
        RouteType::Throw => Some("throw"),
        _ => return Vec::new(),
    };
    let is_learned = message.header.flags.contains(RouteFlags::Cloned);
    if is_learned || u32::from(message.header.table) == LOCAL {
        return Vec::new();
    }
    let mut table = u32::from(message.header.table);
    let mut address = family.unspecified();
    let (mut link, mut metric, mut source) = (None, 0, None);
    let gateway = gateway_of(&message.attributes);
    let mut hops = Vec::new();
    let mut is_by_object = false;
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => address = to.into(),
            RouteAttribute::Destination(RouteAddress::Inet6(to)) => address = to.into(),
            RouteAttribute::Priority(priority) => metric = priority,
            RouteAttribute::Oif(index) => link = Some(index),
            RouteAttribute::Table(number) => table = number,
            RouteAttribute::PrefSource(RouteAddress::Inet(own)) => source = Some(IpAddr::from(own)),
            RouteAttribute::PrefSource(RouteAddress::Inet6(own)) => source = Some(IpAddr::from(own)),
            RouteAttribute::MultiPath(several) => {
                hops.extend(
                    several.iter().map(|hop| (Some(hop.interface_index), gateway_of(&hop.attributes))),
                );
            }
            RouteAttribute::NhId(_) => is_by_object = true,
            _ => {}
        }
    }
    let Some(destination) = Cidr::new(address, message.header.destination_prefix_length) else {
        return Vec::new();
    };
    let is_by_several = is_by_object || !hops.is_empty();
    if hops.is_empty() {
        hops.push((link, gateway));
    }
    // Whoever gives the host its address may make the route in the kernel's place.
    let has_own = message.header.protocol == RouteProtocol::Kernel
        || source.is_some_and(|source| destination.prefix() > 0 && destination.contains(source));
    let route = |(link, gateway): (Option<u32>, Option<IpAddr>)| Route {
        gateway,
        metric,
        table,
        leads_nowhere,
        is_connected: has_own && gateway.is_none(),
        from_router_advertisement: message.header.protocol == RouteProtocol::Ra,
        to_container: message.header.protocol == OCINET,
        is_by_several,
        ..Route::new(destination, link)
    };
    hops.into_iter().map(route).collect()
}

fn gateway_of(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(via)) => Some((*via).into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(via)) => Some((*via).into()),
        RouteAttribute::Via(RouteVia::Inet(via)) => Some((*via).into()),
        RouteAttribute::Via(RouteVia::Inet6(via)) => Some((*via).into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
