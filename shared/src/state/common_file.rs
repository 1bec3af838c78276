//! A file of the state folder that belongs to no container or network and is changed at every run of a hook. One process at a time
//! changes it, in place: a new file for each change takes longer than all else about it.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Duration;

use crate::state::dir::StateDir;
use crate::state::error::StateError;
use crate::state::files::read_all;
use crate::state::lock_file::Locked;

/// How often a file that changes while it is read is read again.
const READS: usize = 5;

impl StateDir {
    /// Changes a file under the lock of all such files. `change` is given the file's text, where there is one that root
    /// alone can have written, and returns the new one. It is written over the old one, unless it is shorter; the new file takes
    /// the place of whatever else was there.
    ///
    /// # Errors
    /// [`StateError::Busy`] after `patience`, those of the file system, and those of `change`.
    pub fn change_common(
        &self,
        path: &Path,
        patience: Duration,
        change: impl FnOnce(Option<&str>) -> Result<Vec<u8>, StateError>,
    ) -> Result<(), StateError> {
        let _lock = self.lock_within(Locked::Common, patience)?;
        let mut file = match self.open_to_change(path) {
            Err(StateError::Foreign { .. } | StateError::Writable { .. }) => None,
            opened => opened?,
        };
        let text = file.as_mut().map(|file| read_all(file, path)).transpose()?;
        let new = change(text.as_deref())?;
        match file.filter(|file| fits_over(file, &new)) {
            // One call, which nothing interrupts half-way. A reader may see a part of it: see `read_common`.
            Some(file) => file.write_all_at(&new, 0).map_err(|error| StateError::io("write", path, error)),
            None => self.replace(path, &new),
        }
    }

    /// Reads such a file without its lock; `None` where there is none. It is read until two reads agree, five times at most; the last
    /// is returned then, and may be half old, half new.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_common(&self, path: &Path) -> Result<Option<String>, StateError> {
        let mut text = self.read(path)?;
        for _ in 1..READS {
            let again = self.read(path)?;
            if again == text {
                break;
            }
            text = again;
        }
        Ok(text)
    }
}

/// A file that has another name is that one's, too.
fn fits_over(file: &File, new: &[u8]) -> bool {
    file.metadata().is_ok_and(|old| old.nlink() == 1 && old.len() <= new.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_changed_in_place_unless_it_is_somebody_elses_or_gets_shorter() {
        let made = tempfile::tempdir().unwrap();
        let folder = made.path();
        let state = StateDir::new(folder);
        let path = state.hook_stats_path();
        let change = |new: &str| {
            state.change_common(&path, Duration::ZERO, |_| Ok(new.as_bytes().to_vec())).unwrap();
            assert_eq!(state.read_common(&path).unwrap().as_deref(), Some(new));
            fs::metadata(&path).unwrap().ino()
        };
        let first = change("9 runs");
        assert_eq!(change("10 runs"), first);
        assert_ne!(change("1 run"), first);
        fs::hard_link(&path, folder.join("other")).unwrap();
        change("100 runs");
        assert_eq!(fs::read_to_string(folder.join("other")).unwrap(), "1 run");
    }
}
