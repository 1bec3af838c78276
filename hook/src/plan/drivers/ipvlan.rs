//! `net.driver=ipvlan`: the container is on the LAN itself, with its parent's Ethernet address.

use ocinet_shared::kernel::link::ChildKind;
use ocinet_shared::kernel::route::RouteSpec;
use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::driver_settings::DriverSettings;
use ocinet_shared::model::link_mode::IpvlanMode;
use ocinet_shared::model::network::Network;

use super::lan;
use crate::error::Error;
use crate::input::request::{AttachmentRequest, IpvlanRequest};
use crate::plan::driver::{Attached, Inputs, NetworkContext, NetworkDriver};
use crate::plan::validate::unreadable;

impl NetworkDriver for IpvlanRequest {
    fn subnets(&self, request: &AttachmentRequest, context: &NetworkContext<'_>) -> Result<Vec<Cidr>, Error> {
        lan::ranges(request, context)
    }

    fn settings(
        &self,
        request: &AttachmentRequest,
        context: &NetworkContext<'_>,
    ) -> Result<DriverSettings, Error> {
        let parent = lan::parent(request, context)?.name.clone();
        Ok(DriverSettings::Ipvlan { parent, mode: self.mode.unwrap_or_default() })
    }

    fn configure_network(
        &self,
        _: &AttachmentRequest,
        _: &NetworkContext<'_>,
        _: &mut Network,
    ) -> Result<(), Error> {
        Ok(())
    }

    fn attach(&self, inputs: &Inputs<'_>) -> Result<Attached, Error> {
        let DriverSettings::Ipvlan { parent, mode } = &inputs.network.settings else {
            return Err(unreadable(inputs.network));
        };
        let mut attached = lan::attached(inputs, parent, ChildKind::Ipvlan(*mode), None)?;
        if *mode != IpvlanMode::L2 {
            // Above Ethernet nobody answers for a gateway's address: everything goes to the link itself.
            attached.attachment.gateways.clear();
            let by_link = |cidr: Cidr| RouteSpec {
                to: Cidr::everything(cidr.family()),
                gateway: None,
                onlink: false,
                table: None,
            };
            attached.default_routes = inputs.cidrs().into_iter().map(by_link).collect();
        }
        Ok(attached)
    }
}
