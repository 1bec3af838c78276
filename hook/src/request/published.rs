//! The ports that a container publishes.

use std::net::IpAddr;

use ocinet_shared::port::{PublishedPort, parse_published};

use super::values::{For, items};
use crate::config::Config;
use crate::error::{Error, annotation};

impl For<'_> {
    /// The ports to publish.
    pub fn ports(&mut self, config: &Config) -> Result<Vec<PublishedPort>, Error> {
        let hint = "write it as for docker run -p, as 8080:80, 127.0.0.1:53:53/udp or [2001:db8::7]:8080:80";
        let Some((text, label)) = self.take("ports")? else { return Ok(Vec::new()) };
        let mut ports: Vec<PublishedPort> = Vec::new();
        for item in items(&text) {
            ports.extend(parse_published(item).map_err(|error| label.error(error, hint))?);
            check_count(ports.len(), config).map_err(|cause| label.error(cause, FEWER))?;
        }
        if let Some(port) = ports.iter().find(|port| port.host_address.is_some_and(never_publishable)) {
            let cause = format!("{port} cannot be published on that address");
            let hint = "use an address of this host, or 127.0.0.1 (the kernel cannot translate ::1)";
            return Err(label.error(cause, hint));
        }
        Ok(ports)
    }
}

/// What to do about too many ports.
const FEWER: &str = "publish fewer, or raise max-ports in the configuration";

fn check_count(count: usize, config: &Config) -> Result<(), String> {
    if count <= config.max_ports {
        return Ok(());
    }
    Err(format!("the container publishes more than {} ports", config.max_ports))
}

/// Checks the number of ports of a container, on all its interfaces together.
///
/// # Errors
/// More than the configuration allows.
pub fn check_number(ports: &[&PublishedPort], config: &Config) -> Result<(), Error> {
    check_count(ports.len(), config).map_err(|cause| annotation("net.ports", cause, FEWER))
}

fn never_publishable(address: IpAddr) -> bool {
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    // RFC 1122, 3.2.1.3, and RFC 1112, 4: 0.0.0.0 alone means every address.
    let reserved =
        matches!(address, IpAddr::V4(v4) if matches!(v4.octets()[0], 0 | 240..) && !v4.is_unspecified());
    address.is_multicast() || reserved || link_local || (address.is_ipv6() && address.is_loopback())
}

/// Checks that no host port is published twice.
///
/// # Errors
/// The first two that are the same.
pub fn check_distinct(ports: &[&PublishedPort]) -> Result<(), Error> {
    // Those that ocinet chooses are never the same.
    let mut sorted: Vec<&PublishedPort> = ports.iter().copied().filter(|port| port.host_port != 0).collect();
    sorted.sort_by_key(|port| (port.protocol, port.host_port));
    for (index, port) in sorted.iter().enumerate() {
        let place = (port.protocol, port.host_port);
        let mut same_port =
            sorted[index + 1..].iter().take_while(|other| (other.protocol, other.host_port) == place);
        if let Some(other) = same_port.find(|other| port.overlaps(other)) {
            let cause = format!("{port} and {other} are the same host port");
            return Err(annotation("net.ports", cause, "publish each host port once"));
        }
    }
    Ok(())
}
