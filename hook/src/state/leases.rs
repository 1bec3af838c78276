//! Leases, and claims of ports and Ethernet addresses, as files that hold the container's id. A name exists once in a folder: the file system
//! decides who has it, with no lock and at the same cost whatever the number of leases.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::port::PublishedPort;
use ocinet_shared::model::record::SharedLink;
use ocinet_shared::state::is_absent;
use ocinet_shared::state::{StateDir, StateError};

/// Where a network's leases are.
#[must_use]
pub fn lease_folder(state: &StateDir, network: &ContainerId) -> PathBuf {
    state.path(&format!("leases/{network}"))
}

/// Where the lease of an address is.
#[must_use]
pub fn lease_path(state: &StateDir, network: &ContainerId, address: IpAddr) -> PathBuf {
    lease_folder(state, network).join(address.to_string())
}

/// Where the claims of a port are, one file for each host address.
#[must_use]
pub fn claim_folder(state: &StateDir, port: &PublishedPort) -> PathBuf {
    state.path(&format!("ports/{}-{}", port.protocol, port.host_port))
}

/// Where the claim of a port that is published on one host address is.
#[must_use]
pub fn claim_path(state: &StateDir, port: &PublishedPort) -> Option<PathBuf> {
    Some(claim_folder(state, port).join(port.bound_address()?.to_string()))
}

/// Where the claims of Ethernet addresses on a link that containers share are.
#[must_use]
pub fn mac_folder(state: &StateDir, on: &SharedLink) -> PathBuf {
    state.path(&match on {
        SharedLink::Network(network) => format!("macs/networks/{network}"),
        SharedLink::Parent(parent) => format!("macs/parents/{parent}"),
    })
}

/// Where the claim of an Ethernet address is.
#[must_use]
pub fn mac_path(state: &StateDir, on: &SharedLink, mac: Mac) -> PathBuf {
    mac_folder(state, on).join(mac.to_string())
}

/// The file that a container's leases and claims are links to: link(2) makes a name appear with its content, so that
/// nobody ever sees a lease without its holder, and fails where the name exists.
fn source_path(state: &StateDir, id: &ContainerId) -> PathBuf {
    state.path(&format!("containers/.{id}.claim"))
}

/// Takes a name for a container; false where somebody has it. A link in the place of a folder is not followed.
///
/// # Errors
/// Those of the file system, and such a link.
pub fn take(state: &StateDir, path: &Path, id: &ContainerId) -> Result<bool, StateError> {
    state.check_way(path)?;
    let source = source_path(state, id);
    let fail = |error| StateError::io("make", path, error);
    // What another user put there is replaced.
    let provide = || {
        let is_there = state.is_own(&source);
        if is_there { Ok(()) } else { state.replace(&source, format!("{id}\n").as_bytes()) }
    };
    provide()?;
    // The folder may be removed, as empty, between its making and the link.
    for _ in 0..100 {
        match fs::hard_link(&source, path) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !state.remove_foreign(path)? {
                    return Ok(holder(state, path)?.as_ref() == Some(id));
                }
            }
            Err(error) if is_absent(&error) => {
                provide()?;
                state.make_parent(path)?;
            }
            Err(error) => return Err(fail(error)),
        }
    }
    Err(fail(io::Error::from(io::ErrorKind::NotFound)))
}

/// Whether the file that a container's leases and claims are linked to is there, as while it starts.
#[must_use]
pub fn has_source(state: &StateDir, id: &ContainerId) -> bool {
    source_path(state, id).exists()
}

/// Removes the file that the leases and claims were linked to; they live on without it.
///
/// # Errors
/// Those of unlink(2).
pub fn forget_source(state: &StateDir, id: &ContainerId) -> Result<(), StateError> {
    state.remove(&source_path(state, id))
}

/// Who has a name; `None` where nobody has. What another user put there says nothing.
///
/// # Errors
/// A file that holds no id.
pub fn holder(state: &StateDir, path: &Path) -> Result<Option<ContainerId>, StateError> {
    let parse = |text: String| {
        text.trim_end()
            .parse()
            .map_err(|error| StateError::Malformed { path: path.to_owned(), reason: format!("{error}") })
    };
    match state.read(path) {
        Err(StateError::Foreign { .. }) => Ok(None),
        read => read?.map(parse).transpose(),
    }
}

/// Who has leases of a network.
///
/// # Errors
/// A lease that holds no id.
pub fn holders(state: &StateDir, network: &ContainerId) -> Result<BTreeSet<ContainerId>, StateError> {
    let Ok(entries) = fs::read_dir(lease_folder(state, network)) else { return Ok(BTreeSet::new()) };
    let leases = entries.filter_map(Result::ok).map(|entry| holder(state, &entry.path()));
    leases.filter_map(Result::transpose).collect()
}

/// Gives a name back, if it is this container's. One behind a link is not.
///
/// # Errors
/// Those of the file system.
pub fn release(state: &StateDir, path: &Path, id: &ContainerId) -> Result<(), StateError> {
    if state.check_way(path).is_err() || holder(state, path)?.as_ref() != Some(id) {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if !is_absent(&error) => Err(StateError::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Removes a folder if it is empty; true where it is gone afterwards. What is no folder in its place is gc's business.
///
/// # Errors
/// Those of rmdir(2) other than "not empty".
pub fn remove_if_empty(folder: &Path) -> Result<bool, StateError> {
    match fs::remove_dir(folder) {
        Ok(()) => Ok(true),
        Err(error) if is_absent(&error) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(StateError::io("remove", folder, error)),
    }
}
