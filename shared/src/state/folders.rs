//! The state folder and the folders in it: root alone writes to them.

use std::fs::{self, DirBuilder, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use nix::libc::{O_DIRECTORY, O_NOFOLLOW};
use nix::unistd::geteuid;

use super::layout::{FILES, FOLDERS, LOCK_FILE};
use crate::kernel::user_namespace::overflow_uid;
use crate::state::error::{Danger, StateError};

/// What begins the names of other users' folders that were in the place of a file. Nothing reads them.
const ASIDE: &str = "aside-";
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
    check_open(folder, mode)?;
    let close = |mode| fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(fail);
    close(MODE)?;
    // After it is closed: nobody adds anything any more.
    check_open(folder, mode).or_else(|refused| close(mode).and(Err(refused)))
}

/// Whether a state folder that others can write to may be closed to them: all in it is ocinet's, and it is not one that many share.
fn check_open(folder: &Path, mode: u32) -> Result<(), StateError> {
    let found = of_others(folder).map_err(|error| StateError::io("read", folder, error))?;
    if let Some((cause, danger)) = found {
        let danger = if mode & STICKY != 0 { Danger::Shared } else { danger };
        return Err(open_to_others(folder, danger, mode, &cause));
    }
    if mode & STICKY != 0 {
        return Err(open_to_others(folder, Danger::Shared, mode, MANY_SHARE));
    }
    Ok(())
}

/// Removes what is in the place of a file of the state folder: see [`super::dir::StateDir::clear`].
///
/// # Errors
/// Those of unlink(2), rmdir(2) and rename(2).
pub(super) fn clear(state: &Path, path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {}
        removed => return removed,
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
        removed => return removed,
    }
    put_aside(state, path)
}

/// Moves another user's folder out of the way, into the state folder itself, in which root alone writes.
///
/// # Errors
/// Those of rename(2), and root's own folder.
pub(crate) fn put_aside(state: &Path, path: &Path) -> io::Result<()> {
    if is_own(&fs::symlink_metadata(path)?) {
        return Err(io::ErrorKind::DirectoryNotEmpty.into());
    }
    let free = (0_u32..).map(|number| state.join(format!("{ASIDE}{number}")));
    for aside in free {
        match fs::rename(path, &aside) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::AlreadyExists
                ) => {}
            moved => return moved,
        }
    }
    Ok(())
}

/// Something in the state folder that is not ocinet's, and what that means.
fn of_others(folder: &Path) -> io::Result<Option<(String, Danger)>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let shown = name.escape_debug();
        if name.starts_with(ASIDE) {
            continue;
        }
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
        let entry = entry.map_err(|error| StateError::io("read", folder, error))?;
        let path = entry.path();
        let is_aside = entry.file_name().to_str().is_some_and(|name| name.starts_with(ASIDE));
        if !is_aside && let Some(metadata) = metadata(&path)? {
            check_owner(&path, &metadata)?;
        }
    }
    check_all(folder)
}

/// Checks the folders in the state folder and those in them, and gives each its mode: others read, and write nothing.
pub(super) fn check_all(folder: &Path) -> Result<(), StateError> {
    check_each(folder, |_| true)
}

/// Checks the folders in the state folder, which an earlier ocinet made as the umask of its time would have it. Those that
/// others can write to are closed to them.
pub(super) fn check_inner(folder: &Path) -> Result<(), StateError> {
    check_each(folder, |metadata| metadata.mode() & OTHERS_WRITE != 0)
}

fn check_each(folder: &Path, is_to_be_closed: impl Fn(&Metadata) -> bool) -> Result<(), StateError> {
    for (name, levels) in FOLDERS {
        let path = folder.join(name);
        let Some(metadata) = metadata(&path)? else { continue };
        if metadata.is_symlink() {
            return Err(link(&path));
        }
        if !metadata.is_dir() && !is_own(&metadata) {
            // It claims nothing. A start that makes the folder removes it, and so does gc.
            continue;
        }
        check_owner(&path, &metadata)?;
        if !metadata.is_dir() {
            return Err(not_safe(&path, Danger::Inside, "it is no folder".to_owned()));
        }
        if is_to_be_closed(&metadata) {
            close(folder, &path, levels)?;
        }
    }
    Ok(())
}

/// What starts are refused for: the state folder itself, where others can write to it and it may not be closed, links in the place
/// of folders, and folders of other users.
pub(super) fn faults(folder: &Path) -> Vec<StateError> {
    let has_lock_file = fs::symlink_metadata(folder.join(LOCK_FILE)).is_ok();
    let mode = fs::metadata(folder).map_or(MODE, |metadata| metadata.mode() & 0o7777);
    let itself = if mode & OTHERS_WRITE == 0 { None } else { check_open(folder, mode).err() };
    let inside =
        FOLDERS.into_iter().flat_map(|(name, levels)| faults_in(&folder.join(name), levels, has_lock_file));
    itself.into_iter().chain(inside).collect()
}

fn faults_in(path: &Path, levels: usize, has_lock_file: bool) -> Vec<StateError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Vec::new() };
    if metadata.is_symlink() {
        return vec![link(path)];
    }
    if !metadata.is_dir() {
        return Vec::new();
    }
    if let Err(fault) = check_owner(path, &metadata) {
        return vec![fault];
    }
    let paths = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    match levels.checked_sub(1) {
        Some(levels) => paths.flat_map(|path| faults_in(&path, levels, has_lock_file)).collect(),
        None if has_lock_file => Vec::new(),
        // As where they are closed: without the file of locks, folders of others are refused in the place of files, too.
        None => paths
            .filter_map(|path| {
                let metadata = fs::symlink_metadata(&path).ok().filter(Metadata::is_dir)?;
                check_owner(&path, &metadata).err()
            })
            .collect(),
    }
}

/// Closes a folder and those in it, as deep as ocinet makes any. No link is followed: in a folder that is closed, none takes
/// the place of what was looked at. Where something in it is another user's, the folder itself is opened again, so that
/// the next start finds out, too. Others that were closed before stay closed.
fn close(state: &Path, path: &Path, levels: usize) -> Result<(), StateError> {
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
    close_inside(state, path, levels).inspect_err(|_| {
        if mode != MODE {
            let _ = set(mode);
        }
    })
}

/// Files are judged when they are opened. Another user's folder where ocinet makes files alone is moved out of the way. A link
/// is refused, whoever's, where ocinet makes folders.
fn close_inside(state: &Path, path: &Path, levels: usize) -> Result<(), StateError> {
    let fail = |error| StateError::io("read", path, error);
    for entry in fs::read_dir(path).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let Some(metadata) = metadata(&path)? else { continue };
        let Some(levels) = levels.checked_sub(1) else {
            if metadata.is_dir() && !is_own(&metadata) {
                // Without the file of locks, the folder may never have been ocinet's.
                if fs::symlink_metadata(state.join(LOCK_FILE)).is_err() {
                    check_owner(&path, &metadata)?;
                }
                put_aside(state, &path).map_err(|error| StateError::io("move away", &path, error))?;
            }
            continue;
        };
        if metadata.is_symlink() {
            return Err(link(&path));
        }
        if metadata.is_dir() {
            check_owner(&path, &metadata)?;
            close(state, &path, levels)?;
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
pub(super) fn check_known(folder: &Path, metadata: &Metadata) -> Result<(), StateError> {
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

pub(crate) fn link(path: &Path) -> StateError {
    not_safe(path, Danger::Link, "it is a symbolic link".to_owned())
}

fn open_to_others(path: &Path, danger: Danger, mode: u32, cause: &str) -> StateError {
    not_safe(path, danger, format!("others can write to it (its mode is {mode:04o}), and {cause}"))
}

fn not_safe(path: &Path, danger: Danger, reason: String) -> StateError {
    StateError::Unsafe { path: path.to_owned(), danger, reason }
}
