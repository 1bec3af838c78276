//! Containers: the records in the state folder, each read again only when its file has changed, and whether their
//! processes live.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ocinet_shared::kernel::process;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::record::{Phase, Record};
use ocinet_shared::state::{Folder, StateDir, StateError, id_of};

use super::nft::ContainerElements;
use super::stamp::Stamp;
use crate::scrape::monotonic::MonotonicCounter;
use crate::scrape::snapshot::{Container, Records};

/// How many processes a scrape checks in /proc, in turn. All are checked by kill(2), which cannot tell a process from a
/// later one with its pid, nor from one that is dead and not waited for.
const LOOKED_AT: usize = 32;

/// A container of this boot.
#[derive(Debug)]
pub struct Known {
    /// Its record.
    pub record: Arc<Record>,
    /// What its interfaces counted, by attachment.
    pub interfaces: Vec<MonotonicCounter<8>>,
    /// What its elements counted.
    pub elements: ContainerElements,
    /// Whether its process has ended.
    has_ended: bool,
    /// Whether a member of its pod lives, which uses its interfaces.
    is_kept: bool,
}

impl Known {
    /// A container that was started again under the same id begins with new counters.
    fn new(record: Record, earlier: Option<Box<Self>>) -> Self {
        let is_same_start = |earlier: &Self| {
            (earlier.record.pid_start, earlier.record.created) == (record.pid_start, record.created)
        };
        let goes_on = |earlier: &Self| {
            is_same_start(earlier)
                && earlier.interfaces.len() == record.attachments.len()
                && earlier.elements.has_ports_of(&record)
        };
        let mut interfaces = vec![MonotonicCounter::default(); record.attachments.len()];
        let mut elements = ContainerElements::of(&record);
        if let Some(earlier) = earlier.filter(|earlier| goes_on(earlier)) {
            interfaces = earlier.interfaces;
            elements.continue_from(earlier.elements);
        }
        let has_ended = process::has_ended(record.pid, record.pid_start);
        Self { record: Arc::new(record), interfaces, elements, has_ended, is_kept: false }
    }

    fn lives(&self) -> bool {
        self.record.phase == Phase::Ready && (!self.has_ended || self.is_kept)
    }
}

#[derive(Debug)]
struct File {
    stamp: Stamp,
    content: Content,
    /// The last scrape that saw it.
    seen: u64,
}

#[derive(Debug)]
enum Content {
    Known(Box<Known>),
    /// A record of an earlier boot, which no longer means anything.
    Past,
    /// No record, or a newer ocinet's.
    Unreadable,
}

impl File {
    fn known(&self) -> Option<&Known> {
        if let Content::Known(known) = &self.content { Some(known) } else { None }
    }

    fn known_mut(&mut self) -> Option<&mut Known> {
        if let Content::Known(known) = &mut self.content { Some(known) } else { None }
    }
}

/// The records that were read.
#[derive(Debug)]
pub struct RecordCache {
    state: StateDir,
    boot_id: Option<String>,
    files: BTreeMap<ContainerId, File>,
    scrape: u64,
    next: usize,
    /// The folder as it was before it was last read.
    folder: Option<Stamp>,
    /// Whether every later change of the folder changes its stamp.
    is_settled: bool,
    last_error: Option<(Stamp, Option<SystemTime>)>,
}

impl RecordCache {
    /// An empty cache of a state folder's records.
    #[must_use]
    pub fn new(state: StateDir) -> Self {
        Self {
            state,
            boot_id: None,
            files: BTreeMap::new(),
            scrape: 0,
            next: 0,
            folder: None,
            is_settled: false,
            last_error: None,
        }
    }

    /// Reads what changed, and checks which processes live. Returns what the folder holds, and whether all of it could be
    /// read. What was known of a file stands while it cannot be read.
    pub fn refresh(&mut self) -> (Option<Records>, bool) {
        let read = self.read_folder();
        if read.is_err() {
            self.folder = None;
        }
        self.look_at_processes();
        let last_error = self.last_error();
        let success = last_error.is_ok() && matches!(read, Ok(true));
        let records = read.is_ok().then(|| Records { last_error: last_error.ok().flatten(), ..self.count() });
        (records, success)
    }

    fn containers(&self) -> PathBuf {
        self.state.folder(Folder::Containers)
    }

    /// Whether every record could be read.
    fn read_folder(&mut self) -> Result<bool, StateError> {
        let path = self.containers();
        let fail = |error| StateError::io("read", &path, error);
        if self.boot_id.is_none() {
            self.boot_id = Some(process::boot_id().map_err(|error| fail(error.errno.into()))?);
        }
        // Making, deleting and replacing a file each change the folder's stamp.
        let began = SystemTime::now();
        let folder = stamp(&path).map_err(fail)?;
        if self.is_settled && self.folder == folder {
            return Ok(true);
        }
        self.scrape += 1;
        self.folder = folder;
        self.is_settled = false;
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.files.clear();
                return Ok(true);
            }
            entries => entries.map_err(fail)?,
        };
        let mut is_whole = true;
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let Some(id) = entry.file_name().to_str().and_then(id_of) else { continue };
            is_whole &= self.read_file(id, &entry).is_ok();
        }
        let scrape = self.scrape;
        self.files.retain(|_, file| file.seen == scrape);
        self.is_settled = is_whole && folder.is_some_and(|folder| !folder.is_fresh_at(began));
        Ok(is_whole)
    }

    fn read_file(&mut self, id: ContainerId, entry: &DirEntry) -> Result<(), StateError> {
        let scrape = self.scrape;
        let file = self.files.get_mut(&id).map(|file| {
            file.seen = scrape;
            file.stamp
        });
        let stamp = match entry.metadata() {
            Ok(metadata) => Stamp::of(&metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.files.remove(&id);
                return Ok(());
            }
            Err(error) => return Err(StateError::io("read", &entry.path(), error)),
        };
        if file == Some(stamp) {
            return Ok(());
        }
        let content = match self.state.read_record(&id) {
            Ok(Some(record)) => Some(record),
            Ok(None) => {
                self.files.remove(&id);
                return Ok(());
            }
            Err(StateError::Malformed { .. } | StateError::Writable { .. } | StateError::Foreign { .. }) => {
                None
            }
            // What was known of it stands; perhaps it can be read the next time.
            Err(error) => return Err(error),
        };
        let earlier = self.files.remove(&id).map(|file| file.content);
        let content = match (content, earlier) {
            (None, _) => Content::Unreadable,
            (Some(record), _) if Some(&record.boot_id) != self.boot_id.as_ref() => Content::Past,
            (Some(record), Some(Content::Known(earlier))) => {
                Content::Known(Box::new(Known::new(record, Some(earlier))))
            }
            (Some(record), _) => Content::Known(Box::new(Known::new(record, None))),
        };
        self.files.insert(id, File { stamp, content, seen: scrape });
        Ok(())
    }

    fn known_mut(&mut self) -> impl Iterator<Item = &mut Known> {
        self.files.values_mut().filter_map(File::known_mut)
    }

    fn look_at_processes(&mut self) {
        for known in self.known_mut().filter(|known| !known.has_ended) {
            known.has_ended = !process::exists(known.record.pid);
        }
        let next = self.next;
        let mut looked_at = 0;
        for known in self.known_mut().skip(next).take(LOOKED_AT) {
            looked_at += 1;
            known.has_ended |= process::has_ended(known.record.pid, known.record.pid_start);
        }
        self.next = if looked_at < LOOKED_AT { 0 } else { next + looked_at };
        let members = self.files.values().filter_map(File::known).filter(|known| known.lives());
        let kept: BTreeSet<ContainerId> = members.filter_map(|member| member.record.shares.clone()).collect();
        for known in self.known_mut() {
            known.is_kept = kept.contains(&known.record.id);
        }
    }

    /// The containers that are set up and live, by id.
    pub fn living(&mut self) -> impl Iterator<Item = &mut Known> {
        self.known_mut().filter(|known| known.lives())
    }

    fn count(&self) -> Records {
        let mut records = Records::default();
        let mut oldest = None;
        for file in self.files.values() {
            match &file.content {
                Content::Known(known) if known.record.phase == Phase::Ready => records.ready += 1,
                Content::Known(known) => {
                    records.pending += 1;
                    oldest = oldest.into_iter().chain([known.record.created]).min();
                }
                Content::Past => {}
                Content::Unreadable => records.unreadable += 1,
            }
        }
        records.oldest_pending = oldest.map(|created| {
            let created = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(created));
            created.and_then(|created| created.elapsed().ok()).unwrap_or_default()
        });
        records
    }

    /// The time of the newest file that says why a set-up failed. A set-up that succeeds removes its container's file.
    fn last_error(&mut self) -> Result<Option<SystemTime>, StateError> {
        let path = self.state.folder(Folder::LastErrors);
        let fail = |error| StateError::io("read", &path, error);
        let began = SystemTime::now();
        let Some(stamp) = stamp(&path).map_err(fail)? else { return Ok(None) };
        if let Some((of, newest)) = self.last_error
            && of == stamp
        {
            return Ok(newest);
        }
        let mut newest = None;
        for entry in fs::read_dir(&path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            // A file that is being written has a name that begins with a dot. One that is gone again does not count.
            if entry.file_name().to_str().and_then(id_of).is_some()
                && let Ok(metadata) = entry.metadata()
            {
                newest = newest.max(metadata.modified().ok());
            }
        }
        self.last_error = (!stamp.is_fresh_at(began)).then_some((stamp, newest));
        Ok(newest)
    }

    /// Removes the containers that ended during the scrape, whose counters may be another's by now. `is_sound` says of
    /// each whether the kernel's answers can be about a living container.
    pub fn drop_gone(&self, containers: &mut Vec<Container>, is_sound: &[bool]) {
        let inodes = self.inodes_if_changed();
        let mut is_sound = is_sound.iter();
        containers.retain(|container| {
            let record = &container.record;
            let is_sound = is_sound.next().is_none_or(|sound| *sound);
            let file = self.files.get(&record.id);
            let is_same = |inodes: &HashMap<ContainerId, u64>| {
                file.is_some_and(|file| inodes.get(&record.id) == Some(&file.stamp.inode()))
            };
            let is_kept = file.and_then(File::known).is_some_and(|known| known.is_kept);
            let may_live = is_sound || is_kept || !process::has_ended(record.pid, record.pid_start);
            may_live && inodes.as_ref().is_none_or(is_same)
        });
    }

    /// The inodes of the records, if the folder may have changed since it was read; `None` if it has not, or cannot be
    /// read.
    fn inodes_if_changed(&self) -> Option<HashMap<ContainerId, u64>> {
        let before = self.folder?;
        let now = stamp(&self.containers()).ok()??;
        if before == now && self.is_settled {
            return None;
        }
        let entries = fs::read_dir(self.containers()).ok()?.flatten();
        Some(entries.filter_map(|entry| Some((id_of(entry.file_name().to_str()?)?, entry.ino()))).collect())
    }
}

/// The stamp of a file or folder; `None` where there is none.
fn stamp(path: &Path) -> io::Result<Option<Stamp>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
