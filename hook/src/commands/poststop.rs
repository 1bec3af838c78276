//! `ocinet poststop`: takes a container back from its record alone.

use std::io::stdin;

use ocinet_shared::container_id::ContainerId;
use ocinet_shared::record::Record;
use ocinet_shared::record_dir::StateDir;

use super::Work;
use crate::error::Error;
use crate::take_back::{TakeBack, forget_unrecorded};
use crate::{identity, input, members};

/// Takes the container back. One without a record was never wired, or was taken back before, and a record may be another
/// container's of the same id: neither is an error.
pub(super) fn run(state: &StateDir) -> Result<Work, Error> {
    let stopped = input::parse_stop(&input::read(stdin().lock())?)?;
    let id = stopped.id.clone();
    // Looked at without the lock first: another container's start is not waited for.
    let is_another = |record: &Record| !identity::is_over(record, &stopped);
    match state.read_record(&id)? {
        None => return forget_unrecorded(state, &id).map(|()| Work::None),
        Some(record) if is_another(&record) => return Ok(not_its_own(&id)),
        Some(_) => {}
    }
    let Some((record, lock)) = state.lock_record(&id)? else { return Ok(Work::None) };
    if is_another(&record) {
        return Ok(not_its_own(&id));
    }
    if members::living(state, &record, &record.boot_id).is_some() {
        crate::log::debug(format_args!(
            "others share the network of container {id}: it stays until they end"
        ));
        return Ok(Work::Done);
    }
    let mut take_back = TakeBack::new(state)?;
    let result = take_back.container(&record);
    // The child that waits for the kernel in close() must not hold the lock.
    drop(lock);
    take_back.close();
    result.map(|()| Work::Done)
}

fn not_its_own(id: &ContainerId) -> Work {
    crate::log::info(format_args!(
        "the record of {id} is another container's: there is nothing to take back"
    ));
    Work::None
}
