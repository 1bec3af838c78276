//! The files of networks, by one reader: a file counts for the network whose name it has.

use super::layout::{Folder, temporary_path};
use crate::model::container_id::ContainerId;
use crate::model::network::Network;
use crate::state::dir::StateDir;
use crate::state::error::StateError;
use crate::state::lock_file::{LOCK_DEADLINE, Lock, Locked, Mode};

impl StateDir {
    /// Reads a network's file; `None` where there is none.
    ///
    /// # Errors
    /// As [`Self::read_json`], and the file of another network.
    pub fn read_network(&self, name: &ContainerId) -> Result<Option<Network>, StateError> {
        let path = self.network_path(name);
        match self.read_json::<Network>(&path)? {
            // Somebody gave the file another name.
            Some(Network { name: of, .. }) if of != *name => {
                Err(StateError::Malformed { path, reason: format!("it is the file of network {of}") })
            }
            network => Ok(network),
        }
    }

    /// All networks, each readable or not: one that is damaged does not hide the rest.
    ///
    /// # Errors
    /// Those of reading the folder; a folder that is not there is empty.
    pub fn networks(&self) -> Result<Vec<Result<Network, StateError>>, StateError> {
        let read = |name: ContainerId| self.read_network(&name).transpose();
        Ok(self.ids_in(Folder::Networks)?.into_iter().filter_map(read).collect())
    }

    /// Locks a network beside others who join it, and reads its file; `None` where there is none.
    ///
    /// # Errors
    /// As [`Self::lock`] and [`Self::read_network`].
    pub fn lock_network(&self, name: &ContainerId) -> Result<Option<(Network, Lock)>, StateError> {
        let lock = self.locks.take(Locked::Network(name), Mode::Shared, LOCK_DEADLINE)?;
        Ok(self.read_network(name)?.map(|network| (network, lock)))
    }

    /// Locks a network against those who would join it; `None` where somebody is joining it.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub fn lock_network_to_leave(&self, name: &ContainerId) -> Result<Option<Lock>, StateError> {
        self.locks.take_unless_shared(Locked::Network(name), LOCK_DEADLINE)
    }

    /// Removes what an interrupted making of a network left, where the network was not made.
    ///
    /// # Errors
    /// As [`Self::lock`], and those of unlink(2).
    pub fn remove_unmade_network(&self, name: &ContainerId) -> Result<(), StateError> {
        let path = self.network_path(name);
        if !temporary_path(&path).exists() {
            return Ok(());
        }
        let _making = self.lock_networks()?;
        if path.exists() { Ok(()) } else { self.remove(&path) }
    }
}
