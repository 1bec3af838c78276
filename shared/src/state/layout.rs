//! Names in the state folder.

use std::path::{Path, PathBuf};

use crate::model::container_id::ContainerId;

/// The file whose bytes are the locks.
pub const LOCK_FILE: &str = "lock";

/// The id that a file of the folder of records belongs to.
#[must_use]
pub fn id_of(file_name: &str) -> Option<ContainerId> {
    file_name.strip_suffix(".json")?.parse().ok()
}

/// What an interrupted write of a file leaves beside it.
#[must_use]
pub fn temporary_path(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}
