//! One run of a hook: whether it is counted, and what its failure means to the runtime.

use std::time::Instant;

use ocinet_shared::state::StateDir;

use crate::error::Error;
use crate::state::hook_stats;

/// What a hook found to do.
pub(super) enum Work {
    /// A container of ocinet's.
    Done,
    /// Nothing: the container is not ocinet's, or not any more.
    None,
}

/// Runs a hook and counts the run, unless there was nothing to do.
pub(super) fn run_and_count(
    state: &StateDir,
    stage: &str,
    hook: impl FnOnce() -> Result<Work, Error>,
) -> Result<(), Error> {
    let started = Instant::now();
    let result = match hook() {
        Ok(Work::None) => return Ok(()),
        Ok(Work::Done) => Ok(()),
        Err(error) => Err(error),
    };
    hook_stats::count(state, stage, &result, started.elapsed());
    result
}

/// The specification has a runtime stop a container whose poststart hook fails (runtime.md, "Lifecycle"), and runc and crun
/// do. No container is to end for what its files say, nor for a state that ocinet cannot read: the failure is told, and
/// the exit code is 0.
pub(super) fn without_failing(result: Result<(), Error>) {
    if let Err(error) = result {
        crate::log::warn(error);
    }
}
