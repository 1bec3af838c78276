//! Why ocinet did not do what it was asked, as a value until the edge.

use std::fmt;
use std::io::ErrorKind;

use ocinet_shared::kernel::KernelError;
use ocinet_shared::kernel::nft::InstallError;
use ocinet_shared::one_line::one_line;
use ocinet_shared::quoted::word;
use ocinet_shared::record_dir::{Danger, StateError};

/// What a person needs to read: what was to be done, why it was not, what to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The verb and its object, as in `publish port 8080/tcp`.
    pub doing: String,
    /// Why it was not done.
    pub cause: String,
    /// What to do.
    pub hint: String,
}

/// Everything that can go wrong, by the class that the exit code tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The command line, the state on standard input, or the configuration.
    Usage(Report),
    /// An annotation.
    Annotation(Report),
    /// A port, an address or a name that is taken.
    Conflict(Report),
    /// The kernel refused a change.
    Kernel(Report),
    /// nftables refused a change.
    Nftables(Report),
    /// The state folder.
    State(Report),
    /// Something was taken back only in part.
    Partial(Report),
    /// The administrator's policy.
    Policy(Report),
}

impl Error {
    /// The class as an exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.code_and_class().0
    }

    /// The class in a word.
    #[must_use]
    pub fn class(&self) -> &'static str {
        self.code_and_class().1
    }

    fn code_and_class(&self) -> (u8, &'static str) {
        match self {
            Self::Usage(_) => (2, "usage"),
            Self::Annotation(_) => (3, "annotation"),
            Self::Conflict(_) => (4, "conflict"),
            Self::Kernel(_) => (5, "kernel"),
            Self::Nftables(_) => (6, "nftables"),
            Self::State(_) => (7, "state"),
            Self::Partial(_) => (8, "partial"),
            Self::Policy(_) => (9, "policy"),
        }
    }

    /// The same for a user who is not root and runs a command by hand: the kernel, nftables and the state folder are root's.
    #[must_use]
    pub fn hinting_at_root(mut self) -> Self {
        if let Self::Kernel(report) | Self::Nftables(report) | Self::State(report) = &mut self {
            report.hint = "run it as root".to_owned();
        }
        self
    }

    fn report(&self) -> &Report {
        match self {
            Self::Usage(report)
            | Self::Annotation(report)
            | Self::Conflict(report)
            | Self::Kernel(report)
            | Self::Nftables(report)
            | Self::State(report)
            | Self::Partial(report)
            | Self::Policy(report) => report,
        }
    }
}

impl Error {
    /// What was not done and why, for a message that has a hint of its own.
    #[must_use]
    pub fn without_hint(&self) -> String {
        let Report { doing, cause, .. } = self.report();
        format!("cannot {doing}: {cause}")
    }
}

/// A report from its three parts.
pub fn report(doing: impl Into<String>, cause: impl fmt::Display, hint: impl Into<String>) -> Report {
    Report { doing: doing.into(), cause: cause.to_string(), hint: hint.into() }
}

/// An annotation that cannot be used.
pub fn annotation(key: &str, cause: impl fmt::Display, hint: impl Into<String>) -> Error {
    Error::Annotation(report(format!("use the annotation {key}"), cause, hint))
}

impl fmt::Display for Error {
    /// One line: runc pastes it into a message of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { doing, cause, hint } = self.report();
        f.write_str(&one_line(&format!("cannot {doing}: {cause}; hint: {hint}")))
    }
}

impl std::error::Error for Error {}

impl From<KernelError> for Error {
    fn from(error: KernelError) -> Self {
        use nix::errno::Errno;
        let hint = match error.errno {
            Errno::EPERM | Errno::EACCES => {
                "run the runtime as root, or give it CAP_NET_ADMIN and CAP_SYS_ADMIN"
            }
            Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT => {
                "load the kernel module that this needs, or use a kernel that has it"
            }
            Errno::ENOBUFS | Errno::ENOMEM => "free some memory and start the container again",
            _ => "look at the kernel's log for the reason, and start the container again",
        };
        let detail = error.detail.map(|detail| format!(" (kernel: {detail})")).unwrap_or_default();
        let cause = format!("{}{detail}", error.errno.desc());
        Self::Kernel(report(error.doing, cause, hint))
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        let hint = match &error {
            StateError::Io { source, .. }
                if matches!(
                    source.kind(),
                    ErrorKind::IsADirectory | ErrorKind::NotADirectory | ErrorKind::DirectoryNotEmpty
                ) =>
            {
                "ocinet did not make what is there: look at it, or name another folder with --state-dir"
            }
            StateError::Io { .. } => {
                "make room in the state folder and make it writable for root, or name another with --state-dir"
            }
            StateError::Malformed { .. } => {
                "move the file away once the containers that it is about have ended"
            }
            StateError::Writable { path, .. } => {
                let path = path.display().to_string();
                let hint = format!("look at it, and run `chmod 644 {}`, or remove it", word(&path));
                return Self::State(report("use the state folder", &error, hint));
            }
            StateError::Busy { .. } => "try again; if that does not help, end the process that holds it",
            StateError::Foreign { .. } => "look at it, and remove it: ocinet did not write it",
            StateError::Unsafe { danger, .. } => of_unsafe(*danger),
        };
        Self::State(report("use the state folder", error, hint))
    }
}

/// What to do about a state folder that is not used. A user may have chosen any name in it: none is part of a command.
fn of_unsafe(danger: Danger) -> &'static str {
    match danger {
        // Its mode is not ocinet's to change, nor anybody's for ocinet's sake.
        Danger::Shared => "name a folder of ocinet's own with --state-dir or OCINET_STATE_DIR",
        Danger::Owner => {
            "name a folder of root's with --state-dir or OCINET_STATE_DIR, or look into this one, remove what root did \
             not make, and give it to root"
        }
        Danger::Unknown => {
            "start the container as root (`sudo podman run …`): a container that is started without root has no network \
             by ocinet"
        }
        Danger::Content => "look into the folder, and remove what root did not make",
        Danger::Inside => "look into the folder that it is in, and remove what root did not make",
        Danger::Link => "remove the link: ocinet makes none",
    }
}

impl From<InstallError> for Error {
    fn from(error: InstallError) -> Self {
        let hint = match &error {
            InstallError::Missing => "install the package nftables",
            InstallError::Run(..) | InstallError::Refused(_) => {
                "try `nft list ruleset` as root; the kernel needs nf_tables with NAT, fib and the bridge family"
            }
        };
        Self::Nftables(report("make the table inet ocinet", error, hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_command_is_one_word_of_the_shells() {
        let path = "/run/o'c; id\n/web.json".into();
        let said = Error::from(StateError::Writable { path, mode: 0o666 }).to_string();
        let hint = said.split_once("; hint: ").unwrap().1;
        assert_eq!(hint, r"look at it, and run `chmod 644 '/run/o'\''c; id\n/web.json'`, or remove it");
    }

    #[test]
    fn a_report_is_one_line_whatever_it_quotes() {
        let error = annotation("net.ip", "\"1\n2\x1b[31m\" is not an address", "give one");
        assert_eq!(
            error.to_string(),
            "cannot use the annotation net.ip: \"1\\n2\\u{1b}[31m\" is not an address; hint: give one"
        );
    }
}
