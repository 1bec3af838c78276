//! `net.driver=none`: the container has its loopback and nothing else.

use super::Driver;
use crate::error::Error;
use crate::plan::{Inputs, Plan};
use crate::step::Step;

/// The driver.
#[derive(Debug)]
pub(super) struct Loopback;

impl Driver for Loopback {
    fn name(&self) -> &'static str {
        "none"
    }

    fn plan_alone(&self) -> Option<Plan> {
        Some(Plan { steps: vec![Step::BringUpLoopback], ..Plan::default() })
    }

    fn plan(&self, _: &Inputs<'_>) -> Result<Plan, Error> {
        Ok(self.plan_alone().unwrap_or_default())
    }
}
