//! Locks of the state folder. Every lock is a byte of one file that nobody but root can open (fcntl_locking(2), open file
//! description locks): whoever can open a file can lock it, and the rest of the folder is for everybody to read.
//!
//! The kernel gives a lock up when its holder dies. Nothing is left of a lock that is given up, and nobody waits for a
//! container or network that is not theirs. No wait is without an end.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::geteuid;

use super::error::StateError;
use super::folders;
use super::layout::LOCK_FILE;
use crate::model::container_id::ContainerId;
use crate::model::mac::fnv1a;

/// How long a lock is waited for. A holder that dies lets go at once, so that only a slow one is waited for: where
/// hundreds of containers start at once on a machine that is busy besides, five seconds were not enough.
pub const LOCK_DEADLINE: Duration = Duration::from_secs(20);
/// How often a lock that is taken is tried.
const TRY_EVERY: Duration = Duration::from_micros(200);
/// No link is followed, and no pipe is waited for.
const FLAGS: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// What is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked<'a> {
    /// A container's record and what it owns.
    Container(&'a ContainerId),
    /// A network's file and links.
    Network(&'a ContainerId),
    /// The making of networks.
    Networks,
    /// The files that belong to no container or network.
    Common,
    /// The ids that are still to be looked at.
    Sweep,
    /// The elements of the records and the networks, while they are put back (exclusively) or some of them are deleted
    /// (shared). Whoever has this lock takes no other. An element that no record, no network and no forwarding of the host has is
    /// never put back.
    Elements,
    /// The turn to put elements back, from before [`Self::Elements`] is asked for.
    Restoring,
    /// A container that is being detached.
    EndingContainer(&'a ContainerId),
    /// A network that is being removed.
    EndingNetwork(&'a ContainerId),
}

impl Locked<'_> {
    /// The byte that stands for it. Two containers of one hash wait for each other, and so do two networks. While a start joins
    /// one such network, the last container of the other leaves its network behind; `ocinet gc` removes it later.
    fn byte(self) -> i64 {
        const HASH: u32 = 60;
        let (kind, name) = match self {
            Self::Container(id) => (0, id.as_str()),
            Self::Network(name) => (1, name.as_str()),
            Self::Networks => (2, ""),
            Self::Common => (3, ""),
            Self::Sweep => (4, ""),
            Self::Elements => (5, ""),
            Self::EndingContainer(id) => (6, id.as_str()),
            Self::EndingNetwork(name) => (7, name.as_str()),
            // Eight kinds are all that the highest bits have room for.
            Self::Restoring => (5, "turn"),
        };
        (kind << HASH) | (fnv1a(name.as_bytes()) & ((1 << HASH) - 1)).cast_signed()
    }

    fn describe(self) -> String {
        match self {
            Self::Container(id) => format!("container {id}"),
            Self::Network(name) => format!("network {name}"),
            Self::Networks => "the making of networks".to_owned(),
            Self::Common => "the common files".to_owned(),
            Self::Sweep => "the sweep".to_owned(),
            Self::Elements => "the nftables elements".to_owned(),
            Self::Restoring => "the turn to restore nftables elements".to_owned(),
            Self::EndingContainer(id) => format!("the end of container {id}"),
            Self::EndingNetwork(name) => format!("the end of network {name}"),
        }
    }
}

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Beside others that hold it shared.
    Shared,
    /// Alone.
    Exclusive,
}

/// A lock, given up when dropped. A process must not take one twice: it would not wait for itself.
#[derive(Debug)]
pub struct Lock {
    file: Arc<File>,
    byte: i64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = set(&self.file, libc::F_UNLCK, self.byte);
    }
}

/// The locks of one state folder. The file is opened once in the life of a process, so that its locks need no more
/// descriptors.
#[derive(Debug, Clone)]
pub(crate) struct Locks {
    folder: PathBuf,
    file: Arc<Mutex<Option<Arc<File>>>>,
}

impl Locks {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: Arc::default() }
    }

    /// Takes a lock.
    ///
    /// # Errors
    /// [`StateError::Busy`] after `patience`, a state folder that others can write to, and those of the file system.
    pub(crate) fn take(&self, what: Locked<'_>, mode: Mode, patience: Duration) -> Result<Lock, StateError> {
        let began = Instant::now();
        loop {
            if let Some(lock) = self.attempt(what, mode)? {
                return Ok(lock);
            }
            self.pause(what, began, patience)?;
        }
    }

    /// Takes a lock exclusively, unless others hold it shared: `None` then. Those may come one after another without end,
    /// and would be waited for in vain; who holds it exclusively is waited for.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(crate) fn take_unless_shared(
        &self,
        what: Locked<'_>,
        patience: Duration,
    ) -> Result<Option<Lock>, StateError> {
        let began = Instant::now();
        loop {
            if let Some(lock) = self.attempt(what, Mode::Exclusive)? {
                return Ok(Some(lock));
            }
            if self.is_held(what, Mode::Shared)? {
                return Ok(None);
            }
            self.pause(what, began, patience)?;
        }
    }

    /// Takes a lock exclusively for one who only looks, and makes no file of locks. `None` where there is none, where others
    /// than root can open it, and where it can only be read: what is found may change meanwhile.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(crate) fn take_if_there(
        &self,
        what: Locked<'_>,
        patience: Duration,
    ) -> Result<Option<Lock>, StateError> {
        let path = self.folder.join(LOCK_FILE);
        match OpenOptions::new().read(true).write(true).custom_flags(FLAGS).open(&path) {
            // What others can open, they may hold.
            Ok(file) if is_of_root_alone(&file).map_err(|error| self.fail(error))? => {
                *self.slot() = Some(Arc::new(file));
                self.take(what, Mode::Exclusive, patience).map(Some)
            }
            Ok(_) => Ok(None),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem)
                    || is_no_file(&error) =>
            {
                Ok(None)
            }
            Err(error) => Err(StateError::io("open", &path, error)),
        }
    }

    /// `None` where others hold it.
    fn attempt(&self, what: Locked<'_>, mode: Mode) -> Result<Option<Lock>, StateError> {
        let kind = match mode {
            Mode::Shared => libc::F_RDLCK,
            Mode::Exclusive => libc::F_WRLCK,
        };
        loop {
            let file = self.file()?;
            match set(&file, kind, what.byte()) {
                Ok(()) => {
                    let lock = Lock { file, byte: what.byte() };
                    if lock.file.metadata().map_err(|error| self.fail(error))?.nlink() > 0 {
                        return Ok(Some(lock));
                    }
                    // Somebody removed the state folder: the lock is on nothing.
                    *self.slot() = None;
                }
                Err(Errno::EAGAIN | Errno::EACCES) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.fail(errno.into())),
            }
        }
    }

    /// Waits while others hold a lock exclusively.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(crate) fn wait_while_held(&self, what: Locked<'_>, patience: Duration) -> Result<(), StateError> {
        let began = Instant::now();
        while self.is_held(what, Mode::Exclusive)? {
            self.pause(what, began, patience)?;
        }
        Ok(())
    }

    /// Whether others hold a lock in this mode.
    pub(crate) fn is_held(&self, what: Locked<'_>, mode: Mode) -> Result<bool, StateError> {
        is_held(&*self.file()?, what.byte(), mode).map_err(|errno| self.fail(errno.into()))
    }

    /// Before the next attempt; an error where the time is over.
    fn pause(&self, what: Locked<'_>, began: Instant, patience: Duration) -> Result<(), StateError> {
        if began.elapsed() >= patience {
            let path = self.folder.join(LOCK_FILE);
            return Err(StateError::Busy { what: what.describe(), waited: patience, path });
        }
        sleep(TRY_EVERY);
        Ok(())
    }

    fn fail(&self, error: io::Error) -> StateError {
        StateError::io("lock", &self.folder.join(LOCK_FILE), error)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<File>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file, once.
    pub(crate) fn file(&self) -> Result<Arc<File>, StateError> {
        let mut slot = self.slot();
        if let Some(file) = &*slot {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(self.open()?);
        *slot = Some(Arc::clone(&file));
        Ok(file)
    }

    fn open(&self) -> Result<File, StateError> {
        let path = self.folder.join(LOCK_FILE);
        let fail = |error| StateError::io("open", &path, error);
        loop {
            folders::check(&self.folder)?;
            let mut options = OpenOptions::new();
            options.read(true).write(true).mode(0o600).custom_flags(FLAGS);
            match options.open(&path) {
                Ok(file) => {
                    if is_of_root_alone(&file).map_err(fail)? {
                        return Ok(file);
                    }
                    // Somebody may have it open, and locked: another takes its place.
                    fs::remove_file(&path).map_err(fail)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Before there is a file: whoever finds one takes the folder to have been looked at.
                    folders::check_unseen(&self.folder)?;
                    match options.create_new(true).open(&path) {
                        Ok(file) => return Ok(file),
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        Err(error) => return Err(fail(error)),
                    }
                }
                // Another process has put a file there meanwhile: it is opened.
                Err(error) if is_no_file(&error) && is_file(&path) => {}
                Err(error) if is_no_file(&error) => match folders::clear(&self.folder, &path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
                    _ => {}
                },
                Err(error) => return Err(fail(error)),
            }
        }
    }
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Whether a link, a folder or a socket is in the place of the file.
fn is_no_file(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ELOOP | Errno::EISDIR | Errno::ENXIO))
}

fn is_of_root_alone(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    let others = metadata.mode() & 0o077;
    Ok(metadata.is_file() && others == 0 && metadata.uid() == geteuid().as_raw())
}

fn set(file: &File, kind: i32, byte: i64) -> Result<(), Errno> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock_of(kind, byte))).map(drop)
}

/// Whether others hold a byte in this mode.
fn is_held(file: &File, byte: i64, mode: Mode) -> Result<bool, Errno> {
    let (in_the_way_of, held) = match mode {
        Mode::Shared => (libc::F_WRLCK, libc::F_RDLCK),
        Mode::Exclusive => (libc::F_RDLCK, libc::F_WRLCK),
    };
    // The kernel writes one of those that are in the way into it.
    let mut asked = lock_of(in_the_way_of, byte);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked))?;
    Ok(i32::from(asked.l_type) == held)
}

fn lock_of(kind: i32, byte: i64) -> libc::flock {
    libc::flock {
        // The constants are small numbers that the field has room for.
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests;
