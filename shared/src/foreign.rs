//! Whose the files of the state folder are: what is another user's is nobody's word, and is never waited for.
//!
//! An earlier ocinet made folders that everybody could write to, so that anything may be in them. A record, a network and
//! a claim count where root wrote them, and nobody else can.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::libc::O_NOFOLLOW;
use nix::unistd::geteuid;

use crate::folders::OTHERS_WRITE;
use crate::record_dir::{Locked, StateDir, StateError};
use crate::small_file::{self, NOT_ORDINARY};

impl StateDir {
    /// Opens a file to read; `None` where there is none.
    ///
    /// # Errors
    /// [`StateError::Foreign`] for what ocinet cannot have written, [`StateError::Malformed`] for a file that others can
    /// write to, and those of open(2).
    pub(crate) fn open(&self, path: &Path) -> Result<Option<File>, StateError> {
        let (file, metadata) = match small_file::open(path, O_NOFOLLOW) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(path, error)),
        };
        self.check_owner(path, &metadata)?;
        if metadata.mode() & OTHERS_WRITE != 0 {
            let reason = format!("others can write to it (its mode is {:04o})", metadata.mode() & 0o7777);
            return Err(StateError::Malformed { path: path.to_owned(), reason });
        }
        Ok(Some(file))
    }

    /// Checks that a file is an ordinary one of root's or of the user that ocinet runs as. Where the exporter is neither,
    /// as in a user namespace, the state folder's owner counts.
    ///
    /// # Errors
    /// [`StateError::Foreign`].
    pub fn check_owner(&self, path: &Path, metadata: &Metadata) -> Result<(), StateError> {
        let foreign = |reason| Err(StateError::Foreign { path: path.to_owned(), reason });
        if !metadata.is_file() {
            return foreign(NOT_ORDINARY.to_owned());
        }
        let uid = metadata.uid();
        let is_owners = || fs::metadata(self.path("")).is_ok_and(|folder| folder.uid() == uid);
        if uid == 0 || uid == geteuid().as_raw() || is_owners() {
            return Ok(());
        }
        foreign(format!("it belongs to the user {uid}"))
    }

    /// Whether something is there that ocinet cannot have written.
    #[must_use]
    pub fn is_foreign(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|metadata| self.check_owner(path, &metadata).is_err())
    }

    /// Whether a file is there that ocinet may have written.
    #[must_use]
    pub fn is_own(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|metadata| self.check_owner(path, &metadata).is_ok())
    }

    /// Removes what ocinet cannot have written; whether there was something.
    ///
    /// # Errors
    /// As [`StateDir::lock`], and those of unlink(2).
    pub fn remove_foreign(&self, path: &Path) -> Result<bool, StateError> {
        if !self.is_foreign(path) {
            return Ok(false);
        }
        // Of two at once, the later must not remove what the earlier put in its place.
        let _lock = self.lock(Locked::Common)?;
        if !self.is_foreign(path) {
            return Ok(true);
        }
        fs::remove_file(path).map(|()| true).map_err(|error| StateError::io("remove", path, error))
    }
}

/// A link is not followed, and a socket cannot be opened.
fn refused(path: &Path, error: io::Error) -> StateError {
    let foreign = |reason: &str| StateError::Foreign { path: path.to_owned(), reason: reason.to_owned() };
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => foreign("it is a symbolic link"),
        Some(Errno::ENXIO) | None => foreign(NOT_ORDINARY),
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
        let folder = std::env::temp_dir().join(format!("ocinet-foreign-{}", std::process::id()));
        fs::create_dir_all(folder.join("folder")).unwrap();
        let state = StateDir::new(&folder);
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
        for mode in [0o666, 0o664] {
            fs::set_permissions(at("file"), fs::Permissions::from_mode(mode)).unwrap();
            let refused = state.read(&at("file")).unwrap_err();
            assert!(matches!(refused, StateError::Malformed { .. }), "{refused}");
        }
        assert!(state.remove_foreign(&at("link")).unwrap() && !state.remove_foreign(&at("file")).unwrap());
        assert!(at("file").exists() && !at("link").is_symlink());
        fs::remove_dir_all(folder).unwrap();
    }
}
