//! The filters on a container's link, put back from its record where somebody deleted them.

use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::cidr::Cidr;
use ocinet_shared::ifname::IfName;
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::filter::{self, Filter, Sender};
use ocinet_shared::kernel::{Change, KernelError, link, neighbour, rate};
use ocinet_shared::mac::Mac;
use ocinet_shared::network::{HostLink, HostLinkKind, Network};
use ocinet_shared::record::{Attachment, Record};
use ocinet_shared::record_dir::StateDir;

use crate::error::Error;
use crate::networks::Networks;
use crate::step::{OnBridge, Step};

/// The step that filters a container's link to a network of whose containers the host is the router.
#[must_use]
pub fn step(network: &Network, attachment: &Attachment, shortcut: bool) -> Option<Step> {
    Some(Step::FilterHostEnd {
        host_interface: attachment.host_interface.clone()?,
        mac: attachment.mac?,
        addresses: attachment.addresses.iter().map(Cidr::address).collect(),
        confined_to: if network.internal { network.subnets().collect() } else { Vec::new() },
        bridge: network.bridge_link().map(|link| OnBridge { name: link.name.clone(), mac: link.mac }),
        shortcut,
    })
}

/// Puts back the filters of living containers and of networks that are not there. Those that are stay as they are.
///
/// # Errors
/// A refusal other than that the kernel has no such filters.
pub fn restore(state: &StateDir, live: &[Record]) -> Result<(), Error> {
    let networks = Networks::read(state)?.readable;
    let mut channel = Channel::open(NETLINK_ROUTE)?;
    for attachment in live.iter().flat_map(|record| &record.attachments) {
        let network = networks.iter().find(|network| network.name == attachment.network);
        if let (Some(network), Some(name)) = (network, &attachment.host_interface) {
            with_filters(network, attachment, |filters| put_back(&mut channel, name, filters)).transpose()?;
            restore_shortcut(&mut channel, network, attachment)?;
        }
    }
    for network in &networks {
        for link in &network.links {
            with_tunnel(network, link, |filters| put_back(&mut channel, &link.name, filters)).transpose()?;
        }
    }
    Ok(())
}

/// The messages that filter a container's link, and hand what it sends to its gateway to a bridge, whose index follows its Ethernet
/// address, itself. The bridge's ports, which do not see it then, would learn from it where the container is: the bridge is told.
///
/// # Errors
/// None in practice, as of [`filter::put`].
pub fn shortened(
    port: u32,
    sender: Sender<'_>,
    (gateway, bridge): (Mac, u32),
) -> Result<Vec<Change>, KernelError> {
    let filters = [
        Filter::Sender(sender),
        Filter::Receiver { gateway: Some(gateway) },
        Filter::Shortcut { sender, gateway, bridge },
    ];
    let mut changes = vec![neighbour::by_port(port, sender.mac)];
    changes.extend(filter::put(port, &filters)?);
    Ok(changes)
}

/// The shortcut of a link that its bridge was made anew for. A link that an older ocinet made has another Ethernet address than
/// its bridge, and cannot have one.
fn restore_shortcut(channel: &mut Channel, network: &Network, attachment: &Attachment) -> Result<(), Error> {
    let Some(Step::FilterHostEnd {
        host_interface, mac, addresses, confined_to, bridge: Some(bridge), ..
    }) = step(network, attachment, true)
    else {
        return Ok(());
    };
    let (Some(port), Some(found)) =
        (link::find(channel, &host_interface)?, link::find(channel, &bridge.name)?)
    else {
        return Ok(());
    };
    if port.mac != Some(bridge.mac) || port.controller != Some(found.index) {
        return Ok(());
    }
    let sender = Sender { mac, addresses: &addresses, confined_to: &confined_to };
    let shortcut = Filter::Shortcut { sender, gateway: bridge.mac, bridge: found.index };
    if shortcut.is_on(channel, port.index)? || rate::redirects_incoming(channel, port.index)? {
        return Ok(());
    }
    let changes = shortened(port.index, sender, (bridge.mac, found.index))?;
    match channel.change(changes, |_| format!("shorten the way to {}", bridge.name)) {
        // A kernel without act_mirred does without.
        Err(error) if filter::is_missing(&error) => Ok(()),
        changed => Ok(changed?),
    }
}

/// Hands over the filters that belong on the host's end of a container's link.
pub fn with_filters<T>(
    network: &Network,
    attachment: &Attachment,
    of: impl FnOnce(&[Filter<'_>]) -> T,
) -> Option<T> {
    let Some(Step::FilterHostEnd { mac, addresses, confined_to, bridge, .. }) =
        step(network, attachment, true)
    else {
        return None;
    };
    let sender = Sender { mac, addresses: &addresses, confined_to: &confined_to };
    Some(of(&[Filter::Sender(sender), Filter::Receiver { gateway: bridge.map(|bridge| bridge.mac) }]))
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

fn put_back(channel: &mut Channel, name: &IfName, filters: &[Filter<'_>]) -> Result<(), Error> {
    let Some(link) = link::find(channel, name)? else { return Ok(()) };
    for filter in filters {
        if filter.is_on(channel, link.index)? {
            continue;
        }
        let changes = filter::put(link.index, std::slice::from_ref(filter))?;
        match channel.change(changes, |_| format!("put back the filters of {name}")) {
            Err(error) if filter::is_missing(&error) => crate::log::warn(error),
            done => done?,
        }
    }
    Ok(())
}
