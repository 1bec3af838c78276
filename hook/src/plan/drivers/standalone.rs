//! `net.driver=host`: the container uses the host's own network, and there is nothing to attach. `net.driver=none`: the container
//! has its loopback and nothing else.

use crate::model::driver_spec::StandaloneDriver;
use crate::plan::step::Step;

/// The steps for a container that is attached to nothing.
#[must_use]
pub fn steps(driver: StandaloneDriver) -> Vec<Step> {
    match driver {
        StandaloneDriver::Host => Vec::new(),
        StandaloneDriver::None => vec![Step::BringUpLoopback],
    }
}
