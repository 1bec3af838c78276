//! The locks that keep what is put back apart from what is removed. A container that is being detached has its record
//! until the end, but its elements only at first: whoever puts elements back in between must leave out that container's.

use std::time::Duration;

use crate::state::dir::StateDir;
use crate::state::error::StateError;
use crate::state::lock_file::{LOCK_DEADLINE, Lock, Locked, Mode};

/// How long somebody who restores is waited for. nft takes tens of seconds on a busy host that has just booted, and its
/// containers, which an engine starts all at once, wait for each other.
const RESTORE_DEADLINE: Duration = Duration::from_secs(60);

impl StateDir {
    /// For putting elements back: nobody deletes any meanwhile. Those who would delete some later wait behind whoever waits
    /// here: stops one after another without end would keep the rules away from all others.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub fn lock_elements_to_restore(&self) -> Result<(Lock, Lock), StateError> {
        let turn = self.locks.take(Locked::Restoring, Mode::Exclusive, RESTORE_DEADLINE)?;
        // In this order: they are given up in it.
        Ok((self.lock(Locked::Elements)?, turn))
    }

    /// Waits while somebody restores. Whoever deletes elements under other locks calls this before it takes those, which others
    /// wait for no longer than [`LOCK_DEADLINE`]. A restore that begins afterwards is waited for under them.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub fn wait_for_restore(&self) -> Result<(), StateError> {
        self.locks.wait_while_held(Locked::Restoring, RESTORE_DEADLINE)
    }

    /// For deleting elements: nobody puts any back meanwhile.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub fn lock_elements_to_delete(&self) -> Result<Lock, StateError> {
        self.wait_for_restore()?;
        self.locks.take(Locked::Elements, Mode::Shared, LOCK_DEADLINE)
    }

    /// Whether a process takes this container or this network back at the moment ([`Locked::EndingContainer`],
    /// [`Locked::EndingNetwork`]).
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn is_ending(&self, what: Locked<'_>) -> Result<bool, StateError> {
        self.locks.is_held(what, Mode::Exclusive)
    }
}
