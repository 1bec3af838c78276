//! `net.driver=host`: the container uses the host's own network; there is nothing to wire.

use super::Alone;
use crate::plan::Plan;

/// The driver.
#[derive(Debug)]
pub(super) struct Host;

impl Alone for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn needs_own_namespace(&self) -> bool {
        false
    }

    fn plan(&self) -> Plan {
        Plan::default()
    }
}
