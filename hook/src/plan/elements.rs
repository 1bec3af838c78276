//! Which elements a container and a network have in ocinet's sets: published ports, masquerade, isolation, counters and
//! the addresses that a container may send from. Pure: nothing here touches the kernel.

use std::collections::HashSet;
use std::net::IpAddr;

use ocinet_shared::kernel::conntrack::NowPublished;
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::element::{Element, Field, Set};
use ocinet_shared::model::network::{HostLinkKind, Network};
use ocinet_shared::model::port::{Protocol, PublishedPort};
use ocinet_shared::model::port_elements;
use ocinet_shared::model::port_elements::{port_counters, publish, taken};
use ocinet_shared::model::record::Attachment;

use crate::plan::driver::Inputs;

/// The elements of a container's attachment.
#[must_use]
pub fn elements(inputs: &Inputs<'_>, attachment: &Attachment) -> Vec<Element> {
    let mut elements = sources(attachment);
    let mut counted = HashSet::new();
    for cidr in &attachment.addresses {
        let family = cidr.family();
        if !inputs.network.internal {
            elements.extend(outbound(inputs, cidr));
        }
        for port in inputs.ports.iter().filter(|port| port.serves(family)) {
            elements.push(publish(port, cidr));
            elements.extend(taken(port, cidr.family()));
            // One host port of two host addresses has one pair of counters.
            let counters = port_counters(port, cidr).into_iter();
            elements.extend(counters.filter(|counter| counted.insert((counter.set, counter.key_bytes()))));
        }
    }
    elements
}

/// The UDP ports that elements publish.
#[must_use]
pub fn udp_ports<'a>(elements: impl Iterator<Item = &'a Element>) -> Vec<NowPublished> {
    let udp =
        elements.filter_map(port_elements::published).filter(|(_, port)| port.protocol == Protocol::Udp);
    udp.map(|(family, port)| NowPublished { family, bound: port.bound_address(), port: port.host_port })
        .collect()
}

/// What lets a container's address leave its network, and counts what does.
fn outbound(inputs: &Inputs<'_>, cidr: &Cidr) -> Vec<Element> {
    let (family, own) = (cidr.family(), || Field::Address(cidr.address()));
    let of = |ipv4, ipv6| Element::new(Set::by_family(family, ipv4, ipv6), vec![own()]);
    let member = Set::by_family(family, Set::Member4, Set::Member6);
    let mut elements = vec![
        Element::new(member, vec![Field::Group(inputs.network.group), own()]),
        of(Set::Sent4, Set::Sent6),
        of(Set::Received4, Set::Received6),
    ];
    let request = inputs.request;
    let snat = request.snat.iter().find(|address| Family::of(**address) == family);
    if let Some(address) = snat {
        let set = Set::by_family(family, Set::Snat4, Set::Snat6);
        elements.push(Element::mapping(set, vec![own()], vec![Field::Address(*address)]));
    } else if request.masquerade {
        elements.push(of(Set::Masquerade4, Set::Masquerade6));
    }
    if request.allow_inbound {
        elements.push(of(Set::Inbound4, Set::Inbound6));
    }
    elements
}

/// What a container may send from: its addresses and the link-local one that the kernel forms from its MAC.
///
/// The first element is one that no other container ever has, by the name of the container's link; whether a start
/// that was killed had added its elements is asked of the kernel by it.
fn sources(attachment: &Attachment) -> Vec<Element> {
    let (Some(link), Some(mac)) = (&attachment.host_interface, attachment.mac) else { return Vec::new() };
    let link = || Field::Interface(link.to_string());
    let routed = attachment.parent.is_none();
    let first = if routed { Set::Routed } else { Set::Links };
    let mut elements = vec![Element::new(first, vec![link()])];
    for cidr in &attachment.addresses {
        let (family, address) = (cidr.family(), Field::Address(cidr.address()));
        let everybody = Set::by_family(family, Set::Container4, Set::Container6);
        elements.push(Element::new(everybody, vec![address.clone()]));
        let itself = Set::by_family(family, Set::Itself4, Set::Itself6);
        elements.push(Element::new(itself, vec![address.clone(), address]));
        let addresses = match cidr.family() {
            Family::Ipv4 => vec![cidr.address()],
            Family::Ipv6 => vec![cidr.address(), mac.link_local().into()],
        };
        for address in addresses {
            if routed {
                let set = Set::by_family(family, Set::RoutedSource4, Set::RoutedSource6);
                elements.push(Element::new(set, vec![link(), Field::Address(address)]));
                continue;
            }
            let key = || vec![link(), Field::Mac(mac), Field::Address(address)];
            elements.push(Element::new(Set::by_family(family, Set::Source4, Set::Source6), key()));
            if family == Family::Ipv6 {
                elements.push(Element::new(Set::Target6, key()));
            }
        }
    }
    elements
}

/// The elements by which a container that shares another's addresses publishes ports of its own. What the other has
/// published is counted already.
#[must_use]
pub fn published(ports: &[PublishedPort], addresses: &[Cidr], counted: &[PublishedPort]) -> Vec<Element> {
    let mut elements: Vec<Element> = Vec::new();
    for cidr in addresses {
        let key = |counter: &Element| (counter.set, counter.key_bytes());
        let mut known: HashSet<_> =
            counted.iter().flat_map(|port| port_counters(port, cidr)).map(|counter| key(&counter)).collect();
        for port in ports.iter().filter(|port| port.serves(cidr.family())) {
            elements.push(publish(port, cidr));
            elements.extend(taken(port, cidr.family()));
            let counters = port_counters(port, cidr).into_iter();
            elements.extend(counters.filter(|counter| known.insert(key(counter))));
        }
    }
    elements
}

/// The publishing element that belongs to one of `taken4` or `taken6`, without its value; `None` of other sets. The two are
/// always added and deleted together.
#[must_use]
pub fn publish_of_taken(element: &Element) -> Option<Element> {
    let set = match element.set {
        Set::Taken4 => Set::Publish4,
        Set::Taken6 => Set::Publish6,
        _ => return None,
    };
    Some(Element::new(set, element.key.clone()))
}

/// The container's address in the value of a publishing element.
#[must_use]
pub fn address_of(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        8 => Some(IpAddr::from(<[u8; 4]>::try_from(&value[..4]).ok()?)),
        20 => Some(IpAddr::from(<[u8; 16]>::try_from(&value[..16]).ok()?)),
        _ => None,
    }
}

/// The elements of a network, which come and go with it.
#[must_use]
pub fn network_elements(network: &Network) -> Vec<Element> {
    let mut elements = Vec::new();
    let group = || Field::Group(network.group);
    if network.group != 0 {
        elements.push(Element::new(Set::Within, vec![group(), group()]));
        if network.internal {
            elements.push(Element::new(Set::Internal, vec![group()]));
        }
        if !network.isolate {
            elements.push(Element::new(Set::Open, vec![group()]));
        }
    }
    let bridge = network.bridge_link();
    for link in &network.links {
        if let (HostLinkKind::Vxlan(tunnel), Some(bridge)) = (&link.kind, bridge) {
            let end = || Field::Interface(link.name.to_string());
            elements.push(Element::new(Set::Tunnels, vec![end()]));
            elements.push(Element::new(Set::TunnelsOut, vec![end()]));
            elements.push(Element::new(Set::Gateways, vec![end(), Field::Mac(bridge.mac)]));
            for gateway in network.gateways() {
                let set = Set::by_family(gateway.family(), Set::Gateways4, Set::Gateways6);
                elements.push(Element::new(set, vec![end(), Field::Address(gateway.address())]));
            }
            let key = vec![Field::Port(tunnel.port), Field::Vni(tunnel.vni)];
            elements.push(Element::new(Set::Overlays, key));
        }
    }
    elements
}

/// The element by which a port published on all addresses of a family is found.
#[must_use]
pub fn wildcard_element(port: &PublishedPort, family: Family) -> Element {
    let key = vec![Field::Protocol(port.protocol), Field::Port(port.host_port)];
    Element::new(Set::by_family(family, Set::Publish4, Set::Publish6), key)
}

#[cfg(test)]
mod tests;
