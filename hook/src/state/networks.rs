//! The networks that have containers, and the files of networks that cannot be believed.

use ocinet_shared::model::network::Network;
use ocinet_shared::state::{StateDir, StateError};

/// What the files of networks say.
#[derive(Debug, Default)]
pub struct Networks {
    /// The networks whose files can be read.
    pub readable: Vec<Network>,
    /// What is said of each file that ocinet cannot have written: it is no network.
    foreign: Vec<StateError>,
    /// What is said of each other file: what such a network has is not known, and stays as it is.
    unreadable: Vec<StateError>,
}

impl Networks {
    /// Reads all files.
    ///
    /// # Errors
    /// A folder or a file that the file system does not let ocinet read.
    pub fn read(state: &StateDir) -> Result<Self, StateError> {
        let mut all = Self::default();
        for network in state.networks()? {
            match network {
                Ok(network) => all.readable.push(network),
                Err(error @ StateError::Foreign { .. }) => all.foreign.push(error),
                Err(error @ (StateError::Malformed { .. } | StateError::Writable { .. })) => {
                    all.unreadable.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// The same, with a warning of each file that is not believed, and of each network that no container can join.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_and_warn(state: &StateDir) -> Result<Self, StateError> {
        let all = Self::read(state)?;
        all.faults().for_each(crate::log::warn);
        for network in &all.readable {
            if let Some(fault) = network.settings.fault() {
                crate::log::warn(format_args!("no container can join network {}: {fault}", network.name));
            }
        }
        Ok(all)
    }

    /// What is said of each file that is not believed.
    pub fn faults(&self) -> impl Iterator<Item = &StateError> {
        self.foreign.iter().chain(&self.unreadable)
    }

    /// Why it is not known what all networks have.
    #[must_use]
    pub fn unreadable(&self) -> Option<&StateError> {
        self.unreadable.first()
    }
}

/// All networks, for whoever decides by what none of them has.
///
/// # Errors
/// As [`Networks::read`], and a file that cannot be read. One that ocinet cannot have written is no network.
pub fn all(state: &StateDir) -> Result<Vec<Network>, StateError> {
    let networks = Networks::read(state)?;
    match networks.unreadable.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(networks.readable),
    }
}
