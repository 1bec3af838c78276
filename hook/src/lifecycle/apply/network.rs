//! A network and its links: shared where they are there, made where they are not.

use std::net::IpAddr;

use nix::errno::Errno;
use ocinet_shared::kernel::filter;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::{Child, ChildKind, Ipv4Setting, Link, VxlanPlace};
use ocinet_shared::kernel::{Change, KernelError, addr, sysctl};
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::link_mode::MacvlanMode;
use ocinet_shared::model::network::{HOST_MACVLAN_GROUP, HostLink, HostLinkKind, Network};
use ocinet_shared::state::to_json;

use super::applier::{Applier, Failure};
use super::container::wait_until_local;
use super::links::no_such_kind;
use crate::error::{Class, Error};
use crate::model::mtu::DEFAULT_MTU;
use crate::plan::elements;
use crate::plan::link_filters::with_tunnel;
use crate::state::networks;

/// The prefix length of link-local addresses (RFC 4291, section 2.5.6).
const LINK_LOCAL_PREFIX: u8 = 64;

impl Applier<'_> {
    /// The network is locked, shared, until the container is attached, so that nobody who leaves the network takes
    /// its links away meanwhile.
    pub(super) fn join_network(&mut self, network: &Network) -> Result<(), Failure> {
        let path = self.state.network_path(&network.name);
        let stale = || {
            Failure::Stale(Error::new(
                Class::Conflict,
                format!("join network {}", network.name),
                "it was made or changed by another container at the same moment",
                "start the container again",
            ))
        };
        let mut fresh = false;
        loop {
            if let Some((made, lock)) = self.state.lock_network(&network.name)? {
                if made != *network {
                    return Err(stale());
                }
                self.network_locks.push(lock);
                break;
            }
            // Two new networks must not choose overlapping subnets: they are made one at a time.
            let _making = self.state.lock_networks()?;
            let others = networks::all(self.state)?;
            let overlaps = |other: &Network| {
                other.name != network.name
                    && (other
                        .links
                        .iter()
                        .any(|theirs| network.links.iter().any(|ours| ours.name == theirs.name))
                        || (other.group == network.group && network.group != 0)
                        || other.subnets().any(|theirs| network.subnets().any(|ours| ours.overlaps(&theirs))))
            };
            if others.iter().any(overlaps) {
                return Err(stale());
            }
            fresh |= self.state.create(&path, &to_json(network, &path)?)?;
        }
        self.ensure_links(network, fresh)
    }

    /// The network's first link is brought up last: once it is up, all of them are complete. Somebody may have deleted
    /// one since, or the link that it was on. One that is there before its network was left behind by another network
    /// of the same name, with other addresses perhaps.
    fn ensure_links(&mut self, network: &Network, fresh: bool) -> Result<(), Failure> {
        let Some(first) = network.links.first() else {
            return self.add_elements(&elements::network_elements(network));
        };
        match link::find(&mut self.route, &first.name)? {
            Some(found) if !is_ours(&found, first) => return Err(not_ours(network, &found).into()),
            Some(found) if fresh => self.delete_orphan_tunnels(network, found.index)?,
            Some(found) if found.is_up && self.are_there(&network.links[1..])? => {
                self.links.insert(first.name.clone(), found.index);
                return Ok(());
            }
            _ => {}
        }
        self.add_elements(&elements::network_elements(network))?;
        let mut changes = Vec::new();
        for link in &network.links {
            let index = self.ensure_link(network, link)?;
            changes.extend(self.complete(network, link, index)?);
        }
        let doing = |_| format!("complete the links of network {}", network.name);
        changes.push(link::up(self.index_of(&first.name)?));
        self.route.change(changes, doing)?;
        for address in own_addresses(network).filter(IpAddr::is_ipv6) {
            wait_until_local(&mut self.route, address)?;
        }
        Ok(())
    }

    fn are_there(&mut self, links: &[HostLink]) -> Result<bool, KernelError> {
        for link in links {
            if !link::find(&mut self.route, &link.name)?.is_some_and(|found| is_ours(&found, link)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn ensure_link(&mut self, network: &Network, link: &HostLink) -> Result<u32, Failure> {
        match self.make(network, link) {
            Ok(()) => {}
            Err(error) if error.errno == Errno::EEXIST => {
                if let HostLinkKind::Vxlan(tunnel) = &link.kind {
                    self.check_tunnel(link, tunnel, &error)?;
                }
            }
            Err(error) => return Err(no_such_kind(error).into()),
        }
        let mut made = self.new_link(link)?;
        if !is_ours(&made, link) {
            return Err(not_ours(network, &made).into());
        }
        if let HostLinkKind::Macvlan { parent, .. } = &link.kind
            && made.peer != Some(self.index_of(parent)?)
        {
            // An earlier network of the same name had another parent.
            link::delete(&mut self.route, &link.name)?;
            self.make(network, link)?;
            made = self.new_link(link)?;
        }
        self.links.insert(link.name.clone(), made.index);
        Ok(made.index)
    }

    fn new_link(&mut self, link: &HostLink) -> Result<Link, KernelError> {
        let found = link::find(&mut self.route, &link.name)?;
        found.ok_or_else(|| KernelError::new("find the new link", Errno::ENODEV))
    }

    fn make(&mut self, network: &Network, link: &HostLink) -> Result<(), KernelError> {
        match &link.kind {
            HostLinkKind::Bridge => link::make_bridge(&mut self.route, link, network.group),
            HostLinkKind::Vxlan(tunnel) => {
                let place = VxlanPlace {
                    bridge: self.index_of(&tunnel.bridge)?,
                    parent: tunnel.parent.as_ref().map(|parent| self.index_of(parent)).transpose()?,
                    mtu: network.mtu,
                };
                link::make_vxlan(&mut self.route, link, tunnel, place)
            }
            HostLinkKind::Macvlan { parent, .. } => {
                let child = Child {
                    name: &link.name,
                    parent: self.index_of(parent)?,
                    kind: ChildKind::Macvlan(MacvlanMode::Bridge),
                    mac: Some(link.mac),
                    // Its parent's: what a container that has less can take, the route to it tells.
                    mtu: None,
                    group: Some(HOST_MACVLAN_GROUP),
                };
                link::make_child(&mut self.route, &child, None)
            }
        }
    }

    /// What makes a link that is there what the network needs, but for bringing up the first.
    fn complete(&mut self, network: &Network, link: &HostLink, index: u32) -> Result<Vec<Change>, Failure> {
        let mut changes = vec![link::alias(index, &alias_of(network))];
        let has_ipv6 = network.subnet(Family::Ipv6).is_some();
        match &link.kind {
            HostLinkKind::Bridge => {
                changes.push(make_router(&link.name, index, has_ipv6, &forwarded(network))?);
                changes.extend(link::fixed_mtu(index, network.mtu.unwrap_or(DEFAULT_MTU)));
                changes.extend(network.gateways().map(|gateway| addr::add(index, &gateway)));
                changes.extend(link_local(network, link).map(|own| addr::add(index, &own)));
            }
            HostLinkKind::Vxlan(tunnel) => {
                if let Some(filters) = with_tunnel(network, link, |filters| filter::put(index, filters)) {
                    self.filter(filters?, &link.name)?;
                }
                changes.extend(self.complete_tunnel(&link.name, tunnel, index)?);
            }
            HostLinkKind::Macvlan { addresses, .. } => {
                self.hear_lan_for_host(addresses)?;
                let no_ipv6 = if has_ipv6 { "0" } else { "1" };
                let settings = [("accept_ra", "0"), ("disable_ipv6", no_ipv6)];
                sysctl::write_all(Family::Ipv6, &link.name, &settings)?;
                // It must not answer for the addresses that the host has on the parent.
                changes.push(link::ipv4_settings(index, &[(Ipv4Setting::ArpIgnore, 1)]));
                changes.extend(addresses.iter().map(|address| addr::add(index, &Cidr::host(*address))));
            }
        }
        Ok(changes)
    }
}

/// The link-local address of a bridge, by which the host asks for containers' Ethernet addresses. The kernel makes it
/// too, but as late as a second after the bridge is up.
fn link_local(network: &Network, bridge: &HostLink) -> Option<Cidr> {
    let _has_ipv6 = network.subnet(Family::Ipv6)?;
    Cidr::new(bridge.mac.link_local().into(), LINK_LOCAL_PREFIX)
}

/// Settings of a link by which the host is the router of containers. New links need not forward where the host does
/// (`conf/default/forwarding`).
#[must_use]
pub fn router_settings(forwarded: &[Family]) -> Vec<(Ipv4Setting, u32)> {
    let mut settings = vec![
        (Ipv4Setting::RouteLocalnet, 1),
        (Ipv4Setting::RpFilter, 1),
        (Ipv4Setting::SendRedirects, 0),
        // A packet that says by whom it is to be sent on is for the host itself until it is past the rules that look at where
        // it goes, and past the filters.
        (Ipv4Setting::AcceptSourceRoute, 0),
    ];
    if forwarded.contains(&Family::Ipv4) {
        settings.push((Ipv4Setting::Forwarding, 1));
    }
    settings
}

/// Those of IPv6, by the names of their sysctls: rtnetlink takes none of them.
#[must_use]
pub fn ipv6_router_sysctls(has_ipv6: bool, forwarded: &[Family]) -> Vec<(&'static str, &'static str)> {
    let mut settings = vec![
        ("seg6_enabled", "0"),
        ("rpl_seg_enabled", "0"),
        ("accept_ra", "0"),
        // The host asks for a container's link address by its own link-local one, and could not for a second.
        ("accept_dad", "0"),
        ("disable_ipv6", if has_ipv6 { "0" } else { "1" }),
    ];
    if forwarded.contains(&Family::Ipv6) {
        settings.push(("forwarding", "1"));
    }
    settings
}

/// The families in which the host forwards for a network.
#[must_use]
pub fn forwarded(network: &Network) -> Vec<Family> {
    Family::ALL.into_iter().filter(|family| network.is_forwarded(*family)).collect()
}

/// Makes the host the router by a link: what rtnetlink takes is the change, and goes before all others of the link.
pub(super) fn make_router(
    link: &IfName,
    index: u32,
    has_ipv6: bool,
    forwarded: &[Family],
) -> Result<Change, KernelError> {
    sysctl::write_all(Family::Ipv6, link, &ipv6_router_sysctls(has_ipv6, forwarded))?;
    Ok(link::ipv4_settings(index, &router_settings(forwarded)))
}

/// A text for people, by which a network's links are also told from others that somebody put beside them.
pub(super) fn alias_of(network: &Network) -> String {
    format!("{}{}", link::OF_NETWORK, network.name)
}

/// The addresses that the host has on a network's links.
fn own_addresses(network: &Network) -> impl Iterator<Item = IpAddr> {
    network.links.iter().flat_map(|link| match &link.kind {
        HostLinkKind::Bridge => {
            network.gateways().chain(link_local(network, link)).map(|own| own.address()).collect()
        }
        HostLinkKind::Macvlan { addresses, .. } => addresses.clone(),
        HostLinkKind::Vxlan(_) => Vec::new(),
    })
}

pub(super) fn is_ours(found: &Link, link: &HostLink) -> bool {
    found.kind == link.kind.name() && found.mac == Some(link.mac)
}

fn not_ours(network: &Network, found: &Link) -> Error {
    let wanted = network.links.iter().find(|link| link.name.as_str() == found.name);
    let kind = wanted.map_or("link", |link| link.kind.name());
    let what = if found.kind == kind {
        format!("a {kind} that ocinet did not make for this network")
    } else {
        format!("not a {kind}")
    };
    let hint = match wanted.map(|link| &link.kind) {
        Some(HostLinkKind::Bridge) => "name another bridge with net.bridge; ocinet makes it",
        _ => "delete or rename that link",
    };
    Error::new(
        Class::Conflict,
        format!("use the {kind} {}", found.name),
        format!("{} exists and is {what}", found.name),
        hint,
    )
}
