//! Which elements count what for a container. Pure: both the hook, which adds them, and whoever reads them ask here.

use crate::cidr::Cidr;
use crate::element::{Element, Field, Set};
use crate::port::PublishedPort;

/// The element that publishes a port for the family of the container's address, and counts its connections.
#[must_use]
pub fn publish(port: &PublishedPort, container: &Cidr) -> Element {
    let to = vec![Field::Address(container.address()), Field::Port(port.container_port)];
    let mut key = vec![Field::Protocol(port.protocol), Field::Port(port.host_port)];
    let family = container.family();
    let set = match port.bound_address() {
        Some(address) => {
            key.insert(0, Field::Address(address));
            Set::by_family(family, Set::Publish4Bound, Set::Publish6Bound)
        }
        None => Set::by_family(family, Set::Publish4, Set::Publish6),
    };
    Element::mapping(set, key, to)
}

/// The elements that count what reaches a container by a published port, and what it answers. Two host addresses of one
/// host port share them.
#[must_use]
pub fn port_counters(port: &PublishedPort, container: &Cidr) -> [Element; 2] {
    let key = vec![
        Field::Address(container.address()),
        Field::Protocol(port.protocol),
        Field::Port(port.container_port),
        Field::Port(port.host_port),
    ];
    let family = container.family();
    [
        Element::new(Set::by_family(family, Set::PortIn4, Set::PortIn6), key.clone()),
        Element::new(Set::by_family(family, Set::PortOut4, Set::PortOut6), key),
    ]
}

/// Where a container's port counts what it publishes: the publishing element, and its two counters.
#[must_use]
pub fn port_elements(port: &PublishedPort, container: &Cidr) -> [Element; 3] {
    let [inward, outward] = port_counters(port, container);
    [publish(port, container), inward, outward]
}
