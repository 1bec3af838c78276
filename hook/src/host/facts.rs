//! What a plan needs to know of the host: reading only.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::{random, route};
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::network::Network;
use ocinet_shared::state::StateDir;

use crate::error::{Class, Error, annotation};
use crate::host::{boot, conflict, occupied, underlay};
use crate::input::config::Config;
use crate::input::request::AttachmentRequest;
use crate::model::driver_spec::AddressScope;
use crate::plan::addresses;
use crate::plan::driver::NetworkContext;
use crate::plan::drivers::routed;
use crate::plan::network;
use crate::plan::validate;
use crate::state::leases;
use crate::state::networks;

/// The network that an attachment belongs to: as it was made, or as it is to be made. `planned` are those that the
/// container's other interfaces are to make.
///
/// # Errors
/// A contradiction to what it was made with, or no subnet for it.
pub fn network(
    state: &StateDir,
    config: &Config,
    request: &AttachmentRequest,
    planned: &[Network],
) -> Result<Network, Error> {
    if let Some(network) = state.read_network(&request.network)? {
        return network::share(request, network);
    }
    let mut others = networks::all(state)?;
    // Another container may have made it just now.
    if let Some(made) = others.iter().position(|other| other.name == request.network) {
        return network::share(request, others.swap_remove(made));
    }
    others.extend_from_slice(planned);
    let mut socket = NetlinkSocket::open(NETLINK_ROUTE)?;
    let mut routes = Vec::new();
    for family in network::families(request, config) {
        routes.extend(route::list(&mut socket, family)?);
    }
    let boot_id = boot::id()?;
    let peers = underlay::peers(&mut socket, request)?;
    let underlay = underlay::find(&mut socket, request, &routes, &peers)?;
    network::make(
        request,
        &NetworkContext {
            config,
            others: &others,
            occupied: occupied::list(&mut socket, &others, request, &routes)?,
            underlay: underlay.as_ref(),
            peers: peers.into_iter().map(|(peer, _)| peer).collect(),
            boot_id: &boot_id,
        },
    )
}

/// The driver that a network was made with; `None` where there is no such network yet.
///
/// # Errors
/// A network's file that cannot be read.
pub fn driver_of(state: &StateDir, network: &ContainerId) -> Result<Option<String>, Error> {
    Ok(state.read_network(network)?.map(|network| network.settings.driver().to_owned()))
}

/// Whether the container of an id has ended, so that what it has is free once it is detached. Planning only looks.
pub type IsGone<'a> = &'a dyn Fn(&ContainerId) -> Result<bool, Error>;

/// The other containers that may have an address.
#[derive(Clone, Copy)]
pub struct Others<'a> {
    /// Whether one has ended.
    pub is_gone: IsGone<'a>,
    /// The addresses of all containers that live on this host; empty until the kernel refused one.
    pub living: &'a BTreeSet<IpAddr>,
}

/// The addresses to try for a container, one for each of the network's families.
///
/// # Errors
/// One that cannot be had, or none left.
pub fn addresses(
    state: &StateDir,
    request: &AttachmentRequest,
    network: &Network,
    id: &ContainerId,
    others: Others<'_>,
) -> Result<Vec<IpAddr>, Error> {
    for address in &request.addresses {
        validate::check_address(request, network, *address)?;
    }
    for range in &request.ip_ranges {
        let inside = network
            .subnets()
            .any(|subnet| subnet.contains(range.address()) && range.prefix() >= subnet.prefix());
        if !inside {
            let cause = format!("{range} is not a part of the subnet of network {}", network.name);
            return Err(request.label("ip-range").error(cause, "give a part of the network's subnet"));
        }
    }
    let mut addresses = Vec::new();
    for subnet in network.subnets() {
        let family = subnet.family();
        let asked = request.addresses.iter().copied().find(|address| Family::of(*address) == family);
        let range = request.ip_ranges.iter().chain(&network.ip_ranges).find(|range| range.family() == family);
        match (asked, range) {
            (Some(address), _) => addresses.push(named(state, network, address, id, others.is_gone)?),
            (None, Some(range)) => addresses.push(free(state, network, *range, id, others)?),
            // Others have addresses of the subnet that ocinet does not know of.
            (None, None) if request.driver.addresses() != AddressScope::Host => {}
            (None, None) => addresses.push(free(state, network, subnet, id, others)?),
        }
    }
    if addresses.is_empty() {
        let cause =
            format!("nothing says which addresses of network {} are free to be given out", network.name);
        let hint = "give the container a net.ip, or the network a net.ip-range that nothing else uses";
        return Err(request.label("ip-range").error(cause, hint));
    }
    Ok(addresses)
}

/// Checks that a network which holds one container only holds no other.
///
/// # Errors
/// [`Class::Conflict`] that names the other.
pub fn check_room(
    state: &StateDir,
    network: &Network,
    id: &ContainerId,
    is_gone: IsGone<'_>,
) -> Result<(), Error> {
    if !network.settings.holds_one() {
        return Ok(());
    }
    for holder in leases::holders(state, &network.name)? {
        if holder != *id && !is_gone(&holder)? {
            return Err(Error::new(
                Class::Conflict,
                format!("join network {}", network.name),
                format!("container {holder} has its parent for itself"),
                "give this container another net.parent, or stop that one",
            ));
        }
    }
    Ok(())
}

/// An address that the container asks for: a dead container's claim to it does not count.
fn named(
    state: &StateDir,
    network: &Network,
    address: IpAddr,
    id: &ContainerId,
    is_gone: IsGone<'_>,
) -> Result<IpAddr, Error> {
    if has_other(state, &state.lease_path(&network.name, address), id, is_gone)? {
        return Err(conflict::of_lease(state, &network.name, address).error);
    }
    Ok(address)
}

/// Whether another container, which has not ended, has what a lease or a claim is about.
fn has_other(state: &StateDir, path: &Path, id: &ContainerId, is_gone: IsGone<'_>) -> Result<bool, Error> {
    Ok(match leases::holder(state, path)? {
        Some(other) => other != *id && !is_gone(&other)?,
        None => false,
    })
}

/// The first address of the pool that nobody has. Only a pool that is full makes dead containers be looked for.
fn free(
    state: &StateDir,
    network: &Network,
    pool: Cidr,
    id: &ContainerId,
    others: Others<'_>,
) -> Result<IpAddr, Error> {
    let lease = |address| state.lease_path(&network.name, address);
    // The Ethernet address that goes with the first address may be one that another container asked for.
    let on = routed::shared_link(network, network.bridge().or(network.settings.parent()));
    let on = on.filter(|_| network.subnets().next().is_some_and(|first| first.family() == pool.family()));
    let claim = |address| on.as_ref().map(|on| state.mac_claim_path(on, Mac::of_container(address)));
    let is_free =
        |address: &IpAddr| !lease(*address).exists() && !claim(*address).is_some_and(|claim| claim.exists());
    let candidates = || addresses::candidates(network, pool, id).filter(|one| !others.living.contains(one));
    if let Some(address) = candidates().find(is_free) {
        return Ok(address);
    }
    for address in candidates() {
        let mut is_had = false;
        for path in [Some(lease(address)), claim(address)].into_iter().flatten() {
            is_had = is_had || has_other(state, &path, id, others.is_gone)?;
        }
        if !is_had {
            return Ok(address);
        }
    }
    Err(Error::new(
        Class::Conflict,
        format!("lease an address of network {}", network.name),
        format!("every address of {pool} is taken"),
        "stop a container, give a wider net.ip-range, or use a network with a wider net.subnet",
    ))
}

/// A name for a link of the host that no other ever has, whatever the clock says: 60 bits are drawn for it.
///
/// # Errors
/// None in practice: the name is made of letters and digits.
pub fn link_name() -> Result<IfName, Error> {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let drawn = random::draw();
    let tail: String = (0..12).map(|digit| DIGITS[(drawn >> (5 * digit)) as usize % 32] as char).collect();
    format!("oc-{tail}").parse().map_err(|error| annotation("net.ifname", error, "report this as a bug"))
}

#[cfg(test)]
mod tests {
    use ocinet_shared::model::record::SharedLink;

    use super::*;
    use crate::input::request::Request;

    const SMALL: &str = r#"{"name":"small","driver":"bridge","settings":{"bridge":"oc-small"},"subnets":[{"range":"10.91.2.0/29","gateway":"10.91.2.1"}],"internal":false,"isolate":true,"mtu":null,"group":1862270980,"links":[{"name":"oc-small","mac":"02:6e:00:00:00:04","kind":"bridge"}]}"#;

    #[test]
    fn no_two_links_have_one_name() {
        let names: BTreeSet<IfName> = (0..10_000).map(|_| link_name().unwrap()).collect();
        assert_eq!(names.len(), 10_000);
    }

    #[test]
    fn an_address_whose_ethernet_address_another_has_on_the_bridge_is_not_chosen() {
        let made = tempfile::tempdir().unwrap();
        let folder = made.path();
        let state = StateDir::new(folder);
        let network: Network = serde_json::from_str(SMALL).unwrap();
        let asked = [("net.network".to_owned(), "small".to_owned())];
        let request = Request::parse(asked, &Config::default(), &|_| Ok(None)).unwrap().unwrap();
        let (id, other) = ("web".parse().unwrap(), "other".parse().unwrap());
        let living = BTreeSet::new();
        let choose = || {
            let others = Others { is_gone: &|_| Ok(false), living: &living };
            addresses(&state, &request.attachments[0], &network, &id, others).unwrap()[0]
        };
        let first = choose();
        let on = SharedLink::Network(network.name.clone());
        let claim = state.mac_claim_path(&on, Mac::of_container(first));
        assert!(leases::take(&state, &claim, &other).unwrap());
        assert_ne!(choose(), first);
        // Nor where every other address of the network is leased.
        for address in addresses::candidates(&network, "10.91.2.0/29".parse().unwrap(), &id) {
            let lease = state.lease_path(&network.name, address);
            assert!(address == first || leases::take(&state, &lease, &other).unwrap());
        }
        let others = Others { is_gone: &|_| Ok(false), living: &living };
        let full = addresses(&state, &request.attachments[0], &network, &id, others).unwrap_err();
        assert!(full.to_string().contains("every address of 10.91.2.0/29 is taken"), "{full}");
        // A claim of a container that has ended holds nothing.
        let others = Others { is_gone: &|id| Ok(*id == other), living: &living };
        assert!(addresses(&state, &request.attachments[0], &network, &id, others).is_ok());
    }
}
