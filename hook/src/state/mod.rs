//! Files of the state folder that the hook alone writes. Paths, locks, records and networks are in `shared/src/state/`.

pub mod folder;
pub mod forwarding;
pub mod hook_stats;
pub mod last_error;
pub mod leases;
pub mod networks;
pub mod pod_members;
pub mod sweep_queue;
