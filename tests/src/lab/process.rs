//! Programs that the lab starts.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use ocinet_shared::kernel::process::start_time;

/// What a program said, and how it ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The exit code; minus the signal's number where a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// The standard output of a program that must succeed.
    ///
    /// # Panics
    /// When it did not.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "exit {}: {}{}", self.code, self.stderr, self.stdout);
        self.stdout
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: code(output.status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
}

/// A program to start, with every stream closed until the caller says otherwise.
#[allow(
    clippy::disallowed_methods,
    reason = "the lab starts runtimes, hooks and tools; ocinet itself does not"
)]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Waits for a started program, having written all of `input` to it.
///
/// # Panics
/// When the program closed its standard input before it had read everything.
#[must_use]
#[track_caller]
pub fn finish(mut child: Child, input: &[u8]) -> Finished {
    if let Err(error) = write_input(&mut child, input) {
        let killed = error.kind() == ErrorKind::BrokenPipe && child.wait().is_ok_and(|s| s.code().is_none());
        assert!(killed, "standard input was not read to its end: {error}");
    }
    child.wait_with_output().expect("wait for a program").into()
}

/// The same of a program that a fault may keep from reading its input, or from living until it is written.
#[must_use]
#[track_caller]
pub(super) fn finish_with_a_fault(mut child: Child, input: &[u8]) -> Finished {
    if let Err(error) = write_input(&mut child, input) {
        assert_eq!(error.kind(), ErrorKind::BrokenPipe, "write the standard input: {error}");
    }
    child.wait_with_output().expect("wait for a program").into()
}

/// Writes all of it, and closes the input.
fn write_input(child: &mut Child, input: &[u8]) -> io::Result<()> {
    child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input))
}

/// A program that runs for as long as this value lives.
#[derive(Debug)]
pub struct Background(pub Child);

impl Background {
    /// Whether it has not ended by itself.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        start_time(self.0.id()).is_ok()
    }

    /// The memory that it has resident, in bytes.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it is alive");
        let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS");
        line.split_whitespace().nth(1).expect("kB").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
