//! What the drivers have in common whose containers the host is the router of: bridge, veth and vxlan.

use std::net::IpAddr;

use ocinet_shared::kernel::route::RouteSpec;
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::{Mac, fnv1a};
use ocinet_shared::model::network::{HostLink, HostLinkKind, Network};
use ocinet_shared::model::record::{Attachment, SharedLink};

use crate::error::{Error, annotation};
use crate::input::request::AttachmentRequest;
use crate::model::driver_spec::DEFAULT_NETWORK;
use crate::model::mtu::DEFAULT_MTU;
use crate::plan::driver::{Attached, Inputs, NetworkContext};
use crate::plan::step::{LimitRates, MakeVeth, RouteFromHost, Step};
use crate::plan::subnets::next_free;
use crate::plan::{elements, link_filters};

/// The bridge of the network `default`.
const DEFAULT_BRIDGE: &str = "ocinet0";

/// The bridge that a container names, or that its network has by its name.
///
/// # Errors
/// A name that the kernel does not accept.
pub fn bridge_name(asked: Option<&IfName>, network: &ContainerId) -> Result<IfName, Error> {
    asked.map_or_else(|| bridge_of(network), |name| Ok(name.clone()))
}

/// `ocinet0` for the default network, `oc-NAME` where that fits, and otherwise a name from the hash of the network's.
///
/// # Errors
/// A name that the kernel does not accept.
fn bridge_of(network: &ContainerId) -> Result<IfName, Error> {
    if network.as_str() == DEFAULT_NETWORK {
        return DEFAULT_BRIDGE
            .parse()
            .map_err(|error| annotation("net.bridge", error, "report this as a bug"));
    }
    format!("oc-{network}").parse().or_else(|_| {
        let name = format!("oc-{:012x}", fnv1a(network.as_str().as_bytes()) & 0xffff_ffff_ffff);
        name.parse().map_err(|error| annotation("net.network", error, "name the bridge with net.bridge"))
    })
}

/// A subnet of the pool that the host does not use.
///
/// # Errors
/// No subnet left.
pub fn free_subnet(context: &NetworkContext<'_>) -> Result<Vec<Cidr>, Error> {
    Ok(vec![next_free(&context.config.subnet_pool, &context.occupied)?])
}

/// Gives a network its bridge.
pub fn add_bridge(name: &IfName, network: &mut Network) {
    let mac = Mac::of_bridge(network.name.as_str());
    network.links.push(HostLink { name: name.clone(), mac, kind: HostLinkKind::Bridge });
}

/// The container's attachment by a veth pair.
///
/// # Errors
/// A network without a subnet, or ports on one that is internal.
pub fn attachment(inputs: &Inputs<'_>) -> Result<Attachment, Error> {
    let Inputs { request, network, .. } = inputs;
    if network.internal && !inputs.ports.is_empty() {
        let cause = format!("the network {} is internal, so that nothing outside can reach it", network.name);
        return Err(request.label("ports").error(cause, "publish ports on a network that is not internal"));
    }
    let addresses = inputs.cidrs();
    Ok(Attachment {
        interface: request.interface.clone(),
        driver: request.driver.name().to_owned(),
        network: network.name.clone(),
        parent: network.bridge().cloned(),
        host_interface: Some(inputs.host_interface.clone()),
        host_ifindex: 0,
        mac: Some(mac(request, network, &addresses)?),
        mtu: request.mtu.or(network.mtu),
        addresses,
        gateways: if network.internal { Vec::new() } else { gateways(inputs) },
        next_hop: None,
        ports: inputs.ports.to_vec(),
    })
}

/// The Ethernet address that is asked for, or the one that belongs to the first IP address.
///
/// # Errors
/// A network without a subnet.
pub fn mac(request: &AttachmentRequest, network: &Network, addresses: &[Cidr]) -> Result<Mac, Error> {
    let derived = || addresses.first().map(|first| Mac::of_container(first.address()));
    request.mac.or_else(derived).ok_or_else(|| {
        let cause = format!("the network {} has no subnet", network.name);
        request.label("network").error(cause, "give the network a net.subnet")
    })
}

/// The network's gateways of the families that the container has an address of.
#[must_use]
pub fn gateways(inputs: &Inputs<'_>) -> Vec<IpAddr> {
    let of = |address: &IpAddr| inputs.network.gateway(Family::of(*address));
    inputs.addresses.iter().filter_map(of).collect()
}

/// The routes to everywhere else by gateways on the link.
#[must_use]
pub fn default_routes(gateways: &[IpAddr]) -> Vec<RouteSpec> {
    let route = |gateway: &IpAddr| RouteSpec {
        to: Cidr::everything(Family::of(*gateway)),
        gateway: Some(*gateway),
        onlink: false,
        table: None,
    };
    gateways.iter().map(route).collect()
}

/// Where a container's Ethernet address must be its own alone; nowhere where it has a link to the host for itself.
/// `parent` is the link of the host's that its own is on.
#[must_use]
pub fn shared_link(network: &Network, parent: Option<&IfName>) -> Option<SharedLink> {
    match parent {
        Some(_) if network.bridge().is_some() => Some(SharedLink::Network(network.name.clone())),
        Some(parent) => Some(SharedLink::Parent(parent.clone())),
        None => None,
    }
}

/// The steps before the link is made: joining the network, and what must be the container's alone. A conflict is found
/// before anything costly was made.
#[must_use]
pub fn claims(inputs: &Inputs<'_>, attachment: &Attachment) -> Vec<Step> {
    let network = inputs.network;
    let mut steps = vec![Step::JoinNetwork(network.clone())];
    for cidr in &attachment.addresses {
        steps.push(Step::TakeLease { network: network.name.clone(), address: cidr.address() });
    }
    if let Some((on, mac)) = shared_link(network, attachment.parent.as_ref()).zip(attachment.mac) {
        steps.push(Step::ClaimMac { on, mac });
    }
    for port in attachment.ports.iter().filter(|port| port.is_bound()) {
        steps.push(Step::ClaimPort(*port));
    }
    steps
}

/// The steps of an attachment by a veth pair. Protections before reachability: the elements that keep the container to
/// its own addresses are there before its link is.
#[must_use]
pub fn attached(inputs: &Inputs<'_>, attachment: Attachment) -> Attached {
    let network = inputs.network;
    let default_routes = default_routes(&attachment.gateways);
    let (bridge_link, on_bridge) = (network.bridge_link(), network.bridge());
    let mut steps = claims(inputs, &attachment);
    // Without a bridge, the host routes also what stays inside the network.
    if !network.internal || on_bridge.is_none() {
        steps.extend(network.subnets().map(|subnet| Step::Forward(subnet.family())));
    }
    steps.push(Step::AddElements(elements::elements(inputs, &attachment)));
    if let Some(mac) = attachment.mac {
        steps.push(Step::MakeVeth(MakeVeth {
            host_interface: inputs.host_interface.clone(),
            // The gateway's, where it is the bridge: see `Filter::Shortcut`.
            host_mac: bridge_link
                .map_or_else(|| Mac::of_host_end(inputs.host_interface.as_str()), |link| link.mac),
            bridge: on_bridge.cloned(),
            group: if on_bridge.is_some() { 0 } else { network.group },
            interface: attachment.interface.clone(),
            mac,
            mtu: attachment.mtu,
            hairpin: on_bridge.is_some() && !attachment.ports.is_empty(),
        }));
        let filters = link_filters::wanted(network, &attachment, inputs.request.rate_out.is_none());
        steps.extend(filters.map(Step::FilterHostEnd));
    }
    // The bridge has room for larger packets than this container's link: whoever sends one is to be told.
    if let (Some(bridge), Some(mtu)) = (on_bridge, attachment.mtu)
        && mtu < network.mtu.unwrap_or(DEFAULT_MTU)
    {
        let addresses = inputs.addresses.to_vec();
        steps.push(Step::RouteFromHost(RouteFromHost { link: bridge.clone(), addresses, mtu: Some(mtu) }));
    }
    let (receive, send) = (inputs.request.rate_in, inputs.request.rate_out);
    if receive.is_some() || send.is_some() {
        steps.push(Step::LimitRates(LimitRates {
            host_interface: inputs.host_interface.clone(),
            receive,
            send,
            shaper: inputs.shaper.clone(),
        }));
    }
    Attached { steps, attachment, routes: inputs.routes(), default_routes, announce: false }
}
