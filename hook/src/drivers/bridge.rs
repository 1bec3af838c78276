//! `net.driver=bridge`: a veth pair between the container and a bridge that its network's containers share.

use ocinet_shared::ifname::IfName;
use ocinet_shared::network::Network;

use super::{NetworkDriver, Pool, routing};
use crate::annotations::Subject;
use crate::error::Error;
use crate::network::Surroundings;
use crate::plan::{Attached, Inputs};
use crate::request::{AttachmentRequest, DEFAULT_NETWORK};

/// The driver.
#[derive(Debug)]
pub(super) struct Bridge;

impl NetworkDriver for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn subjects(&self) -> &'static [Subject] {
        routing::ON_A_BRIDGE
    }

    fn pool(&self) -> Pool {
        Pool::Host
    }

    fn default_network(&self, _: &dyn Fn(&str) -> Option<String>) -> String {
        DEFAULT_NETWORK.to_owned()
    }

    fn bridge(&self, request: &AttachmentRequest) -> Result<Option<IfName>, Error> {
        routing::bridge_name(request).map(Some)
    }

    fn wire(
        &self,
        request: &AttachmentRequest,
        _: &Surroundings<'_>,
        network: &mut Network,
    ) -> Result<(), Error> {
        routing::add_bridge(request, network).map(drop)
    }

    fn attach(&self, inputs: &Inputs<'_>) -> Result<Attached, Error> {
        let attachment = routing::attachment(inputs, self.name())?;
        Ok(routing::attached(inputs, attachment))
    }
}
