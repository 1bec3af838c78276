//! Why the last start of a container failed. crun shows only an exit code; `ocinet doctor ID` prints this file.

use std::fs::{self, DirEntry};
use std::path::PathBuf;
use std::time::SystemTime;

use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::one_line::in_json;
use ocinet_shared::state::{Folder, StateDir, StateError};
use serde_json::json;

use crate::error::Error;

/// How many files are kept. The oldest go first: a container that is never started again would leave its file for ever.
const KEPT: usize = 100;

/// Writes a container's file. The pair is its process and its bundle. A start that succeeds removes it.
///
/// # Errors
/// Those of the file system.
pub fn write(
    state: &StateDir,
    id: &ContainerId,
    (pid, bundle): (u32, &str),
    error: &Error,
) -> Result<(), StateError> {
    let json = json!({
        "id": id, "pid": pid, "bundle": bundle,
        "exit_code": error.exit_code(), "error": error.to_string(),
    });
    // It quotes values of annotations as they were given. A record quotes only what was accepted.
    state.replace_private(
        &state.last_error_path(id),
        format!("{}\n", in_json(&json.to_string())).as_bytes(),
    )?;
    remove_oldest(state)
}

fn remove_oldest(state: &StateDir) -> Result<(), StateError> {
    let folder = state.folder(Folder::LastErrors);
    let entries = fs::read_dir(&folder).map_err(|error| StateError::io("read", &folder, error))?;
    let written = |entry: &DirEntry| {
        entry.metadata().and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let mut all: Vec<(SystemTime, PathBuf)> =
        entries.flatten().map(|entry| (written(&entry), entry.path())).collect();
    all.sort();
    let old = all.len().saturating_sub(KEPT);
    // One that cannot be removed keeps no other.
    let removed = all.iter().take(old).map(|(_, path)| state.remove(path));
    removed.fold(Ok(()), Result::and)
}
