//! The file `sweep`: the ids that later starts have yet to look at. It is written in place.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use nix::libc;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::state::{Locked, StateDir, StateError};

/// How many records a start looks at.
const PER_START: usize = 2;
/// The most bytes that hold that many ids: an id has at most 200 bytes.
const TAIL: u64 = 1024;

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

/// Takes the next ids from the file. Where it is empty, it is filled again from the folder of records. None where another start
/// does so at this moment.
///
/// # Errors
/// Those of the file system and of the lock.
pub fn next(state: &StateDir) -> Result<Vec<ContainerId>, StateError> {
    let path = state.sweep_path();
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
        let made = tempfile::tempdir().unwrap();
        let folder = made.path();
        let state = StateDir::new(folder);
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
            std::fs::write(state.sweep_path(), damaged).unwrap();
            let begun: Vec<_> = (0..5).flat_map(|_| next(&state).unwrap()).collect();
            assert_eq!(begun.iter().collect::<std::collections::BTreeSet<_>>().len(), 10, "{damaged:?}");
        }
    }
}
