//! The thread that opens a container's files. It has the rights of the container's own root, and no others of the hook's.
//!
//! The container's own root may do with its files what it likes. Without a user namespace that is root. In one, it is
//! another user of the host, and what that user may not open is not opened for it either.
//!
//! The kernel keeps rights for each thread (credentials(7), "Linux-specific details"). A thread cannot get back the
//! capabilities that it gave up, so this one does not return to its old rights: it ends. It shares this process's memory: it
//! limits a wrong path, and not an attacker who runs code here.

use std::io;
use std::panic::resume_unwind;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::{Gid, Pid, Uid, setfsgid, setfsuid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_groups};

use crate::kernel::user_namespace;

/// The thread's stack, in bytes. The text of a file is on the heap.
const STACK: usize = 256 << 10;
/// What the container's root may do with its files where no user namespace confines it: pass over their permissions, and set
/// those of a file that it made. Every engine leaves both to it.
const OVER_FILES: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::FOWNER);

/// The host's user and group whose rights are taken, where they are not this process's own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rights(Option<(Uid, Gid)>);

impl Rights {
    /// Those of root in the user namespace of a process, where that is another than this process's own.
    ///
    /// # Errors
    /// A process that is gone.
    pub(super) fn of_root_in(pid: u32) -> io::Result<Self> {
        let root = user_namespace::root_of_process(pid)?;
        Ok(Self(root.map(|(user, group)| (Uid::from_raw(user), Gid::from_raw(group)))))
    }

    #[cfg(test)]
    pub(super) fn of(user: u32, group: u32) -> Self {
        Self(Some((Uid::from_raw(user), Gid::from_raw(group))))
    }

    /// Does something in a thread that has these rights and no others, and waits for it.
    ///
    /// # Errors
    /// A thread that cannot be started, rights that it cannot take, and those of `task`.
    pub(super) fn in_thread<T: Send>(self, task: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let _here = Pinned::here();
        thread::scope(|scope| {
            let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || {
                self.take()?;
                task()
            });
            let failed = |error| io::Error::other(format!("no thread can be started to open it: {error}"));
            thread.map_err(failed)?.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Takes these rights, for ever, for this thread alone.
    fn take(self) -> io::Result<()> {
        let kept = match self.0 {
            None => OVER_FILES,
            Some((user, group)) => {
                take_user(user, group)?;
                CapabilitySet::empty()
            }
        };
        let has = capabilities(None)?;
        let sets = CapabilitySets {
            effective: has.effective.intersection(kept),
            permitted: has.permitted.intersection(kept),
            inheritable: CapabilitySet::empty(),
        };
        Ok(set_capabilities(None, sets)?)
    }
}

/// Keeps this thread and those that it starts on the current processor until this is dropped. Waking another processor takes
/// longer than all that the thread does (67 microseconds with it, 32 without).
struct Pinned(Option<CpuSet>);

impl Pinned {
    fn here() -> Self {
        let this_thread = Pid::from_raw(0);
        let pin = || -> nix::Result<CpuSet> {
            let before = sched_getaffinity(this_thread)?;
            let mut here = CpuSet::new();
            here.set(sched_getcpu()?)?;
            sched_setaffinity(this_thread, &here)?;
            Ok(before)
        };
        Self(pin().ok())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = sched_setaffinity(Pid::from_raw(0), before);
        }
    }
}

/// Sets the file-system user, the file-system group and the groups of this thread. The other user ids stay: the container's
/// user could otherwise send it signals (setfsuid(2)).
fn take_user(user: Uid, group: Gid) -> io::Result<()> {
    set_thread_groups(&[rustix::process::Gid::from_raw(group.as_raw())])?;
    let _ = (setfsgid(group), setfsuid(user));
    // Neither call tells whether it failed: each says who it was before.
    if (setfsuid(user), setfsgid(group)) == (user, group) { Ok(()) } else { Err(Errno::EPERM.into()) }
}
