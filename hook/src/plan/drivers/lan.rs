//! What the drivers have in common that put containers on a LAN beside the host: macvlan and ipvlan.

use std::net::{IpAddr, Ipv6Addr};

use ocinet_shared::kernel::link::ChildKind;
use ocinet_shared::kernel::route::RouteSpec;
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::link_mode::IpvlanMode;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::record::Attachment;

use super::routed;
use crate::error::Error;
use crate::input::request::AttachmentRequest;
use crate::model::host_network::Underlay;
use crate::model::mtu::IPV6_MTU;
use crate::plan::driver::{Attached, Inputs, NetworkContext};
use crate::plan::step::{MakeChild, Step};
use crate::plan::validate::check_mtu;

fn underlay<'a>(request: &AttachmentRequest, context: &'a NetworkContext<'_>) -> Result<&'a Underlay, Error> {
    context.underlay.ok_or_else(|| {
        let cause = "the host has no default route whose link could be the parent";
        request.label("parent").error(cause, "name a link of this host with net.parent")
    })
}

/// The subnets of a new network that names none: those of its parent.
///
/// # Errors
/// No parent, one without addresses, or no address of it that a container may have.
pub fn ranges(request: &AttachmentRequest, context: &NetworkContext<'_>) -> Result<Vec<Cidr>, Error> {
    let parent = underlay(request, context)?;
    if request.addresses.is_empty() && request.ip_ranges.is_empty() {
        let cause =
            format!("nothing says which addresses of the LAN network {} may give out", request.network);
        let hint = "give the container a net.ip, or the network a net.ip-range that nothing else uses";
        return Err(request.label("ip-range").error(cause, hint));
    }
    let ranges: Vec<Cidr> =
        Family::ALL.into_iter().filter_map(|family| range(request, parent, family)).collect();
    if ranges.is_empty() {
        let cause = format!("{} has no address that would tell the LAN's subnet", parent.name);
        return Err(request.label("subnet").error(cause, "give the LAN's subnet"));
    }
    Ok(ranges)
}

/// The parent's subnet of a family: of several, the one of the address that is asked for.
fn range(request: &AttachmentRequest, parent: &Underlay, family: Family) -> Option<Cidr> {
    let ranges = request.ip_ranges.iter().map(Cidr::address);
    let mut asked = request.addresses.iter().copied().chain(ranges);
    let asked = asked.find(|address| Family::of(*address) == family);
    // A host that is to have an address, too, needs a range to take it from, and IPv6 a link that has room for it.
    let host_access = request.driver.host_access();
    let is_small = family == Family::Ipv6 && request.mtu.unwrap_or(parent.mtu) < IPV6_MTU;
    if asked.is_none() && (host_access || is_small) {
        return None;
    }
    // An address of a single host tells nothing of its network.
    let is_network = |cidr: &&Cidr| cidr.family() == family && cidr.prefix() + 2 <= family.bits();
    let all = || parent.addresses.iter().filter(is_network);
    let with_asked = all().find(|cidr| asked.is_some_and(|address| cidr.contains(address)));
    with_asked.or_else(|| all().next()).map(Cidr::network)
}

/// The parent of a new network.
///
/// # Errors
/// No parent, or one that has a smaller MTU than is asked for.
pub fn parent<'a>(
    request: &AttachmentRequest,
    context: &'a NetworkContext<'_>,
) -> Result<&'a Underlay, Error> {
    let parent = underlay(request, context)?;
    check_mtu(request, request.mtu, parent.name.as_str(), parent.mtu)?;
    Ok(parent)
}

/// The router of IPv4 that is known by its IPv6 address alone. Who has no IPv6 cannot ask for it.
///
/// # Errors
/// A container that would not leave its LAN by IPv4, although the host does.
fn next_hop(inputs: &Inputs<'_>, kind: ChildKind) -> Result<Option<Ipv6Addr>, Error> {
    let Inputs { request, network, addresses, .. } = inputs;
    // Above Ethernet there is no next hop.
    let is_on_ethernet = !matches!(kind, ChildKind::Ipvlan(mode) if mode != IpvlanMode::L2);
    let of_ipv4 = network.subnets.iter().find(|subnet| subnet.range.family() == Family::Ipv4);
    let next_hop = of_ipv4.and_then(|subnet| subnet.next_hop);
    let Some(next_hop) = next_hop.filter(|_| is_on_ethernet && addresses.iter().any(IpAddr::is_ipv4)) else {
        return Ok(None);
    };
    if addresses.iter().any(IpAddr::is_ipv6) {
        return Ok(Some(next_hop));
    }
    let cause = format!(
        "the host's default route of IPv4 is by {next_hop}, which {} without an IPv6 address does not reach",
        request.interface
    );
    let hint = "give the LAN's IPv4 router, or the container an IPv6 address, too";
    Err(request.label("gateway").error(cause, hint))
}

/// The steps of an attachment by a link on top of the parent.
///
/// # Errors
/// A container that would not leave its LAN by IPv4, although the host does.
pub fn attached(
    inputs: &Inputs<'_>,
    parent: &IfName,
    kind: ChildKind,
    mac: Option<Mac>,
) -> Result<Attached, Error> {
    let Inputs { request, network, .. } = inputs;
    let attachment = Attachment {
        interface: request.interface.clone(),
        driver: request.driver.name().to_owned(),
        network: network.name.clone(),
        parent: Some(parent.clone()),
        host_interface: None,
        host_ifindex: 0,
        mac,
        mtu: request.mtu.or(network.mtu),
        addresses: inputs.cidrs(),
        gateways: routed::gateways(inputs),
        next_hop: next_hop(inputs, kind)?,
        ports: Vec::new(),
    };
    let mut steps = routed::claims(inputs, &attachment);
    steps.push(Step::MakeChild(MakeChild {
        parent: parent.clone(),
        kind,
        interface: attachment.interface.clone(),
        mac,
        mtu: attachment.mtu,
    }));
    let mut default_routes = routed::default_routes(&attachment.gateways);
    // Which of the container's addresses the next hop is beside, the kernel need not find out.
    default_routes.extend(attachment.next_hop.map(|next_hop| RouteSpec {
        to: Cidr::everything(Family::Ipv4),
        gateway: Some(next_hop.into()),
        onlink: true,
        table: None,
    }));
    Ok(Attached {
        steps,
        attachment,
        routes: inputs.routes(),
        default_routes,
        // Above Ethernet nobody asks for a container's address: others are told the way by its host.
        announce: matches!(kind, ChildKind::Macvlan(_) | ChildKind::Ipvlan(IpvlanMode::L2)),
    })
}
