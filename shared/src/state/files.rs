//! Files of the state folder. Every file appears whole: it is written under a temporary name and then linked (where it must be
//! new) or renamed (where it replaces itself) into place. Who changes one holds its lock.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind::{AlreadyExists, NotADirectory};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::dir::StateDir;
use super::error::{StateError, is_absent};
use super::layout::{Folder, id_of, temporary_path};
use crate::model::container_id::ContainerId;

/// The largest state file, in bytes: none that is larger is written or read. A record takes 900 bytes for each port of a
/// container with both families.
pub const MAX_FILE: u64 = 16 << 20;

/// The mode of a file that everybody may read, as `ocinet list --json` and the exporter do.
const READABLE: u32 = 0o644;
/// The mode of one that its owner alone may.
const PRIVATE: u32 = 0o600;

/// A record with one published port takes about 3 KiB.
const USUAL_FILE: usize = 4 << 10;

impl StateDir {
    /// Makes the folder that a file goes into, and those above it up to the state folder's own parent. What another user
    /// put in the place of one inside the state folder is removed.
    ///
    /// # Errors
    /// Those of mkdir(2) other than `EEXIST`, and those of unlink(2).
    pub fn make_parent(&self, path: &Path) -> Result<(), StateError> {
        let parent = path.parent().unwrap_or(self.root());
        let make = || fs::DirBuilder::new().recursive(true).mode(0o755).create(parent);
        let made = match make() {
            Err(error) if matches!(error.kind(), AlreadyExists | NotADirectory) => {
                self.clear_way(parent)?;
                make()
            }
            made => made,
        };
        made.map_err(|error| StateError::io("make the folder", parent, error))
    }

    /// Makes a new file with its content; false where the name is taken.
    ///
    /// # Errors
    /// Those of the file system; nothing is left then.
    pub fn create(&self, path: &Path, content: &[u8]) -> Result<bool, StateError> {
        let temporary = self.temporary(path, content, READABLE)?;
        let linked = fs::hard_link(&temporary, path);
        let removed = fs::remove_file(&temporary);
        match (linked, removed) {
            (Ok(()), Ok(())) => Ok(true),
            (Err(error), _) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            (Err(error), _) => Err(StateError::io("make", path, error)),
            (Ok(()), Err(error)) => {
                let _ = fs::remove_file(path).and(fs::remove_file(&temporary));
                Err(StateError::io("make", path, error))
            }
        }
    }

    /// Replaces a file's content in one step.
    ///
    /// # Errors
    /// Those of the file system; the old content is left then.
    pub fn replace(&self, path: &Path, content: &[u8]) -> Result<(), StateError> {
        self.replace_with_mode(path, content, READABLE)
    }

    /// The same for a file that its owner alone may read.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub fn replace_private(&self, path: &Path, content: &[u8]) -> Result<(), StateError> {
        self.replace_with_mode(path, content, PRIVATE)
    }

    fn replace_with_mode(&self, path: &Path, content: &[u8], mode: u32) -> Result<(), StateError> {
        let temporary = self.temporary(path, content, mode)?;
        let renamed = match fs::rename(&temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                self.clear(path).and_then(|()| fs::rename(&temporary, path))
            }
            renamed => renamed,
        };
        renamed.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            StateError::io("write", path, error)
        })
    }

    /// The name is the file's own with a dot before it, so that whoever detaches a container finds what a killed
    /// process left.
    fn temporary(&self, path: &Path, content: &[u8], mode: u32) -> Result<PathBuf, StateError> {
        if content.len() as u64 > MAX_FILE {
            return Err(too_large(path));
        }
        let temporary = temporary_path(path);
        let mut file = match open_new(&temporary, mode) {
            Err(error) if is_absent(&error) => {
                self.make_parent(path)?;
                open_new(&temporary, mode)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.clear(&temporary).and_then(|()| open_new(&temporary, mode))
            }
            other => other,
        }
        .map_err(|error| StateError::io("write", &temporary, error))?;
        match file.write_all(content) {
            Ok(()) => Ok(temporary),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(StateError::io("write", path, error))
            }
        }
    }

    /// Removes a file and what an interrupted write left beside it; one that is not there counts as removed.
    ///
    /// # Errors
    /// As [`Self::clear`].
    pub fn remove(&self, path: &Path) -> Result<(), StateError> {
        // In this order: what is left of an interrupted write is found by the file itself.
        for path in [&*temporary_path(path), path] {
            match self.clear(path) {
                Err(error) if !is_absent(&error) => return Err(StateError::io("remove", path, error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads a file; `None` where there is none.
    ///
    /// # Errors
    /// Those of the file system, a file that others than root could have written, and one that is not UTF-8 or is larger than
    /// ocinet writes.
    pub fn read(&self, path: &Path) -> Result<Option<String>, StateError> {
        self.open(path)?.map(|mut file| read_all(&mut file, path)).transpose()
    }

    /// Reads a JSON file; `None` where there is none.
    ///
    /// # Errors
    /// As [`Self::read`], and content of another form.
    pub fn read_json<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, StateError> {
        self.read(path)?.map(|text| parse(path, &text)).transpose()
    }

    /// The names of the JSON files of a folder, sorted.
    pub(crate) fn ids_in(&self, folder: Folder) -> Result<Vec<ContainerId>, StateError> {
        let folder = self.folder(folder);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // What is no folder in its place has no files.
            Err(error) if is_absent(&error) && self.is_folder(&error) => return Ok(Vec::new()),
            Err(error) => return Err(StateError::io("read", &folder, error)),
        };
        let mut ids: Vec<ContainerId> =
            entries.filter_map(|entry| id_of(entry.ok()?.file_name().to_str()?)).collect();
        ids.sort();
        Ok(ids)
    }
}

/// Serializes what goes into a state file.
///
/// # Errors
/// None in practice: ocinet's types all have a JSON form.
pub fn to_json(value: &impl Serialize, path: &Path) -> Result<Vec<u8>, StateError> {
    let malformed =
        |error: serde_json::Error| StateError::Malformed { path: path.to_owned(), reason: error.to_string() };
    let mut bytes = Vec::with_capacity(USUAL_FILE);
    serde_json::to_writer(&mut bytes, value).map_err(malformed)?;
    bytes.push(b'\n');
    Ok(bytes)
}

pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, StateError> {
    serde_json::from_str(text)
        .map_err(|error| StateError::Malformed { path: path.to_owned(), reason: error.to_string() })
}

fn open_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

fn too_large(path: &Path) -> StateError {
    StateError::Malformed { path: path.to_owned(), reason: format!("it is larger than {MAX_FILE} bytes") }
}

pub(crate) fn read_all(file: &mut File, path: &Path) -> Result<String, StateError> {
    // With room from the start, a file of the usual size takes one read.
    let mut text = String::with_capacity(USUAL_FILE);
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => {
            StateError::Malformed { path: path.to_owned(), reason: "it is not UTF-8".to_owned() }
        }
        _ => StateError::io("read", path, error),
    })?;
    if text.len() as u64 > MAX_FILE {
        return Err(too_large(path));
    }
    Ok(text)
}
