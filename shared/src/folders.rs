//! The state folder and the folders in it: root alone writes to them.

use std::fs::{self, DirBuilder, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use nix::libc::{O_DIRECTORY, O_NOFOLLOW};
use nix::unistd::geteuid;

use crate::foreign::overflow_uid;
use crate::locks::LOCK_FILE;
use crate::record_dir::{Danger, StateError};

/// The folders that hold the state, each with how many levels of folders it has of its own.
const FOLDERS: [(&str, usize); 7] = [
    ("containers", 0),
    ("leases", 1),
    ("networks", 0),
    ("ports", 1),
    ("macs", 2),
    ("members", 1),
    ("last-error", 0),
];
/// The files beside them.
const FILES: [&str; 4] = [LOCK_FILE, "sweep", "stats.json", "forwarding.json"];
/// Their mode.
const MODE: u32 = 0o755;
/// Whoever can write to a folder or a file besides its owner.
pub(crate) const OTHERS_WRITE: u32 = 0o022;
/// As /tmp has it: many share the folder.
const STICKY: u32 = 0o1000;
const MANY_SHARE: &str = "it is one that many share";

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
        return Err(not_safe(folder, Danger::Shared, "it is no folder".to_owned()));
    }
    check_known(folder, &metadata)?;
    if !is_own(&metadata) {
        return Err(not_safe(folder, Danger::Owner, owner(&metadata)));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    let check_content = || match of_others(folder).map_err(fail)? {
        Some((cause, danger)) => {
            let danger = if mode & STICKY != 0 { Danger::Shared } else { danger };
            Err(open_to_others(folder, danger, mode, &cause))
        }
        None => Ok(()),
    };
    check_content()?;
    if mode & STICKY != 0 {
        return Err(open_to_others(folder, Danger::Shared, mode, MANY_SHARE));
    }
    let close = |mode| fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(fail);
    close(MODE)?;
    // After it is closed: nobody adds anything any more.
    check_content().or_else(|refused| close(mode).and(Err(refused)))
}

/// Something in the state folder that is not ocinet's, and what that means.
fn of_others(folder: &Path) -> io::Result<Option<(String, Danger)>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let shown = name.escape_debug();
        if !is_own(&entry.metadata()?) {
            return Ok(Some((format!("{shown} is not root's"), Danger::Content)));
        }
        let known = name.strip_prefix('.').unwrap_or(&name);
        if !FOLDERS.iter().any(|(folder, _)| *folder == known) && !FILES.contains(&known) {
            return Ok(Some((format!("{shown} is not ocinet's"), Danger::Shared)));
        }
    }
    Ok(None)
}

/// Looks at everything in a state folder that no ocinet with a lock file has looked at. Its mode of today says nothing of
/// who could write to it before. What in it is root's, and no folder of ocinet's, is not looked at.
pub(crate) fn check_unseen(folder: &Path) -> Result<(), StateError> {
    for entry in fs::read_dir(folder).map_err(|error| StateError::io("read", folder, error))? {
        let path = entry.map_err(|error| StateError::io("read", folder, error))?.path();
        if let Some(metadata) = metadata(&path)? {
            check_owner(&path, &metadata)?;
        }
    }
    check_all(folder)
}

/// Checks the folders in the state folder and those in them, and gives each its mode: others read, and write nothing.
pub(crate) fn check_all(folder: &Path) -> Result<(), StateError> {
    check_each(folder, |_| true)
}

/// Checks the folders in the state folder, which an earlier ocinet made as the umask of its time would have it. Those that
/// others can write to are closed to them.
pub(crate) fn check_inner(folder: &Path) -> Result<(), StateError> {
    check_each(folder, |metadata| metadata.mode() & OTHERS_WRITE != 0)
}

fn check_each(folder: &Path, is_to_be_closed: impl Fn(&Metadata) -> bool) -> Result<(), StateError> {
    for (name, levels) in FOLDERS {
        let path = folder.join(name);
        let Some(metadata) = metadata(&path)? else { continue };
        if metadata.is_symlink() {
            return Err(link(&path));
        }
        check_owner(&path, &metadata)?;
        if !metadata.is_dir() {
            return Err(not_safe(&path, Danger::Inside, "it is no folder".to_owned()));
        }
        if is_to_be_closed(&metadata) {
            close(&path, levels)?;
        }
    }
    Ok(())
}

/// Closes a folder and those in it, as deep as ocinet makes any. No link is followed: in a folder that is closed, none takes
/// the place of what was looked at. Where something in it is another user's, the folder itself is opened again, so that
/// the next start finds out, too. Others that were closed before stay closed.
fn close(path: &Path, levels: usize) -> Result<(), StateError> {
    let fail = |error| StateError::io("close to others", path, error);
    let folder = OpenOptions::new().read(true).custom_flags(O_DIRECTORY | O_NOFOLLOW).open(path);
    let folder = folder.map_err(fail)?;
    let metadata = folder.metadata().map_err(fail)?;
    check_owner(path, &metadata)?;
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 && mode & STICKY != 0 {
        return Err(open_to_others(path, Danger::Shared, mode, MANY_SHARE));
    }
    let set = |mode| folder.set_permissions(Permissions::from_mode(mode));
    match if mode == MODE { Ok(()) } else { set(MODE) } {
        Err(error) if mode & OTHERS_WRITE != 0 => return Err(fail(error)),
        _ => {}
    }
    close_inside(path, levels).inspect_err(|_| {
        if mode != MODE {
            let _ = set(mode);
        }
    })
}

/// Files are judged when they are opened.
fn close_inside(path: &Path, levels: usize) -> Result<(), StateError> {
    let fail = |error| StateError::io("read", path, error);
    for entry in fs::read_dir(path).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let Some(metadata) = metadata(&path)? else { continue };
        if metadata.is_dir() || metadata.is_symlink() {
            check_owner(&path, &metadata)?;
        }
        if metadata.is_dir()
            && let Some(levels) = levels.checked_sub(1)
        {
            close(&path, levels)?;
        }
    }
    Ok(())
}

/// What is at a path; `None` where nothing is.
fn metadata(path: &Path) -> Result<Option<Metadata>, StateError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(|error| StateError::io("read", path, error)),
    }
}

fn is_own(metadata: &Metadata) -> bool {
    metadata.uid() == geteuid().as_raw()
}

/// Refuses a state folder whose owner this user namespace does not know. The first namespace knows all 2^32 - 1 users
/// (user_namespaces(7)).
pub(crate) fn check_known(folder: &Path, metadata: &Metadata) -> Result<(), StateError> {
    let knows_all = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
    let is_unknown = !is_own(metadata)
        && metadata.uid() == overflow_uid()
        && !fs::read_to_string("/proc/self/uid_map").is_ok_and(knows_all);
    if !is_unknown {
        return Ok(());
    }
    let reason = "the user namespace of this process does not know its owner".to_owned();
    Err(not_safe(folder, Danger::Unknown, reason))
}

fn owner(metadata: &Metadata) -> String {
    format!("it belongs to the user {}", metadata.uid())
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), StateError> {
    match is_own(metadata) {
        true => Ok(()),
        false if metadata.is_symlink() => Err(link(path)),
        false => Err(not_safe(path, Danger::Inside, owner(metadata))),
    }
}

fn link(path: &Path) -> StateError {
    not_safe(path, Danger::Link, "it is a symbolic link".to_owned())
}

fn open_to_others(path: &Path, danger: Danger, mode: u32, cause: &str) -> StateError {
    not_safe(path, danger, format!("others can write to it (its mode is {mode:04o}), and {cause}"))
}

fn not_safe(path: &Path, danger: Danger, reason: String) -> StateError {
    StateError::Unsafe { path: path.to_owned(), danger, reason }
}
