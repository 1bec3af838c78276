//! `net.driver=host`: the container uses the host's own network; there is nothing to wire.

use super::Driver;
use crate::error::Error;
use crate::plan::{Inputs, Plan};

/// The driver.
#[derive(Debug)]
pub(super) struct Host;

impl Driver for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn needs_own_namespace(&self) -> bool {
        false
    }

    fn plan_alone(&self) -> Option<Plan> {
        Some(Plan::default())
    }

    fn plan(&self, _: &Inputs<'_>) -> Result<Plan, Error> {
        Ok(self.plan_alone().unwrap_or_default())
    }
}
