//! Which elements a container and a network have in ocinet's sets: published ports, masquerade, isolation, counters and
//! the addresses that a container may send from. Pure: nothing here touches the kernel.

use std::net::IpAddr;

use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::element::{Element, Field, Set};
use ocinet_shared::network::Network;
use ocinet_shared::port::PublishedPort;
use ocinet_shared::record::Attachment;

use crate::plan::Inputs;

/// The elements of a container's attachment.
#[must_use]
pub fn elements(inputs: &Inputs<'_>, attachment: &Attachment) -> Vec<Element> {
    let mut elements = sources(attachment);
    for cidr in &attachment.addresses {
        let family = cidr.family();
        let own = |ipv4, ipv6| {
            Element::new(Set::by_family(family, ipv4, ipv6), vec![Field::Address(cidr.address())])
        };
        if !inputs.network.internal {
            let bridge = Field::Interface(attachment.bridge.to_string());
            let member = Set::by_family(family, Set::Member4, Set::Member6);
            elements.push(Element::new(member, vec![bridge, Field::Address(cidr.address())]));
            elements.push(own(Set::Sent4, Set::Sent6));
            elements.push(own(Set::Received4, Set::Received6));
            if inputs.request.masquerade {
                elements.push(own(Set::Masquerade4, Set::Masquerade6));
            }
            if inputs.request.allow_inbound {
                elements.push(own(Set::Inbound4, Set::Inbound6));
            }
        }
        for port in inputs.ports.iter().filter(|port| port.serves(family)) {
            elements.push(publish(port, cidr));
            // Two host ports may lead to one container port, which has one pair of counters.
            for counter in port_counters(port, cidr) {
                if !elements.contains(&counter) {
                    elements.push(counter);
                }
            }
        }
    }
    elements
}

/// What a container may send from: its addresses and the link-local one that the kernel forms from its MAC.
fn sources(attachment: &Attachment) -> Vec<Element> {
    let link = || Field::Interface(attachment.host_interface.to_string());
    let mut elements = vec![Element::new(Set::Links, vec![link()])];
    let key = |address: IpAddr| vec![link(), Field::Mac(attachment.mac), Field::Address(address)];
    for cidr in &attachment.addresses {
        match cidr.family() {
            Family::Ipv4 => elements.push(Element::new(Set::Source4, key(cidr.address()))),
            Family::Ipv6 => {
                for address in [cidr.address(), attachment.mac.link_local().into()] {
                    elements.push(Element::new(Set::Source6, key(address)));
                    elements.push(Element::new(Set::Target6, key(address)));
                }
            }
        }
    }
    elements
}

/// The element that publishes a port for the family of the container's address.
fn publish(port: &PublishedPort, container: &Cidr) -> Element {
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

fn port_counters(port: &PublishedPort, container: &Cidr) -> [Element; 2] {
    let key = vec![
        Field::Address(container.address()),
        Field::Protocol(port.protocol),
        Field::Port(port.container_port),
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

/// The elements of a network, which come with its bridge and go with it.
#[must_use]
pub fn network_elements(network: &Network) -> Vec<Element> {
    let bridge = || Field::Interface(network.bridge.to_string());
    let mut elements =
        vec![Element::new(Set::Bridges, vec![bridge()]), Element::new(Set::Within, vec![bridge(), bridge()])];
    if network.internal {
        elements.push(Element::new(Set::Internal, vec![bridge()]));
    }
    if !network.isolate {
        elements.push(Element::new(Set::Open, vec![bridge()]));
    }
    elements
}

/// The element that keeps the host from routing for others, where ocinet turned forwarding on.
#[must_use]
pub fn no_transit(family: Family) -> Element {
    Element::new(Set::NoTransit, vec![Field::Family(family)])
}

/// The element by which a port published on all addresses of a family is found.
#[must_use]
pub fn wildcard_element(port: &PublishedPort, family: Family) -> Element {
    let key = vec![Field::Protocol(port.protocol), Field::Port(port.host_port)];
    Element::new(Set::by_family(family, Set::Publish4, Set::Publish6), key)
}
