//! Which network namespace.

use serde::{Deserialize, Serialize};

/// What tells one namespace from another while it lives: where its file is (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamespaceId {
    /// The device number of the nsfs file system.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
}
