//! A file of another user is never believed, and reading it never blocks.
//!
//! An earlier ocinet made folders that everybody could write to, so that anything may be in them. A record, a network and
//! a claim count where root wrote them, and nobody else can.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::libc::O_NOFOLLOW;
use nix::unistd::geteuid;

use crate::kernel::user_namespace::overflow_uid;
use crate::small_file;
use crate::small_file::NOT_ORDINARY;
use crate::state::dir::StateDir;
use crate::state::error::{StateError, is_absent};
use crate::state::folders;
use crate::state::folders::OTHERS_WRITE;
use crate::state::lock_file::Locked;

impl StateDir {
    /// Opens a file to read; `None` where there is none.
    ///
    /// # Errors
    /// [`StateError::Foreign`] for what ocinet cannot have written, [`StateError::Writable`] for a file that others can
    /// write to, and those of open(2).
    pub(crate) fn open(&self, path: &Path) -> Result<Option<File>, StateError> {
        self.open_with(path, OpenOptions::new().read(true))
    }

    /// The same to read and to write.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_to_change(&self, path: &Path) -> Result<Option<File>, StateError> {
        self.open_with(path, OpenOptions::new().read(true).write(true))
    }

    fn open_with(&self, path: &Path, options: &mut OpenOptions) -> Result<Option<File>, StateError> {
        let (file, metadata) = match small_file::open_with(path, options, O_NOFOLLOW) {
            Ok(opened) => opened,
            Err(error) if is_absent(&error) && self.is_folder(&error) => return Ok(None),
            Err(error) => return Err(refused(path, error)),
        };
        self.check_owner(path, &metadata)?;
        if metadata.mode() & OTHERS_WRITE != 0 {
            return Err(StateError::Writable { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
        }
        Ok(Some(file))
    }

    /// Whether the state folder itself is not what a path fails for.
    pub(crate) fn is_folder(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::NotFound || self.root().is_dir()
    }

    /// Checks that a file is an ordinary one of root's or of the user that ocinet runs as. Where the exporter is neither,
    /// as in a user namespace, the state folder's owner counts, if the namespace knows that user.
    ///
    /// # Errors
    /// [`StateError::Foreign`].
    pub fn check_owner(&self, path: &Path, metadata: &Metadata) -> Result<(), StateError> {
        match self.fault(metadata) {
            Some(reason) => Err(StateError::Foreign { path: path.to_owned(), reason }),
            None => Ok(()),
        }
    }

    /// Why ocinet cannot have written a file.
    fn fault(&self, metadata: &Metadata) -> Option<String> {
        if !self.is_trusted(metadata) {
            Some(format!("it belongs to the user {}", metadata.uid()))
        } else if metadata.is_symlink() {
            Some(IS_LINK.to_owned())
        } else {
            (!metadata.is_file()).then(|| NOT_ORDINARY.to_owned())
        }
    }

    fn is_trusted(&self, metadata: &Metadata) -> bool {
        let uid = metadata.uid();
        let is_owners = || fs::metadata(self.root()).is_ok_and(|folder| folder.uid() == uid);
        uid == 0 || uid == geteuid().as_raw() || (is_owners() && uid != overflow_uid())
    }

    /// Why ocinet cannot have written what is at a path; `None` where nothing is there, or it may have.
    #[must_use]
    pub fn why_foreign(&self, path: &Path) -> Option<String> {
        self.fault(&fs::symlink_metadata(path).ok()?)
    }

    /// The same of a path at which ocinet makes folders.
    #[must_use]
    pub fn why_foreign_folder(&self, path: &Path) -> Option<String> {
        let metadata = fs::symlink_metadata(path).ok()?;
        if metadata.is_dir() || self.is_trusted(&metadata) { None } else { self.fault(&metadata) }
    }

    /// Whether something is there that ocinet cannot have written.
    #[must_use]
    pub fn is_foreign(&self, path: &Path) -> bool {
        self.why_foreign(path).is_some()
    }

    /// Whether a file is there that ocinet may have written.
    #[must_use]
    pub fn is_own(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|metadata| self.check_owner(path, &metadata).is_ok())
    }

    /// Removes what ocinet cannot have written; whether there was something. A folder is removed if it is empty.
    ///
    /// # Errors
    /// As [`StateDir::lock`], and those of unlink(2) and rmdir(2).
    pub fn remove_foreign(&self, path: &Path) -> Result<bool, StateError> {
        if !self.is_foreign(path) {
            return Ok(false);
        }
        // Of two at once, the later must not remove what the earlier put in its place.
        let _lock = self.lock(Locked::Common)?;
        if !self.is_foreign(path) {
            return Ok(true);
        }
        self.clear(path).map(|()| true).map_err(|error| StateError::io("remove", path, error))
    }

    /// Removes what is in the place of a file. ocinet makes no folder there: one that is empty goes, and another user's is
    /// moved into the state folder itself, with what is in it.
    ///
    /// # Errors
    /// Those of unlink(2), rmdir(2) and rename(2).
    pub fn clear(&self, path: &Path) -> io::Result<()> {
        folders::clear(self.root(), path)
    }

    /// Refuses a link in the place of a folder of ocinet's in which a file is.
    ///
    /// # Errors
    /// [`StateError::Unsafe`].
    pub fn check_way(&self, file: &Path) -> Result<(), StateError> {
        let root = self.root();
        let folders = file.ancestors().skip(1).take_while(|folder| *folder != root);
        match folders.into_iter().find(|folder| folder.is_symlink()) {
            Some(link) => Err(folders::link(link)),
            None => Ok(()),
        }
    }

    /// Removes what another user put in the place of a folder, or of one above it inside the state folder.
    ///
    /// # Errors
    /// Those of unlink(2), which removes no folder.
    pub(crate) fn clear_way(&self, folder: &Path) -> Result<(), StateError> {
        let root = self.root();
        let inside: Vec<&Path> = folder.ancestors().take_while(|path| *path != root).collect();
        for path in inside.into_iter().rev().filter(|path| self.why_foreign_folder(path).is_some()) {
            match fs::remove_file(path) {
                // Another start was first, and made its folder.
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => {}
                Err(error) if !is_absent(&error) => return Err(StateError::io("remove", path, error)),
                _ => {}
            }
        }
        Ok(())
    }
}

const IS_LINK: &str = "it is a symbolic link";

/// A link is not followed, and a socket cannot be opened.
fn refused(path: &Path, error: io::Error) -> StateError {
    let foreign = |reason: &str| StateError::Foreign { path: path.to_owned(), reason: reason.to_owned() };
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => foreign(IS_LINK),
        Some(Errno::ENXIO | Errno::EISDIR) | None => foreign(NOT_ORDINARY),
        Some(_) => StateError::io("read", path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_is_no_ordinary_file_is_not_waited_for_or_followed() {
        let made = tempfile::tempdir().unwrap();
        let folder = made.path();
        fs::create_dir_all(folder.join("folder")).unwrap();
        let state = StateDir::new(folder);
        let at = |name: &str| folder.join(name);
        fs::write(at("file"), "text").unwrap();
        assert_eq!(state.read(&at("file")).unwrap().as_deref(), Some("text"));
        assert_eq!(state.read(&at("none")).unwrap(), None);
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        symlink(at("file"), at("link")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for name in ["fifo", "link", "socket", "folder"] {
            let refused = state.read(&at(name)).unwrap_err();
            assert!(matches!(refused, StateError::Foreign { .. }), "{name}: {refused}");
            assert!(state.is_foreign(&at(name)) && !state.is_own(&at(name)), "{name}");
        }
        assert!(state.remove_foreign(&at("folder")).unwrap() && !at("folder").exists());
        for mode in [0o666, 0o664] {
            fs::set_permissions(at("file"), fs::Permissions::from_mode(mode)).unwrap();
            let refused = state.read(&at("file")).unwrap_err();
            assert!(matches!(refused, StateError::Writable { .. }), "{refused}");
        }
        assert!(state.remove_foreign(&at("link")).unwrap() && !state.remove_foreign(&at("file")).unwrap());
        assert!(at("file").exists() && !at("link").is_symlink());
    }
}
