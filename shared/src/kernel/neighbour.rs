//! Neighbours: their Ethernet addresses, where a VXLAN link copies frames for nobody in particular, and which Ethernet
//! addresses a link receives frames for.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::addr::netlink_family;
use super::netlink::NetlinkSocket;
use super::{Change, KernelError};
use crate::model::cidr::Family;
use crate::model::mac::Mac;

/// The message that copies what a VXLAN link floods to another host: an entry for the all-zero Ethernet address
/// (bridge(8), `fdb append`).
#[must_use]
pub fn flood_to(index: u32, peer: IpAddr) -> Change {
    let mut message = of_bridge(index);
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![0; 6]));
    message.attributes.push(destination(peer));
    (RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_APPEND)
}

/// The message that tells a bridge by which of its ports an Ethernet address is, for as long as the port is there: frames for it are
/// never sent to all ports, and whoever sends from it by another port gets none of them (bridge(8), `fdb add … master static
/// sticky`).
#[must_use]
pub fn by_port(port: u32, mac: Mac) -> Change {
    let mut message = of_bridge(port);
    message.header.state = NeighbourState::Noarp;
    message.header.flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    (RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Whether a bridge was told so ([`by_port`]).
///
/// # Errors
/// Any refusal but that it knows nothing of the address.
pub fn is_by_port(socket: &mut NetlinkSocket, port: u32, mac: Mac) -> Result<bool, KernelError> {
    let mut message = of_bridge(port);
    message.header.flags = NeighbourFlags::Controller;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    let answer =
        socket.get(RouteNetlinkMessage::GetNeighbour(message), "look for a bridge's entry of an address")?;
    Ok(matches!(answer, Some(RouteNetlinkMessage::NewNeighbour(found))
        if found.header.ifindex == port
            && found.header.state == NeighbourState::Noarp
            && found.header.flags.contains(NeighbourFlags::Sticky)))
}

/// The Ethernet addresses that a link receives frames for besides its own: those of the macvlans on it, in whatever
/// namespace they are, for as long as they are up (bridge(8), `fdb show dev … self`).
///
/// # Errors
/// A refusal of the dump.
pub fn received_for(socket: &mut NetlinkSocket, index: u32) -> Result<Vec<Mac>, KernelError> {
    let request = RouteNetlinkMessage::GetNeighbour(of_bridge(index));
    let answers = socket.dump_some(&request, "list the Ethernet addresses of a link")?;
    let found = answers.into_iter().filter_map(|answer| {
        let RouteNetlinkMessage::NewNeighbour(message) = answer else { return None };
        message.attributes.into_iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => bytes.try_into().ok().map(Mac),
            _ => None,
        })
    });
    Ok(found.collect())
}

/// What this namespace knows of its neighbours: the index of the link, the address, and the Ethernet address that packets
/// for it are sent to.
///
/// # Errors
/// A refusal of the dump.
pub fn list(socket: &mut NetlinkSocket) -> Result<Vec<(u32, IpAddr, Mac)>, KernelError> {
    let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
    let answers = socket.dump(&request, "list the neighbours")?;
    let found = answers.into_iter().filter_map(|answer| {
        let RouteNetlinkMessage::NewNeighbour(message) = answer else { return None };
        let (mut address, mut mac) = (None, None);
        for attribute in message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(own)) => address = Some(own.into()),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(own)) => address = Some(own.into()),
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok().map(Mac),
                _ => {}
            }
        }
        Some((message.header.ifindex, address?, mac?))
    });
    Ok(found.collect())
}

/// The message that tells the Ethernet address of a neighbour on a link, who is then never asked for it.
#[must_use]
pub fn known(index: u32, address: IpAddr, mac: Mac) -> Change {
    let mut message = NeighbourMessage::default();
    message.header.family = netlink_family(Family::of(address));
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message.attributes.push(destination(address));
    (RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// An entry of a bridge or of a VXLAN link, or a question for them.
fn of_bridge(index: u32) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message
}

fn destination(address: IpAddr) -> NeighbourAttribute {
    NeighbourAttribute::Destination(match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    })
}
