//! Which elements count what for a container. Pure: both the hook, which adds them, and whoever reads them ask here.

use crate::model::cidr::{Cidr, Family};
use crate::model::element::{Element, Field, Set};
use crate::model::port::PublishedPort;

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

/// The element that keeps masqueraded connections away from a port that is published on every host address: a packet to
/// the port would be taken for the answer to such a connection.
#[must_use]
pub fn taken(port: &PublishedPort, family: Family) -> Option<Element> {
    let key = vec![Field::Protocol(port.protocol), Field::Port(port.host_port)];
    port.bound_address()
        .is_none()
        .then(|| Element::new(Set::by_family(family, Set::Taken4, Set::Taken6), key))
}

/// What an element publishes, and of which family; `None` where it publishes nothing. The container's port is 0 where the
/// element has no value.
#[must_use]
pub fn published(element: &Element) -> Option<(Family, PublishedPort)> {
    let family = match element.set {
        Set::Publish4 | Set::Publish4Bound => Family::Ipv4,
        Set::Publish6 | Set::Publish6Bound => Family::Ipv6,
        _ => return None,
    };
    let (host_address, protocol, host_port) = match element.key.as_slice() {
        [Field::Protocol(protocol), Field::Port(port)] => (None, *protocol, *port),
        [Field::Address(bound), Field::Protocol(protocol), Field::Port(port)] => {
            (Some(*bound), *protocol, *port)
        }
        _ => return None,
    };
    let container_port = match element.value.as_slice() {
        [Field::Address(_), Field::Port(port)] => *port,
        _ => 0,
    };
    Some((family, PublishedPort { host_address, protocol, host_port, container_port }))
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
pub fn of_port(port: &PublishedPort, container: &Cidr) -> [Element; 3] {
    let [inward, outward] = port_counters(port, container);
    [publish(port, container), inward, outward]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::port::parse_published;

    #[test]
    fn what_an_element_publishes_is_read_back() {
        for (text, container) in [
            ("8080:80", "10.0.0.2/24"),
            ("8080:80", "fd00::2/64"),
            ("192.0.2.1:53:5353/udp", "10.0.0.2/24"),
            ("[2001:db8::1]:53:5353/udp", "fd00::2/64"),
        ] {
            let container: Cidr = container.parse().unwrap();
            for port in parse_published(text).unwrap() {
                let element = publish(&port, &container);
                assert_eq!(published(&element), Some((container.family(), port)));
                for counter in port_counters(&port, &container) {
                    assert_eq!(published(&counter), None);
                }
            }
        }
    }
}
