//! Who has what another container wants: conflicts that name their holder. Only starts that fail, `ocinet plan` and
//! `ocinet gc` come here.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::kernel::addr;
use ocinet_shared::kernel::addr::Unusable;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::ports;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::element::Element;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::port::{Protocol, PublishedPort};
use ocinet_shared::model::port_elements::published;
use ocinet_shared::model::record::SharedLink;
use ocinet_shared::state::{Folder, StateDir};

use crate::error::{Class, Error};
use crate::host::living;
use crate::plan::elements;
use crate::state::leases;

/// What to do about a port that is taken.
const ANOTHER_PORT: &str = "publish another host port, or stop what holds this one";

/// What a container did not get because another has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// An address.
    Address(IpAddr),
    /// A host port.
    Port(u16),
    /// An Ethernet address.
    Mac(Mac),
}

/// Something that another container has.
#[derive(Debug)]
pub struct Conflict {
    /// What it is.
    pub what: Wanted,
    /// Who has it, where that could be found out.
    pub by: Option<ContainerId>,
    /// Whether nobody had it any more when the holder was looked for.
    pub is_given_back: bool,
    /// The conflict, for people.
    pub error: Error,
}

/// An address that a container has which no lease here is about: another state folder's, or one whose lease somebody deleted.
#[derive(Debug)]
pub struct WithoutLease {
    /// The address.
    pub address: IpAddr,
    /// The addresses of all containers that live on this host.
    pub living: BTreeSet<IpAddr>,
    /// The conflict, for people.
    pub error: Error,
}

/// Who has an address that the rules know already; `None` where nobody lives who has it.
///
/// # Errors
/// What the kernel refuses to tell of the host itself.
pub fn who_lives_without_lease(address: IpAddr) -> Result<Option<WithoutLease>, Error> {
    let living = living::living_addresses()?;
    let Some(by) = living.get(&address) else { return Ok(None) };
    let error = Error::new(
        Class::Conflict,
        format!("use the address {address}"),
        format!("{} uses it, and this state folder has no lease of that container for it", name(by.as_ref())),
        "give another net.ip, leave it out, or stop that container",
    );
    Ok(Some(WithoutLease { address, living: living.into_keys().collect(), error }))
}

fn port_taken(port: impl std::fmt::Display, by: &str) -> Error {
    Error::new(Class::Conflict, format!("publish port {port}"), format!("{by} holds it"), ANOTHER_PORT)
}

fn name(container: Option<&ContainerId>) -> String {
    container.map_or_else(|| "another container".to_owned(), |id| format!("container {id}"))
}

/// What a file of the state folder says that somebody has.
fn of_file(state: &StateDir, path: &Path, what: Wanted, error: impl Fn(&str) -> Error) -> Conflict {
    let found = leases::holder(state, path);
    let is_given_back = matches!(found, Ok(None));
    let by = found.ok().flatten();
    Conflict { what, is_given_back, error: error(&name(by.as_ref())), by }
}

/// An address that is leased.
#[must_use]
pub fn of_lease(state: &StateDir, network: &ContainerId, address: IpAddr) -> Conflict {
    let path = state.lease_path(network, address);
    of_file(state, &path, Wanted::Address(address), |by| {
        Error::new(
            Class::Conflict,
            format!("lease {address} from network {network}"),
            format!("{by} has it"),
            "give another net.ip, leave it out, or stop that container",
        )
    })
}

/// An Ethernet address that is claimed.
#[must_use]
pub fn of_mac(state: &StateDir, on: &SharedLink, mac: Mac) -> Conflict {
    of_file(state, &state.mac_claim_path(on, mac), Wanted::Mac(mac), |by| {
        Error::new(
            Class::Conflict,
            format!("use the Ethernet address {mac} on {on}"),
            format!("{by} has it"),
            "give another net.mac, leave it out, or stop that container",
        )
    })
}

/// A port that is claimed on one host address.
#[must_use]
pub fn of_claim(state: &StateDir, port: &PublishedPort, claim: &Path) -> Conflict {
    of_file(state, claim, Wanted::Port(port.host_port), |by| {
        port_taken(format_args!("{}/{}", port.host_port, port.protocol), by)
    })
}

/// A port whose element was there already; its value's bytes, if it is there still, begin with the address of the container
/// that it leads to.
#[must_use]
pub fn of_element(state: &StateDir, element: &Element, value: Option<&[u8]>) -> Conflict {
    let by = value.and_then(|value| by_value(state, value));
    let (port, text) = match published(element) {
        Some((_, port)) => (port.host_port, format!("{}/{}", port.host_port, port.protocol)),
        None => (0, element.to_string()),
    };
    let error = port_taken(text, &name(by.as_ref()));
    Conflict { what: Wanted::Port(port), by, is_given_back: value.is_none(), error }
}

fn by_value(state: &StateDir, value: &[u8]) -> Option<ContainerId> {
    let address = elements::address_of(value)?;
    let networks = std::fs::read_dir(state.folder(Folder::Leases)).ok()?.filter_map(Result::ok);
    let networks = networks.filter_map(|network| network.file_name().to_str()?.parse().ok());
    let leases = networks.map(|network: ContainerId| state.lease_path(&network, address));
    leases.into_iter().find_map(|lease| leases::holder(state, &lease).ok().flatten())
}

/// A port that a process of the host holds.
#[must_use]
pub fn of_host_port(address: IpAddr, port: &PublishedPort) -> Error {
    let by = ports::holder(address, port.protocol, port.host_port);
    let tunnel = || if port.protocol == Protocol::Udp { tunnel(port.host_port) } else { None };
    let by = by.or_else(tunnel).unwrap_or_else(|| "a process of this host".to_owned());
    port_taken(format_args!("{}/{}", port.host_port, port.protocol), &by)
}

/// Who has a UDP port that a tunnel's end did not get.
#[must_use]
pub fn of_udp_port(port: u16) -> String {
    let process =
        Family::ALL.into_iter().find_map(|family| ports::holder(family.unspecified(), Protocol::Udp, port));
    process.or_else(|| tunnel(port)).unwrap_or_else(|| "a process of this host".to_owned())
}

/// The kernel's own sockets belong to no process: those of tunnels are found by their links.
fn tunnel(port: u16) -> Option<String> {
    let links = NetlinkSocket::open(NETLINK_ROUTE).and_then(|mut socket| link::list(&mut socket)).ok()?;
    let holds = |link: &&Link| link.is_up && link.vxlan.as_ref().is_some_and(|has| has.port == port);
    links.iter().find(holds).map(|link| format!("the VXLAN link {}", link.name))
}

/// A port on an address that the host does not have.
#[must_use]
pub fn not_local(port: &PublishedPort) -> Error {
    let address = port.host_address.unwrap_or(Family::Ipv4.unspecified());
    let hint = "publish it on an address that `ip address` shows, or on all";
    not_own(format!("publish port {port}"), address, (&address.to_string(), hint))
}

/// An address that the host does not have, or has not yet: IPv6 asks for a second whether another machine has it. `it`
/// is what the message calls the address.
#[must_use]
pub fn not_own(doing: String, address: IpAddr, (it, hint): (&str, &str)) -> Error {
    let asked =
        NetlinkSocket::open(NETLINK_ROUTE).and_then(|mut socket| addr::unusable(&mut socket, address));
    let (cause, hint) = match asked {
        Ok(Some(Unusable::Tentative)) => (
            format!("this host is still asking whether another machine has {address}"),
            "start the container once `ip address` shows the address without \"tentative\"",
        ),
        Ok(Some(Unusable::Duplicate)) => (
            format!("another machine has {address} as well, so that this host does not use it"),
            "give either machine another address",
        ),
        _ => (format!("{it} is not an address of this host"), hint),
    };
    Error::new(Class::Conflict, doing, cause, hint)
}

/// An interface that the container's namespace has already, and that is no other container's of ocinet's.
#[must_use]
pub fn of_interface(id: &ContainerId, name: &IfName) -> Error {
    Error::new(
        Class::Conflict,
        format!("attach container {id}"),
        format!("its network namespace has an interface {name} already"),
        "let the runtime make a network namespace without interfaces (podman: --network=none), or give net.ifname another name beside it",
    )
}

#[cfg(test)]
mod tests;
