//! Leases, and claims of ports and Ethernet addresses, as files that hold the container's id. A name exists once in a folder:
//! the file system decides who has it, with no lock and at the same cost whatever the number of leases.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::state::is_absent;
use ocinet_shared::state::{StateDir, StateError};

/// Takes a name for a container; false where somebody has it. The file is a link to the container's own: link(2) makes a name
/// appear with its content, so that nobody ever sees a lease without its holder, and fails where the name exists. A link in the
/// place of a folder is not followed.
///
/// # Errors
/// Those of the file system, and such a link.
pub fn take(state: &StateDir, path: &Path, id: &ContainerId) -> Result<bool, StateError> {
    state.check_way(path)?;
    let source = state.claim_source_path(id);
    let fail = |error| StateError::io("make", path, error);
    // What another user put there is replaced.
    let provide = || {
        let is_there = state.is_own(&source);
        if is_there { Ok(()) } else { state.replace(&source, format!("{id}\n").as_bytes()) }
    };
    provide()?;
    // The folder may be removed, as empty, between its making and the link.
    for _ in 0..100 {
        match fs::hard_link(&source, path) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !state.remove_foreign(path)? {
                    return Ok(holder(state, path)?.as_ref() == Some(id));
                }
            }
            Err(error) if is_absent(&error) => {
                provide()?;
                state.make_parent(path)?;
            }
            Err(error) => return Err(fail(error)),
        }
    }
    Err(fail(io::Error::from(io::ErrorKind::NotFound)))
}

/// Whether the file that a container's leases and claims are linked to is there, as while it starts.
#[must_use]
pub fn has_source(state: &StateDir, id: &ContainerId) -> bool {
    state.claim_source_path(id).exists()
}

/// Removes the file that the leases and claims were linked to; they live on without it.
///
/// # Errors
/// Those of unlink(2).
pub fn remove_source(state: &StateDir, id: &ContainerId) -> Result<(), StateError> {
    state.remove(&state.claim_source_path(id))
}

/// Who has a name; `None` where nobody has. What another user put there says nothing.
///
/// # Errors
/// A file that holds no id.
pub fn holder(state: &StateDir, path: &Path) -> Result<Option<ContainerId>, StateError> {
    let parse = |text: String| {
        text.trim_end()
            .parse()
            .map_err(|error| StateError::Malformed { path: path.to_owned(), reason: format!("{error}") })
    };
    match state.read(path) {
        Err(StateError::Foreign { .. }) => Ok(None),
        read => read?.map(parse).transpose(),
    }
}

/// Who has leases of a network.
///
/// # Errors
/// A lease that holds no id.
pub fn holders(state: &StateDir, network: &ContainerId) -> Result<BTreeSet<ContainerId>, StateError> {
    let Ok(entries) = fs::read_dir(state.lease_folder(network)) else { return Ok(BTreeSet::new()) };
    let leases = entries.filter_map(Result::ok).map(|entry| holder(state, &entry.path()));
    leases.filter_map(Result::transpose).collect()
}

/// Gives a name back, if it is this container's. One behind a link is not.
///
/// # Errors
/// Those of the file system.
pub fn release(state: &StateDir, path: &Path, id: &ContainerId) -> Result<(), StateError> {
    if state.check_way(path).is_err() || holder(state, path)?.as_ref() != Some(id) {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if !is_absent(&error) => Err(StateError::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Removes a folder if it is empty; true where it is gone afterwards. What is no folder in its place is gc's business.
///
/// # Errors
/// Those of rmdir(2) other than "not empty".
pub fn remove_if_empty(folder: &Path) -> Result<bool, StateError> {
    match fs::remove_dir(folder) {
        Ok(()) => Ok(true),
        Err(error) if is_absent(&error) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(StateError::io("remove", folder, error)),
    }
}
