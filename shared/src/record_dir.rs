//! The state folder: records, leases, networks, claims of ports.
//!
//! Every file appears whole: it is written under a temporary name and then linked (where it must be new) or renamed
//! (where it replaces itself) into place. Who changes one holds its lock (`locks.rs`).

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind::{AlreadyExists, NotADirectory};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::container_id::ContainerId;
use crate::foreign::is_absent;
use crate::locks::Locks;
pub use crate::locks::{LOCK_DEADLINE, Lock, Locked};
use crate::quoted::word;
use crate::record::{Record, RecordedProcess, VERSION};

/// The largest state file, in bytes: none that is larger is written or read. A record takes 900 bytes for each port of a
/// container with both families.
pub const MAX_FILE: u64 = 16 << 20;

/// The mode of a file that everybody may read, as `ocinet list --json` and the exporter do.
const READABLE: u32 = 0o644;
/// The mode of one that its owner alone may.
const PRIVATE: u32 = 0o600;

/// A record with one published port takes about 3 KiB.
const USUAL_FILE: usize = 4 << 10;

/// What went wrong in the state folder.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system said no.
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file holds something else than ocinet writes.
    #[error("cannot read {path}: {reason}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process holds a lock for longer than is waited.
    #[error("cannot lock {what}: another ocinet did not let go of it for {waited:?} (`fuser {path}` names those that may hold it)", path = word(&.path.display().to_string()))]
    Busy {
        /// What is locked.
        what: String,
        /// How long it was waited for.
        waited: Duration,
        /// The file whose bytes are the locks.
        path: PathBuf,
    },
    /// Others than root could change what is in the folder.
    #[error("cannot use {path}: {reason}", path = .path.display())]
    Unsafe {
        /// The folder, or what is in the place of one.
        path: PathBuf,
        /// What is to be done about it.
        danger: Danger,
        /// Who could.
        reason: String,
    },
    /// A file of root's that others can write to.
    #[error("cannot trust {path}: others can write to it (its mode is {mode:04o})", path = .path.display())]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Something is where a file of ocinet's would be, and ocinet cannot have written it.
    #[error("cannot trust {path}: {reason}", path = .path.display())]
    Foreign {
        /// What is there.
        path: PathBuf,
        /// Why ocinet cannot have written it.
        reason: String,
    },
}

/// What makes a state folder one that ocinet does not use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Danger {
    /// It is not for ocinet alone, so that its mode is others' business.
    Shared,
    /// It is another user's.
    Owner,
    /// It is of a user whom the user namespace of this process does not know, as root's is without root.
    Unknown,
    /// Others could write to it, and did.
    Content,
    /// What is in it is another user's, or no folder where ocinet makes one.
    Inside,
    /// A link is in the place of what ocinet makes.
    Link,
}

impl StateError {
    /// An error of the file system.
    pub fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

/// The state folder.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
    pub(crate) locks: Locks,
}

impl StateDir {
    /// The folder at a path; nothing is made or read yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { locks: Locks::new(&root), root }
    }

    /// A path inside the folder.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    /// Where a container's record is.
    #[must_use]
    pub fn record_path(&self, id: &ContainerId) -> PathBuf {
        self.path(&format!("containers/{id}.json"))
    }

    /// Makes the folder that a file goes into, and those above it up to the state folder's own parent. What another user
    /// put in the place of one inside the state folder is removed.
    ///
    /// # Errors
    /// Those of mkdir(2) other than `EEXIST`, and those of unlink(2).
    pub fn make_parent(&self, path: &Path) -> Result<(), StateError> {
        let parent = path.parent().unwrap_or(&self.root);
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

    /// The name is the file's own with a dot before it, so that whoever takes a container back finds what a killed
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

    /// Locks a container against everybody else who could take it back, and reads its record; `None` where there is none.
    ///
    /// # Errors
    /// As [`Self::lock`], and a record that is not readable or is a newer ocinet's.
    pub fn lock_record(&self, id: &ContainerId) -> Result<Option<(Record, Lock)>, StateError> {
        self.lock_record_within(id, LOCK_DEADLINE)
    }

    /// The same, where that is possible within a time.
    ///
    /// # Errors
    /// As [`Self::lock_record`].
    pub fn lock_record_within(
        &self,
        id: &ContainerId,
        patience: Duration,
    ) -> Result<Option<(Record, Lock)>, StateError> {
        let lock = self.lock_within(Locked::Container(id), patience)?;
        Ok(self.read_record(id)?.map(|record| (record, lock)))
    }

    /// Reads a container's record; `None` where there is none.
    ///
    /// # Errors
    /// As [`Self::read`], and a record that is not readable or is a newer ocinet's.
    pub fn read_record(&self, id: &ContainerId) -> Result<Option<Record>, StateError> {
        let path = self.record_path(id);
        let record = self.read(&path)?.map(|text| parse_record(&path, &text)).transpose()?;
        match &record {
            // Somebody gave the file another name.
            Some(Record { id: of, .. }) if of != id => {
                Err(StateError::Malformed { path, reason: format!("it is the record of container {of}") })
            }
            _ => Ok(record),
        }
    }

    /// Reads which process a container's record is about; `None` where there is none.
    ///
    /// # Errors
    /// As [`Self::read_json`].
    pub fn read_process(&self, id: &ContainerId) -> Result<Option<RecordedProcess>, StateError> {
        self.read_json(&self.record_path(id))
    }

    /// The ids of all records, sorted.
    ///
    /// # Errors
    /// Those of reading the folder; a folder that is not there is empty.
    pub fn ids(&self) -> Result<Vec<ContainerId>, StateError> {
        self.ids_in("containers")
    }

    /// The names of the JSON files of a folder, sorted.
    pub(crate) fn ids_in(&self, folder: &str) -> Result<Vec<ContainerId>, StateError> {
        let folder = self.path(folder);
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

    /// All records, each readable or not: one that is damaged does not hide the rest.
    ///
    /// # Errors
    /// As [`Self::ids`].
    pub fn records(&self) -> Result<Vec<Result<Record, StateError>>, StateError> {
        let read = |id: ContainerId| self.read_record(&id).transpose();
        Ok(self.ids()?.into_iter().filter_map(read).collect())
    }
}

/// The id that a file of the folder of records belongs to.
#[must_use]
pub fn id_of(file_name: &str) -> Option<ContainerId> {
    file_name.strip_suffix(".json")?.parse().ok()
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

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, StateError> {
    serde_json::from_str(text)
        .map_err(|error| StateError::Malformed { path: path.to_owned(), reason: error.to_string() })
}

fn parse_record(path: &Path, text: &str) -> Result<Record, StateError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    match parse::<Record>(path, text) {
        Ok(record) if record.version <= VERSION => Ok(record),
        failed => {
            let reason = match (parse::<Versioned>(path, text), failed) {
                (Ok(Versioned { version }), _) if version > VERSION => {
                    format!("it has version {version}, which a newer ocinet wrote; this one knows {VERSION}")
                }
                (_, Err(StateError::Malformed { reason, .. })) => reason,
                _ => "it is not a record".to_owned(),
            };
            Err(StateError::Malformed { path: path.to_owned(), reason })
        }
    }
}

/// What an interrupted write of a file leaves beside it.
#[must_use]
pub fn temporary_path(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
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
