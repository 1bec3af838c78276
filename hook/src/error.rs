//! Why ocinet did not do what it was asked, as a value until the edge.

use std::fmt;
use std::io::ErrorKind;

use ocinet_shared::kernel::KernelError;
use ocinet_shared::kernel::nft::InstallError;
use ocinet_shared::one_line::one_line;
use ocinet_shared::quoted::word;
use ocinet_shared::state::{Danger, StateError};

/// What a person needs to read: what was to be done, why it was not, what to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    /// The verb and its object, as in `publish port 8080/tcp`.
    doing: String,
    /// Why it was not done.
    cause: String,
    /// What to do.
    hint: String,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The command line, the state on standard input, or the configuration.
    Usage,
    /// An annotation.
    Annotation,
    /// A port, an address or a name that is taken.
    Conflict,
    /// The kernel refused a change.
    Kernel,
    /// nftables refused a change.
    Nftables,
    /// The state folder.
    State,
    /// A container was detached only in part.
    Partial,
    /// The administrator's policy.
    Policy,
}

impl Class {
    /// The exit code and the word for it.
    const fn code_and_name(self) -> (u8, &'static str) {
        match self {
            Self::Usage => (2, "usage"),
            Self::Annotation => (3, "annotation"),
            Self::Conflict => (4, "conflict"),
            Self::Kernel => (5, "kernel"),
            Self::Nftables => (6, "nftables"),
            Self::State => (7, "state"),
            Self::Partial => (8, "partial"),
            Self::Policy => (9, "policy"),
        }
    }
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    class: Class,
    report: Report,
}

impl Error {
    /// A failure of a class: what was to be done, as in `publish port 8080/tcp`, why it was not, and what to do now.
    pub fn new(
        class: Class,
        doing: impl Into<String>,
        cause: impl fmt::Display,
        hint: impl Into<String>,
    ) -> Self {
        let report = Report { doing: doing.into(), cause: cause.to_string(), hint: hint.into() };
        Self { class, report }
    }

    /// The class as an exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.class.code_and_name().0
    }

    /// The class in a word.
    #[must_use]
    pub fn class(&self) -> &'static str {
        self.class.code_and_name().1
    }

    /// The same for a user who is not root and runs a command by hand: the kernel, nftables and the state folder are root's.
    #[must_use]
    pub fn hinting_at_root(mut self) -> Self {
        if matches!(self.class, Class::Kernel | Class::Nftables | Class::State) {
            self.report.hint = "run it as root".to_owned();
        }
        self
    }

    /// The same with a cause that says more, made of the cause that it has.
    #[must_use]
    pub fn with_cause(mut self, cause: impl FnOnce(&str) -> String) -> Self {
        self.report.cause = cause(&self.report.cause);
        self
    }

    /// What was not done and why, for a message that has a hint of its own.
    #[must_use]
    pub fn without_hint(&self) -> String {
        let Report { doing, cause, .. } = &self.report;
        format!("cannot {doing}: {cause}")
    }
}

/// An annotation that cannot be used.
pub fn annotation(key: &str, cause: impl fmt::Display, hint: impl Into<String>) -> Error {
    Error::new(Class::Annotation, format!("use the annotation {key}"), cause, hint)
}

impl fmt::Display for Error {
    /// One line: runc pastes it into a message of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { doing, cause, hint } = &self.report;
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
        Self::new(Class::Kernel, error.doing, cause, hint)
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
                return Self::new(Class::State, "use the state folder", &error, hint);
            }
            StateError::Busy { .. } => "try again; if that does not help, end the process that holds it",
            StateError::Foreign { .. } => "look at it, and remove it: ocinet did not write it",
            StateError::Unsafe { danger, .. } => of_unsafe(*danger),
        };
        Self::new(Class::State, "use the state folder", error, hint)
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
        Self::new(Class::Nftables, "make the table inet ocinet", error, hint)
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
