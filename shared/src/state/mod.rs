//! The state folder: its layout, its locks, and how its files are read and written.

mod checks;
mod common_file;
mod dir;
mod error;
mod files;
mod folders;
mod layout;
mod liveness;
mod lock_file;
mod locks;
mod networks;
mod records;
mod trust;

pub use dir::StateDir;
pub use error::{Danger, StateError, is_absent};
pub use files::{MAX_FILE, to_json};
pub use layout::{Folder, id_of, id_of_temporary, port_of_claim_folder, temporary_path};
pub use lock_file::{LOCK_DEADLINE, Lock, Locked};
