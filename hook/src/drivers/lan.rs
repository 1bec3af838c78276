//! What the drivers have in common that put containers on a LAN beside the host: macvlan and ipvlan.

use ocinet_shared::ifname::IfName;
use ocinet_shared::kernel::link::ChildKind;
use ocinet_shared::mac::Mac;
use ocinet_shared::network::Network;
use ocinet_shared::record::Attachment;

use super::routing;
use crate::error::{Error, report};
use crate::network::{Surroundings, Underlay};
use crate::plan::{Attached, Inputs};
use crate::request::AttachmentRequest;
use crate::step::Step;

/// The network of containers that name none: one for each parent.
#[must_use]
pub fn default_network(driver: &str, setting: &dyn Fn(&str) -> Option<String>) -> String {
    match setting("parent") {
        Some(parent) => format!("{driver}-{parent}"),
        None => driver.to_owned(),
    }
}

/// Gives a network its parent and its mode.
///
/// # Errors
/// No parent, or one that cannot be.
pub fn wire<'a>(
    request: &AttachmentRequest,
    around: &'a Surroundings<'_>,
    network: &mut Network,
) -> Result<&'a Underlay, Error> {
    let driver = request.driver;
    let Some(parent) = around.underlay else {
        let cause = "the host has no default route whose link could be the parent";
        return Err(request.label("parent").error(cause, "name a link of this host with net.parent"));
    };
    if let Some(mtu) = request.mtu.filter(|mtu| *mtu > parent.mtu) {
        let cause = format!("{mtu} is more than the {} of {}", parent.mtu, parent.name);
        return Err(request.label("mtu").error(cause, "give at most the parent's MTU"));
    }
    let mode =
        request.settings.get("mode").cloned().or_else(|| driver.modes().first().map(|&m| m.to_owned()));
    network.settings.insert("parent".to_owned(), parent.name.to_string());
    network.settings.extend(mode.map(|mode| ("mode".to_owned(), mode)));
    Ok(parent)
}

/// The network's parent.
///
/// # Errors
/// A network that was made without one.
pub fn parent(network: &Network) -> Result<IfName, Error> {
    let parent = network.settings.get("parent").and_then(|parent| parent.parse().ok());
    parent.ok_or_else(|| broken(network, "parent"))
}

/// A network whose file lacks what its driver wrote there.
#[must_use]
pub fn broken(network: &Network, setting: &str) -> Error {
    let doing = format!("join network {}", network.name);
    Error::State(report(
        doing,
        format!("what was written down about it has no usable {setting}"),
        "stop its containers, so that it is made anew",
    ))
}

/// The steps of an attachment by a link on top of the parent.
///
/// # Errors
/// A network that was made without a parent.
pub fn attached(inputs: &Inputs<'_>, kind: ChildKind, mac: Option<Mac>) -> Result<Attached, Error> {
    let Inputs { request, network, .. } = inputs;
    let parent = parent(network)?;
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
        gateways: routing::gateways(inputs),
        ports: Vec::new(),
    };
    let mut steps = routing::claims(inputs, &attachment);
    steps.push(Step::MakeChild {
        parent,
        kind,
        interface: attachment.interface.clone(),
        mac,
        mtu: attachment.mtu,
    });
    let ways_out = routing::ways_out(&attachment.gateways);
    Ok(Attached { steps, attachment, ways: inputs.ways(), ways_out, announce: true })
}
