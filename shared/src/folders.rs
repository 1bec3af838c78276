//! The state folder and the folders in it: root alone writes to them.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use nix::libc::O_DIRECTORY;
use nix::unistd::geteuid;

use crate::locks::LOCK_FILE;
use crate::record_dir::StateError;

/// The folders that hold the state; some have folders of their own.
const FOLDERS: [&str; 7] = ["containers", "leases", "networks", "ports", "macs", "members", "last-error"];
/// The files beside them.
const FILES: [&str; 4] = [LOCK_FILE, "sweep", "stats.json", "forwarding.json"];
/// Their mode.
const MODE: u32 = 0o755;
/// Whoever can write to a folder or a file besides its owner.
pub(crate) const OTHERS_WRITE: u32 = 0o022;
/// As /tmp has it: many share the folder.
const STICKY: u32 = 0o1000;

/// Makes the state folder where it is missing. One of another user's is not used, and neither is one that others could
/// write to and did: whatever is in it may be theirs. One that they left alone is closed to them. One that many share is
/// never changed.
pub(crate) fn check(folder: &Path) -> Result<(), StateError> {
    let fail = |error| StateError::io("read", folder, error);
    let metadata = match fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(MODE).create(folder);
            made.map_err(|error| StateError::io("make the folder", folder, error))?;
            fs::metadata(folder)
        }
        other => other,
    }
    .map_err(fail)?;
    if !metadata.is_dir() {
        return Err(not_safe(folder, "it is no folder".to_owned(), true));
    }
    check_owner(folder, &metadata)?;
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    let check_content = || match of_others(folder).map_err(fail)? {
        Some((cause, is_shared)) => {
            Err(open_to_others(folder, mode, &cause, is_shared || mode & STICKY != 0))
        }
        None => Ok(()),
    };
    check_content()?;
    if mode & STICKY != 0 {
        return Err(open_to_others(folder, mode, "it is one that many share", true));
    }
    let close = |mode| fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(fail);
    close(MODE)?;
    // After it is closed: nobody adds anything any more.
    check_content().or_else(|refused| close(mode).and(Err(refused)))
}

/// Something in the state folder that is not ocinet's, and whether it is another program's.
fn of_others(folder: &Path) -> io::Result<Option<(String, bool)>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let shown = name.escape_debug();
        if entry.metadata()?.uid() != geteuid().as_raw() {
            return Ok(Some((format!("{shown} is not root's"), false)));
        }
        let known = name.strip_prefix('.').unwrap_or(&name);
        if !FOLDERS.contains(&known) && !FILES.contains(&known) {
            return Ok(Some((format!("{shown} is not ocinet's"), true)));
        }
    }
    Ok(None)
}

/// Checks the folders in the state folder, which an earlier ocinet made as the umask of its time would have it. Those that
/// others can write to are closed to them, and where `is_new` says that nobody has looked yet, all below are looked at.
pub(crate) fn check_inner(folder: &Path, is_new: bool) -> Result<(), StateError> {
    for name in FOLDERS {
        let path = folder.join(name);
        let metadata = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(|error| StateError::io("read", &path, error))?,
        };
        check_owner(&path, &metadata)?;
        if is_new || metadata.mode() & OTHERS_WRITE != 0 {
            close(&path)?;
        }
    }
    Ok(())
}

/// Closes a folder and those in it. Where one of them is another user's, they stay as they were, so that the next start
/// finds out, too.
fn close(path: &Path) -> Result<(), StateError> {
    let fail = |error| StateError::io("close to others", path, error);
    let folder = OpenOptions::new().read(true).custom_flags(O_DIRECTORY).open(path).map_err(fail)?;
    let mode = folder.metadata().map_err(fail)?.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 && mode & STICKY != 0 {
        return Err(open_to_others(path, mode, "it is one that many share", true));
    }
    let set = |folder: &File, mode| folder.set_permissions(Permissions::from_mode(mode));
    match if mode == MODE { Ok(()) } else { set(&folder, MODE) } {
        Err(error) if mode & OTHERS_WRITE != 0 => return Err(fail(error)),
        _ => {}
    }
    close_inside(path).inspect_err(|_| {
        if mode != MODE {
            let _ = set(&folder, mode);
        }
    })
}

/// Files are judged when they are opened.
fn close_inside(path: &Path) -> Result<(), StateError> {
    for entry in fs::read_dir(path).map_err(|error| StateError::io("read", path, error))?.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() || metadata.is_symlink() {
            check_owner(&entry.path(), &metadata)?;
        }
        if metadata.is_dir() {
            close(&entry.path())?;
        }
    }
    Ok(())
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), StateError> {
    if metadata.uid() == geteuid().as_raw() {
        return Ok(());
    }
    Err(not_safe(path, format!("it belongs to the user {}", metadata.uid()), false))
}

fn open_to_others(path: &Path, mode: u32, cause: &str, is_shared: bool) -> StateError {
    not_safe(path, format!("others can write to it (its mode is {mode:04o}), and {cause}"), is_shared)
}

fn not_safe(path: &Path, reason: String, is_shared: bool) -> StateError {
    StateError::Unsafe { path: path.to_owned(), reason, is_shared }
}
