//! `net.driver=bridge`: a veth pair between the container and a bridge that its network's containers share.

use ocinet_shared::cidr::Cidr;
use ocinet_shared::ifname::IfName;
use ocinet_shared::network::Network;

use super::routed;
use crate::error::Error;
use crate::input::request::AttachmentRequest;
use crate::plan::driver::{Attached, Inputs, NetworkContext, NetworkDriver};

/// The driver.
#[derive(Debug)]
pub(super) struct Bridge;

impl NetworkDriver for Bridge {
    fn bridge(&self, request: &AttachmentRequest) -> Result<Option<IfName>, Error> {
        routed::bridge_name(request).map(Some)
    }

    fn subnets(&self, _: &AttachmentRequest, context: &NetworkContext<'_>) -> Result<Vec<Cidr>, Error> {
        routed::free_subnet(context)
    }

    fn configure_network(
        &self,
        request: &AttachmentRequest,
        _: &NetworkContext<'_>,
        network: &mut Network,
    ) -> Result<(), Error> {
        routed::add_bridge(request, network).map(drop)
    }

    fn attach(&self, inputs: &Inputs<'_>) -> Result<Attached, Error> {
        let attachment = routed::attachment(inputs)?;
        Ok(routed::attached(inputs, attachment))
    }
}
