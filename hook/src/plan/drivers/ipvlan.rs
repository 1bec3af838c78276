//! `net.driver=ipvlan`: the container is on the LAN itself, with its parent's Ethernet address.

use ocinet_shared::cidr::Cidr;
use ocinet_shared::kernel::link::{ChildKind, IpvlanMode};
use ocinet_shared::kernel::route::Way;
use ocinet_shared::network::Network;

use super::{NetworkDriver, Pool, lan};
use crate::error::Error;
use crate::input::annotations::Subject;
use crate::input::request::AttachmentRequest;
use crate::plan::network::Surroundings;
use crate::plan::{Attached, Inputs};

/// The driver.
#[derive(Debug)]
pub(super) struct Ipvlan;

impl NetworkDriver for Ipvlan {
    fn name(&self) -> &'static str {
        "ipvlan"
    }

    fn subjects(&self) -> &'static [Subject] {
        &[Subject::Addresses, Subject::Parent, Subject::Mode]
    }

    fn modes(&self) -> &'static [&'static str] {
        IpvlanMode::NAMES
    }

    fn pool(&self) -> Pool {
        Pool::Lan
    }

    fn default_network(&self, setting: &dyn Fn(&str) -> Option<String>) -> String {
        lan::default_network(self.name(), setting)
    }

    fn wire(
        &self,
        request: &AttachmentRequest,
        around: &Surroundings<'_>,
        network: &mut Network,
    ) -> Result<(), Error> {
        lan::wire(request, around, network).map(drop)
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
