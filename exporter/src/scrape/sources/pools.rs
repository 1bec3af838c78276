//! Address pools: how many addresses networks have for containers, and how many are leased.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::network::Network;
use ocinet_shared::state::{Folder, StateDir, StateError, id_of};

use super::stamp::Stamp;
use crate::scrape::snapshot::Pool;

/// The networks that were read, by name.
#[derive(Debug)]
pub struct PoolSource {
    state: StateDir,
    networks: BTreeMap<ContainerId, (Stamp, Network)>,
}

impl PoolSource {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(state: StateDir) -> Self {
        Self { state, networks: BTreeMap::new() }
    }

    /// The pools of all networks, by network, and the first error.
    pub fn read(&mut self) -> (Vec<Pool>, Result<(), StateError>) {
        let refreshed = self.refresh();
        let mut pools = Vec::new();
        let mut failed = refreshed;
        for (_, network) in self.networks.values() {
            let used = self.used(network);
            for family in Family::ALL {
                if let (Some(pool), Ok(used)) = (network.pool(family), &used) {
                    pools.push(Pool {
                        network: network.name.clone(),
                        family,
                        size: network.pool_size(pool),
                        used: used[usize::from(family == Family::Ipv6)],
                    });
                }
            }
            failed = failed.and(used.map(drop));
        }
        (pools, failed)
    }

    /// Reads the networks whose files changed.
    fn refresh(&mut self) -> Result<(), StateError> {
        let mut before = std::mem::take(&mut self.networks);
        let mut failed = Ok(());
        for entry in entries(&self.state.folder(Folder::Networks))? {
            let Some(name) = entry.file_name().to_str().and_then(id_of) else { continue };
            let Some(metadata) = entry.metadata().ok().filter(std::fs::Metadata::is_file) else { continue };
            let stamp = Stamp::of(&metadata);
            let same = before.remove(&name).filter(|(of, _)| *of == stamp).map(|(_, network)| network);
            let read = same.map_or_else(|| self.state.read_network(&name), |network| Ok(Some(network)));
            match read {
                Ok(network) => self.networks.extend(network.map(|network| (name, (stamp, network)))),
                Err(error) => failed = Err(error),
            }
        }
        failed
    }

    /// The leases of a network, by family.
    fn used(&self, network: &Network) -> Result<[u64; 2], StateError> {
        let mut used = [0; 2];
        for entry in entries(&self.state.lease_folder(&network.name))? {
            let is_ipv6 = entry.file_name().as_encoded_bytes().contains(&b':');
            used[usize::from(is_ipv6)] += 1;
        }
        Ok(used)
    }
}

/// What is in a folder; nothing where it is not there.
fn entries(folder: &Path) -> Result<Vec<DirEntry>, StateError> {
    let read = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.and_then(Iterator::collect),
    };
    read.map_err(|error| StateError::io("read", folder, error))
}
