//! Addresses of links.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::NetlinkSocket;
use super::{Change, KernelError};
use crate::model::cidr::{Cidr, Family};

/// The message that gives a link an address.
///
/// Duplicate address detection (RFC 4862) is off: the lease made sure of it, and it would keep the
/// address unusable for a second. An address that is a subnet of its own gets no route to itself beside the local one:
/// it would outlive its network by as long as the kernel needs to remove the link.
#[must_use]
pub fn add(index: u32, cidr: &Cidr) -> Change {
    let mut message = AddressMessage::default();
    message.header.family = netlink_family(cidr.family());
    message.header.prefix_len = cidr.prefix();
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    message.attributes.push(AddressAttribute::Local(cidr.address()));
    message.attributes.push(AddressAttribute::Address(cidr.address()));
    match cidr.last() {
        IpAddr::V4(broadcast) if cidr.prefix() < 31 => {
            message.attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        IpAddr::V4(_) => {}
        IpAddr::V6(_) => {
            message.header.flags = AddressHeaderFlags::Nodad;
            let is_alone = cidr.prefix() == Family::Ipv6.bits();
            let alone = if is_alone { AddressFlags::Noprefixroute } else { AddressFlags::empty() };
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | alone));
        }
    }
    (RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Every address of this namespace's links, with the index of the link.
///
/// # Errors
/// A refusal of the dump.
pub fn list(socket: &mut NetlinkSocket) -> Result<Vec<(u32, Cidr)>, KernelError> {
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let answers = socket.dump(&request, "list the addresses")?;
    let found = answers.into_iter().filter_map(|answer| {
        let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
        let prefix = message.header.prefix_len;
        let mut address = None;
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Local(local) => address = Some(local),
                AddressAttribute::Address(own) => address = address.or(Some(own)),
                _ => {}
            }
        }
        Some((message.header.index, Cidr::new(address?, prefix)?))
    });
    Ok(found.collect())
}

/// Why an address that a link has is not usable, where it is so (RFC 4862, section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It is still asked whether another machine has it.
    Tentative,
    /// Another machine has it.
    Duplicate,
}

/// Why an address of this namespace is not usable; `None` where it is, or where no link has it.
///
/// # Errors
/// A refusal of the dump.
pub fn unusable(socket: &mut NetlinkSocket, address: IpAddr) -> Result<Option<Unusable>, KernelError> {
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let answers = socket.dump(&request, "list the addresses")?;
    Ok(answers.into_iter().find_map(|answer| {
        let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
        let is_it = message.attributes.contains(&AddressAttribute::Address(address));
        let flags = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(*flags),
            _ => None,
        });
        match flags.filter(|_| is_it)? {
            flags if flags.contains(AddressFlags::Dadfailed) => Some(Unusable::Duplicate),
            flags if flags.contains(AddressFlags::Tentative) => Some(Unusable::Tentative),
            _ => None,
        }
    }))
}

/// The address family number of netlink messages.
#[must_use]
pub fn netlink_family(family: Family) -> AddressFamily {
    match family {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    }
}
