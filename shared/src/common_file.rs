//! Files of the state folder that belong to no container or network: one process at a time changes them.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::record_dir::{StateDir, StateError};

impl StateDir {
    /// Changes a file under a lock on the state folder itself. `change` is given the file's text, where there is one, and
    /// returns the new one, or `None` where it may stay.
    ///
    /// # Errors
    /// [`StateError::Busy`] after `patience`, those of the file system, and those of `change`.
    pub fn change_common(
        &self,
        path: &Path,
        patience: Duration,
        change: impl FnOnce(Option<&str>) -> Result<Option<Vec<u8>>, StateError>,
    ) -> Result<(), StateError> {
        self.make_parent(path)?;
        let folder = self.path("");
        let lock = File::open(&folder).map_err(|error| StateError::io("open", &folder, error))?;
        let give_up = Instant::now() + patience;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() > give_up => {
                    return Err(StateError::Busy { path: folder });
                }
                Err(TryLockError::WouldBlock) => sleep(Duration::from_micros(200)),
                Err(TryLockError::Error(error)) => return Err(StateError::io("lock", &folder, error)),
            }
        }
        match change(self.read(path)?.as_deref())? {
            Some(text) => self.replace(path, &text).map(drop),
            None => Ok(()),
        }
    }
}
