//! `net.driver=bridge`: a veth pair between the container and a bridge that its network's containers share.

use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::driver_settings::DriverSettings;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::network::Network;

use super::routed;
use crate::error::Error;
use crate::input::request::{AttachmentRequest, BridgeRequest};
use crate::plan::driver::{Attached, Inputs, NetworkContext, NetworkDriver};

impl NetworkDriver for BridgeRequest {
    fn bridge(&self, request: &AttachmentRequest) -> Result<Option<IfName>, Error> {
        routed::bridge_name(self.bridge.as_ref(), &request.network).map(Some)
    }

    fn subnets(&self, _: &AttachmentRequest, context: &NetworkContext<'_>) -> Result<Vec<Cidr>, Error> {
        routed::free_subnet(context)
    }

    fn settings(&self, request: &AttachmentRequest, _: &NetworkContext<'_>) -> Result<DriverSettings, Error> {
        let bridge = routed::bridge_name(self.bridge.as_ref(), &request.network)?;
        Ok(DriverSettings::Bridge { bridge })
    }

    fn configure_network(
        &self,
        request: &AttachmentRequest,
        _: &NetworkContext<'_>,
        network: &mut Network,
    ) -> Result<(), Error> {
        let bridge = routed::bridge_name(self.bridge.as_ref(), &request.network)?;
        routed::add_bridge(&bridge, network);
        Ok(())
    }

    fn attach(&self, inputs: &Inputs<'_>) -> Result<Attached, Error> {
        let attachment = routed::attachment(inputs)?;
        Ok(routed::attached(inputs, attachment))
    }
}
