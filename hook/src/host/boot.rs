//! Which boot this is.

use ocinet_shared::kernel::process;

use crate::error::{Class, Error};

/// Which boot this is: what another boot's records are about is gone.
///
/// # Errors
/// A machine whose /proc is not mounted.
pub fn id() -> Result<String, Error> {
    process::boot_id().map_err(|error| {
        Error::new(Class::State, "find out which boot this is", error, "mount /proc and try again")
    })
}
