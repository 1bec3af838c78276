//! Waits until a container's process executes the container's program. Until then it executes its runtime's.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

use super::process;

/// The shortest time between two looks. Each next one is some part of what was waited for already.
const PAUSE: Duration = Duration::from_millis(1);
const PART: u32 = 16;

/// Waits in a child of this process, which nobody waits for: false in this process, at once, and true in the child once the
/// process with this pid has executed another program than it runs now, or has ended, or `patience` is over.
///
/// In the child, descriptors 0 to 2 are /dev/null, and all others are closed. The caller must not use one that it opened
/// before, nor have logged anything.
///
/// # Errors
/// A process that is gone, and those of fork(2).
pub fn wait_in_child_for_next(pid: u32, patience: Duration) -> io::Result<bool> {
    let first = executable(pid)?;
    if !go_on_in_child()? {
        return Ok(false);
    }
    let begun = Instant::now();
    while begun.elapsed() < patience && executable(pid).is_ok_and(|now| now == first) {
        sleep((begun.elapsed() / PART).max(PAUSE));
    }
    Ok(true)
}

/// Which file a process executes: its file system and its number there.
fn executable(pid: u32) -> io::Result<(u64, u64)> {
    // A process that has ended, and is not waited for, has none.
    process::start_time(pid)?;
    let file = fs::metadata(format!("/proc/{pid}/exe"))?;
    Ok((file.dev(), file.ino()))
}

/// True in the child. It keeps nothing that anybody waits for: runtimes read a hook's output to its end, and descriptors of
/// an engine's may have come through them.
#[expect(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "fork and close_range have no safe wrapper; clippy.toml names this file"
)]
fn go_on_in_child() -> io::Result<bool> {
    let null = fs::File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: this process has one thread: one that opens a container's files is joined before that call returns. So the child is
    // a whole copy of it, and may go on with whatever code.
    if let ForkResult::Parent { .. } = unsafe { fork() }? {
        return Ok(false);
    }
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    drop(null);
    // SAFETY: the caller uses no descriptor that was open before. The log opens its socket with the first message, and
    // poststart writes none before this.
    unsafe { nix::libc::syscall(nix::libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    // What ends the runtime's command at its terminal does not end this.
    setsid()?;
    // The folder that the runtime was in may be an engine's to unmount.
    chdir("/")?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_executes_one_file_while_it_lives() {
        let own = executable(std::process::id()).unwrap();
        let file = fs::metadata(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(own, (file.dev(), file.ino()));
        assert!(executable(u32::MAX).is_err());
    }
}
