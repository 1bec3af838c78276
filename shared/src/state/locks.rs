//! Who locks what, and how long it is waited for. `lock_file.rs` is how a lock is taken.

mod elements;

use std::time::Duration;

use super::dir::StateDir;
use super::error::StateError;
use super::lock_file::{LOCK_DEADLINE, Lock, Locked, Mode};

impl StateDir {
    /// Takes a lock, exclusively.
    ///
    /// # Errors
    /// [`StateError::Busy`] after [`LOCK_DEADLINE`], and those of the file system.
    pub fn lock(&self, what: Locked<'_>) -> Result<Lock, StateError> {
        self.locks.take(what, Mode::Exclusive, LOCK_DEADLINE)
    }

    /// Locks the making of networks: they are made one at a time.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub fn lock_networks(&self) -> Result<Lock, StateError> {
        self.lock(Locked::Networks)
    }

    /// The same for one who only looks, and makes no file of locks: `None` where there is none, or where others than root
    /// can open it.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub fn lock_networks_to_look(&self) -> Result<Option<Lock>, StateError> {
        self.lock_to_look(Locked::Networks, LOCK_DEADLINE)
    }

    /// The same for any lock, where that is possible within a time.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub fn lock_to_look(&self, what: Locked<'_>, patience: Duration) -> Result<Option<Lock>, StateError> {
        self.locks.take_if_there(what, patience)
    }

    /// Takes a lock, exclusively, where that is possible within a time.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub fn lock_within(&self, what: Locked<'_>, patience: Duration) -> Result<Lock, StateError> {
        self.locks.take(what, Mode::Exclusive, patience)
    }
}
