//! Descriptors that another program opened for this one.

use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

/// Takes a descriptor that is known by its number alone, as those are that systemd passes to a service (sd_listen_fds(3)).
///
/// It must be open and nobody else's in this process: whoever calls this has seen that it is among those that were passed to it,
/// and takes each of them once.
#[must_use]
#[expect(unsafe_code, reason = "a descriptor that another program has opened is known by its number alone")]
pub fn passed(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the number is that of an open descriptor which belongs to nothing in this process, as the caller has
    // made sure of; a descriptor of another kind than expected is refused by the system calls that use it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
