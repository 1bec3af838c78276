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
    // Files in a container's root: over their permissions, and to set those of a new one.
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    // `ocinet register` keeps the owner of config.json.
    .union(CapabilitySet::CHOWN)
    // The file-system user of a container in a user namespace (setfsuid(2)).
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID);

/// Gives up all other capabilities, for this process and for the programs that it starts. It must have one thread only.
///
/// # Errors
/// None in practice: nobody is kept from giving up what he has.
pub fn drop_unneeded() -> Result<(), KernelError> {
    let doing = "give up capabilities";
    let refused = |errno| KernelError::new(doing, errno);
    // Without it, a program that root starts has all of them again (capabilities(7), "Capabilities and execution of programs by
    // root").
    prctl::set_no_new_privs().map_err(refused)?;
    keep(NEEDED).map_err(refused)
}

/// Gives up all capabilities but the one that nft needs. It makes system calls alone, so that it may be called between fork(2) and
/// execve(2).
///
/// # Errors
/// As [`drop_unneeded`].
pub(super) fn keep_nfts() -> Result<(), Errno> {
    keep(CapabilitySet::NET_ADMIN)
}

fn keep(kept: CapabilitySet) -> Result<(), Errno> {
    let keep = || -> rustix::io::Result<()> {
        let has = capabilities(None)?;
        let sets = CapabilitySets {
            effective: has.effective.intersection(kept),
            permitted: has.permitted.intersection(kept),
            // Where it is not root but another user who calls, nft has them by these (ambient capabilities).
            inheritable: has.inheritable.intersection(kept),
        };
        set_capabilities(None, sets)
    };
    keep().map_err(|error| Errno::from_raw(error.raw_os_error()))
}
