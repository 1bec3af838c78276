//! Who has what another container wants: conflicts that name their holder. Only failed starts come here.

use std::net::IpAddr;
use std::path::Path;

use ocinet_shared::cidr::Family;
use ocinet_shared::container_id::ContainerId;
use ocinet_shared::element::{Element, Field};
use ocinet_shared::ifname::IfName;
use ocinet_shared::kernel::netns::NamespaceId;
use ocinet_shared::kernel::ports;
use ocinet_shared::port::{Protocol, PublishedPort};
use ocinet_shared::record_dir::StateDir;

use crate::error::{Error, report};
use crate::ipam::files;

/// What to do about a port that is taken.
const ANOTHER_PORT: &str = "publish another host port, or stop what holds this one";

fn port_taken(port: impl std::fmt::Display, by: &str) -> Error {
    Error::Conflict(report(format!("publish port {port}"), format!("{by} holds it"), ANOTHER_PORT))
}

fn container(state: &StateDir, path: &Path) -> String {
    match files::holder(state, path) {
        Ok(Some(id)) => format!("container {id}"),
        _ => "another container".to_owned(),
    }
}

/// An address that is leased.
#[must_use]
pub fn of_lease(state: &StateDir, network: &ContainerId, address: IpAddr) -> Error {
    let by = container(state, &files::lease_path(state, network, address));
    Error::Conflict(report(
        format!("lease {address} from network {network}"),
        format!("{by} has it"),
        "give another net.ip, leave it out, or stop that container",
    ))
}

/// A port that is claimed on one host address.
#[must_use]
pub fn of_claim(state: &StateDir, port: &PublishedPort, claim: &Path) -> Error {
    port_taken(format_args!("{}/{}", port.host_port, port.protocol), &container(state, claim))
}

/// A port whose element leads to another container: the value's bytes begin with that container's address.
#[must_use]
pub fn of_element(state: &StateDir, port: &PublishedPort, value: &[u8]) -> Error {
    port_taken(format_args!("{}/{}", port.host_port, port.protocol), &by_value(state, value))
}

/// The same, with the port read from the element that was to be added.
#[must_use]
pub fn of_published(state: &StateDir, element: Option<&Element>, value: &[u8]) -> Error {
    let fields = element.map(|element| element.key.as_slice()).unwrap_or_default();
    let protocol = fields.iter().find_map(|field| match field {
        Field::Protocol(protocol) => Some(*protocol),
        _ => None,
    });
    let port = fields.iter().find_map(|field| match field {
        Field::Port(port) => Some(*port),
        _ => None,
    });
    let name = format!("{}/{}", port.unwrap_or_default(), protocol.map_or("tcp", Protocol::name));
    port_taken(name, &by_value(state, value))
}

fn by_value(state: &StateDir, value: &[u8]) -> String {
    let address = match value.len() {
        8 => <[u8; 4]>::try_from(&value[..4]).map(IpAddr::from).ok(),
        20 => <[u8; 16]>::try_from(&value[..16]).map(IpAddr::from).ok(),
        _ => None,
    };
    let Some(address) = address else { return "another container".to_owned() };
    let networks = std::fs::read_dir(state.path("leases")).into_iter().flatten().filter_map(Result::ok);
    let lease = networks.map(|network| network.path().join(address.to_string())).find(|path| path.exists());
    lease.map_or_else(|| format!("the container at {address}"), |path| container(state, &path))
}

/// A port that a process of the host holds.
#[must_use]
pub fn of_host_port(address: IpAddr, port: &PublishedPort) -> Error {
    let by = ports::holder(address, port.protocol, port.host_port);
    let by = by.unwrap_or_else(|| "a process of this host".to_owned());
    port_taken(format_args!("{}/{}", port.host_port, port.protocol), &by)
}

/// A port on an address that the host does not have.
#[must_use]
pub fn not_local(port: &PublishedPort) -> Error {
    let address = port.host_address.unwrap_or(Family::Ipv4.unspecified());
    Error::Conflict(report(
        format!("publish port {port}"),
        format!("{address} is not an address of this host"),
        "publish it on an address that `ip address` shows, or on all",
    ))
}

/// An interface that the container's namespace has already: another container shares the namespace and was attached.
#[must_use]
pub fn of_interface(state: &StateDir, id: &ContainerId, namespace: NamespaceId, name: &IfName) -> Error {
    let records = state.records().unwrap_or_default();
    let other = records
        .into_iter()
        .filter_map(Result::ok)
        .find(|record| record.netns == namespace && record.id != *id);
    let cause = match other {
        Some(record) => {
            format!("container {} shares its network namespace and has {name} in it already", record.id)
        }
        None => format!("its network namespace has an interface {name} already"),
    };
    Error::Conflict(report(
        format!("attach container {id}"),
        cause,
        "leave the net. annotations of a container out that joins another's network namespace, or give net.ifname",
    ))
}
