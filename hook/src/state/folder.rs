//! What is in a folder of the state folder.

use std::fs;
use std::path::Path;

use ocinet_shared::state::StateError;
use ocinet_shared::state::is_absent;

/// The entries of a folder; none where it is not there.
///
/// # Errors
/// A folder that cannot be read.
pub fn read(folder: &Path) -> Result<Vec<fs::DirEntry>, StateError> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.filter_map(Result::ok).collect()),
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        Err(error) => Err(StateError::io("read", folder, error)),
    }
}
