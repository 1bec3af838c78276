//! Whether the container that a record is about lives.

use crate::kernel::process;
use crate::model::record::{Record, RecordedProcess};

impl Record {
    /// Whether the container that the record is about has ended, or never belonged to this boot.
    #[must_use]
    pub fn is_dead(&self, boot_id: &str) -> bool {
        is_dead(&self.boot_id, (self.pid, self.pid_start), boot_id)
    }
}

impl RecordedProcess {
    /// As [`Record::is_dead`].
    #[must_use]
    pub fn is_dead(&self, boot_id: &str) -> bool {
        is_dead(&self.boot_id, (self.pid, self.pid_start), boot_id)
    }
}

fn is_dead(of_boot: &str, (pid, started): (u32, u64), boot_id: &str) -> bool {
    of_boot != boot_id || !process::is_alive(pid, started)
}
