//! Files that an interrupted write left: under their lock, no write is under way.

use std::path::PathBuf;
use std::time::Duration;

use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::state::{Folder, Lock, Locked, StateDir, StateError, id_of_temporary};

use crate::state::folder::read;

/// A file whose name begins with a dot, and what it was to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Temporary {
    /// The file.
    pub path: PathBuf,
    of: Of,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Of {
    /// A record, or what a container's leases and claims are links to.
    Container(ContainerId),
    Network(ContainerId),
}

impl Of {
    fn path(&self, state: &StateDir) -> PathBuf {
        match self {
            Self::Container(id) => state.record_path(id),
            Self::Network(name) => state.network_path(name),
        }
    }

    fn lock(&self) -> Locked<'_> {
        match self {
            Self::Container(id) => Locked::Container(id),
            Self::Network(_) => Locked::Networks,
        }
    }
}

/// Lists them. Skips a file whose lock is held, and all files where the lock file cannot be trusted.
pub(super) fn list(state: &StateDir) -> Result<Vec<Temporary>, StateError> {
    let mut found = Vec::new();
    let of_container: fn(ContainerId) -> Of = Of::Container;
    for (folder, of) in [(Folder::Containers, of_container), (Folder::Networks, Of::Network)] {
        for entry in read(&state.folder(folder))? {
            let of = entry.file_name().to_str().and_then(id_of_temporary).map(of);
            let Some(temporary) = of.map(|of| Temporary { path: entry.path(), of }) else { continue };
            // Most have become what they were to be: no lock is asked for.
            if !temporary.of.path(state).exists()
                && let Some(_lock) = free(state.lock_to_look(temporary.of.lock(), Duration::ZERO))?
                && temporary.is_left(state)
            {
                found.push(temporary);
            }
        }
    }
    Ok(found)
}

/// Removes one; false where it is a start's that is under way, or has become what it was to be.
///
/// # Errors
/// Those of the lock and of [`StateDir::clear`].
pub(super) fn remove(state: &StateDir, temporary: &Temporary) -> Result<bool, StateError> {
    let lock = state.lock_within(temporary.of.lock(), Duration::ZERO).map(Some);
    let Some(_lock) = free(lock)? else { return Ok(false) };
    if !temporary.is_left(state) {
        return Ok(false);
    }
    let removed = state.clear(&temporary.path);
    removed.map(|()| true).map_err(|error| StateError::io("remove", &temporary.path, error))
}

impl Temporary {
    fn is_left(&self, state: &StateDir) -> bool {
        self.path.is_symlink() || (self.path.exists() && !self.of.path(state).exists())
    }
}

/// A lock that others hold is nobody's mistake.
fn free(taken: Result<Option<Lock>, StateError>) -> Result<Option<Lock>, StateError> {
    match taken {
        Err(StateError::Busy { .. }) => Ok(None),
        taken => taken,
    }
}
