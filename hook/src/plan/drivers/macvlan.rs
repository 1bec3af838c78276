//! `net.driver=macvlan`: the container is on the LAN itself, with an Ethernet address of its own.

use ocinet_shared::cidr::Cidr;
use ocinet_shared::kernel::link::{ChildKind, MacvlanMode};
use ocinet_shared::mac::Mac;
use ocinet_shared::network::{HostLink, HostLinkKind, Network};

use super::{lan, routed};
use crate::error::{Error, annotation};
use crate::input::request::AttachmentRequest;
use crate::plan::addresses;
use crate::plan::driver::{Attached, Inputs, NetworkContext, NetworkDriver};
use crate::plan::step::{RouteFromHost, Step};

/// The driver.
#[derive(Debug)]
pub(super) struct Macvlan;

impl NetworkDriver for Macvlan {
    fn holds_one(&self, network: &Network) -> bool {
        matches!(mode(network), Ok(MacvlanMode::Passthru))
    }

    fn subnets(&self, request: &AttachmentRequest, context: &NetworkContext<'_>) -> Result<Vec<Cidr>, Error> {
        lan::ranges(request, context)
    }

    fn configure_network(
        &self,
        request: &AttachmentRequest,
        context: &NetworkContext<'_>,
        network: &mut Network,
    ) -> Result<(), Error> {
        let parent = lan::configure_network(request, context, network)?;
        let host_access = request.settings.get("host-access").is_some_and(|truth| truth == "true");
        network.settings.insert("host-access".to_owned(), host_access.to_string());
        if mode(network)? == MacvlanMode::Passthru && !request.settings.contains_key("parent") {
            let cause =
                format!("it would take {}, the link of its own default route, from the host", parent.name);
            let hint = "name the link to be given away with net.parent, or use another net.mode";
            return Err(request.label("mode").error(cause, hint));
        }
        if !host_access {
            return Ok(());
        }
        if mode(network)? != MacvlanMode::Bridge {
            let cause = "only in the mode bridge do macvlans on one parent reach each other";
            return Err(request.label("host-access").error(cause, "leave it out, or use net.mode=bridge"));
        }
        // Two hosts of a LAN may have a network of the same name: the boot's id tells their links apart.
        let seed = format!("{} {}", network.name, context.boot_id);
        let name = format!("oc-{:012x}", ocinet_shared::mac::fnv1a(seed.as_bytes()) & 0xffff_ffff_ffff);
        let addresses = addresses::for_host(request, network)?;
        network.reserved.extend(&addresses);
        network.links.push(HostLink {
            name: name
                .parse()
                .map_err(|error| annotation("net.host-access", error, "report this as a bug"))?,
            mac: Mac::of_bridge(&seed),
            kind: HostLinkKind::Macvlan { parent: parent.name.clone(), addresses },
        });
        Ok(())
    }

    fn attach(&self, inputs: &Inputs<'_>) -> Result<Attached, Error> {
        let network = inputs.network;
        let mode = mode(network)?;
        // One that has its parent for itself has the parent's address, unless it asks for another: the parent, too, has
        // that one then, for as long as the container lives.
        let mac = match mode {
            MacvlanMode::Passthru => inputs.request.mac,
            _ => Some(routed::mac(inputs.request, network, &inputs.cidrs())?),
        };
        let mut attached = lan::attached(inputs, ChildKind::Macvlan(mode), mac)?;
        if let Some(link) = network.links.first() {
            let (link, addresses) = (link.name.clone(), inputs.addresses.to_vec());
            let mtu = attached.attachment.mtu;
            attached.steps.push(Step::RouteFromHost(RouteFromHost { link, addresses, mtu }));
        }
        Ok(attached)
    }
}

fn mode(network: &Network) -> Result<MacvlanMode, Error> {
    let mode = network.settings.get("mode").and_then(|mode| mode.parse().ok());
    mode.ok_or_else(|| lan::broken(network, "mode"))
}
