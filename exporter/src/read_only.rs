//! The exporter reads files and sockets. It writes no file and starts no program, and Landlock (landlock(7), Linux 5.13) keeps it
//! from both, whatever a client makes it do.

use landlock::{ABI, AccessFs, Ruleset, RulesetAttr as _, RulesetError, RulesetStatus};

/// The newest version of Landlock whose rights are known here; an older kernel holds those that it knows.
const NEWEST: ABI = ABI::V5;

/// Gives up writing, making and removing files and starting programs, for this thread and those that it starts. Returns whether
/// the kernel does any of it. What is open stays open.
///
/// # Errors
/// A refusal of the kernel other than that it has no Landlock.
pub fn restrict() -> Result<bool, RulesetError> {
    let given_up = AccessFs::from_write(NEWEST) | AccessFs::Execute;
    let restricted = Ruleset::default().handle_access(given_up)?.create()?.restrict_self()?;
    Ok(restricted.ruleset != RulesetStatus::NotEnforced)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::Path;
    use std::{fs, thread};

    use super::*;

    #[test]
    fn files_are_read_and_not_written_and_no_program_starts() {
        let folder = std::env::temp_dir().join(format!("ocinet-read-only-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("file");
        fs::write(&file, "as it was").unwrap();
        // The rights of the thread alone are given up.
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(restrict().unwrap(), "this kernel has Landlock");
                assert_eq!(fs::read_to_string(&file).unwrap(), "as it was");
                let is_refused = |result: std::io::Result<()>| {
                    result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
                };
                assert!(is_refused(fs::write(&file, "changed")));
                assert!(is_refused(fs::write(folder.join("new"), "")));
                assert!(is_refused(fs::create_dir(folder.join("new"))));
                assert!(is_refused(fs::remove_file(&file)));
                assert!(is_refused(fs::rename(&file, folder.join("new"))));
                #[expect(clippy::disallowed_methods, reason = "it is shown that it cannot be started")]
                let started = std::process::Command::new(Path::new("/bin/true")).status();
                assert!(is_refused(started.map(drop)));
            });
        });
        assert_eq!(fs::read_to_string(&file).unwrap(), "as it was");
        fs::remove_dir_all(folder).unwrap();
    }
}
