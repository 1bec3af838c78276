//! The base tables and everything that belongs into them, put back where somebody flushed them.

use std::fs;

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use ocinet_shared::element::Element;
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::nft::{self, ChangeError, Nft};
use ocinet_shared::kernel::{link, process, route};
use ocinet_shared::network::Network;
use ocinet_shared::record::{Phase, Record};
use ocinet_shared::record_dir::{Locked, StateDir, StateError};

use crate::error::{Error, report};
use crate::forwarding::{self, Links};
use crate::{members, nat};

/// Makes the base tables with the elements of every network and of every container that lives, in one transaction: what
/// a packet meets is all of the rules or none, and no connection is tracked that they would have translated. Returns the
/// records of the living.
///
/// Nobody deletes elements meanwhile. What is being taken back has perhaps lost its elements already, and is left out.
///
/// This is the one path whose cost grows with the number of containers: it runs at the first start after a boot, and
/// after somebody flushed the rule set.
///
/// # Errors
/// nft's or the kernel's; a record that cannot be read does not keep the rest from coming back.
pub fn restore(state: &StateDir, nft: &mut Nft) -> Result<Vec<Record>, Error> {
    let _alone = state.lock_elements_to_restore()?;
    restore_alone(state, nft)
}

/// Adds elements to tables that were missing: of many starts that find them so at once, the first puts all back.
///
/// # Errors
/// As [`restore`]. What the kernel says of these elements is the inner result.
pub fn add_restored(
    state: &StateDir,
    nft: &mut Nft,
    elements: &[Element],
) -> Result<Result<(), ChangeError>, Error> {
    let _alone = state.lock_elements_to_restore()?;
    match nft.add(elements) {
        Err(ChangeError::NoTable) => {
            restore_alone(state, nft)?;
            Ok(nft.add(elements))
        }
        done => Ok(done),
    }
}

fn restore_alone(state: &StateDir, nft: &mut Nft) -> Result<Vec<Record>, Error> {
    let boot_id = process::boot_id()?;
    let mut common = Vec::new();
    for network in networks(state)? {
        let now = || state.read_json::<Network>(&state.network_path(&network.name));
        if is_staying(state, Locked::EndingNetwork(&network.name), &network, now)? {
            common.extend(nat::network_elements(&network));
        }
    }
    let uplinks = wanted_of_host(state)?;
    common.extend_from_slice(&uplinks);
    let mut live = Vec::new();
    for record in live_records(state, &boot_id)? {
        if is_staying(state, Locked::EndingContainer(&record.id), &record, || state.read_record(&record.id))?
        {
            live.push(record);
        }
    }
    let all: Vec<Element> = common.iter().chain(live.iter().flat_map(Record::elements)).cloned().collect();
    if let Err(error) = nft::install(&all) {
        // One record that makes no sense to nft does not keep the rest from coming back.
        nft::install(&[]).map_err(|_| error)?;
        put_back(nft, &common)?;
        for record in &live {
            put_back(nft, &record.elements().cloned().collect::<Vec<_>>())?;
        }
    }
    // Where this folder keeps no uplinks apart, another one may.
    if !uplinks.is_empty() {
        forwarding::delete_uplinks(nft, &uplinks)?;
    }
    Ok(live)
}

/// Whether nobody takes a container or a network back. Whoever does holds the lock from before it deletes the elements until
/// the file is gone: a file that is as it was after the lock was asked for was not on its way out.
fn is_staying<T: PartialEq>(
    state: &StateDir,
    ending: Locked<'_>,
    before: &T,
    now: impl FnOnce() -> Result<Option<T>, StateError>,
) -> Result<bool, StateError> {
    Ok(!state.is_ending(ending)? && now().is_ok_and(|now| now.as_ref() == Some(before)))
}

/// The elements that belong to no network, but to the host's forwarding.
///
/// # Errors
/// Those of reading the folder, and a refusal of a dump.
pub fn wanted_of_host(state: &StateDir) -> Result<Vec<Element>, Error> {
    let turned = forwarding::turned(state)?;
    if turned.is_empty() {
        return Ok(Vec::new());
    }
    let mut channel = Channel::open(NETLINK_ROUTE)?;
    let (links, routes) = (link::list(&mut channel)?, route::list_all(&mut channel)?);
    Ok(forwarding::elements(&turned, &Links { links: &links, routes: &routes }))
}

/// The records of the containers that are attached and live. One that cannot be read is warned of.
///
/// # Errors
/// Those of reading the folder.
pub fn live_records(state: &StateDir, boot_id: &str) -> Result<Vec<Record>, StateError> {
    let mut live = Vec::new();
    for record in state.records()? {
        match record {
            Ok(record) if is_attached(state, &record, boot_id) => live.push(record),
            Ok(_) => {}
            Err(error) => crate::log::warn(error),
        }
    }
    Ok(live)
}

/// Whether a container's set-up is complete, and it lives.
#[must_use]
pub fn is_attached(state: &StateDir, record: &Record, boot_id: &str) -> bool {
    record.phase == Phase::Ready && members::is_live(state, record, boot_id)
}

fn put_back(nft: &mut Nft, elements: &[Element]) -> Result<(), Error> {
    match nft.restore(elements) {
        Ok(()) => Ok(()),
        Err(ChangeError::Exists(index)) => {
            let what = elements.get(index).map(ToString::to_string).unwrap_or_default();
            crate::log::warn(format_args!("another element is where {what} was"));
            Ok(())
        }
        Err(ChangeError::Kernel(error)) if error.errno == Errno::EINVAL => {
            crate::log::warn(format_args!("an element of a record is none: {error}"));
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

/// All networks that have containers. A file that ocinet cannot have written is no network.
///
/// # Errors
/// A folder or a file that cannot be read.
pub fn networks(state: &StateDir) -> Result<Vec<Network>, StateError> {
    networks_and_foreign(state).map(|(networks, _)| networks)
}

/// The same, and what is said of each file that ocinet cannot have written.
///
/// # Errors
/// As [`networks`].
pub fn networks_and_foreign(state: &StateDir) -> Result<(Vec<Network>, Vec<StateError>), StateError> {
    let folder = state.path("networks");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        Err(error) => return Err(StateError::io("read", &folder, error)),
    };
    let (mut networks, mut foreign) = (Vec::new(), Vec::new());
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        if !name.to_str().is_some_and(|name| name.ends_with(".json") && !name.starts_with('.')) {
            continue;
        }
        match state.read_json(&entry.path()) {
            Err(error @ StateError::Foreign { .. }) => foreign.push(error),
            read => networks.extend(read?),
        }
    }
    Ok((networks, foreign))
}
