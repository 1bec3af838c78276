//! Takes back what dead containers left: those whose poststop hook never ran.
//!
//! A start looks at a few records only, in turn, so that its cost does not grow with the number of containers: the
//! file `sweep` holds the ids still to be looked at, and is filled again from the folder when it is empty.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use nix::libc;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::record::Record;
use ocinet_shared::state::{LOCK_DEADLINE, Locked, StateDir, StateError};

use crate::error::Error;
use crate::lifecycle::teardown::TakeBack;
use crate::state::pod_members;

/// How many records a start looks at.
const PER_START: usize = 2;
/// The most bytes that hold that many ids: an id has at most 200 bytes.
const TAIL: u64 = 1024;

/// Takes back the dead among the next few containers. What cannot be taken back is logged: it is not the business of
/// the container that is being started.
pub fn some(state: &StateDir, boot_id: &str) {
    let ids = match next(state) {
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

/// Takes a container back if it is dead; whether it was, and is taken back now, by this process or by another.
///
/// # Errors
/// Those of taking back.
pub fn if_dead(state: &StateDir, id: &ContainerId, boot_id: &str) -> Result<bool, Error> {
    within(state, id, boot_id, LOCK_DEADLINE)
}

fn within(state: &StateDir, id: &ContainerId, boot_id: &str, patience: Duration) -> Result<bool, Error> {
    // Looked at without the lock first: the living, nearly all of them, are not to be held up.
    if state.read_process(id)?.is_none_or(|process| !process.is_dead(boot_id)) {
        return Ok(false);
    }
    let has_ended = |record: &Record| !pod_members::is_live(state, record, boot_id);
    if !state.read_record(id)?.is_some_and(|record| has_ended(&record)) {
        return Ok(false);
    }
    let _lock = match state.lock_within(Locked::Container(id), patience) {
        // Somebody is taking it back already: who has no patience need not wait for that.
        Err(StateError::Busy { .. }) if patience.is_zero() => return Ok(false),
        taken => taken?,
    };
    // Whoever held the lock has taken the dead container back.
    let Some(record) = state.read_record(id)? else { return Ok(true) };
    if !has_ended(&record) {
        return Ok(false);
    }
    crate::log::info(format_args!("container {id} ended without a poststop hook: taking it back"));
    let mut take_back = TakeBack::new(state)?;
    let result = take_back.container(&record);
    take_back.close();
    result.map(|()| true)
}

/// Opens the file of the ids. What ocinet cannot have written in its place goes, and the ids are listed anew.
fn open(state: &StateDir, path: &Path) -> Result<(File, u64), StateError> {
    match open_own(state, path) {
        Err(_) if state.is_foreign(path) => {
            state.clear(path).map_err(|error| StateError::io("write", path, error))?;
            open_own(state, path)
        }
        opened => opened,
    }
}

/// The file and its length in bytes.
fn open_own(state: &StateDir, path: &Path) -> Result<(File, u64), StateError> {
    let fail = |error: io::Error| StateError::io("write", path, error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            state.make_parent(path)?;
            options.open(path)
        }
        other => other,
    }
    .map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    state.check_owner(path, &metadata)?;
    if metadata.mode() & 0o077 != 0 {
        // An earlier ocinet left it to the umask.
        file.set_permissions(Permissions::from_mode(0o600)).map_err(fail)?;
    }
    Ok((file, metadata.len()))
}

fn next(state: &StateDir) -> Result<Vec<ContainerId>, StateError> {
    let path = state.path("sweep");
    let fail = |error: io::Error| StateError::io("write", &path, error);
    // Two starts at once may look at the same records, which is harmless, but must not tear the file.
    let _lock = match state.lock_within(Locked::Sweep, Duration::ZERO) {
        Err(StateError::Busy { .. }) => return Ok(Vec::new()),
        taken => taken?,
    };
    let (file, length) = open(state, &path)?;
    if let Some(taken) = last_of(&file, length).map_err(fail)? {
        let bytes: usize = taken.iter().map(|id| id.as_str().len() + 1).sum();
        file.set_len(length.saturating_sub(bytes as u64)).map_err(fail)?;
        return Ok(taken);
    }
    if length > 0 {
        // A damaged one begins anew.
        file.set_len(0).map_err(fail)?;
    }
    let mut later = state.ids()?;
    let taken = later.split_off(later.len().saturating_sub(PER_START));
    let later: String = later.into_iter().map(|id| format!("{id}\n")).collect();
    file.write_all_at(later.as_bytes(), 0).map_err(fail)?;
    Ok(taken)
}

/// The last ids; `None` where there are none, and of what ocinet did not write.
fn last_of(file: &File, length: u64) -> io::Result<Option<Vec<ContainerId>>> {
    if length == 0 {
        return Ok(None);
    }
    let size = length.min(TAIL);
    let mut tail = vec![0; size as usize];
    file.read_exact_at(&mut tail, length - size)?;
    let Ok(tail) = String::from_utf8(tail) else { return Ok(None) };
    Ok(tail.lines().rev().take(PER_START).map(|line| line.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_is_looked_at_in_turn() {
        let folder = std::env::temp_dir().join(format!("ocinet-sweep-{}", std::process::id()));
        let state = StateDir::new(&folder);
        for number in 0..10 {
            let path = state.record_path(&format!("c{number}").parse().unwrap());
            assert!(state.create(&path, b"{}").unwrap());
        }
        let mut seen: Vec<String> =
            (0..5).flat_map(|_| next(&state).unwrap()).map(|id| id.to_string()).collect();
        seen.sort();
        assert_eq!(seen, (0..10).map(|number| format!("c{number}")).collect::<Vec<_>>());
        assert_eq!(next(&state).unwrap().len(), PER_START);
        for damaged in [&b"\xff\xfe\n"[..], b"\n\n\n", &[0; 4096], &[b'a'; 8000], b"c1\nc 2\n"] {
            std::fs::write(state.path("sweep"), damaged).unwrap();
            let begun: Vec<_> = (0..5).flat_map(|_| next(&state).unwrap()).collect();
            assert_eq!(begun.iter().collect::<std::collections::BTreeSet<_>>().len(), 10, "{damaged:?}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
