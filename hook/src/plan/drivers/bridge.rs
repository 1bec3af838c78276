//! `net.driver=bridge`: a veth pair between the container and a bridge that its network's containers share.

use ocinet_shared::ifname::IfName;
use ocinet_shared::network::Network;

use super::{NetworkDriver, Pool, routed};
use crate::error::Error;
use crate::input::annotations::Subject;
use crate::input::request::{AttachmentRequest, DEFAULT_NETWORK};
use crate::plan::network::Surroundings;
use crate::plan::{Attached, Inputs};

/// The driver.
#[derive(Debug)]
pub(super) struct Bridge;

impl NetworkDriver for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn subjects(&self) -> &'static [Subject] {
        routed::ON_A_BRIDGE
    }

    fn pool(&self) -> Pool {
        Pool::Host
    }

    fn default_network(&self, _: &dyn Fn(&str) -> Option<String>) -> String {
        DEFAULT_NETWORK.to_owned()
    }

    fn bridge(&self, request: &AttachmentRequest) -> Result<Option<IfName>, Error> {
        routed::bridge_name(request).map(Some)
    }

    fn wire(
        &self,
        request: &AttachmentRequest,
        _: &Surroundings<'_>,
        network: &mut Network,
    ) -> Result<(), Error> {
        routed::add_bridge(request, network).map(drop)
    }

    fn attach(&self, inputs: &Inputs<'_>) -> Result<Attached, Error> {
        let attachment = routed::attachment(inputs, self.name())?;
        Ok(routed::attached(inputs, attachment))
    }
}
