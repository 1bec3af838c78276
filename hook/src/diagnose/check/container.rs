//! A container's links, addresses, routes, filters, leases and claims.

use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::network::Network;
use ocinet_shared::model::record::{Attachment, Owned, Record};
use ocinet_shared::state::{StateDir, StateError};

use crate::host::observed::{Inside, Interfaces, Lack, ObservedHost};
use crate::plan::link_filters::with_filters;
use crate::state::leases;

/// What of a container's links is not as recorded.
pub(super) fn differences(
    record: &Record,
    networks: &[Network],
    found: &mut ObservedHost,
    inside: &Inside,
) -> Vec<String> {
    // A container that shares another's attachments has nothing of its own here.
    if record.shares.is_some() {
        return Vec::new();
    }
    let mut differences = Vec::new();
    for attachment in &record.attachments {
        let network = networks.iter().find(|network| network.name == attachment.network);
        if network.is_none() {
            differences.push(format!("the network {} has no file", attachment.network));
        }
        differences.extend(host_end(attachment, network, found));
        if let Inside::Known(interfaces) = inside {
            differences.extend(interface(attachment, interfaces));
        }
    }
    match inside {
        Inside::Unknown(why) => differences.push(why.clone()),
        Inside::Known(interfaces) => {
            let missing = interfaces.missing_default_routes(record).into_iter();
            differences
                .extend(missing.map(|(_, _, gateway)| format!("its default route by {gateway} is missing")));
        }
    }
    differences
}

fn host_end(attachment: &Attachment, network: Option<&Network>, found: &mut ObservedHost) -> Vec<String> {
    let Some(name) = &attachment.host_interface else { return Vec::new() };
    let Some(link) = found.link(name.as_str()).cloned() else {
        return vec![format!("the link {name}, the host's end of its {}, is missing", attachment.interface)];
    };
    let mut differences = Vec::new();
    if !link.is_up {
        differences.push(format!("the link {name}, the host's end of its {}, is down", attachment.interface));
    }
    if let Some(bridge) = &attachment.parent {
        let index = found.link(bridge.as_str()).map(|bridge| bridge.index);
        match index.filter(|index| link.controller == Some(*index)) {
            None => differences.push(format!("the link {name} is not on the bridge {bridge}")),
            Some(index) => {
                let lacks = network.map(|network| found.port_lacks((network, attachment), &link, index));
                differences.extend(lacks.unwrap_or_default().into_iter().map(|lack| match lack {
                    Lack::Address(wanted) => {
                        format!("the link {name} does not have the Ethernet address {wanted}")
                    }
                    Lack::Entry(own) => format!("the bridge {bridge} has no entry for {own} on {name}"),
                }));
            }
        }
    } else {
        let leads = |cidr: &&Cidr| {
            found.routes.iter().any(|route| {
                route.link == Some(link.index) && route.destination == Cidr::host(cidr.address())
            })
        };
        let missing = attachment.addresses.iter().filter(|cidr| !leads(cidr));
        differences.extend(
            missing.map(|cidr| format!("the host's route to {} by {name} is missing", cidr.address())),
        );
    }
    if let Some(network) = network {
        let missing = with_filters(network, attachment, |filters| found.missing_filters(link.index, filters));
        differences.extend(
            missing.unwrap_or_default().iter().map(|of| format!("the filter of {of} on {name} is missing")),
        );
    }
    differences
}

fn interface(attachment: &Attachment, interfaces: &Interfaces) -> Vec<String> {
    let name = &attachment.interface;
    let Some(link) = interfaces.link(name) else { return vec![format!("its interface {name} is missing")] };
    let mut differences = Vec::new();
    if !link.is_up {
        differences.push(format!("its interface {name} is down"));
    }
    if let (Some(wanted), Some(is)) = (attachment.mac, link.mac)
        && wanted != is
    {
        differences.push(format!("its interface {name} has the Ethernet address {is} instead of {wanted}"));
    }
    let addresses = interfaces.missing_addresses(attachment, link);
    differences
        .extend(addresses.map(|own| format!("the address {} of its {name} is missing", own.address())));
    differences
}

/// The leases and claims of a container that its files do not say are its own.
pub(super) fn missing_files(state: &StateDir, record: &Record) -> Result<Vec<String>, StateError> {
    let mut differences = Vec::new();
    for owned in &record.owned {
        let (path, what) = match owned {
            Owned::Lease { network, address } => (
                state.lease_path(network, *address),
                format!("the lease of {address} from network {network}"),
            ),
            Owned::MacClaim { on, mac } => {
                (state.mac_claim_path(on, *mac), format!("the claim of {mac} on {on}"))
            }
            Owned::PortClaim(port) => match state.port_claim_path(port) {
                Some(path) => (path, format!("the claim of port {port}")),
                None => continue,
            },
            _ => continue,
        };
        match leases::holder(state, &path)? {
            Some(holder) if holder == record.id => {}
            Some(other) => differences.push(format!("{what} is container {other}'s")),
            None => differences.push(format!("{what} is missing")),
        }
    }
    Ok(differences)
}
