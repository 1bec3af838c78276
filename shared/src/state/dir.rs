//! The state folder as a value: its layout and its locks. What is done with it has a file each: `checks.rs`, `locks.rs`,
//! `trust.rs`, `files.rs`, `records.rs`, `networks.rs`, `common_file.rs`.

use std::ops::Deref;
use std::path::PathBuf;

use super::layout::Layout;
use super::lock_file::Locks;

/// The state folder.
#[derive(Debug, Clone)]
pub struct StateDir {
    layout: Layout,
    pub(super) locks: Locks,
}

impl StateDir {
    /// The folder at a path; nothing is made or read yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let layout = Layout::new(root);
        Self { locks: Locks::new(layout.root()), layout }
    }
}

/// Where everything is in it.
impl Deref for StateDir {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        &self.layout
    }
}
