//! Containers' own namespaces: whoever is root in one can undo what ocinet did there.

use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::record::{Attachment, Record};

use super::context::DoctorContext;
use super::finding::Finding;
use crate::error::Error;
use crate::host::observed::{Inside, Interfaces};

/// Interfaces that are gone or down, and addresses and default routes that are missing.
pub(super) fn interfaces(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for record in context.owners().filter(|record| !record.attachments.is_empty()) {
        // One that has ended meanwhile has nothing to say.
        let Inside::Known(interfaces) = Inside::of(record, Some(record.pid)) else { continue };
        let of_each = record.attachments.iter().flat_map(|attachment| of(record, attachment, &interfaces));
        findings.extend(of_each);
        for (attachment, family, gateway) in interfaces.missing_default_routes(record) {
            let (pid, name) = (record.pid, &attachment.interface);
            let is_own = family == Family::of(gateway);
            let add = if is_own { "ip route add default via" } else { "ip -4 route add default via inet6" };
            findings.push(Finding::new(
                format!("container {} has no default route by {gateway} any more", record.id),
                "it does not answer who is not on its network",
                format!("nsenter --target {pid} --net {add} {gateway} dev {name} onlink"),
            ));
        }
    }
    Ok(findings)
}

fn of(record: &Record, attachment: &Attachment, interfaces: &Interfaces) -> Vec<Finding> {
    let inside = format!("nsenter --target {} --net", record.pid);
    let (id, name) = (&record.id, &attachment.interface);
    let Some(link) = interfaces.link(name) else {
        return vec![Finding::new(
            format!("container {id} has no {name} any more"),
            "somebody deleted or renamed it in the container",
            format!("# start container {id} anew"),
        )];
    };
    let mut findings = Vec::new();
    if !link.is_up {
        findings.push(Finding::new(
            format!("{name} of container {id} is down"),
            "nothing passes a link that is down; its routes are gone as well",
            format!("{inside} ip link set {name} up"),
        ));
    }
    for own in interfaces.missing_addresses(attachment, link) {
        let no_detection = if own.family() == Family::Ipv6 { " nodad" } else { "" };
        findings.push(Finding::new(
            format!("{name} of container {id} does not have its address {}", own.address()),
            "somebody deleted it in the container",
            format!("{inside} ip address add {own} dev {name}{no_detection}"),
        ));
    }
    findings
}
