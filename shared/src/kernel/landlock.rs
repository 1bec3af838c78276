//! Rights that a thread gives up by Landlock (landlock(7)). An older kernel enforces fewer of them, or none: other checks stand
//! in front of all of this.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use nix::errno::Errno;
use nix::libc;

/// The newest version whose rights are known here.
const NEWEST: ABI = ABI::V6;

/// Restricts this thread to one file, which it may read and write. It may start no program, use no TCP, and send no signal to
/// others. What is open stays open.
///
/// # Errors
/// A refusal of the kernel other than that it has no Landlock.
pub fn restrict_to_file(file: impl AsFd) -> io::Result<()> {
    restrict_to(file, AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate)
}

/// Restricts this thread to one folder: it may make regular files in it, and write every file below it. It may read none.
///
/// # Errors
/// Those of [`restrict_to_file`].
pub fn restrict_to_new_files_in(folder: impl AsFd) -> io::Result<()> {
    restrict_to(folder, AccessFs::MakeReg | AccessFs::WriteFile | AccessFs::Truncate)
}

fn restrict_to(place: impl AsFd, allowed: BitFlags<AccessFs>) -> io::Result<()> {
    let restrict = || -> Result<_, RulesetError> {
        let all = Ruleset::default().handle_access(AccessFs::from_all(NEWEST))?;
        with_network_and_scopes(all)?.create()?.add_rule(PathBeneath::new(place, allowed))?.restrict_self()
    };
    restrict().map(drop).map_err(io::Error::other)
}

fn with_network_and_scopes(ruleset: Ruleset) -> Result<Ruleset, RulesetError> {
    ruleset.handle_access(AccessNet::from_all(NEWEST))?.scope(Scope::from_all(NEWEST))
}

/// Gives up writing, making and removing files and starting programs, for this thread and those that it starts. Returns whether the
/// kernel does any of it. What is open stays open.
///
/// # Errors
/// A refusal of the kernel other than that it has no Landlock.
pub fn restrict_writing_and_execution() -> io::Result<bool> {
    let given_up = AccessFs::from_write(NEWEST) | AccessFs::Execute;
    let restrict = || -> Result<_, RulesetError> {
        Ruleset::default().handle_access(given_up)?.create()?.restrict_self()
    };
    let restricted = restrict().map_err(io::Error::other)?;
    Ok(restricted.ruleset != RulesetStatus::NotEnforced)
}

/// Keeps a program from writing files, from TCP, and from signals to others. It is made ready before the program is started.
pub struct WriteProtection(Option<OwnedFd>);

impl WriteProtection {
    /// # Errors
    /// A refusal of the kernel other than that it has no Landlock.
    pub fn new() -> io::Result<Self> {
        let ready = || -> Result<_, RulesetError> {
            with_network_and_scopes(Ruleset::default().handle_access(AccessFs::from_write(NEWEST))?)?.create()
        };
        ready().map(|ruleset| Self(ruleset.into())).map_err(io::Error::other)
    }

    /// Restricts this thread and the program that it starts. It makes one system call, so that it may be called between fork(2) and
    /// execve(2).
    /// It needs no_new_privs or CAP_SYS_ADMIN.
    ///
    /// # Errors
    /// Those of landlock_restrict_self(2).
    #[expect(unsafe_code, reason = "landlock_restrict_self(2) has no wrapper that allocates nothing")]
    pub fn restrict_self(&self) -> Result<(), Errno> {
        let Some(ruleset) = &self.0 else { return Ok(()) };
        // SAFETY: the call takes a number that stands for an open ruleset, and flags, which must be 0.
        let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
        Errno::result(result).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::path::{Path, PathBuf};
    use std::thread;

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let made = tempfile::tempdir().unwrap();
            let path = made.path();
            fs::create_dir_all(path.join("within")).unwrap();
            fs::write(path.join("one"), "one").unwrap();
            fs::write(path.join("other"), "other").unwrap();
            Self(made)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
    }

    fn seen(path: &Path) -> File {
        OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path).unwrap()
    }

    /// In a thread, whose rights alone are given up.
    fn in_thread(task: impl FnOnce() + Send) {
        thread::scope(|scope| scope.spawn(task).join().unwrap());
    }

    #[track_caller]
    fn is_refused<T>(result: io::Result<T>) {
        assert!(result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied));
    }

    #[test]
    fn who_is_restricted_to_a_file_opens_no_other() {
        let folder = Folder::new();
        in_thread(|| {
            restrict_to_file(seen(&folder.at("one"))).unwrap();
            assert_eq!(fs::read_to_string(folder.at("one")).unwrap(), "one");
            fs::write(folder.at("one"), "1").unwrap();
            is_refused(fs::read(folder.at("other")));
            is_refused(OpenOptions::new().write(true).open(folder.at("other")));
            is_refused(OpenOptions::new().write(true).open("/proc/sys/kernel/core_pattern"));
            is_refused(fs::write(folder.at("new"), ""));
            is_refused(fs::create_dir(folder.at("folder")));
            is_refused(fs::rename(folder.at("one"), folder.at("two")));
            is_refused(fs::remove_file(folder.at("one")));
        });
        assert_eq!(fs::read_to_string(folder.at("one")).unwrap(), "1");
        assert_eq!(fs::read_to_string(folder.at("other")).unwrap(), "other");
    }

    #[test]
    fn who_is_restricted_to_new_files_of_a_folder_opens_nothing_else() {
        let folder = Folder::new();
        in_thread(|| {
            restrict_to_new_files_in(seen(&folder.at("within"))).unwrap();
            fs::write(folder.at("within/new"), "new").unwrap();
            is_refused(fs::read(folder.at("within/new")));
            is_refused(fs::create_dir(folder.at("within/folder")));
            is_refused(fs::write(folder.at("new"), ""));
            is_refused(OpenOptions::new().write(true).open(folder.at("one")));
        });
        assert_eq!(fs::read_to_string(folder.at("within/new")).unwrap(), "new");
    }

    #[test]
    fn files_are_read_and_not_written_and_no_program_starts() {
        let folder = Folder::new();
        in_thread(|| {
            assert!(restrict_writing_and_execution().unwrap(), "this kernel has Landlock");
            assert_eq!(fs::read_to_string(folder.at("one")).unwrap(), "one");
            is_refused(fs::write(folder.at("one"), "1"));
            is_refused(fs::write(folder.at("new"), ""));
            is_refused(fs::create_dir(folder.at("folder")));
            is_refused(fs::remove_file(folder.at("one")));
            is_refused(fs::rename(folder.at("one"), folder.at("two")));
            #[expect(clippy::disallowed_methods, reason = "it is shown that it cannot be started")]
            let started = std::process::Command::new("/bin/true").status();
            is_refused(started);
        });
        assert_eq!(fs::read_to_string(folder.at("one")).unwrap(), "one");
    }

    #[test]
    #[ignore = "needs root"]
    fn who_is_write_protected_writes_nothing() {
        let folder = Folder::new();
        let protection = WriteProtection::new().unwrap();
        in_thread(|| {
            protection.restrict_self().unwrap();
            assert_eq!(fs::read_to_string(folder.at("one")).unwrap(), "one");
            is_refused(OpenOptions::new().write(true).open(folder.at("one")));
            is_refused(fs::write(folder.at("new"), ""));
            is_refused(fs::remove_file(folder.at("one")));
        });
    }
}
