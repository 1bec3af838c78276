//! Whether the host forwards, and from where it takes packets.

use ocinet_shared::cidr::Family;
use ocinet_shared::kernel::sysctl;

use super::{Finding, Surroundings};
use crate::error::Error;

/// The families that some network is routed in need forwarding.
pub(super) fn forwarding(around: &mut Surroundings) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for family in Family::ALL {
        let routed = around.routed().any(|network| !network.internal && network.subnet(family).is_some());
        let key = sysctl::forwarding_key(family);
        if routed && sysctl::read(key).as_deref() == Some("0") {
            findings.push(Finding::new(
                format!("the host does not forward {}", name(family)),
                "no packet passes between a container and anything but the host",
                format!("sysctl -w {key}=1"),
            ));
        }
    }
    Ok(findings)
}

/// A host with two ways out that takes packets only from where it would send them (`rp_filter` of ip-sysctl) drops what
/// comes by the second.
pub(super) fn reverse_path(around: &mut Surroundings) -> Result<Vec<Finding>, Error> {
    if around.records.iter().all(|record| record.ports().next().is_none()) {
        return Ok(Vec::new());
    }
    let Some(best) = around.way_out(Family::Ipv4).map(|link| link.index) else { return Ok(Vec::new()) };
    let setting = |link: &str| {
        let key = format!("net/ipv4/conf/{link}/rp_filter");
        sysctl::read(&key).and_then(|value| value.parse::<u8>().ok()).unwrap_or_default()
    };
    let all = setting("all");
    let mut findings = Vec::new();
    for link in &around.found.links {
        let is_second = link.index != best
            && around.found.routes.iter().any(|route| {
                route.destination.prefix() == 0
                    && route.destination.family() == Family::Ipv4
                    && route.link == Some(link.index)
            });
        // The stricter of both would be 1, but the kernel uses the greater, and 2 is the looser.
        if is_second && setting(&link.name).max(all) == 1 {
            findings.push(Finding::new(
                format!("{} drops packets from where another link leads to", link.name),
                format!(
                    "rp_filter is strict there, and the host's first default route is not by {}: published ports are \
                     not reached by it from afar",
                    link.name
                ),
                format!("sysctl -w net/ipv4/conf/{}/rp_filter=2", link.name),
            ));
        }
    }
    Ok(findings)
}

/// A family's name.
pub(super) fn name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}
