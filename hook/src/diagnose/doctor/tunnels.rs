//! Overlays whose underlay carries less than their containers send.

use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::route;
use ocinet_shared::kernel::route::Hop;
use ocinet_shared::model::network::{HostLink, HostLinkKind, Network, Tunnel};

use super::context::DoctorContext;
use super::finding::Finding;
use crate::error::Error;

/// Tunnels' ends with a larger MTU than the links that they leave by have room for.
pub(super) fn mtu(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for network in context.networks.clone() {
        for link in &network.links {
            let HostLinkKind::Vxlan(tunnel) = &link.kind else { continue };
            let underlay = underlay(context, tunnel)?;
            let end = context.link(&link.name).cloned();
            if let Some((underlay, end)) = underlay.zip(end) {
                let most = underlay.mtu.saturating_sub(tunnel.overhead());
                if end.mtu > most {
                    findings.push(finding(context, &network, link, &underlay, (end.mtu, most)));
                }
            }
        }
    }
    Ok(findings)
}

/// The link that a tunnel's packets leave by; of several, the one with the least MTU.
fn underlay(context: &mut DoctorContext, tunnel: &Tunnel) -> Result<Option<Link>, Error> {
    if let Some(parent) = &tunnel.parent {
        return Ok(context.link(parent).cloned());
    }
    let mut least: Option<Link> = None;
    for peer in &tunnel.peers {
        if let Some(Hop::By(index)) = route::lookup(&mut context.found.route, *peer)? {
            let link = context.found.link_at(index).cloned();
            least = least.into_iter().chain(link).min_by_key(|link| link.mtu);
        }
    }
    Ok(least)
}

fn finding(
    context: &DoctorContext,
    network: &Network,
    link: &HostLink,
    underlay: &Link,
    (has, most): (u32, u32),
) -> Finding {
    let mut fix = Vec::new();
    for (record, attachment) in context.attachments() {
        if attachment.network == network.name {
            let (pid, interface) = (record.pid, &attachment.interface);
            fix.push(format!("nsenter --target {pid} --net ip link set {interface} mtu {most}"));
            fix.extend(attachment.host_interface.iter().map(|end| format!("ip link set {end} mtu {most}")));
        }
    }
    let of_host = network.bridge().into_iter().chain([&link.name]);
    fix.extend(of_host.map(|name| format!("ip link set {name} mtu {most}")));
    Finding {
        what: format!(
            "{} of network {} has an MTU of {has}, the {} of {} below leave {most}",
            link.name, network.name, underlay.mtu, underlay.name
        ),
        why: "larger packets than fit through the tunnels do not get to containers on other hosts".to_owned(),
        fix,
    }
}
