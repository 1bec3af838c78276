//! Which filters belong on a container's link and on a tunnel. Pure.

use std::net::IpAddr;

use ocinet_shared::kernel::filter::{Filter, Sender};
use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::network::{HostLink, HostLinkKind, Network};
use ocinet_shared::model::record::Attachment;

use crate::plan::step::{FilterHostEnd, OnBridge};

/// The filters of a container's link to a network of whose containers the host is the router.
#[must_use]
pub fn wanted(network: &Network, attachment: &Attachment, shortcut: bool) -> Option<FilterHostEnd> {
    Some(FilterHostEnd {
        host_interface: attachment.host_interface.clone()?,
        mac: attachment.mac?,
        addresses: attachment.addresses.iter().map(Cidr::address).collect(),
        confined_to: if network.internal { network.subnets().collect() } else { Vec::new() },
        bridge: network.bridge_link().map(|link| OnBridge { name: link.name.clone(), mac: link.mac }),
        shortcut,
    })
}

/// Hands over the filters that belong on the host's end of a container's link.
pub fn with_filters<T>(
    network: &Network,
    attachment: &Attachment,
    of: impl FnOnce(&[Filter<'_>]) -> T,
) -> Option<T> {
    with_sender(network, attachment, |sender, gateway| {
        of(&[Filter::Sender(sender), Filter::Receiver { gateway }])
    })
}

/// Hands over what a container may send, and the Ethernet address of its gateway where that is a bridge.
pub fn with_sender<T>(
    network: &Network,
    attachment: &Attachment,
    of: impl FnOnce(Sender<'_>, Option<Mac>) -> T,
) -> Option<T> {
    let FilterHostEnd { mac, addresses, confined_to, bridge, .. } = wanted(network, attachment, true)?;
    let sender = Sender { mac, addresses: &addresses, confined_to: &confined_to };
    Some(of(sender, bridge.map(|bridge| bridge.mac)))
}

/// Hands over the filter that belongs on a link of a network's, where that is a tunnel's end.
pub fn with_tunnel<T>(network: &Network, link: &HostLink, of: impl FnOnce(&[Filter<'_>]) -> T) -> Option<T> {
    match (&link.kind, network.bridge_link()) {
        (HostLinkKind::Vxlan(_), Some(bridge)) => {
            let addresses: Vec<IpAddr> = network.gateways().map(|gateway| gateway.address()).collect();
            Some(of(&[Filter::Tunnel { gateway: bridge.mac, addresses: &addresses }]))
        }
        _ => None,
    }
}
