//! Containers' own namespaces: whoever is root in one can undo what ocinet did there.

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::link::{self, Link};
use ocinet_shared::kernel::netns::Namespace;
use ocinet_shared::kernel::{KernelError, addr, route};
use ocinet_shared::record::Record;

use super::{Finding, Surroundings};
use crate::error::Error;

/// Interfaces that are gone or down, and addresses and default routes that are missing.
pub(super) fn interfaces(around: &mut Surroundings) -> Result<Vec<Finding>, Error> {
    let error = |error| KernelError::from_io("open the host's network namespace", &error);
    let home = Namespace::own().map_err(error)?;
    let mut findings = Vec::new();
    for record in around.records.iter().filter(|record| !record.attachments.is_empty()) {
        // One that has ended meanwhile has nothing to say.
        let Ok(namespace) = Namespace::of_process(record.pid) else { continue };
        if namespace.id() != record.netns {
            continue;
        }
        let mut channel = namespace.enter(&home, || Channel::open(NETLINK_ROUTE))??;
        let (links, addresses) = (link::list(&mut channel)?, addr::list(&mut channel)?);
        findings.extend(of(record, &links, &addresses));
        findings.extend(way_out(record, &mut channel)?);
    }
    Ok(findings)
}

/// A default route that is gone. Of a container with several interfaces, its record does not tell which one has it.
fn way_out(record: &Record, channel: &mut Channel) -> Result<Vec<Finding>, KernelError> {
    let mut findings = Vec::new();
    let [attachment] = record.attachments.as_slice() else { return Ok(findings) };
    for gateway in &attachment.gateways {
        let routes = route::list(channel, Family::of(*gateway))?;
        if routes.iter().any(|route| route.destination.prefix() == 0) {
            continue;
        }
        let (name, pid) = (&attachment.interface, record.pid);
        findings.push(Finding::new(
            format!("container {} has no default route by {gateway} any more", record.id),
            "it does not answer who is not on its network",
            format!("nsenter --target {pid} --net ip route add default via {gateway} dev {name} onlink"),
        ));
    }
    Ok(findings)
}

fn of(record: &Record, links: &[Link], addresses: &[(u32, Cidr)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let inside = format!("nsenter --target {} --net", record.pid);
    for attachment in &record.attachments {
        let name = &attachment.interface;
        let Some(link) = links.iter().find(|link| link.name == name.as_str()) else {
            findings.push(Finding::new(
                format!("container {} has no {name} any more", record.id),
                "somebody deleted or renamed it in the container",
                format!("# start container {} anew", record.id),
            ));
            continue;
        };
        if !link.is_up {
            findings.push(Finding::new(
                format!("{name} of container {} is down", record.id),
                "nothing passes a link that is down; its routes are gone as well",
                format!("{inside} ip link set {name} up"),
            ));
        }
        for own in &attachment.addresses {
            if addresses.iter().any(|(index, has)| *index == link.index && has.address() == own.address()) {
                continue;
            }
            let no_detection = if own.family() == Family::Ipv6 { " nodad" } else { "" };
            findings.push(Finding::new(
                format!("{name} of container {} does not have its address {}", record.id, own.address()),
                "somebody deleted it in the container",
                format!("{inside} ip address add {own} dev {name}{no_detection}"),
            ));
        }
    }
    findings
}
