//! Where the kernel would send a packet, one address at a time.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use nix::errno::Errno;
use nix::libc;

use crate::kernel::KernelError;
use crate::kernel::addr::netlink_family;
use crate::kernel::netlink::NetlinkSocket;
use crate::kernel::raw::NetlinkRequest;
use crate::model::cidr::Family;

/// `struct rtmsg` of linux/rtnetlink.h: the family, the destination's bits, and the type at 7.
const RTMSG_LENGTH: usize = 12;
const RTM_TYPE: usize = 7;

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
pub fn lookup(socket: &mut NetlinkSocket, address: IpAddr) -> Result<Option<Hop>, KernelError> {
    let Some(route) = look_up(socket, address)? else { return Ok(None) };
    Ok(match route.header.kind {
        RouteType::Local => Some(Hop::Local),
        RouteType::Unicast => route.attributes.into_iter().find_map(|attribute| {
            if let RouteAttribute::Oif(index) = attribute { Some(Hop::By(index)) } else { None }
        }),
        _ => None,
    })
}

/// What kind of address it is with its article, where it is one that several machines have: of a link's broadcast, of a
/// group, or of whichever is the nearest.
///
/// # Errors
/// Any refusal but that there is no way.
pub fn shared_by_many(
    socket: &mut NetlinkSocket,
    address: IpAddr,
) -> Result<Option<&'static str>, KernelError> {
    Ok(look_up(socket, address)?.and_then(|route| match route.header.kind {
        RouteType::Broadcast => Some("a broadcast"),
        RouteType::Multicast => Some("a multicast"),
        RouteType::Anycast => Some("an anycast"),
        _ => None,
    }))
}

fn look_up(socket: &mut NetlinkSocket, address: IpAddr) -> Result<Option<RouteMessage>, KernelError> {
    let mut message = RouteMessage::default();
    message.header.address_family = netlink_family(Family::of(address));
    message.header.destination_prefix_length = Family::of(address).bits();
    message.attributes.push(RouteAttribute::Destination(RouteAddress::from(address)));
    let doing = format!("look up the route to {address}");
    match socket.get(RouteNetlinkMessage::GetRoute(message), &doing) {
        Ok(Some(RouteNetlinkMessage::NewRoute(route))) => Ok(Some(route)),
        // The last two are what a route of the types prohibit and blackhole says.
        Ok(_)
        | Err(KernelError {
            errno: Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an address is the host's own, at which others reach it: no broadcast address, whatever bind(2) takes.
///
/// # Errors
/// Any refusal but that there is no way.
pub fn is_own(socket: &mut NetlinkSocket, address: IpAddr) -> Result<bool, KernelError> {
    Ok(lookup(socket, address)? == Some(Hop::Local))
}

/// Which of these addresses are the host's own, as [`is_own`] says of one. They are asked for together.
///
/// # Errors
/// Only where the socket itself fails.
pub fn own_of(socket: &mut NetlinkSocket, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, KernelError> {
    let requests: Vec<NetlinkRequest> = addresses.iter().map(|address| lookup_request(*address)).collect();
    let mut own = Vec::new();
    let asked = socket.ask_each(&requests, &mut |index, answer| {
        if answer.is_ok_and(|route| route.get(RTM_TYPE) == Some(&libc::RTN_LOCAL)) {
            own.extend(addresses.get(index));
        }
    });
    asked.map_err(|errno| KernelError::new("look up routes", errno))?;
    Ok(own)
}

fn lookup_request(address: IpAddr) -> NetlinkRequest {
    let family = Family::of(address);
    let mut header = [0; RTMSG_LENGTH];
    (header[0], header[1]) = (family.number(), family.bits());
    NetlinkRequest::new(libc::RTM_GETROUTE, &header).with_address(libc::RTA_DST, address)
}
