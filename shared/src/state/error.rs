//! What went wrong in the state folder.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::quoted::word;

/// What went wrong in the state folder.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system said no.
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file holds something else than ocinet writes.
    #[error("cannot read {path}: {reason}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process holds a lock for longer than is waited.
    #[error("cannot lock {what}: another ocinet did not let go of it for {waited:?} (`fuser {path}` names those that may hold it)", path = word(&.path.display().to_string()))]
    Busy {
        /// What is locked.
        what: String,
        /// How long it was waited for.
        waited: Duration,
        /// The file whose bytes are the locks.
        path: PathBuf,
    },
    /// Others than root could change what is in the folder.
    #[error("cannot use {path}: {reason}", path = .path.display())]
    Unsafe {
        /// The folder, or what is in the place of one.
        path: PathBuf,
        /// What is to be done about it.
        danger: Danger,
        /// Who could.
        reason: String,
    },
    /// A file of root's that others can write to.
    #[error("cannot trust {path}: others can write to it (its mode is {mode:04o})", path = .path.display())]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Something is where a file of ocinet's would be, and ocinet cannot have written it.
    #[error("cannot trust {path}: {reason}", path = .path.display())]
    Foreign {
        /// What is there.
        path: PathBuf,
        /// Why ocinet cannot have written it.
        reason: String,
    },
}

/// What makes a state folder one that ocinet does not use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Danger {
    /// It is not for ocinet alone, so that its mode is others' business.
    Shared,
    /// It is another user's.
    Owner,
    /// It is of a user whom the user namespace of this process does not know, as root's is without root.
    Unknown,
    /// Others could write to it, and did.
    Content,
    /// What is in it is another user's, or no folder where ocinet makes one.
    Inside,
    /// A link is in the place of what ocinet makes.
    Link,
}

impl StateError {
    /// An error of the file system.
    pub fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

/// Whether nothing is at a path. What is in the place of a folder holds no files.
#[must_use]
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
