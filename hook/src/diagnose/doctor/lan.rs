//! Other machines of a LAN that have a container's address as well.

use std::thread::sleep;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::netns::Namespace;
use ocinet_shared::kernel::probe::Probe;
use ocinet_shared::kernel::{KernelError, link};
use ocinet_shared::model::record::{Attachment, Record};

use super::context::DoctorContext;
use super::finding::Finding;
use crate::error::Error;

/// How long answers may take: a machine of a LAN answers within milliseconds, one that slept within some hundred.
const PATIENCE: Duration = Duration::from_millis(500);

/// Asks by each container's own interface, as only others answer there.
pub(super) fn clashes(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let error = |error| KernelError::from_io("open the host's network namespace", &error);
    let home = Namespace::own().map_err(error)?;
    let mut asked = Vec::new();
    for (record, attachment) in context.attachments().filter(|(_, attachment)| is_on_lan(attachment)) {
        asked.extend(ask(&home, record, attachment)?.map(|probe| (record, attachment, probe)));
    }
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    sleep(PATIENCE);
    let mut findings: Vec<Finding> = Vec::new();
    for (record, attachment, probe) in asked {
        for (address, other) in probe.answers() {
            if !attachment.addresses.iter().any(|own| own.address() == address) {
                continue;
            }
            let finding = Finding::new(
                format!(
                    "another machine on {}'s LAN has {address} of container {}",
                    parent(attachment),
                    record.id
                ),
                format!("its Ethernet address is {other}: who asks the LAN for {address} gets to either"),
                format!("# give {other} another address, or container {} another net.ip", record.id),
            );
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    Ok(findings)
}

/// Whether others than the host are on a container's link: a macvlan's, or an ipvlan's.
fn is_on_lan(attachment: &Attachment) -> bool {
    attachment.host_interface.is_none() && attachment.parent.is_some()
}

fn parent(attachment: &Attachment) -> &str {
    attachment.parent.as_ref().map_or("", |parent| parent.as_str())
}

/// A probe that has asked for all addresses. One that has ended meanwhile has nothing to ask, and an interface that is
/// gone or down is a finding of its own.
fn ask(home: &Namespace, record: &Record, attachment: &Attachment) -> Result<Option<Probe>, KernelError> {
    let Ok(namespace) = Namespace::of_process(record.pid) else { return Ok(None) };
    if namespace.id() != record.netns {
        return Ok(None);
    }
    let open = || -> Result<Option<Probe>, KernelError> {
        let found = link::find(&mut NetlinkSocket::open(NETLINK_ROUTE)?, &attachment.interface)?;
        let place = found.and_then(|found| Some((found.index, found.mac?)));
        place.map(|(index, mac)| Probe::open(index, mac)).transpose()
    };
    let Some(probe) = namespace.enter(home, open)?? else { return Ok(None) };
    let has_asked = attachment.addresses.iter().all(|own| probe.ask(own.address()).is_ok());
    Ok(has_asked.then_some(probe))
}
