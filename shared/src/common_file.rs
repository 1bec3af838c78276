//! Files of the state folder that belong to no container or network: one process at a time changes them.

use std::path::Path;
use std::time::Duration;

use crate::record_dir::{Locked, StateDir, StateError};

impl StateDir {
    /// Changes a file under the lock of all such files. `change` is given the file's text, where there is one that root
    /// alone can have written, and returns the new one, or `None` where it may stay. The new file takes the place of
    /// whatever was there.
    ///
    /// # Errors
    /// [`StateError::Busy`] after `patience`, those of the file system, and those of `change`.
    pub fn change_common(
        &self,
        path: &Path,
        patience: Duration,
        change: impl FnOnce(Option<&str>) -> Result<Option<Vec<u8>>, StateError>,
    ) -> Result<(), StateError> {
        let _lock = self.lock_within(Locked::Common, patience)?;
        let text = match self.read(path) {
            Err(StateError::Foreign { .. } | StateError::Writable { .. }) => None,
            read => read?,
        };
        match change(text.as_deref())? {
            Some(text) => self.replace(path, &text),
            None => Ok(()),
        }
    }
}
