//! A file of a container's root: checked, read and written by one descriptor.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use nix::fcntl::{OFlag, ResolveFlag};

use super::file_system;
use super::resolve::resolve;
use crate::kernel::landlock;

/// The largest file that is read.
const MAX_FILE: u64 = 1 << 20;
/// To open a file waits for nobody, not even for a lease (fcntl(2)) that a container holds on it.
const AT_ONCE: i32 = OFlag::O_NONBLOCK.union(OFlag::O_NOCTTY).bits();

/// Which file a name stands for: its file system and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// # Errors
    /// A path that leads to nothing.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&fs::metadata(path)?))
    }
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// An ordinary file that is the container's own.
#[derive(Debug)]
pub(super) struct RootFile(File);

impl RootFile {
    /// Checks what was found. `mounted` is the host's file that must be mounted there. It is written as the host has it: an
    /// engine may mount it read-only, as podman does with `--read-only`, which holds the container's processes alone.
    ///
    /// # Errors
    /// What it is instead.
    pub(super) fn new(found: File, mounted: Option<File>) -> io::Result<Self> {
        let is = found.metadata()?;
        if !is.is_file() {
            return Err(io::Error::other("it is not an ordinary file"));
        }
        file_system::check(&found)?;
        if is.nlink() > 1 {
            return Err(io::Error::other("it has other names too (hard links), which would change with it"));
        }
        let Some(mounted) = mounted else { return Ok(Self(found)) };
        if Identity::from(&mounted.metadata()?) != Identity::from(&is) {
            return Err(io::Error::other("it is not the file that config.json says is mounted there"));
        }
        Ok(Self(mounted))
    }

    /// Makes a file that every user of the container may read. What is there already is not opened.
    ///
    /// # Errors
    /// Those of openat2(2).
    pub(super) fn create(folder: &File, name: &str) -> io::Result<Self> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY;
        let place = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV;
        let made = resolve(folder, Path::new(name), flags, place)?;
        // The container's users are not the administrator's, whose umask this would go by.
        made.set_permissions(Permissions::from_mode(0o644))?;
        Self::new(made, None)
    }

    /// Which file it is.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub(super) fn identity(&self) -> io::Result<Identity> {
        Ok(Identity::from(&self.0.metadata()?))
    }

    /// Gives it the text that `new` makes of its old one. The thread opens no other file from then on.
    ///
    /// # Errors
    /// More than 1 MiB, text that is not UTF-8, and those of open(2), read(2) and write(2).
    pub(super) fn rewrite(&self, new: impl FnOnce(&str) -> Option<String>) -> io::Result<()> {
        landlock::restrict_to_file(&self.0)?;
        new(&self.read()?).map_or(Ok(()), |text| self.write(&text))
    }

    fn read(&self) -> io::Result<String> {
        let file = OpenOptions::new().read(true).custom_flags(AT_ONCE).open(again(&self.0))?;
        let mut text = String::new();
        let read = file.take(MAX_FILE + 1).read_to_string(&mut text)?;
        if read as u64 > MAX_FILE {
            return Err(io::Error::other("it is larger than 1 MiB"));
        }
        Ok(text)
    }

    /// Writes it in place, because it may be a mount of its own. It is not emptied before: ext4 waits for the disk to take note of
    /// a file that was (`auto_da_alloc`, ext4(5)).
    ///
    /// # Errors
    /// Those of open(2), write(2) and ftruncate(2).
    pub(super) fn write(&self, content: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).custom_flags(AT_ONCE).open(again(&self.0))?;
        file.write_all(content.as_bytes())?;
        let length = content.len() as u64;
        if file.metadata()?.len() > length { file.set_len(length) } else { Ok(()) }
    }
}

/// A path by which a file that was only looked at is opened: the same file, whatever its name means by now.
pub(super) fn again(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
