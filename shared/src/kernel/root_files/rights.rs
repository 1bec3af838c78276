//! As which user a container's files are read and written.
//!
//! The container's own root may do with its files what it likes. Without a user namespace that is root. In one, it is
//! another user of the host, and what that user may not open is not opened for it either.

use std::io;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, getgroups, setfsgid, setfsuid, setgroups};

use super::super::user_namespace;

/// The host's user and group whose rights are taken, where they are not this process's own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rights(Option<(Uid, Gid)>);

/// Rights that are given back when this is dropped.
pub(super) struct Taken {
    back: Option<(Uid, Gid, Vec<Gid>)>,
}

impl Rights {
    /// Those of root in the user namespace of a process.
    ///
    /// # Errors
    /// A process that is gone.
    pub(super) fn of_root_in(pid: u32) -> io::Result<Self> {
        let Some(user) = user_namespace::root_of(&format!("/proc/{pid}/uid_map"))? else {
            return Ok(Self(None));
        };
        let group = user_namespace::root_of(&format!("/proc/{pid}/gid_map"))?.unwrap_or(user);
        Ok(Self(Some((Uid::from_raw(user), Gid::from_raw(group)))))
    }

    /// Takes them. The kernel takes the capabilities that are about files away from a user who is not root
    /// (capabilities(7), "Effect of user ID changes on capabilities").
    ///
    /// # Errors
    /// Rights that this process cannot take.
    pub(super) fn take(self) -> io::Result<Taken> {
        let Some((user, group)) = self.0 else { return Ok(Taken { back: None }) };
        let groups = getgroups()?;
        setgroups(&[group])?;
        let mut taken = Taken { back: Some((Uid::effective(), Gid::effective(), groups)) };
        let _ = (setfsgid(group), setfsuid(user));
        // Neither call tells whether it failed: each says who it was before.
        let is = (setfsuid(user), setfsgid(group));
        if is == (user, group) {
            return Ok(taken);
        }
        taken.restore();
        Err(Errno::EPERM.into())
    }
}

impl Taken {
    fn restore(&mut self) {
        let Some((user, group, groups)) = self.back.take() else { return };
        // The capabilities come back with the user.
        let _ = (setfsuid(user), setfsgid(group), setgroups(&groups));
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.restore();
    }
}
