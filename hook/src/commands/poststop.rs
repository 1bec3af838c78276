//! `ocinet poststop`: detaches a container by its record.

use std::fs;
use std::io::stdin;
use std::time::Duration;

use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::record::Record;
use ocinet_shared::state::{StateDir, StateError};

use super::hook_run::Work;
use crate::error::Error;
use crate::input::oci_state;
use crate::input::oci_state::Stopped;
use crate::lifecycle::identity;
use crate::lifecycle::teardown::{Teardown, remove_unrecorded};
use crate::state::pod_members;

/// Detaches the container. One without a record was never attached, or was detached before, and a record may be another
/// container's of the same id: neither is an error.
pub(super) fn run(state: &StateDir) -> Result<Work, Error> {
    let stopped = oci_state::read(stdin().lock()).and_then(|state| oci_state::parse_stop(&state));
    let stopped = stopped
        .inspect_err(|error| crate::log::failure(format_args!("the stop of a container failed: {error}")))?;
    end(state, &stopped).inspect_err(|error| {
        crate::log::failure(format_args!("the stop of container {} failed: {error}", stopped.id));
    })
}

fn end(state: &StateDir, stopped: &Stopped) -> Result<Work, Error> {
    let id = stopped.id.clone();
    let is_another = |record: &Record| !identity::is_over(record, stopped);
    // What is no file of ocinet's in its place, also a link that leads nowhere, is an error.
    if fs::symlink_metadata(state.record_path(&id)).is_err() {
        return remove_unrecorded(state, &id).map(|()| Work::None);
    }
    let locked = match state.lock_record_within(&id, Duration::ZERO) {
        // Looked at without the lock first: another container's start is not waited for.
        Err(StateError::Busy { .. }) => match state.read_record(&id)? {
            Some(record) if is_another(&record) => return Ok(not_its_own(&id)),
            _ => state.lock_record(&id)?,
        },
        locked => locked?,
    };
    let Some((record, lock)) = locked else { return Ok(Work::None) };
    if is_another(&record) {
        return Ok(not_its_own(&id));
    }
    if pod_members::keeper(state, &record, &record.boot_id).is_some() {
        crate::log::debug(format_args!(
            "others share the network of container {id}: it stays until they end"
        ));
        return Ok(Work::Done);
    }
    let mut teardown = Teardown::new(state)?;
    let result = teardown.container(&record);
    // The child that waits for the kernel in close() must not hold the lock.
    drop(lock);
    teardown.close();
    result.map(|()| Work::Done)
}

fn not_its_own(id: &ContainerId) -> Work {
    crate::log::info(format_args!("the record of {id} is another container's: there is nothing to detach"));
    Work::None
}
