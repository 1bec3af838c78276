//! `forwarding.json`: the families whose forwarding ocinet turned on since the boot, and what that overwrote.

use std::path::Path;

use ocinet_shared::kernel::forwarding::Before;
use ocinet_shared::kernel::process;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::state::{StateDir, StateError, temporary_path, to_json};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A family whose forwarding ocinet turned on, and what is to be given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turned {
    /// The family.
    pub family: Family,
    /// What turning it on overwrote.
    #[serde(default)]
    pub before: Before,
    /// Whether no network of ocinet's needs it any more, and it is left on because another program's may. The uplinks stay
    /// apart.
    #[serde(default)]
    pub left_on: bool,
}

/// The file, in its form of today and in its first one, which held families alone.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Now { boot_id: String, families: Vec<Turned> },
    Earlier(Vec<Family>),
}

/// The families whose forwarding ocinet turned on since the boot. A file that ocinet cannot have written says nothing: who can
/// put it there can delete ocinet's own as well. The inner error is of a damaged file, or of one that others can write to:
/// which families they are is not known then, and forwarding stays as it is.
///
/// # Errors
/// A file that the file system does not let ocinet read, or a boot that cannot be told from others.
pub fn turned(state: &StateDir) -> Result<Result<Vec<Turned>, StateError>, Error> {
    let written = match state.read_json(&state.forwarding_path()) {
        Err(StateError::Foreign { .. }) => None,
        Err(fault @ (StateError::Malformed { .. } | StateError::Writable { .. })) => return Ok(Err(fault)),
        read => read?,
    };
    Ok(Ok(match written {
        Some(Written::Now { boot_id, families }) if process::boot_id()? == boot_id => families,
        Some(Written::Earlier(families)) => families.into_iter().map(Turned::new).collect(),
        Some(Written::Now { .. }) | None => Vec::new(),
    }))
}

impl Turned {
    /// A family that ocinet turned on, of which nothing else is known.
    #[must_use]
    pub fn new(family: Family) -> Self {
        Self { family, before: Before::default(), left_on: false }
    }
}

/// Whether a path is that of the file. Whoever replaces or removes it holds the lock on the networks.
pub fn is_file(state: &StateDir, path: &Path) -> bool {
    path == state.forwarding_path()
}

/// Whether the file is there, or one that is still being written.
#[must_use]
pub fn is_there(state: &StateDir) -> bool {
    let path = state.forwarding_path();
    path.exists() || temporary_path(&path).exists()
}

/// Replaces the file; without families, it is removed. The caller holds the lock on the networks.
///
/// # Errors
/// Those of the file system, and a boot that cannot be told from others.
pub fn write(state: &StateDir, families: &[Turned]) -> Result<(), Error> {
    let path = state.forwarding_path();
    if families.is_empty() {
        return Ok(state.remove(&path)?);
    }
    let boot_id = process::boot_id()?;
    let written = Written::Now { boot_id, families: families.to_vec() };
    Ok(state.replace(&path, &to_json(&written, &path)?)?)
}
