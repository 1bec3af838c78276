//! `ocinet poststop`: takes a container back from its record alone.

use std::io::stdin;

use ocinet_shared::record_dir::StateDir;

use super::Work;
use crate::error::Error;
use crate::take_back::{TakeBack, forget};
use crate::{input, members};

/// Takes the container back. One without a record was never wired, or was taken back before: that is no error.
pub(super) fn run(state: &StateDir) -> Result<Work, Error> {
    let id = input::parse_stop(&input::read(stdin().lock())?)?;
    let Some((record, lock)) = state.lock_record(&id)? else {
        return forget(state, &id).map(|()| Work::None);
    };
    if members::live(state, &id, &record.boot_id) {
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
