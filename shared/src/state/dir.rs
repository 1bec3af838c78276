//! The state folder as a value: where it is, and its locks. What is done with it has a file each: `files.rs`, `locks.rs`,
//! `trust.rs`, `folders.rs`, `records.rs`, `networks.rs`, `common_file.rs`.

use std::path::{Path, PathBuf};

use super::lock_file::Locks;

/// The state folder.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
    pub(crate) locks: Locks,
}

impl StateDir {
    /// The folder at a path; nothing is made or read yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { locks: Locks::new(&root), root }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside the folder.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }
}
