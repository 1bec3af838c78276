//! `net.driver=ipvlan`: the container is on the LAN itself, with its parent's Ethernet address.

use ocinet_shared::cidr::Cidr;
use ocinet_shared::kernel::link::{ChildKind, IpvlanMode};
use ocinet_shared::kernel::route::Way;
use ocinet_shared::network::Network;

use super::lan;
use crate::error::Error;
use crate::input::request::AttachmentRequest;
use crate::plan::driver::{Attached, Inputs, NetworkContext, NetworkDriver};

/// The driver.
#[derive(Debug)]
pub(super) struct Ipvlan;

impl NetworkDriver for Ipvlan {
    fn subnets(&self, request: &AttachmentRequest, context: &NetworkContext<'_>) -> Result<Vec<Cidr>, Error> {
        lan::ranges(request, context)
    }

    fn configure_network(
        &self,
        request: &AttachmentRequest,
        context: &NetworkContext<'_>,
        network: &mut Network,
    ) -> Result<(), Error> {
        lan::configure_network(request, context, network).map(drop)
    }

    fn attach(&self, inputs: &Inputs<'_>) -> Result<Attached, Error> {
        let mode = inputs.network.settings.get("mode").and_then(|mode| mode.parse().ok());
        let mode: IpvlanMode = mode.ok_or_else(|| lan::broken(inputs.network, "mode"))?;
        let mut attached = lan::attached(inputs, ChildKind::Ipvlan(mode), None)?;
        if mode != IpvlanMode::L2 {
            // Above Ethernet nobody answers for a gateway's address: everything goes to the link itself.
            attached.attachment.gateways.clear();
            let by_link = |cidr: Cidr| Way {
                to: Cidr::everything(cidr.family()),
                gateway: None,
                onlink: false,
                table: None,
            };
            attached.ways_out = inputs.cidrs().into_iter().map(by_link).collect();
        }
        Ok(attached)
    }
}
