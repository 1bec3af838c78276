//! What is to be done for a container, as a value: everything is checked before the kernel is touched.

use std::fmt;
use std::net::IpAddr;

use ocinet_shared::ifname::IfName;
use ocinet_shared::network::Network;
use ocinet_shared::port::PublishedPort;
use ocinet_shared::record::{Attachment, Undo};

use crate::request::Request;
use crate::step::Step;

/// What a driver plans from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// What the annotations ask for.
    pub request: &'a Request,
    /// The network, as it is or as it is to be made.
    pub network: &'a Network,
    /// The container's addresses, at most one for each of the network's families.
    pub addresses: &'a [IpAddr],
    /// The published ports; every host port is chosen.
    pub ports: &'a [PublishedPort],
    /// A name for the host's end that was never used.
    pub host_interface: &'a IfName,
}

/// The steps for a container, and what they amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The interfaces that the container then has.
    pub attachments: Vec<Attachment>,
    /// The ports that are then published.
    pub ports: Vec<PublishedPort>,
}

impl Plan {
    /// What takes the plan back, in the order of its steps.
    #[must_use]
    pub fn undo(&self) -> Vec<Undo> {
        self.steps.iter().filter_map(Step::undo).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return f.write_str("nothing to do\n");
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}
