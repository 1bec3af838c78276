//! That root alone writes to the state folder, and to the folders in it.

use std::fs;

use super::dir::StateDir;
use super::error::StateError;
use super::folders::{check_all, check_inner, check_known, faults};

impl StateDir {
    /// Checks that nobody but root can write to the folder and to those in it, and closes them to others where they left
    /// them alone. Whoever makes new files there asks first. Any other command relies on that: it checks the state
    /// folder alone, and the folders in it only where there is no lock file yet.
    ///
    /// # Errors
    /// [`StateError::Unsafe`], and those of the file system.
    pub fn check(&self) -> Result<(), StateError> {
        self.locks.file()?;
        check_inner(self.root())
    }

    /// What [`Self::check_all`] refuses in the place of folders.
    #[must_use]
    pub fn faulty_folders(&self) -> Vec<StateError> {
        faults(self.root())
    }

    /// Refuses a state folder of a user whom this process's user namespace does not know: nothing in it can be believed.
    ///
    /// # Errors
    /// [`StateError::Unsafe`].
    pub fn check_known(&self) -> Result<(), StateError> {
        let folder = self.root();
        fs::metadata(folder).map_or(Ok(()), |metadata| check_known(folder, &metadata))
    }

    /// The same with the folders in those, which takes longer the more networks there are.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_all(&self) -> Result<(), StateError> {
        self.locks.file()?;
        check_all(self.root())
    }
}
