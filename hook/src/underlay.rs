//! The link of the host that a new network is on, or whose packets it sends: found by reading only.

use std::net::IpAddr;

use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::ifname::IfName;
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::link::{self, Link};
use ocinet_shared::kernel::route::{self, Route};
use ocinet_shared::kernel::{addr, ports};
use ocinet_shared::port::Protocol;

use crate::drivers::Pool;
use crate::error::{Error, annotation, report};
use crate::network::Underlay;
use crate::request::{AttachmentRequest, unusable};

/// The link that the annotations name: the parent, or the one with the tunnels' local address. Else the one by which
/// the tunnels' first peer is reached, or the host's default route leads.
///
/// # Errors
/// A link or a local address that is not there, or a link that cannot be a parent.
pub fn find(
    channel: &mut Channel,
    request: &AttachmentRequest,
    routes: &[Route],
) -> Result<Option<Underlay>, Error> {
    let said = |key: &str| request.settings.get(key).map(String::as_str);
    let first = |key: &str| said(key).and_then(|list| list.split(',').next()?.parse::<IpAddr>().ok());
    let local = first("local");
    if let Some(local) = local {
        check_local(local)?;
    }
    let found = if let Some(parent) = said("parent") {
        Some(named(channel, request, parent)?)
    } else if let Some(local) = local {
        let of = addr::list(channel)?.into_iter().find(|(_, cidr)| cidr.address() == local);
        of.map(|(index, _)| link::find_by_index(channel, index)).transpose()?.flatten()
    } else {
        let index = match first("peers") {
            Some(peer) => route::link_to(channel, peer)?,
            None => default_link(routes),
        };
        index.map(|index| link::find_by_index(channel, index)).transpose()?.flatten()
    };
    let Some(found) = found else { return Ok(None) };
    // Its addresses are asked for only by who shares them.
    let on_lan = request.driver.pool() == Pool::Lan;
    let addresses = if on_lan { addresses_of(channel, found.index)? } else { Vec::new() };
    let gateways = routes.iter().filter(|route| is_default(route) && route.link == Some(found.index));
    let name: IfName =
        found.name.parse().map_err(|error| annotation("net.parent", error, "give the link another name"))?;
    Ok(Some(Underlay {
        name,
        mtu: found.mtu,
        addresses,
        gateways: gateways.filter_map(|route| route.gateway).collect(),
    }))
}

fn named(channel: &mut Channel, request: &AttachmentRequest, parent: &str) -> Result<Link, Error> {
    let hint = "name a link of this host that `ip link` shows";
    let name: IfName = parent.parse().map_err(|error| request.label("parent").error(error, hint))?;
    let refuse =
        |cause: String| Err(Error::Conflict(report(format!("use {parent} as the parent"), cause, hint)));
    match link::find(channel, &name)? {
        None => refuse("there is no such link".to_owned()),
        Some(link) if link.is_loopback => refuse("it is a loopback".to_owned()),
        Some(link) if link.controller.is_some() => {
            refuse("it is a port of a bridge or bond; use that one as the parent".to_owned())
        }
        Some(link) if link.kind == "veth" && link.name.starts_with("oc-") => {
            refuse("it is a container's".to_owned())
        }
        Some(link) => Ok(link),
    }
}

fn check_local(local: IpAddr) -> Result<(), Error> {
    if matches!(ports::probe(local, Protocol::Udp, 0)?, ports::Bind::NotLocal) {
        return Err(Error::Conflict(report(
            format!("tunnel from {local}"),
            "it is not an address of this host",
            "give net.local an address that `ip address` shows, or leave it out",
        )));
    }
    Ok(())
}

fn is_default(route: &Route) -> bool {
    route.destination.prefix() == 0
}

/// The link of the host's default route, IPv4's first.
fn default_link(routes: &[Route]) -> Option<u32> {
    Family::ALL.into_iter().find_map(|family| {
        let of_family =
            routes.iter().filter(|route| is_default(route) && route.destination.family() == family);
        of_family.min_by_key(|route| route.metric)?.link
    })
}

fn addresses_of(channel: &mut Channel, index: u32) -> Result<Vec<Cidr>, Error> {
    let all = addr::list(channel)?.into_iter();
    let mut own: Vec<Cidr> = all
        .filter(|(link, cidr)| *link == index && unusable(cidr.address()).is_none())
        .map(|(_, cidr)| cidr)
        .collect();
    own.sort_by_key(Cidr::family);
    Ok(own)
}
