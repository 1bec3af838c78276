//! What a hook may still do once it runs. It is root, and needs little of what root may do.

use nix::errno::Errno;
use nix::sys::prctl;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::KernelError;

/// The capabilities that attaching a container takes (capabilities(7)).
const NEEDED: CapabilitySet = CapabilitySet::empty()
    // Links, addresses, routes, rules; questions to the LAN.
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_RAW)
    // Whether a published port below 1024 is free.
    .union(CapabilitySet::NET_BIND_SERVICE)
    // setns(2).
    .union(CapabilitySet::SYS_ADMIN)
    // /proc/PID/ns, root and exe of a container's process.
    .union(CapabilitySet::SYS_PTRACE)
    // Files in a container's root, and whose they are. In a user namespace, as its own user.
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID);

/// Gives up all other capabilities, for this process and for the programs that it starts. It must have one thread only.
///
/// # Errors
/// None in practice: nobody is kept from giving up what he has.
pub fn drop_unneeded() -> Result<(), KernelError> {
    let doing = "give up capabilities";
    // Without it, a program that root starts has all of them again (capabilities(7), "Capabilities and execution of programs by
    // root").
    prctl::set_no_new_privs().map_err(|errno| KernelError::new(doing, errno))?;
    let refused = |error: rustix::io::Errno| KernelError::new(doing, Errno::from_raw(error.raw_os_error()));
    let has = capabilities(None).map_err(refused)?;
    let kept = CapabilitySets {
        effective: has.effective.intersection(NEEDED),
        permitted: has.permitted.intersection(NEEDED),
        // Where it is not root but another user who calls, nft has them by these (ambient capabilities).
        inheritable: has.inheritable.intersection(NEEDED),
    };
    set_capabilities(None, kept).map_err(refused)
}
