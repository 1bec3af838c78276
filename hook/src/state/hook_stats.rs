//! Counts the runs of the hooks, for the exporter. No run fails or waits for long because of it.

use std::time::Duration;

use ocinet_shared::model::hook_stats::HookStats;
use ocinet_shared::state::{StateDir, StateError, to_json};

use crate::error::Error;
use crate::log;

/// A run that finds the file locked for longer goes uncounted.
const PATIENCE: Duration = Duration::from_secs(2);

/// Counts one run of a hook.
pub fn count(state: &StateDir, stage: &str, result: &Result<(), Error>, took: Duration) {
    let result = result.as_ref().err().map_or("ok", Error::class);
    if let Err(error) = add(state, stage, result, took) {
        log::debug(error);
    }
}

fn add(state: &StateDir, stage: &str, result: &str, took: Duration) -> Result<(), StateError> {
    let path = state.hook_stats_path();
    state.change_common(&path, PATIENCE, |text| {
        let mut stats = text.and_then(HookStats::parse).unwrap_or_default();
        stats.count(stage, result, took);
        to_json(&stats, &path)
    })
}
