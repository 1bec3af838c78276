//! Whether the host forwards, and from where it takes packets.

use ocinet_shared::kernel::{forwarding as kernel, sysctl};
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::element::{Element, Set};
use ocinet_shared::quoted::word;

use super::context::DoctorContext;
use super::finding::Finding;
use crate::error::Error;
use crate::host::forwarding;
use crate::host::uplinks::links_of_default_routes;

/// Whether the host and its links forward each family that a network is routed in, and whether ocinet left forwarding on that
/// nothing needs any more.
pub(super) fn forwarding(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for family in Family::ALL {
        if context.idle.contains(&family) && sysctl::forwards(family).unwrap_or_default() {
            findings.push(Finding::new(
                format!("the host forwards {}, which ocinet turned on, and no network needs it", name(family)),
                "a stop was killed half-way, or what it was left on for has gone: the host is a router for nobody",
                "ocinet gc",
            ));
        }
        let key = sysctl::forwarding_key(family);
        if !forwarding::is_needed(&context.networks, family) {
            continue;
        }
        if sysctl::read(key).as_deref() == Some("0") {
            findings.push(Finding::new(
                format!("the host does not forward {}", name(family)),
                "no packet passes between a container and anything but the host",
                format!("sysctl -w {key}=1"),
            ));
        } else if family == Family::Ipv4 {
            findings.extend(by_link(context));
        }
    }
    Ok(findings)
}

/// IPv4 asks the link that a packet came in by. Ocinet sets its own links; the others are the administrator's.
fn by_link(context: &DoctorContext) -> Vec<Finding> {
    let family = Family::Ipv4;
    let networks = context.networks.iter().filter(|network| network.is_forwarded(family));
    let mut names: Vec<String> =
        networks.flat_map(|network| context.routers(network)).map(|name| name.to_string()).collect();
    let uplinks = links_of_default_routes(&context.found.routes, family);
    names.extend(uplinks.filter_map(|index| Some(context.found.link_at(index)?.name.clone())));
    names.dedup();
    names.retain(|name| kernel::of_link(family, name) == Some(false));
    let finding = |name: String| {
        Finding::new(
            format!("{name} does not forward IPv4"),
            "what comes in by it reaches the host alone: no request, and no answer, passes to a container",
            format!("sysctl -w {}=1", word(&format!("net/ipv4/conf/{name}/forwarding"))),
        )
    };
    names.into_iter().map(finding).collect()
}

/// Containers on a bridge ask for their gateway's Ethernet address. The kernel takes the greater of two settings, and at 8 answers
/// for no address of its own (`arp_ignore` of ip-sysctl).
pub(super) fn gateways_answer(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let is_silent =
        |link: &str| sysctl::read(&format!("net/ipv4/conf/{link}/arp_ignore")).as_deref() == Some("8");
    let mut findings = Vec::new();
    for network in context.routed().filter(|network| network.gateway(Family::Ipv4).is_some()) {
        let Some(bridge) = network.bridge() else { continue };
        let silent = ["all", bridge.as_str()].into_iter().filter(|link| is_silent(link));
        let fix: Vec<String> =
            silent.map(|link| format!("sysctl -w net/ipv4/conf/{link}/arp_ignore=2")).collect();
        if !fix.is_empty() {
            let what = format!("the host answers no ARP on {bridge}: arp_ignore is 8");
            let why = "a container does not find its gateway, and reaches its neighbours alone".to_owned();
            findings.push(Finding { what, why, fix });
        }
    }
    Ok(findings)
}

/// Where ocinet turned forwarding on, its rules keep the host's uplinks apart, as far as they know them.
pub(super) fn uplinks(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    if context.uplinks.is_empty() {
        return Ok(Vec::new());
    }
    let links = context.uplinks.iter().filter(|element| element.set == Set::Uplinks);
    let names: Vec<String> = links.map(Element::nft).collect();
    let what = if names.is_empty() {
        "elements by which the rules keep the host's uplinks apart are gone".to_owned()
    } else {
        format!("the rules do not know {} of the host's uplinks", names.join(", "))
    };
    Ok(vec![Finding::new(
        what,
        "a default route or a link is new, or somebody deleted elements: the host may be a router between its uplinks, \
         which it was not before ocinet turned forwarding on",
        "ocinet reload",
    )])
}

/// A host with two ways out that takes packets only from where it would send them (`rp_filter` of ip-sysctl) drops what
/// comes by the second.
pub(super) fn reverse_path(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    if context.records.iter().all(|record| record.ports().next().is_none()) {
        return Ok(Vec::new());
    }
    let Some(best) = context.default_link(Family::Ipv4).map(|link| link.index) else { return Ok(Vec::new()) };
    let setting = |link: &str| {
        let key = format!("net/ipv4/conf/{link}/rp_filter");
        sysctl::read(&key).and_then(|value| value.parse::<u8>().ok()).unwrap_or_default()
    };
    let all = setting("all");
    let mut findings = Vec::new();
    for link in &context.found.links {
        let is_second = link.index != best
            && context.found.routes.iter().any(|route| {
                route.is_in_main() && route.is_default_of(Family::Ipv4) && route.link == Some(link.index)
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
                format!("sysctl -w {}=2", word(&format!("net/ipv4/conf/{}/rp_filter", link.name))),
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
