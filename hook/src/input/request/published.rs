//! The ports that a container publishes.

use std::net::IpAddr;

use ocinet_shared::model::port::{PublishedPort, parse_published};

use super::values::{For, items};
use crate::error::{Error, annotation};
use crate::input::config::Config;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_published_on_addresses_that_a_host_can_have() {
        for (address, never) in [
            ("0.0.0.0", false),
            ("127.0.0.1", false),
            ("192.0.2.1", false),
            ("239.255.255.255", true),
            ("240.0.0.0", true),
            ("255.255.255.255", true),
            ("0.0.0.1", true),
            ("::", false),
            ("2001:db8::1", false),
            ("::1", true),
            ("fe80::1", true),
            ("ff02::1", true),
        ] {
            assert_eq!(never_publishable(address.parse().unwrap()), never, "{address}");
        }
    }

    #[test]
    fn the_ports_of_all_interfaces_together_are_as_many_as_the_configuration_allows() {
        let config = crate::input::config::parse("max-ports = 2").unwrap();
        let ports = parse_published("8080-8082:80-82").unwrap();
        let ports: Vec<&PublishedPort> = ports.iter().collect();
        assert_eq!(check_number(&ports[..2], &config), Ok(()));
        assert!(check_number(&ports, &config).unwrap_err().to_string().contains("more than 2 ports"));
    }

    #[test]
    fn a_host_port_is_one_containers_port() {
        for (ports, same) in [
            (&["80:1", "81:2"][..], false),
            (&["80:1", "80:1/udp"], false),
            (&["192.0.2.1:80:1", "192.0.2.2:80:2"], false),
            // Ocinet chooses two.
            (&["1", "2"], false),
            (&["80:1", "80:2"], true),
            (&["81:1", "80:1", "192.0.2.1:81:2"], true),
            (&["192.0.2.1:80:1", "192.0.2.2:80:2", "192.0.2.1:80:3"], true),
        ] {
            let parsed: Vec<PublishedPort> =
                ports.iter().flat_map(|text| parse_published(text).unwrap()).collect();
            let parsed: Vec<&PublishedPort> = parsed.iter().collect();
            assert_eq!(check_distinct(&parsed).is_err(), same, "{ports:?}");
        }
    }
}
