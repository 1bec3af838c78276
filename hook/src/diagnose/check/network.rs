//! A network's links, addresses and sysctls.

use std::net::IpAddr;

use ocinet_shared::kernel::sysctl;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::network::{HostLink, HostLinkKind, Network};

use crate::host::observed::ObservedHost;
use crate::lifecycle::apply::network::{forwarded, ipv6_router_sysctls, router_settings};
use crate::plan::link_filters::with_tunnel;

/// What of a network is not as recorded.
pub(super) fn differences(network: &Network, found: &mut ObservedHost) -> Vec<String> {
    let fault = network.settings.fault();
    let mut differences: Vec<String> =
        fault.iter().map(|fault| format!("no container can join it: {fault}")).collect();
    for link in &network.links {
        let (name, kind) = (&link.name, link.kind.name());
        let Some(there) = found.link(name.as_str()).cloned() else {
            differences.push(format!("the {kind} {name} is missing"));
            continue;
        };
        if there.kind != kind || there.mac != Some(link.mac) {
            differences.push(format!("the link {name} is not the {kind} that ocinet made"));
            continue;
        }
        if !there.is_up {
            differences.push(format!("the {kind} {name} is down"));
        }
        differences.extend(addresses(network, link, there.index, found));
        match &link.kind {
            HostLinkKind::Bridge => differences.extend(sysctls(network, link)),
            HostLinkKind::Vxlan(tunnel) => {
                let bridge = found.link(tunnel.bridge.as_str()).map(|bridge| bridge.index);
                if there.controller != bridge {
                    differences.push(format!("the {kind} {name} is not on the bridge {}", tunnel.bridge));
                }
                let missing =
                    with_tunnel(network, link, |filters| found.missing_filters(there.index, filters));
                let missing = missing.unwrap_or_default();
                differences
                    .extend(missing.iter().map(|of| format!("the filter of {of} on {name} is missing")));
            }
            HostLinkKind::Macvlan { .. } => {}
        }
    }
    differences
}

fn addresses(network: &Network, link: &HostLink, index: u32, found: &ObservedHost) -> Vec<String> {
    let wanted: Vec<IpAddr> = match &link.kind {
        HostLinkKind::Bridge => network.gateways().map(|gateway| gateway.address()).collect(),
        HostLinkKind::Macvlan { addresses, .. } => addresses.clone(),
        HostLinkKind::Vxlan(_) => Vec::new(),
    };
    let missing = wanted.into_iter().filter(|address| !found.has_address(index, *address));
    missing.map(|address| format!("the address {address} of {} is missing", link.name)).collect()
}

fn sysctls(network: &Network, link: &HostLink) -> Vec<String> {
    let mut differences = Vec::new();
    let has_ipv6 = network.subnet(Family::Ipv6).is_some();
    let forwarded = forwarded(network);
    let ipv4 = router_settings(&forwarded).into_iter();
    let ipv4 = ipv4.map(|(setting, wanted)| (Family::Ipv4, setting.name(), wanted.to_string()));
    let ipv6 = ipv6_router_sysctls(has_ipv6, &forwarded).into_iter();
    let ipv6 = ipv6.map(|(setting, wanted)| (Family::Ipv6, setting, wanted.to_owned()));
    for (family, setting, wanted) in ipv4.chain(ipv6) {
        let key = sysctl::of_interface(family, &link.name, setting);
        if let Some(is) = sysctl::read(&key).filter(|is| *is != wanted) {
            differences.push(format!("the sysctl {key} is {is} instead of {wanted}"));
        }
    }
    for family in Family::ALL.into_iter().filter(|family| network.is_forwarded(*family)) {
        let key = sysctl::forwarding_key(family);
        if sysctl::read(key).as_deref() == Some("0") {
            differences.push(format!("the sysctl {key} is 0: the host forwards nothing for its containers"));
        }
    }
    differences
}
