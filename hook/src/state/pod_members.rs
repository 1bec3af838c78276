//! Containers that joined another container's network namespace, and share its attachments: a pod.
//!
//! The attachments belong to the container that asked for them first. They outlive it as long as a member does, as the
//! namespace itself does; the last to leave removes them. Who a member is, a file tells: `members/OWNER/MEMBER`.

use std::{fs, io};

use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::record::Record;
use ocinet_shared::state::is_absent;
use ocinet_shared::state::{StateDir, StateError};

use crate::state::leases;

/// Makes a container a member.
///
/// # Errors
/// Those of the file system.
pub fn add(state: &StateDir, owner: &ContainerId, member: &ContainerId) -> Result<(), StateError> {
    leases::take(state, &state.member_path(owner, member), member).map(drop)
}

/// Ends a container's membership.
///
/// # Errors
/// Those of the file system.
pub fn remove(state: &StateDir, owner: &ContainerId, member: &ContainerId) -> Result<(), StateError> {
    leases::release(state, &state.member_path(owner, member), member)?;
    leases::remove_if_empty(&state.member_folder(owner)).map(drop)
}

/// What keeps a container's attachments after its own end.
#[derive(Debug)]
pub enum Keeper {
    /// A member that lives.
    Member(Box<Record>),
    /// Something that cannot be read, so that a member is not known to have ended.
    Unknown(StateError),
}

/// The ids that have a member's file, as far as they can be read. A container without members costs one look into a folder
/// that is not there.
fn listed(state: &StateDir, owner: &Record) -> Vec<Result<ContainerId, StateError>> {
    let folder = state.member_folder(&owner.id);
    let fail = |error: io::Error| StateError::io("read", &folder, error);
    let entries = match fs::read_dir(&folder) {
        Err(error) if is_absent(&error) => return Vec::new(),
        Err(error) => return vec![Err(fail(error))],
        Ok(entries) => entries,
    };
    let id = |entry: io::Result<fs::DirEntry>| match entry {
        Ok(entry) => entry.file_name().to_str()?.parse().ok().map(Ok),
        Err(error) => Some(Err(fail(error))),
    };
    entries.filter_map(id).collect()
}

/// Whether a container is a member. One that has a member's id, and its own namespace, is none.
fn is_member(record: &Record, owner: &Record) -> bool {
    record.shares.as_ref() == Some(&owner.id) && record.netns == owner.netns
}

/// The members' records, as far as they can be read.
#[must_use]
pub fn records(state: &StateDir, owner: &Record) -> Vec<Record> {
    let read = |id: ContainerId| state.read_record(&id).ok().flatten();
    listed(state, owner).into_iter().flatten().filter_map(read).filter(|it| is_member(it, owner)).collect()
}

/// A member that lives, or else what keeps it from being known whether one does. No network namespace outlives the boot that it
/// was made in.
#[must_use]
pub fn keeper(state: &StateDir, owner: &Record, boot_id: &str) -> Option<Keeper> {
    if owner.boot_id != boot_id {
        return None;
    }
    let mut unknown = None;
    for listed in listed(state, owner) {
        let read = listed.and_then(|id| match state.read_record(&id) {
            // Which process it is about, also a newer ocinet's record says.
            Err(error) => match state.read_process(&id) {
                Ok(Some(process)) if process.is_dead(boot_id) => Ok(None),
                _ => Err(error),
            },
            read => read,
        });
        match read {
            Ok(Some(record)) if is_member(&record, owner) && !record.is_dead(boot_id) => {
                return Some(Keeper::Member(Box::new(record)));
            }
            Ok(_) => {}
            Err(error) => unknown = Some(Keeper::Unknown(error)),
        }
    }
    unknown
}

/// Whether the container of an id has ended, and nobody shares its attachments; `false` where there is no such record.
///
/// # Errors
/// A record that cannot be read.
pub fn has_ended(state: &StateDir, id: &ContainerId, boot_id: &str) -> Result<bool, StateError> {
    // Which process it is about is read first: nearly all live.
    if state.read_process(id)?.is_none_or(|process| !process.is_dead(boot_id)) {
        return Ok(false);
    }
    Ok(state.read_record(id)?.is_some_and(|record| !is_live(state, &record, boot_id)))
}

/// Whether a container lives, or one that shares its attachments does or may.
#[must_use]
pub fn is_live(state: &StateDir, record: &Record, boot_id: &str) -> bool {
    !record.is_dead(boot_id) || keeper(state, record, boot_id).is_some()
}

/// A process that is in the network namespace of a container: its own or, once that has ended, that of a member.
#[must_use]
pub fn pid_within(state: &StateDir, record: &Record, boot_id: &str) -> Option<u32> {
    if !record.is_dead(boot_id) {
        return Some(record.pid);
    }
    match keeper(state, record, boot_id) {
        Some(Keeper::Member(member)) => Some(member.pid),
        Some(Keeper::Unknown(_)) | None => None,
    }
}
