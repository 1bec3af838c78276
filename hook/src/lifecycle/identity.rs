//! Which container a record is about. Another root of a runtime, or another runtime, may give the same id again, and a
//! poststop may come after the id was given to the next: a record is a container's by id, process and bundle.

use std::fs;
use std::path::Path;

use ocinet_shared::model::record::Record;
use ocinet_shared::state::StateDir;

use crate::error::{Class, Error};
use crate::input::oci_state::{Container, Started, Stopped};
use crate::state::pod_members;
use crate::state::pod_members::Keeper;

/// Checks that the record of a container's id is not another's that lives, nor one whose network others still share.
/// `netns_is_same` tells that the container is in the recorded network namespace.
///
/// # Errors
/// [`Class::Conflict`] that names the other's process and bundle.
pub fn check_free(
    state: &StateDir,
    record: &Record,
    container: &Container,
    boot_id: &str,
    netns_is_same: bool,
) -> Result<(), Error> {
    let taken = |cause: String| {
        let doing = format!("attach container {}", container.id);
        let hint = "stop that container first, or give this one another id";
        Err(Error::new(Class::Conflict, doing, cause, hint))
    };
    if !record.is_dead(boot_id) {
        // The hook of one container may run twice.
        if record.pid == container.pid && is_same_bundle(&record.bundle, &container.bundle) {
            return Ok(());
        }
        return taken(format!(
            "a container of that id lives already: {}",
            process_of(record.pid, &record.bundle)
        ));
    }
    match pod_members::keeper(state, record, boot_id).filter(|_| !netns_is_same) {
        None => Ok(()),
        Some(Keeper::Member(member)) => taken(format!(
            "container {} shares the network of an earlier container of that id: {}",
            member.id,
            process_of(member.pid, &member.bundle)
        )),
        Some(Keeper::Unknown(error)) => Err(Error::new(
            Class::Conflict,
            format!("attach container {}", container.id),
            format!(
                "whether another still shares the network of an earlier container of that id is not known: {error}"
            ),
            "remove that file once the container that it is about has ended, or give this one another id",
        )),
    }
}

fn process_of(pid: u32, bundle: &str) -> String {
    if bundle.is_empty() { format!("process {pid}") } else { format!("process {pid} of the bundle {bundle}") }
}

/// Whether a poststop is that of the container which a record is about. While the recorded process lives it is not: a
/// runtime stops a container first.
#[must_use]
pub fn is_over(record: &Record, stopped: &Stopped) -> bool {
    record.is_dead(&record.boot_id) && is_same_bundle(&record.bundle, &stopped.bundle)
}

/// Whether a container that starts is the one which a record is about, and lives.
#[must_use]
pub fn is_running(record: &Record, started: &Started, boot_id: &str) -> bool {
    record.pid == started.pid && is_same_bundle(&record.bundle, &started.bundle) && !record.is_dead(boot_id)
}

/// Whether two bundles may be one. Some runtimes tell none, or `/`, and some resolve symbolic links on the way to it.
#[must_use]
pub fn is_same_bundle(recorded: &str, named: &str) -> bool {
    let is_told = |bundle: &str| !matches!(bundle, "" | "/");
    if !is_told(recorded) || !is_told(named) || Path::new(recorded) == Path::new(named) {
        return true;
    }
    matches!((fs::canonicalize(recorded), fs::canonicalize(named)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_are_told_apart_by_what_they_are_and_not_by_how_they_are_written() {
        for (one, other) in
            [("/a/b", "/a/b/"), ("/a/./b", "/a/b"), ("", "/b"), ("/b", ""), ("/b", "/"), ("", "")]
        {
            assert!(is_same_bundle(one, other), "{one} {other}");
        }
        assert!(!is_same_bundle("/a/b", "/a/c") && !is_same_bundle("/a/b", "/a/b/c"));
        let made = tempfile::tempdir().unwrap();
        let folder = made.path();
        std::fs::create_dir_all(folder.join("real")).unwrap();
        std::os::unix::fs::symlink("real", folder.join("link")).unwrap();
        let text = |name: &str| folder.join(name).display().to_string();
        assert!(is_same_bundle(&text("real"), &text("link")));
        assert!(!is_same_bundle(&text("real"), &text("none")));
    }
}
