//! The paths, locks and files of the state folder.

pub mod folder;
pub mod forwarding;
pub mod hook_stats;
pub mod last_error;
pub mod leases;
pub mod networks;
pub mod pod_members;
pub mod sweep_queue;
