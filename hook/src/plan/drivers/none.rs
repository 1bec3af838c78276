//! `net.driver=none`: the container has its loopback and nothing else.

use super::Alone;
use crate::plan::Plan;
use crate::plan::step::Step;

/// The driver.
#[derive(Debug)]
pub(super) struct Loopback;

impl Alone for Loopback {
    fn name(&self) -> &'static str {
        "none"
    }

    fn needs_own_namespace(&self) -> bool {
        true
    }

    fn plan(&self) -> Plan {
        Plan { steps: vec![Step::BringUpLoopback], ..Plan::default() }
    }
}
