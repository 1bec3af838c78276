//! `net.driver=macvlan`: the container is on the LAN itself, with an Ethernet address of its own.

use ocinet_shared::kernel::link::ChildKind;
use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::driver_settings::DriverSettings;
use ocinet_shared::model::link_mode::MacvlanMode;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::network::{HostLink, HostLinkKind, Network};

use super::{lan, routed};
use crate::error::{Error, annotation};
use crate::input::request::{AttachmentRequest, MacvlanRequest};
use crate::plan::addresses;
use crate::plan::driver::{Attached, Inputs, NetworkContext, NetworkDriver};
use crate::plan::step::{RouteFromHost, Step};
use crate::plan::validate::unreadable;

impl NetworkDriver for MacvlanRequest {
    fn subnets(&self, request: &AttachmentRequest, context: &NetworkContext<'_>) -> Result<Vec<Cidr>, Error> {
        lan::ranges(request, context)
    }

    fn settings(
        &self,
        request: &AttachmentRequest,
        context: &NetworkContext<'_>,
    ) -> Result<DriverSettings, Error> {
        let parent = lan::parent(request, context)?.name.clone();
        let mode = self.mode.unwrap_or_default();
        if mode == MacvlanMode::Passthru && self.parent.is_none() {
            let cause = format!("it would take {parent}, the link of its own default route, from the host");
            let hint = "name the link to be given away with net.parent, or use another net.mode";
            return Err(request.label("mode").error(cause, hint));
        }
        if self.has_host_access() && mode != MacvlanMode::Bridge {
            let cause = "only in the mode bridge do macvlans on one parent reach each other";
            return Err(request.label("host-access").error(cause, "leave it out, or use net.mode=bridge"));
        }
        Ok(DriverSettings::Macvlan { parent, mode, host_access: self.has_host_access() })
    }

    fn configure_network(
        &self,
        request: &AttachmentRequest,
        context: &NetworkContext<'_>,
        network: &mut Network,
    ) -> Result<(), Error> {
        if !self.has_host_access() {
            return Ok(());
        }
        let parent = lan::parent(request, context)?;
        // Two hosts of a LAN may have a network of the same name: the boot's id tells their links apart.
        let seed = format!("{} {}", network.name, context.boot_id);
        let name =
            format!("oc-{:012x}", ocinet_shared::model::mac::fnv1a(seed.as_bytes()) & 0xffff_ffff_ffff);
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
        let DriverSettings::Macvlan { parent, mode, .. } = &network.settings else {
            return Err(unreadable(network));
        };
        // One that has its parent for itself has the parent's address, unless it asks for another: the parent, too, has
        // that one then, for as long as the container lives.
        let mac = match mode {
            MacvlanMode::Passthru => inputs.request.mac,
            _ => Some(routed::mac(inputs.request, network, &inputs.cidrs())?),
        };
        let mut attached = lan::attached(inputs, parent, ChildKind::Macvlan(*mode), mac)?;
        if let Some(link) = network.links.first() {
            let (link, addresses) = (link.name.clone(), inputs.addresses.to_vec());
            let mtu = attached.attachment.mtu;
            attached.steps.push(Step::RouteFromHost(RouteFromHost { link, addresses, mtu }));
        }
        Ok(attached)
    }
}

impl MacvlanRequest {
    fn has_host_access(&self) -> bool {
        self.host_access.unwrap_or(false)
    }
}
