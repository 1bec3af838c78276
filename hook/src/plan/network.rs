//! Which network a container belongs to, and what a new one is made with. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::network::{HostLinkKind, Network, Subnet, not_a_host};

use crate::error::{Class, Error};
use crate::input::annotations::Label;
use crate::input::config::Config;
use crate::input::request::AttachmentRequest;
use crate::model::driver_spec::{AddressScope, DEFAULT_NETWORK};
use crate::model::host_network::Occupied;
use crate::model::mtu::{DEFAULT_MTU, IPV6_MTU};
use crate::plan::driver::NetworkContext;
use crate::plan::drivers;
use crate::plan::subnets::{is_on_link, list};
use crate::plan::validate::{too_small_for_ipv6, unreadable};

/// Checks what the container says of a network that exists; what it does not say, it shares.
///
/// # Errors
/// [`Class::Conflict`] that shows both, where it says something else. [`Class::State`] where the settings of the network cannot
/// be read, so that nobody knows what a policy would say of them.
pub fn share(request: &AttachmentRequest, network: Network) -> Result<Network, Error> {
    let differ = |name: &str, asked: &str, has: &str| {
        let Label { key, is_annotation } = request.label(name);
        let hint = if is_annotation {
            format!("leave {key} out, use another net.network, or stop the network's containers first")
        } else {
            "stop the network's containers, so that it is made anew, or set the configuration back".to_owned()
        };
        Err(Error::new(
            Class::Conflict,
            format!("join network {}", network.name),
            format!("{key} asks for {asked}, but the network was made with {has}"),
            hint,
        ))
    };
    if request.driver.name() != network.settings.driver() {
        return differ("driver", request.driver.name(), network.settings.driver());
    }
    if network.settings.fault().is_some() {
        return Err(unreadable(&network));
    }
    let asked = request.driver.texts();
    let has = if asked.is_empty() { BTreeMap::new() } else { network.settings.texts() };
    for (key, asked) in &asked {
        let has = has.get(*key).map_or("none", String::as_str);
        if has != asked {
            return differ(key, asked, has);
        }
    }
    let has: Vec<Cidr> = network.subnets().collect();
    if !request.subnets.is_empty() && request.subnets != has {
        return differ("subnet", &list(&request.subnets), &list(&has));
    }
    if let Some(gateway) =
        request.gateways.iter().find(|asked| network.gateway(Family::of(**asked)) != Some(**asked))
    {
        let has: Vec<IpAddr> = network.subnets.iter().filter_map(|subnet| subnet.gateway).collect();
        return differ("gateway", &gateway.to_string(), &list(&has));
    }
    for (key, asked, has) in
        [("internal", request.internal, network.internal), ("isolate", request.isolate, network.isolate)]
    {
        if let Some(asked) = asked.filter(|asked| *asked != has) {
            return differ(key, &asked.to_string(), &has.to_string());
        }
    }
    Ok(network)
}

/// What a new network is made with.
///
/// # Errors
/// A link or a subnet that is in use, no subnet left, or a gateway that is not in the subnet.
pub fn make(request: &AttachmentRequest, context: &NetworkContext<'_>) -> Result<Network, Error> {
    let scope = request.driver.addresses();
    let ranges = ranges(request, context)?;
    for range in &ranges {
        if let Some(overlap) = context.occupied.iter().find(|one| is_barred(range, one, request, context)) {
            return Err(Error::new(
                Class::Conflict,
                format!("make network {} with the subnet {range}", request.network),
                format!("it overlaps {}", overlap.by),
                other_subnet(request, context.config),
            ));
        }
    }
    let is_inside = |gateway: &&IpAddr| ranges.iter().any(|range| is_on_link(scope, range, **gateway));
    if let Some(outside) = request.gateways.iter().find(|gateway| !is_inside(gateway)) {
        let cause = format!("{outside} is outside {}", list(&ranges));
        return Err(request.label("gateway").error(cause, "give an address inside the subnet"));
    }
    let subnets = ranges.iter().map(|range| subnet(*range, request, context)).collect::<Result<_, _>>()?;
    let on_lan = scope == AddressScope::Lan;
    let underlay_mtu = context.underlay.map(|underlay| underlay.mtu).filter(|mtu| *mtu != DEFAULT_MTU);
    let driver = drivers::of(&request.driver);
    let mut network = Network {
        name: request.network.clone(),
        settings: driver.settings(request, context)?,
        subnets,
        ip_ranges: if scope == AddressScope::Host { Vec::new() } else { request.ip_ranges.clone() },
        reserved: Vec::new(),
        internal: request.internal.unwrap_or(false),
        isolate: request.isolate.unwrap_or(!on_lan),
        mtu: request.mtu.or(if on_lan { None } else { underlay_mtu }),
        group: if on_lan { 0 } else { Network::free_group(&request.network, context.others) },
        links: Vec::new(),
    };
    if let Some(underlay) = context.underlay.filter(|_| on_lan) {
        let own = underlay.addresses.iter().map(Cidr::address);
        network.reserved = own.filter(|own| ranges.iter().any(|range| range.contains(*own))).collect();
    }
    driver.configure_network(request, context, &mut network)?;
    check_links(&network, context.others)?;
    let least = network.mtu.or(context.underlay.filter(|_| on_lan).map(|underlay| underlay.mtu));
    if let Some(mtu) = least.filter(|mtu| *mtu < IPV6_MTU && network.subnet(Family::Ipv6).is_some()) {
        return Err(too_small_for_ipv6(request, mtu));
    }
    Ok(network)
}

/// Whether a subnet of a new network cannot be made beside what the host uses. A subnet from the pool was chosen so that it
/// can be made.
fn is_barred(
    range: &Cidr,
    occupied: &Occupied,
    request: &AttachmentRequest,
    context: &NetworkContext<'_>,
) -> bool {
    let is_built_in = request.subnets.is_empty() && !context.config.default_subnets.is_named;
    match named_subnets(request, context.config) {
        [] if request.driver.addresses() == AddressScope::Host => false,
        [_, ..] if is_built_in => occupied.spoils(range, range, false),
        _ => occupied.bars(range),
    }
}

/// What to do about a subnet that cannot be: it is fixed where it was named.
fn other_subnet(request: &AttachmentRequest, config: &Config) -> String {
    let Label { key, is_annotation } = request.label("subnet");
    let file = config.path.display();
    match request.driver.addresses() {
        _ if !is_annotation => format!("set a free {key}"),
        AddressScope::Lan => {
            format!(
                "a LAN is one network: share that network by net.network, with its driver and mode, or give this one a {key} that overlaps none"
            )
        }
        AddressScope::Host if request.subnets.is_empty() && config.default_subnets.is_named => {
            format!("set free default-subnets in the configuration {file}, or give the network a free {key}")
        }
        AddressScope::Host if request.subnets.is_empty() => {
            format!("give the network a free {key}, or set free default-subnets in the configuration {file}")
        }
        AddressScope::Host | AddressScope::Overlay => format!("give the network a free {key}"),
    }
}

/// A link belongs to one network, and so does a tunnel's number.
fn check_links(network: &Network, others: &[Network]) -> Result<(), Error> {
    for link in &network.links {
        let has = |other: &&Network| other.links.iter().any(|theirs| theirs.name == link.name);
        let Some(other) = others.iter().find(has) else { continue };
        let (key, what) = match &link.kind {
            HostLinkKind::Vxlan(tunnel) => ("vni", format!("VNI {}", tunnel.vni)),
            kind => ("bridge", format!("{} {}", kind.name(), link.name)),
        };
        return Err(Error::new(
            Class::Conflict,
            format!("use the {what}"),
            format!("it is the {} of network {}", link.kind.name(), other.name),
            format!("name another with net.{key}, or that network with net.network"),
        ));
    }
    Ok(())
}

/// The subnets of a new network.
fn ranges(request: &AttachmentRequest, context: &NetworkContext<'_>) -> Result<Vec<Cidr>, Error> {
    let named = named_subnets(request, context.config);
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    drivers::of(&request.driver).subnets(request, context)
}

/// The subnets that the container or the configuration names for a new network; none where one is to be chosen.
fn named_subnets<'a>(request: &'a AttachmentRequest, config: &'a Config) -> &'a [Cidr] {
    let is_default =
        request.network.as_str() == DEFAULT_NETWORK && request.driver.addresses() == AddressScope::Host;
    if request.subnets.is_empty() && is_default { &config.default_subnets.value } else { &request.subnets }
}

/// The families whose routes a new network needs to know: those that it will have, and that of an overlay's underlay.
#[must_use]
pub fn families(request: &AttachmentRequest, config: &Config) -> Vec<Family> {
    match named_subnets(request, config) {
        _ if request.driver.addresses() == AddressScope::Overlay => Family::ALL.to_vec(),
        [] if request.driver.addresses() == AddressScope::Lan => Family::ALL.to_vec(),
        [] => vec![config.subnet_pool.value.family()],
        named => named.iter().map(Cidr::family).collect(),
    }
}

/// A subnet with its gateway: the one that is asked for; else the LAN's own router, or the first address.
fn subnet(range: Cidr, request: &AttachmentRequest, context: &NetworkContext<'_>) -> Result<Subnet, Error> {
    let scope = request.driver.addresses();
    let inside = |list: &[IpAddr]| list.iter().copied().find(|gateway| is_on_link(scope, &range, *gateway));
    let gateway = match (inside(&request.gateways), scope) {
        (Some(asked), _) => Some(asked),
        (None, AddressScope::Lan) => context.underlay.and_then(|underlay| inside(&underlay.gateways)),
        (None, _) => Some(range.nth(1)),
    };
    match gateway.and_then(|gateway| Some((gateway, not_a_host(&range, gateway)?))) {
        Some((gateway, what)) => Err(request
            .label("gateway")
            .error(format!("{gateway} is {what} of {range}"), "give another address inside the subnet")),
        None => {
            let is_asked = gateway.is_none() && scope == AddressScope::Lan && range.family() == Family::Ipv4;
            let next_hop = context.underlay.filter(|_| is_asked).and_then(|underlay| underlay.next_hop);
            Ok(Subnet { range, gateway, next_hop })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::input::request::Request;

    fn network(driver: &str, settings: &serde_json::Value) -> Network {
        serde_json::from_value(json!({
            "name": "n", "driver": driver, "settings": settings, "internal": false, "isolate": true, "mtu": null,
            "group": 1, "subnets": [{ "range": "10.91.0.0/24", "gateway": "10.91.0.1" }],
        }))
        .unwrap()
    }

    fn shared(driver: &str, settings: &serde_json::Value, asked: &[(&str, &str)]) -> Result<Network, String> {
        let named = [("driver", driver), ("network", "n")];
        let asked =
            asked.iter().chain(&named).map(|(key, value)| (format!("net.{key}"), (*value).to_owned()));
        let request = Request::parse(asked, &Config::default(), &|_| Ok(None)).unwrap().unwrap();
        share(&request.attachments[0], network(driver, settings)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_container_shares_a_network_that_it_does_not_contradict() {
        let vxlan = json!({ "bridge": "b", "vni": "7", "port": "4789", "peers": "192.0.2.2,192.0.2.3" });
        let macvlan = json!({ "parent": "eth7", "mode": "bridge", "host-access": "false" });
        for (driver, settings, asked, says) in [
            ("bridge", &json!({ "bridge": "b" }), &[][..], None),
            ("bridge", &json!({ "bridge": "b" }), &[("bridge", "b"), ("subnet", "10.91.0.0/24")], None),
            ("bridge", &json!({ "bridge": "b" }), &[("bridge", "c")], Some("net.bridge asks for c")),
            ("bridge", &json!({ "bridge": "b" }), &[("gateway", "10.91.0.2")], Some("made with 10.91.0.1")),
            ("bridge", &json!({ "bridge": "b" }), &[("internal", "true")], Some("made with false")),
            ("vxlan", &vxlan, &[("peers", "192.0.2.3,192.0.2.2"), ("vni", "7")], None),
            ("vxlan", &vxlan, &[("port", "4790")], Some("asks for 4790, but the network was made with 4789")),
            ("vxlan", &vxlan, &[("group", "239.1.1.1")], Some("made with none")),
            ("macvlan", &macvlan, &[("parent", "eth7"), ("mode", "bridge")], None),
            ("macvlan", &macvlan, &[("mode", "vepa")], Some("net.mode asks for vepa")),
            ("macvlan", &macvlan, &[("host-access", "true")], Some("made with false")),
        ] {
            let said = shared(driver, settings, asked).err();
            assert_eq!(said.is_some(), says.is_some(), "{driver} {asked:?}: {said:?}");
            assert!(says.is_none_or(|says| said.unwrap().contains(says)), "{driver} {asked:?}");
        }
    }

    #[test]
    fn nobody_joins_a_network_whose_settings_cannot_be_read() {
        for (driver, settings) in [
            ("bridge", json!({})),
            ("vxlan", json!({ "bridge": "b", "vni": "x", "port": "4789" })),
            ("macvlan", json!({ "parent": "eth7", "mode": "l3" })),
            ("ipvlan", json!({ "mode": "l2" })),
        ] {
            let said = shared(driver, &settings, &[]).unwrap_err();
            assert!(said.contains("does not hold the settings of the driver"), "{said}");
        }
    }
}
