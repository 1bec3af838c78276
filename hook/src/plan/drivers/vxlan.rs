//! `net.driver=vxlan`: a bridge on every host, joined by tunnels (RFC 7348) to one network.
//!
//! Every host is the gateway of its own containers, with the same address and the same Ethernet address, so that a
//! container finds its gateway on whichever host it is; the gateways do not see each other (`plan/elements.rs`).

use std::net::IpAddr;

use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::driver_settings::{DriverSettings, VxlanSettings};
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::network::{HostLink, HostLinkKind, Network, Tunnel};

use super::routed;
use crate::error::{Error, annotation};
use crate::input::request::{AttachmentRequest, VxlanRequest};
use crate::plan::driver::{Attached, Inputs, NetworkContext, NetworkDriver};
use crate::plan::validate::unreadable;

/// The UDP port of VXLAN (RFC 7348, section 9).
const PORT: u16 = 4789;

impl NetworkDriver for VxlanRequest {
    fn bridge(&self, request: &AttachmentRequest) -> Result<Option<IfName>, Error> {
        routed::bridge_name(self.bridge.as_ref(), &request.network).map(Some)
    }

    fn subnets(&self, request: &AttachmentRequest, _: &NetworkContext<'_>) -> Result<Vec<Cidr>, Error> {
        let cause =
            format!("network {} is new, and every host must give it the same addresses", request.network);
        Err(request.label("subnet").error(cause, "give it a subnet, the same on every host"))
    }

    fn settings(
        &self,
        request: &AttachmentRequest,
        context: &NetworkContext<'_>,
    ) -> Result<DriverSettings, Error> {
        let Some(vni) = self.vni else {
            let cause = format!("network {} is new, and has no number yet", request.network);
            return Err(request
                .label("vni")
                .error(cause, "give it one from 1 to 16777215, the same on every host"));
        };
        if !self.peers.is_empty() && self.group.is_some() {
            let cause = "net.peers and net.group both say where to send what is for everybody";
            return Err(request.label("group").error(cause, "give one of them"));
        }
        if self.group.is_some() && context.underlay.is_none() {
            let cause = "the host has no default route by whose link to reach the group";
            return Err(request.label("parent").error(cause, "name a link of this host with net.parent"));
        }
        Ok(DriverSettings::Vxlan(VxlanSettings {
            bridge: routed::bridge_name(self.bridge.as_ref(), &request.network)?,
            vni,
            port: self.port.unwrap_or(PORT),
            parent: self.parent.clone(),
            local: self.local,
            peers: self.peers.clone(),
            group: self.group,
        }))
    }

    fn configure_network(
        &self,
        request: &AttachmentRequest,
        context: &NetworkContext<'_>,
        network: &mut Network,
    ) -> Result<(), Error> {
        let inside = |peer: &&IpAddr| network.subnets().any(|subnet| subnet.contains(**peer));
        if let Some(peer) = context.peers.iter().find(inside) {
            let cause = format!("{peer} is an address of the network itself");
            return Err(request
                .label("peers")
                .error(cause, "give the addresses that the other hosts have on their own links"));
        }
        let DriverSettings::Vxlan(settings) = &network.settings else {
            return Err(unreadable(network));
        };
        let tunnel = tunnel(settings, context);
        check_family(request, &tunnel)?;
        routed::add_bridge(&tunnel.bridge, network);
        network.mtu = Some(mtu(request, context, &tunnel)?);
        let name = format!("oc-vni{}", tunnel.vni);
        network.links.push(HostLink {
            name: name.parse().map_err(|error| annotation("net.vni", error, "report this as a bug"))?,
            mac: mac(network, &tunnel),
            kind: HostLinkKind::Vxlan(tunnel),
        });
        Ok(())
    }

    fn attach(&self, inputs: &Inputs<'_>) -> Result<Attached, Error> {
        if let Some((asked, has)) =
            inputs.request.mtu.zip(inputs.network.mtu).filter(|(asked, has)| asked > has)
        {
            let cause = format!("{asked} is more than the {has} that fit through the tunnels");
            return Err(inputs.request.label("mtu").error(cause, "give less, or leave it out"));
        }
        let attachment = routed::attachment(inputs)?;
        let attached = routed::attached(inputs, attachment);
        Ok(Attached { announce: true, ..attached })
    }
}

/// The address tells a tunnel's end that was made for another state of the network, with other peers perhaps.
fn mac(network: &Network, tunnel: &Tunnel) -> Mac {
    let ends: Vec<String> = tunnel.ends().map(|end| end.to_string()).collect();
    let parent = tunnel.parent.as_ref().map_or("", IfName::as_str);
    let Tunnel { bridge, vni, port, .. } = tunnel;
    let mtu = network.mtu.unwrap_or_default();
    Mac::of_bridge(&format!("{} {bridge} {vni} {port} {parent} {mtu} {}", network.name, ends.join(" ")))
}

fn tunnel(settings: &VxlanSettings, context: &NetworkContext<'_>) -> Tunnel {
    let is_bound = settings.parent.is_some() || settings.group.is_some();
    Tunnel {
        bridge: settings.bridge.clone(),
        vni: settings.vni,
        port: settings.port,
        local: settings.local,
        parent: context.underlay.filter(|_| is_bound).map(|underlay| underlay.name.clone()),
        group: settings.group,
        peers: context.peers.clone(),
    }
}

fn check_family(request: &AttachmentRequest, tunnel: &Tunnel) -> Result<(), Error> {
    if tunnel.ends().all(|end| Family::of(end) == tunnel.family()) {
        return Ok(());
    }
    let cause = "net.local, net.peers and net.group mix IPv4 and IPv6";
    Err(request.label("peers").error(cause, "give tunnel ends of one family"))
}

fn mtu(request: &AttachmentRequest, context: &NetworkContext<'_>, tunnel: &Tunnel) -> Result<u32, Error> {
    let underlay = context.underlay.map_or(1500, |underlay| underlay.mtu);
    let most = underlay.saturating_sub(tunnel.overhead());
    match request.mtu {
        Some(asked) if asked > most => {
            let cause = format!(
                "{asked} is more than the {most} that an {} tunnel leaves of the underlay's {underlay}",
                tunnel.family()
            );
            Err(request.label("mtu").error(cause, "give less, or leave it out"))
        }
        Some(asked) => Ok(asked),
        None => Ok(most),
    }
}
