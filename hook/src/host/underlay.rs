//! The link of the host that a network is on, or whose packets it sends: found by reading only.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::kernel::addr;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::route;
use ocinet_shared::kernel::route::{Hop, Route};
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::network::Network;
use ocinet_shared::quoted::word;

use crate::error::{Class, Error, annotation};
use crate::host::conflict;
use crate::input::request::AttachmentRequest;
use crate::model::driver_spec::AddressScope;
use crate::model::host_network::Underlay;
use crate::model::subnet::unusable;
use crate::plan::validate::check_mtu;

/// A peer of a new network's tunnels, and the index of the link by which a packet to it would leave, where one would.
pub type Peer = (IpAddr, Option<u32>);

/// The peers that the annotations name, but for those that are this host itself: every host may be given one list of all.
///
/// # Errors
/// Those of asking the kernel for a route.
pub fn peers(socket: &mut NetlinkSocket, request: &AttachmentRequest) -> Result<Vec<Peer>, Error> {
    let mut peers = Vec::new();
    for peer in request.driver.tunnels().into_iter().flat_map(|asked| &asked.peers) {
        match route::lookup(socket, *peer)? {
            Some(Hop::Local) => {}
            Some(Hop::By(link)) => peers.push((*peer, Some(link))),
            None => peers.push((*peer, None)),
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
    socket: &mut NetlinkSocket,
    request: &AttachmentRequest,
    routes: &[Route],
    peers: &[Peer],
) -> Result<Option<Underlay>, Error> {
    let tunnels = request.driver.tunnels();
    let local = tunnels.and_then(|asked| asked.local);
    if let Some(local) = local {
        check_local(socket, local)?;
    }
    let found = if let Some(parent) = request.driver.parent() {
        Some(named(socket, request, parent)?)
    } else if let Some(local) = local {
        let of = addr::list(socket)?.into_iter().find(|(_, cidr)| cidr.address() == local);
        of.map(|(index, _)| link::find_by_index(socket, index)).transpose()?.flatten()
    } else {
        let by_peers: BTreeSet<u32> = peers.iter().filter_map(|(_, link)| *link).collect();
        let group = tunnels.and_then(|asked| asked.group).map(Family::of);
        let by_default = || match request.driver.addresses() {
            // A VPN that leads everywhere has no LAN.
            AddressScope::Lan => default_links(routes, group),
            AddressScope::Host | AddressScope::Overlay => links_to_everywhere(routes, group),
        };
        narrowest(socket, if peers.is_empty() { by_default() } else { by_peers })?
    };
    let Some(found) = found else { return Ok(None) };
    // Its addresses are asked for only by who shares them.
    let on_lan = request.driver.addresses() == AddressScope::Lan;
    if on_lan {
        check_fit(request, &found)?;
    }
    let addresses = if on_lan { addresses_of(socket, found.index)? } else { Vec::new() };
    let by_it = |route: &&Route| route.leads_out() && route.link == Some(found.index);
    // IPv4's may be an IPv6 address: that is no router of IPv6.
    let is_of_family = |route: &&Route| route.gateway.map(Family::of) == Some(route.destination.family());
    let (gateways, others): (Vec<&Route>, Vec<&Route>) = routes.iter().filter(by_it).partition(is_of_family);
    let gateways = gateways.into_iter().filter_map(|route| route.gateway).collect();
    let next_hop = others.into_iter().find_map(|route| match route.gateway {
        Some(IpAddr::V6(next_hop)) => Some(next_hop),
        _ => None,
    });
    let name: IfName =
        found.name.parse().map_err(|error| annotation("net.parent", error, "give the link another name"))?;
    Ok(Some(Underlay { name, mtu: found.mtu, addresses, gateways, next_hop }))
}

fn narrowest(socket: &mut NetlinkSocket, indices: BTreeSet<u32>) -> Result<Option<Link>, Error> {
    let mut narrowest: Option<Link> = None;
    for index in indices {
        let found = link::find_by_index(socket, index)?;
        narrowest = narrowest.into_iter().chain(found).min_by_key(|link| link.mtu);
    }
    Ok(narrowest)
}

/// Checks the parent of a container's network once more: it may be another link, or none, since the network was made.
///
/// # Errors
/// A link that cannot be a parent, or not this container's.
pub fn check_parent(request: &AttachmentRequest, network: &Network) -> Result<(), Error> {
    let Some(parent) = network.settings.parent().filter(|_| request.driver.addresses() == AddressScope::Lan)
    else {
        return Ok(());
    };
    let link = named(&mut NetlinkSocket::open(NETLINK_ROUTE)?, request, parent)?;
    check_mtu(request, request.mtu.or(network.mtu), parent.as_str(), link.mtu)?;
    match request.mac {
        Some(mac) if request.mac == link.mac && !network.settings.holds_one() => {
            let hint = "give another address, or leave it out";
            Err(request.label("mac").error(format!("{mac} is {parent}'s own"), hint))
        }
        _ => Ok(()),
    }
}

fn named(socket: &mut NetlinkSocket, request: &AttachmentRequest, parent: &IfName) -> Result<Link, Error> {
    let hint = "name a link of this host that `ip link` shows";
    let found = link::find(socket, parent)?;
    let found = found.ok_or_else(|| unfit(parent.as_str(), "there is no such link", hint))?;
    check_fit(request, &found)?;
    Ok(found)
}

fn check_fit(request: &AttachmentRequest, link: &Link) -> Result<(), Error> {
    let another = "name another link of this host with net.parent";
    let (cause, hint) = if link.is_loopback {
        ("it is a loopback".to_owned(), another.to_owned())
    } else if link.controller.is_some() {
        ("it is a port of a bridge or bond".to_owned(), "use that one as the parent".to_owned())
    } else if let Some(network) = link.alias.strip_prefix(link::OF_NETWORK) {
        (format!("it is network {network}'s"), another.to_owned())
    } else if link.kind == "veth" && link.name.starts_with("oc-") {
        ("it is a container's".to_owned(), another.to_owned())
    } else if request.driver.addresses() == AddressScope::Lan && !link.is_ethernet {
        ("it is not an Ethernet link".to_owned(), another.to_owned())
    } else if !link.is_up {
        ("it is down".to_owned(), format!("bring it up with `ip link set {} up`", word(&link.name)))
    } else {
        return Ok(());
    };
    Err(unfit(&link.name, cause, hint))
}

fn unfit(parent: &str, cause: impl Display, hint: impl Into<String>) -> Error {
    Error::new(Class::Conflict, format!("use {parent} as the parent"), cause, hint)
}

fn check_local(socket: &mut NetlinkSocket, local: IpAddr) -> Result<(), Error> {
    if !route::is_own(socket, local)? {
        let hint = "give net.local an address that `ip address` shows, or leave it out";
        return Err(conflict::not_own(format!("tunnel from {local}"), local, ("it", hint)));
    }
    Ok(())
}

/// Whether a default route of the host leads over a link.
///
/// # Errors
/// Those of asking the kernel.
pub fn carries_default_route(link: &IfName) -> Result<bool, Error> {
    let mut socket = NetlinkSocket::open(NETLINK_ROUTE)?;
    let Some(link) = link::find(&mut socket, link)? else { return Ok(false) };
    for family in Family::ALL {
        let routes = route::list(&mut socket, family)?;
        if routes.iter().any(|route| route.is_of_everywhere() && route.link == Some(link.index)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The links of the host's default routes: those of the family that is preferred, else IPv4's first.
fn default_links(routes: &[Route], preferred: Option<Family>) -> BTreeSet<u32> {
    let of = |family| route::defaults(routes, family).filter_map(|route| route.link).collect::<BTreeSet<_>>();
    let mut links = preferred.into_iter().chain(Family::ALL).map(of);
    links.find(|links| !links.is_empty()).unwrap_or_default()
}

/// The links by which packets to everywhere leave: those of default routes, and of VPNs that lead parts of everywhere.
fn links_to_everywhere(routes: &[Route], preferred: Option<Family>) -> BTreeSet<u32> {
    let of = |family| {
        route::routes_to_everywhere(routes, family).filter_map(|route| route.link).collect::<BTreeSet<_>>()
    };
    let mut links = preferred.into_iter().chain(Family::ALL).map(of);
    links.find(|links| !links.is_empty()).unwrap_or_default()
}

fn addresses_of(socket: &mut NetlinkSocket, index: u32) -> Result<Vec<Cidr>, Error> {
    let all = addr::list(socket)?.into_iter();
    let mut own: Vec<Cidr> = all
        .filter(|(link, cidr)| *link == index && unusable(cidr.address()).is_none())
        .map(|(_, cidr)| cidr)
        .collect();
    own.sort_by_key(Cidr::family);
    Ok(own)
}
