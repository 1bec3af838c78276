//! Detaches dead containers: those whose poststop hook never ran.
//!
//! A start looks at a few records only, in turn (`state/sweep_queue.rs`), so that its cost does not grow with the number of
//! containers.

use std::time::Duration;

use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::state::{LOCK_DEADLINE, Locked, StateDir, StateError};

use crate::error::Error;
use crate::lifecycle::teardown::Teardown;
use crate::state::{pod_members, sweep_queue};

/// Detaches the dead among the next few containers. What cannot be detached is logged: it is not the business of
/// the container that is being started.
pub fn some(state: &StateDir, boot_id: &str) {
    let ids = match sweep_queue::next(state) {
        Ok(ids) => ids,
        Err(error) => {
            crate::log::warn(format_args!("cannot sweep: {error}"));
            return;
        }
    };
    for id in ids {
        if let Err(error) = within(state, &id, boot_id, Duration::ZERO) {
            crate::log::warn(format_args!("cannot sweep container {id}: {error}"));
        }
    }
}

/// Detaches a container if it is dead; whether it was, and is detached now, by this process or by another.
///
/// # Errors
/// Those of the teardown.
pub fn if_dead(state: &StateDir, id: &ContainerId, boot_id: &str) -> Result<bool, Error> {
    within(state, id, boot_id, LOCK_DEADLINE)
}

fn within(state: &StateDir, id: &ContainerId, boot_id: &str, patience: Duration) -> Result<bool, Error> {
    // Looked at without the lock first: the living, nearly all of them, are not to be held up.
    if !pod_members::has_ended(state, id, boot_id)? {
        return Ok(false);
    }
    let _lock = match state.lock_within(Locked::Container(id), patience) {
        // Somebody is detaching it already: who has no patience need not wait for that.
        Err(StateError::Busy { .. }) if patience.is_zero() => return Ok(false),
        taken => taken?,
    };
    // Whoever held the lock has detached the dead container.
    let Some(record) = state.read_record(id)? else { return Ok(true) };
    if pod_members::is_live(state, &record, boot_id) {
        return Ok(false);
    }
    crate::log::info(format_args!("container {id} ended without a poststop hook: detaching it"));
    let mut teardown = Teardown::new(state)?;
    let result = teardown.container(&record);
    teardown.close();
    result.map(|()| true)
}
