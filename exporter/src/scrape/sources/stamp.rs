//! How a file is told from the one that it replaced, without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

/// A file's inode, change and size. ocinet replaces files by others and never writes into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
    size: u64,
}

impl Stamp {
    /// The stamp of a file or folder.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
            size: metadata.size(),
        }
    }

    /// The inode.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Whether a change after this moment could leave the stamp as it is: the kernel notes the time of a change in ticks
    /// of at most 10 ms.
    #[must_use]
    pub fn is_fresh_at(&self, moment: SystemTime) -> bool {
        let seconds = u64::try_from(self.seconds).unwrap_or_default();
        let nanoseconds = u64::try_from(self.nanoseconds).unwrap_or_default();
        let changed = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .and_then(|changed| changed.checked_add(Duration::from_nanos(nanoseconds)));
        // If the clock was set back, the order is unknown.
        changed.and_then(|changed| moment.duration_since(changed).ok()).is_none_or(|age| age < TICKS)
    }
}

/// Two ticks.
const TICKS: Duration = Duration::from_millis(20);
