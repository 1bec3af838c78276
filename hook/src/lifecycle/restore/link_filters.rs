//! The filters on containers' links and on tunnels, put back where somebody deleted them.

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::kernel::filter::{self, Filter};
use ocinet_shared::kernel::link::{self, Link};
use ocinet_shared::kernel::neighbour;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::model::network::Network;
use ocinet_shared::model::record::{Attachment, Owned, Record};
use ocinet_shared::state::StateDir;

use crate::error::Error;
use crate::plan::link_filters::{with_filters, with_sender, with_tunnel};
use crate::state::networks::Networks;

/// Puts back the filters of living containers and of networks that are not there. Those that are stay as they are.
///
/// # Errors
/// The first refusal other than that the kernel has no such filters, once all others are put back.
pub fn restore(state: &StateDir, live: &[Record]) -> Result<(), Error> {
    let networks = Networks::read(state)?.readable;
    let mut socket = NetlinkSocket::open(NETLINK_ROUTE)?;
    let mut refused: Vec<Error> = Vec::new();
    for record in live {
        // Whose shaper it is, of several attachments, the record does not tell.
        let has_rate = record.owned.iter().any(|owned| matches!(owned, Owned::Shaper { .. }));
        for attachment in &record.attachments {
            if let Some(network) = networks.iter().find(|network| network.name == attachment.network) {
                refused.extend(restore_attachment(&mut socket, (network, attachment), has_rate).err());
            }
        }
    }
    for network in &networks {
        for link in &network.links {
            let put = with_tunnel(network, link, |filters| match link::find(&mut socket, &link.name)? {
                Some(tunnel) => put_back(&mut socket, &tunnel, filters),
                None => Ok(()),
            });
            refused.extend(put.and_then(Result::err));
        }
    }
    let mut refused = refused.into_iter();
    let first = refused.next();
    refused.for_each(crate::log::warn);
    first.map_or(Ok(()), Err)
}

fn restore_attachment(
    socket: &mut NetlinkSocket,
    (network, attachment): (&Network, &Attachment),
    has_rate: bool,
) -> Result<(), Error> {
    let Some(name) = &attachment.host_interface else { return Ok(()) };
    let Some(port) = link::find(socket, name)? else { return Ok(()) };
    with_filters(network, attachment, |filters| put_back(socket, &port, filters)).transpose()?;
    restore_on_bridge(socket, (network, attachment), &port, !has_rate)
}

/// The bridge's entry of a container, and the shortcut of a link that its bridge was made anew for. A link that an older ocinet made
/// has another Ethernet address than its bridge, and cannot have a shortcut; one with `net.rate-out` must not.
fn restore_on_bridge(
    socket: &mut NetlinkSocket,
    (network, attachment): (&Network, &Attachment),
    port: &Link,
    may_be_shortened: bool,
) -> Result<(), Error> {
    let Some(bridge) = network.bridge_link() else { return Ok(()) };
    let Some(found) = link::find(socket, &bridge.name)? else { return Ok(()) };
    if port.controller != Some(found.index) {
        return Ok(());
    }
    let put = with_sender(network, attachment, |sender, gateway| {
        if !neighbour::is_by_port(socket, port.index, sender.mac)? {
            let entry = vec![neighbour::by_port(port.index, sender.mac)];
            socket.change(entry, |_| format!("tell {} where {} is", bridge.name, sender.mac))?;
        }
        let shortcut = Filter::Shortcut { sender, gateway: bridge.mac, bridge: found.index };
        if !may_be_shortened || port.mac != gateway || shortcut.is_on(socket, port.index)? {
            return Ok(());
        }
        let changes = filter::put(port.index, &[shortcut])?;
        socket.change(changes, |_| format!("shorten the way to {}", bridge.name))
    });
    match put.transpose() {
        // A kernel without act_mirred does without.
        Err(error) if filter::is_missing(&error) => Ok(()),
        put => Ok(put.map(|_| ())?),
    }
}

fn put_back(socket: &mut NetlinkSocket, link: &Link, filters: &[Filter<'_>]) -> Result<(), Error> {
    for filter in filters {
        if filter.is_on(socket, link.index)? {
            continue;
        }
        let changes = filter::put(link.index, std::slice::from_ref(filter))?;
        match socket.change(changes, |_| format!("put back the filters of {}", link.name)) {
            Err(error) if filter::is_missing(&error) => crate::log::warn(error),
            done => done?,
        }
    }
    Ok(())
}
