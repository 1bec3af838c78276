//! The link of the host that a new network is on, or whose packets it sends: found by reading only.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::ifname::IfName;
use ocinet_shared::kernel::addr;
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::link::{self, Link};
use ocinet_shared::kernel::route::{self, Route};

use crate::drivers::Pool;
use crate::error::{Error, annotation, report};
use crate::network::Underlay;
use crate::request::{AttachmentRequest, unusable};

/// A peer of a new network's tunnels, and the index of the link by which a packet to it would leave, where one would.
pub type Peer = (IpAddr, Option<u32>);

/// The peers that the annotations name, but for those that are this host itself: every host may be given one list of all.
///
/// # Errors
/// Those of asking the kernel for a route.
pub fn peers(channel: &mut Channel, request: &AttachmentRequest) -> Result<Vec<Peer>, Error> {
    let mut peers = Vec::new();
    for peer in addresses_in(request, "peers") {
        let link = route::link_to(channel, peer)?;
        if link != Some(link::LOOPBACK) {
            peers.push((peer, link));
        }
    }
    Ok(peers)
}

/// The link that the annotations name: the parent, or the one with the tunnels' local address. Else the one by which
/// the tunnels' peers are reached, of several the one with the least MTU, or the host's default route leads.
///
/// # Errors
/// A link or a local address that is not there, or a link that cannot be a parent.
pub fn find(
    channel: &mut Channel,
    request: &AttachmentRequest,
    routes: &[Route],
    peers: &[Peer],
) -> Result<Option<Underlay>, Error> {
    let local = addresses_in(request, "local").next();
    if let Some(local) = local {
        check_local(channel, local)?;
    }
    let found = if let Some(parent) = request.settings.get("parent") {
        Some(named(channel, request, parent)?)
    } else if let Some(local) = local {
        let of = addr::list(channel)?.into_iter().find(|(_, cidr)| cidr.address() == local);
        of.map(|(index, _)| link::find_by_index(channel, index)).transpose()?.flatten()
    } else {
        let by_peers: BTreeSet<u32> = peers.iter().filter_map(|(_, link)| *link).collect();
        let group = addresses_in(request, "group").next().map(Family::of);
        let by_default = || default_link(routes, group).into_iter().collect();
        narrowest(channel, if peers.is_empty() { by_default() } else { by_peers })?
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

/// The addresses that a setting lists.
fn addresses_in(request: &AttachmentRequest, key: &str) -> impl Iterator<Item = IpAddr> {
    let list = request.settings.get(key).map(String::as_str).unwrap_or_default();
    list.split(',').filter_map(|address| address.parse().ok())
}

fn narrowest(channel: &mut Channel, indices: BTreeSet<u32>) -> Result<Option<Link>, Error> {
    let mut narrowest: Option<Link> = None;
    for index in indices {
        let found = link::find_by_index(channel, index)?;
        narrowest = narrowest.into_iter().chain(found).min_by_key(|link| link.mtu);
    }
    Ok(narrowest)
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

fn check_local(channel: &mut Channel, local: IpAddr) -> Result<(), Error> {
    if !route::is_own(channel, local)? {
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

/// The link of the host's default route: that of the family that is preferred, else IPv4's first.
fn default_link(routes: &[Route], preferred: Option<Family>) -> Option<u32> {
    preferred.into_iter().chain(Family::ALL).find_map(|family| {
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
