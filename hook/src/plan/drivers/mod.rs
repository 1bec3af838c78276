//! How a container is wired: one file a driver, and one line in [`DRIVERS`].
//!
//! `routed.rs` is what the drivers have in common whose containers the host is the router of, `lan.rs` those that put
//! containers on a LAN beside the host.

mod bridge;
mod host;
mod ipvlan;
pub mod lan;
mod macvlan;
mod none;
pub mod routed;
mod veth;
mod vxlan;

use std::fmt;

use ocinet_shared::ifname::IfName;
use ocinet_shared::network::Network;

use crate::error::Error;
use crate::input::annotations::{Label, Subject};
use crate::input::nearest::near;
use crate::input::request::AttachmentRequest;
use crate::plan::network::Surroundings;
use crate::plan::{Attached, Inputs, Plan};

/// Where the addresses of a driver's networks come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The host alone hands them out, and routes for them.
    Host,
    /// They are the LAN's, beside others that ocinet knows nothing of.
    Lan,
    /// They are shared with other hosts' ocinet, and each host routes for its own containers.
    Overlay,
}

/// A way to attach a container to a network. It returns steps and sees no socket.
pub trait NetworkDriver: fmt::Debug + Sync {
    /// The value of `net.driver` that asks for it.
    fn name(&self) -> &'static str;

    /// What it has a use for: a key about anything else is refused.
    fn subjects(&self) -> &'static [Subject];

    /// The values of `net.mode`; the first is the default.
    fn modes(&self) -> &'static [&'static str] {
        &[]
    }

    /// Where its addresses come from.
    fn pool(&self) -> Pool;

    /// The network of containers that name none; `setting` tells what an annotation says.
    fn default_network(&self, setting: &dyn Fn(&str) -> Option<String>) -> String;

    /// Whether a network has room for one container only.
    fn holds_one(&self, _network: &Network) -> bool {
        false
    }

    /// The name of the network's bridge, where it has one.
    ///
    /// # Errors
    /// A name that the kernel does not accept.
    fn bridge(&self, _request: &AttachmentRequest) -> Result<Option<IfName>, Error> {
        Ok(None)
    }

    /// Completes a new network: its settings and the host's links that come with it.
    ///
    /// # Errors
    /// What contradicts itself, the host or another network.
    fn wire(
        &self,
        request: &AttachmentRequest,
        around: &Surroundings<'_>,
        network: &mut Network,
    ) -> Result<(), Error>;

    /// The steps that attach a container to a network.
    ///
    /// # Errors
    /// Annotations that contradict each other or the network.
    fn attach(&self, inputs: &Inputs<'_>) -> Result<Attached, Error>;
}

/// A driver that attaches the container to nothing.
pub trait Alone: fmt::Debug + Sync {
    /// The value of `net.driver` that asks for it.
    fn name(&self) -> &'static str;

    /// Whether the container must have a network namespace of its own.
    fn needs_own_namespace(&self) -> bool;

    /// What is to be done all the same.
    fn plan(&self) -> Plan;
}

/// A driver of either kind.
#[derive(Debug, Clone, Copy)]
pub enum Driver {
    /// It attaches containers to networks.
    Network(&'static dyn NetworkDriver),
    /// It does not.
    Alone(&'static dyn Alone),
}

/// The drivers; the first is the default.
const DRIVERS: &[Driver] = &[
    Driver::Network(&bridge::Bridge),
    Driver::Network(&veth::Veth),
    Driver::Network(&macvlan::Macvlan),
    Driver::Network(&ipvlan::Ipvlan),
    Driver::Network(&vxlan::Vxlan),
    Driver::Alone(&host::Host),
    Driver::Alone(&none::Loopback),
];

impl Driver {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Network(driver) => driver.name(),
            Self::Alone(driver) => driver.name(),
        }
    }
}

/// The driver of containers that name none.
#[must_use]
pub fn default() -> Driver {
    DRIVERS[0]
}

/// The names of all drivers, in the order of the table.
pub fn names() -> impl Iterator<Item = &'static str> {
    DRIVERS.iter().map(|driver| driver.name())
}

/// A name that no driver has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no driver \"{0}\"")]
pub struct UnknownDriver(String);

impl UnknownDriver {
    /// The driver whose name is near, and all that there are.
    #[must_use]
    pub fn hint(&self) -> String {
        let all: Vec<&str> = names().collect();
        let nearest = near(&self.0, all.iter().copied());
        let nearest = nearest.map(|name| format!("the nearest one is {name}; ")).unwrap_or_default();
        format!("{nearest}there are {}", all.join(", "))
    }
}

/// The driver of a name.
///
/// # Errors
/// A name that no driver has.
pub fn by_name(name: &str) -> Result<Driver, UnknownDriver> {
    let found = DRIVERS.iter().find(|driver| driver.name() == name);
    found.copied().ok_or_else(|| UnknownDriver(name.to_owned()))
}

/// The driver of a name that stands at `label`.
///
/// # Errors
/// A name that no driver has; the message names the nearest one.
pub fn find(name: &str, label: &Label) -> Result<Driver, Error> {
    by_name(name).map_err(|unknown| label.error(&unknown, unknown.hint()))
}
