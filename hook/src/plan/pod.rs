//! Whether a container can share the attachments of another, whose network namespace it joined.

use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::record::Record;

use crate::error::{Class, Error};
use crate::input::request::Request;
use crate::model::host_ports::HostPorts;

/// Checks that a container that joined another's namespace asks for nothing that is not there. `members` share
/// the attachments of `owner` already.
///
/// # Errors
/// [`Class::Conflict`] that shows both.
pub fn check(owner: &Record, members: &[Record], id: &ContainerId, request: &Request) -> Result<(), Error> {
    let differ = |cause: String| {
        Err(Error::new(
            Class::Conflict,
            format!("attach container {id}"),
            format!("it shares the network namespace of container {}, {cause}", owner.id),
            "leave its net. annotations out but for net.ports, or give the container a namespace of its own",
        ))
    };
    for asked in &request.attachments {
        let has = owner.attachments.iter().find(|has| has.interface == asked.interface);
        let Some(has) = has else { return differ(format!("which has no {}", asked.interface)) };
        if has.driver != asked.driver.name() || has.network != asked.network {
            let theirs = format!("{} network {}", has.driver, has.network);
            let ours = format!("{} network {}", asked.driver.name(), asked.network);
            return differ(format!("whose {} is on {theirs}, not on {ours}", asked.interface));
        }
        let is_there = |address| has.addresses.iter().any(|cidr| cidr.address() == address);
        if let Some(outside) = asked.addresses.iter().find(|address| !is_there(**address)) {
            return differ(format!("whose {} has not the address {outside}", asked.interface));
        }
        if let Some(mac) = asked.mac.filter(|mac| has.mac != Some(*mac)) {
            return differ(format!("whose {} has not the Ethernet address {mac}", asked.interface));
        }
        let others = members.iter().filter(|member| member.id != *id).chain([owner]);
        let own: HostPorts = asked.ports.iter().copied().collect();
        for other in others {
            if let Some(port) = other.ports().find(|port| own.overlap(port)) {
                return differ(format!("and container {} publishes port {port} already", other.id));
            }
        }
    }
    Ok(())
}
