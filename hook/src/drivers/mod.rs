//! How a container is wired: one file a driver, and one line in [`DRIVERS`].

mod bridge;
mod host;
mod none;

use std::fmt;

use crate::error::{Error, annotation};
use crate::plan::{Inputs, Plan};

/// A way to wire a container. It returns steps and sees no socket.
pub trait Driver: fmt::Debug + Sync {
    /// The value of `net.driver` that asks for it.
    fn name(&self) -> &'static str;

    /// Whether the container must have a network namespace of its own.
    fn needs_own_namespace(&self) -> bool {
        true
    }

    /// The plan of a driver that attaches the container to no network; `None` for the others.
    fn plan_alone(&self) -> Option<Plan>;

    /// The steps that attach the container to a network.
    ///
    /// # Errors
    /// Annotations that contradict each other or the network.
    fn plan(&self, inputs: &Inputs<'_>) -> Result<Plan, Error>;
}

impl dyn Driver {
    /// Whether it attaches the container to a network with addresses, ports and neighbours.
    #[must_use]
    pub fn has_network(&self) -> bool {
        self.plan_alone().is_none()
    }
}

/// The drivers of this version; the first is the default.
const DRIVERS: &[&dyn Driver] = &[&bridge::Bridge, &host::Host, &none::Loopback];
/// The drivers of the design that this version does not have yet.
const PLANNED: [&str; 4] = ["veth", "macvlan", "ipvlan", "vxlan"];

/// The driver of containers that name none.
#[must_use]
pub fn default() -> &'static dyn Driver {
    DRIVERS[0]
}

/// The driver of a name.
///
/// # Errors
/// A name that no driver has; the message names the nearest one.
pub fn find(name: &str) -> Result<&'static dyn Driver, Error> {
    if let Some(driver) = DRIVERS.iter().find(|driver| driver.name() == name) {
        return Ok(*driver);
    }
    let names: Vec<&str> = DRIVERS.iter().map(|driver| driver.name()).collect();
    if PLANNED.contains(&name) {
        let cause = format!("this version does not have the driver {name} yet");
        return Err(annotation("net.driver", cause, format!("use one of {}", names.join(", "))));
    }
    let nearest = names.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name)).copied();
    let hint = format!("the nearest one is {}; there are {}", nearest.unwrap_or("bridge"), names.join(", "));
    Err(annotation("net.driver", format!("there is no driver \"{name}\""), hint))
}
