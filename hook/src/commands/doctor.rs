//! `ocinet doctor [ID]`: why packets do not arrive, and what fixes it.

use std::fmt::Write as _;
use std::path::PathBuf;

use nix::sys::statvfs::{FsFlags, statvfs};
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::record::Record;
use ocinet_shared::one_line::one_line;
use ocinet_shared::quoted::word;
use ocinet_shared::state::StateDir;
use serde::Deserialize;

use super::output::print;
use crate::diagnose::doctor::{CHECKS, DoctorContext, Finding};
use crate::diagnose::seen_again::seen_again;
use crate::error::{Class, Error};
use crate::host::boot;
use crate::input::{config, oci_state};
use crate::lifecycle::identity;
use crate::state::pod_members;

/// What doctor exits with where it found something.
const FOUND: u8 = 1;

/// Prints what is wrong on the host and with all containers, or with one, and returns the exit code.
pub(super) fn run(state: &StateDir, config: Option<&PathBuf>, id: Option<&str>) -> Result<u8, Error> {
    let config = config::load(config)?;
    let boot_id = boot::id()?;
    let mut findings = Vec::from_iter(of_state_folder(state));
    let only = match id.map(|id| of_one(state, id, &boot_id)) {
        Some(Ok((only, found))) => {
            findings.extend(found);
            only
        }
        // Where nothing can be written, a start that failed left nothing that says so.
        Some(Err(error)) if findings.is_empty() => return Err(error),
        Some(Err(_)) | None => None,
    };
    let mut text = String::new();
    if only.is_some() || id.is_none() {
        let (mut containers, mut networks) = (0, 0);
        findings.extend(seen_again(|| {
            let mut context = DoctorContext::read(state, &config, only.as_ref(), &boot_id)?;
            (containers, networks) = (context.records.len(), context.networks.len());
            let ended = if only.is_none() { ended(state, &boot_id)? } else { Vec::new() };
            Ok(ended.into_iter().chain(look(&mut context)).collect())
        })?);
        let names: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
        let _ =
            writeln!(text, "looked at {containers} containers, {networks} networks: {}", names.join(", "));
    }
    for finding in &findings {
        let _ = writeln!(text, "\n{}\n  {}", one_line(&finding.what), one_line(&finding.why));
        for command in &finding.fix {
            let _ = writeln!(text, "  $ {}", one_line(command));
        }
    }
    if findings.is_empty() {
        text.push_str("nothing is wrong\n");
    }
    print(&text)?;
    Ok(if findings.is_empty() { 0 } else { FOUND })
}

fn look(context: &mut DoctorContext) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, check) in CHECKS {
        match check(context) {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(Finding {
                what: format!("{name} could not be looked at: {}", error.without_hint()),
                why: "what is wrong there is not known".to_owned(),
                fix: Vec::new(),
            }),
        }
    }
    findings
}

/// A state folder in which no start can write. A file system without limits has no blocks, or no files, to count (tmpfs(5)).
fn of_state_folder(state: &StateDir) -> Option<Finding> {
    let path = state.root();
    let found = statvfs(path).ok()?;
    let (what, why, fix) = if found.flags().contains(FsFlags::ST_RDONLY) {
        ("read-only", "no container starts", "findmnt --target")
    } else if (found.blocks() > 0 && found.blocks_free() == 0)
        || (found.files() > 0 && found.files_free() == 0)
    {
        ("full", "no container starts until there is room", "df --human-readable")
    } else {
        return None;
    };
    let path = path.to_string_lossy();
    let path = path.trim_end_matches('/');
    Some(Finding {
        what: format!("the file system of the state folder {path} is {what}"),
        why: format!("{why}, and what has ended is not detached whole"),
        fix: vec![format!("{fix} {}", word(path))],
    })
}

/// The containers that have ended and were never detached.
fn ended(state: &StateDir, boot_id: &str) -> Result<Vec<Finding>, Error> {
    let records = state.records()?.into_iter().flatten();
    let ended = records.filter(|record| !pod_members::is_live(state, record, boot_id));
    Ok(ended.map(|record| has_ended(&record.id)).collect())
}

fn has_ended(id: &ContainerId) -> Finding {
    Finding {
        what: format!("container {id} has ended"),
        why: "its addresses and its published ports stay taken, because nobody ran `ocinet poststop`"
            .to_owned(),
        fix: vec!["ocinet gc".to_owned()],
    }
}

/// Why a container's last set-up failed, as createRuntime writes it down.
#[derive(Deserialize)]
struct LastError {
    error: String,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    bundle: String,
}

impl LastError {
    fn is_of_another(&self, record: &Record) -> bool {
        self.pid != 0 && (self.pid != record.pid || !identity::is_same_bundle(&record.bundle, &self.bundle))
    }
}

/// The record of a container, and what is wrong with the container as such.
fn of_one(state: &StateDir, id: &str, boot_id: &str) -> Result<(Option<Record>, Vec<Finding>), Error> {
    let id = oci_state::parse_id(id)?;
    let record = state.read_record(&id)?;
    let failed: Option<LastError> = state.read_json(&state.last_error_path(&id))?;
    if record.is_none() && failed.is_none() {
        return Err(Error::new(
            Class::Usage,
            format!("look at container {id}"),
            "it has no record",
            "see `ocinet list` for those that have",
        ));
    }
    let mut findings = Vec::new();
    findings.extend(failed.map(|failed| Finding {
        what: match &record {
            Some(record) if failed.is_of_another(record) => format!(
                "another container of the id {id}, of the bundle {}, was refused: ocinet {}",
                failed.bundle, failed.error
            ),
            _ => format!("the last start of container {id} failed: ocinet {}", failed.error),
        },
        why: "a container that did not start has no network; the hint says what to do".to_owned(),
        fix: Vec::new(),
    }));
    if record.as_ref().is_some_and(|record| !pod_members::is_live(state, record, boot_id)) {
        findings.push(has_ended(&id));
    }
    Ok((record, findings))
}
