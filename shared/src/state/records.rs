//! The records of containers, by one reader: a file counts for the container whose id it has.

use std::path::Path;
use std::time::Duration;

use super::dir::StateDir;
use super::error::StateError;
use super::files::parse;
use super::layout::Folder;
use super::lock_file::{LOCK_DEADLINE, Lock, Locked};
use crate::model::container_id::ContainerId;
use crate::model::record::{Record, RecordedProcess, VERSION};

impl StateDir {
    /// Locks a container against everybody else who could detach it, and reads its record; `None` where there is none.
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
        self.ids_in(Folder::Containers)
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
