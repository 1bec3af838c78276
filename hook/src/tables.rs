//! The base tables and everything that belongs into them, put back where somebody flushed them.

use std::fs;

use ocinet_shared::cidr::Family;
use ocinet_shared::element::Element;
use ocinet_shared::kernel::nft::{self, ChangeError, Nft};
use ocinet_shared::network::Network;
use ocinet_shared::record::Phase;
use ocinet_shared::record_dir::{LOCK_DEADLINE, StateDir, StateError, to_json};

use crate::error::{Error, report};
use crate::nat;

/// Which families' forwarding ocinet turned on.
const FORWARDING: &str = "forwarding.json";

/// Makes the base tables and puts back the elements of every network and of every container that is set up.
///
/// This is the one path whose cost grows with the number of containers: it runs at the first start after a boot, and
/// after somebody flushed the rule set.
///
/// # Errors
/// nft's or the kernel's; a record that cannot be read does not keep the rest from coming back.
pub fn restore(state: &StateDir, nft: &mut Nft) -> Result<(), Error> {
    nft::install()?;
    let mut elements: Vec<Element> = networks(state)?.iter().flat_map(nat::network_elements).collect();
    elements.extend(forwarded(state)?.into_iter().map(nat::no_transit));
    put_back(nft, &elements)?;
    for record in state.records()? {
        match record {
            Ok(record) if record.phase == Phase::Ready => {
                put_back(nft, &record.elements().cloned().collect::<Vec<_>>())?;
            }
            Ok(_) => {}
            Err(error) => crate::log::warn(error),
        }
    }
    Ok(())
}

fn put_back(nft: &mut Nft, elements: &[Element]) -> Result<(), Error> {
    match nft.restore(elements) {
        Ok(()) => Ok(()),
        Err(ChangeError::Exists(index)) => {
            let what = elements.get(index).map(ToString::to_string).unwrap_or_default();
            crate::log::warn(format_args!("another element is where {what} was"));
            Ok(())
        }
        Err(error) => Err(change_error(error)),
    }
}

/// A change that failed for no reason of the container's.
#[must_use]
pub fn change_error(error: ChangeError) -> Error {
    let refused = |cause: String| {
        Error::Nftables(report(
            "change the elements of table inet ocinet",
            cause,
            "see whether something removes the table at this moment, and start the container again",
        ))
    };
    match error {
        ChangeError::NoTable => refused("the table is not there".to_owned()),
        ChangeError::Exists(_) => refused("an element is there already".to_owned()),
        ChangeError::Kernel(error) => refused(error.to_string()),
    }
}

/// All networks that have containers.
///
/// # Errors
/// A folder or a file that cannot be read.
pub fn networks(state: &StateDir) -> Result<Vec<Network>, StateError> {
    let folder = state.path("networks");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StateError::io("read", &folder, error)),
    };
    let mut networks = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.ends_with(".json") && !name.starts_with('.'))
            && let Some(network) = state.read_json(&entry.path())?
        {
            networks.push(network);
        }
    }
    Ok(networks)
}

/// The families whose forwarding ocinet turned on since the boot.
///
/// # Errors
/// A file that cannot be read.
pub fn forwarded(state: &StateDir) -> Result<Vec<Family>, StateError> {
    Ok(state.read_json(&state.path(FORWARDING))?.unwrap_or_default())
}

/// Writes down that ocinet turns forwarding on for a family.
///
/// # Errors
/// Those of the file system.
pub fn remember_forwarded(state: &StateDir, family: Family) -> Result<(), StateError> {
    let path = state.path(FORWARDING);
    state.change_common(&path, LOCK_DEADLINE, |_| {
        let mut families = forwarded(state)?;
        if families.contains(&family) {
            return Ok(None);
        }
        families.push(family);
        to_json(&families, &path).map(Some)
    })
}
