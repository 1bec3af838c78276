//! `net.driver=vxlan`: a bridge on every host, joined by tunnels (RFC 7348) to one network.
//!
//! Every host is the gateway of its own containers, with the same address and the same Ethernet address, so that a
//! container finds its gateway on whichever host it is; the gateways do not see each other (`plan/elements.rs`).

use std::net::IpAddr;
use std::str::FromStr;

use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::ifname::IfName;
use ocinet_shared::mac::Mac;
use ocinet_shared::network::{HostLink, HostLinkKind, Network, Tunnel};

use super::routed;
use crate::error::{Error, annotation};
use crate::input::request::AttachmentRequest;
use crate::plan::driver::{Attached, Inputs, NetworkContext, NetworkDriver};

/// The UDP port of VXLAN (RFC 7348, section 9).
const PORT: &str = "4789";

/// The driver.
#[derive(Debug)]
pub(super) struct Vxlan;

impl NetworkDriver for Vxlan {
    fn bridge(&self, request: &AttachmentRequest) -> Result<Option<IfName>, Error> {
        routed::bridge_name(request).map(Some)
    }

    fn subnets(&self, request: &AttachmentRequest, _: &NetworkContext<'_>) -> Result<Vec<Cidr>, Error> {
        let cause =
            format!("network {} is new, and every host must give it the same addresses", request.network);
        Err(request.label("subnet").error(cause, "give it a subnet, the same on every host"))
    }

    fn configure_network(
        &self,
        request: &AttachmentRequest,
        context: &NetworkContext<'_>,
        network: &mut Network,
    ) -> Result<(), Error> {
        let said = &request.settings;
        let Some(vni) = said.get("vni") else {
            let cause = format!("network {} is new, and has no number yet", network.name);
            return Err(request
                .label("vni")
                .error(cause, "give it one from 1 to 16777215, the same on every host"));
        };
        if said.contains_key("peers") && said.contains_key("group") {
            let cause = "net.peers and net.group both say where to send what is for everybody";
            return Err(request.label("group").error(cause, "give one of them"));
        }
        let inside = |peer: &&IpAddr| network.subnets().any(|subnet| subnet.contains(**peer));
        if let Some(peer) = context.peers.iter().find(inside) {
            let cause = format!("{peer} is an address of the network itself");
            return Err(request
                .label("peers")
                .error(cause, "give the addresses that the other hosts have on their own links"));
        }
        let bridge = routed::add_bridge(request, network)?;
        for key in ["parent", "vni", "local", "peers", "group"] {
            network.settings.extend(said.get(key).map(|value| (key.to_owned(), value.clone())));
        }
        let port = said.get("port").map_or(PORT, String::as_str);
        network.settings.insert("port".to_owned(), port.to_owned());
        let tunnel = tunnel(request, network, bridge, context)?;
        check_family(request, &tunnel)?;
        network.mtu = Some(mtu(request, context, &tunnel)?);
        let name = format!("oc-vni{vni}");
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

fn tunnel(
    request: &AttachmentRequest,
    network: &Network,
    bridge: IfName,
    context: &NetworkContext<'_>,
) -> Result<Tunnel, Error> {
    let has = &network.settings;
    let one = |key: &str| has.get(key).and_then(|text| IpAddr::from_str(text).ok());
    let number = |key: &str| has.get(key).and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
    let group = one("group");
    let named = has.contains_key("parent") || group.is_some();
    let parent = context.underlay.filter(|_| named).map(|underlay| underlay.name.clone());
    if group.is_some() && parent.is_none() {
        let cause = "the host has no default route by whose link to reach the group";
        return Err(request.label("parent").error(cause, "name a link of this host with net.parent"));
    }
    Ok(Tunnel {
        bridge,
        vni: number("vni"),
        port: u16::try_from(number("port")).unwrap_or_default(),
        local: one("local"),
        parent,
        group,
        peers: context.peers.clone(),
    })
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
