//! Which process is which: a pid alone is used again.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, IntoRawFd as _};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;

use super::{KernelError, sysctl};

/// More than the longest line of /proc/PID/stat: 52 numbers and a name of 15 bytes.
const STAT: usize = 2048;
/// What the heap grows by, in bytes: more than a hook needs.
#[cfg(target_env = "gnu")]
const MEMORY: i32 = 1 << 20;
/// The flag of a process that is in exit(2) (linux/sched.h).
const PF_EXITING: u32 = 4;
/// `SIGKILL` in a set of signals: bit 0 is signal 1 (signal(7)).
const KILLED: u64 = 1 << (9 - 1);

/// When a process was started, in clock ticks since boot: field 22 of /proc/PID/stat (proc_pid_stat(5)).
/// With the pid and the boot's id it names a process for ever.
///
/// # Errors
/// `NotFound` where there is no such process; `InvalidData` where the kernel's answer has another form.
pub fn start_time(pid: u32) -> io::Result<u64> {
    read_stat(pid)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// The start time; `None` of a process that is ending, was killed, or is dead and not waited for.
fn read_stat(pid: u32) -> io::Result<Option<u64>> {
    let mut buffer = [0; STAT];
    let length = File::open(format!("/proc/{pid}/stat"))?.read(&mut buffer)?;
    parse_stat(&buffer[..length])
}

fn parse_stat(stat: &[u8]) -> io::Result<Option<u64>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no start time in /proc/PID/stat");
    // The command's name, field 2, may hold any bytes, spaces and parentheses among them; it ends at the last one.
    let name_end = stat.iter().rposition(|byte| *byte == b')').map_or(stat.len(), |at| at + 1);
    let behind_name = std::str::from_utf8(&stat[name_end..]).unwrap_or_default();
    let mut fields = behind_name.split_ascii_whitespace();
    let state = fields.next();
    let flags: u32 = fields.nth(5).and_then(|field| field.parse().ok()).ok_or_else(malformed)?;
    // It leaves its namespaces before it is a zombie: for ocinet it is dead from its first step on.
    if matches!(state, Some("Z" | "X")) || flags & PF_EXITING != 0 {
        return Ok(None);
    }
    let started = fields.nth(12).and_then(|field| field.parse().ok()).ok_or_else(malformed)?;
    // On a busy machine a killed process may not have taken its first step yet. No living one has this signal pending: it
    // cannot be blocked, and where a namespace's first process is safe from it the kernel drops it.
    let pending: u64 = fields.nth(8).and_then(|field| field.parse().ok()).unwrap_or_default();
    Ok(if pending & KILLED == 0 { Some(started) } else { None })
}

/// Whether the process with this pid is still the one that was started at this time.
#[must_use]
pub fn is_alive(pid: u32, started: u64) -> bool {
    start_time(pid).is_ok_and(|now| now == started)
}

/// Whether the process that was started at this time has ended, as far as can be seen: where /proc shows no processes of
/// other users (`hidepid`), one that has the pid passes for it.
#[must_use]
pub fn has_ended(pid: u32, started: u64) -> bool {
    match read_stat(pid) {
        Ok(now) => now != Some(started),
        Err(_) => !exists(pid),
    }
}

/// Whether some process has this pid, be it one that has ended and is not waited for.
#[must_use]
pub fn exists(pid: u32) -> bool {
    // To kill(2), 0 and negative numbers are groups of processes.
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else { return false };
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// Does what a Rust program needs of what Rust's own start does before `main` (`lang_start` of the standard library): a
/// descriptor below 3 that is closed is opened, so that what ocinet says is never written into a file of its own, and a
/// write to a reader that has gone fails with `EPIPE` instead of ending the process.
pub fn start() {
    open_closed_streams();
    #[expect(unsafe_code, reason = "neither signal(2) nor mallopt(3) has a safe wrapper")]
    // SAFETY: to ignore a signal runs no code of this program's, mallopt(3) changes the allocator's own numbers alone, and
    // there is one thread.
    unsafe {
        let _ = signal(Signal::SIGPIPE, SigHandler::SigIgn);
        // A hook takes memory from the kernel once, for all of its threads, and gives none back before its end.
        #[cfg(target_env = "gnu")]
        for (parameter, value) in
            [(libc::M_TOP_PAD, MEMORY), (libc::M_TRIM_THRESHOLD, libc::c_int::MAX), (libc::M_ARENA_MAX, 1)]
        {
            libc::mallopt(parameter, value);
        }
    }
}

fn open_closed_streams() {
    #[expect(unsafe_code, reason = "the standard library's streams do not tell whether they are open")]
    // SAFETY: these are numbers, not borrowed objects, and nothing is changed.
    let is_open = |stream| unsafe { libc::fcntl(stream, libc::F_GETFD) } >= 0;
    if (0..=2).all(is_open) {
        return;
    }
    loop {
        // The lowest free number is given away first (open(2)).
        match File::options().read(true).write(true).open("/dev/null") {
            Ok(null) if null.as_raw_fd() <= 2 => _ = null.into_raw_fd(),
            Ok(_) => break,
            // Any other file tells as well whether one of them is closed: nothing is to be said then, and nowhere to say it.
            Err(_) if File::open("/").is_ok_and(|other| other.as_raw_fd() > 2) => break,
            Err(_) => std::process::abort(),
        }
    }
}

/// Makes the modes of new files and folders what the code says, whatever umask the caller has: nobody but the owner may
/// write.
pub fn fix_umask() {
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
}

/// The kernel's id of this boot (random(4)).
///
/// # Errors
/// Those of reading /proc/sys/kernel/random/boot_id.
pub fn boot_id() -> Result<String, KernelError> {
    sysctl::read_text("kernel/random/boot_id")
        .map_err(|error| KernelError::from_io("find out which boot this is", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_no_other_with_its_pid() {
        let pid = std::process::id();
        let started = start_time(pid).unwrap();
        assert!(is_alive(pid, started));
        assert!(!is_alive(pid, started + 1));
        assert!(!is_alive(u32::MAX, started));
        assert!(!has_ended(pid, started) && has_ended(pid, started + 1) && has_ended(u32::MAX, started));
        assert!(exists(pid) && !exists(0) && !exists(u32::MAX));
    }

    #[test]
    fn a_process_that_is_ending_has_ended() {
        let killed = |state: &str, flags: u32, pending: u32| {
            let behind = format!(
                ") b) {state} 1 7 7 0 -1 {flags} 10 11 12 13 14 15 16 17 18 19 20 21 2200 23 24 25 26 27 28 29 30 \
                 {pending} 0 0 0"
            );
            parse_stat(&[&b"7 (a\xff"[..], behind.as_bytes()].concat())
        };
        let stat = |state: &str, flags: u32| killed(state, flags, 0);
        assert_eq!(stat("S", 0x40_0100).unwrap(), Some(2200));
        assert_eq!(stat("Z", 0x40_0100).unwrap(), None);
        assert_eq!(stat("R", 0x40_0104).unwrap(), None);
        assert_eq!(killed("R", 0x40_0100, 0x100).unwrap(), None);
        assert_eq!(killed("D", 0x40_0100, 0x4000).unwrap(), Some(2200), "SIGTERM may be blocked");
        assert!(parse_stat(b"7 (a) S 1").is_err() && parse_stat(b"").is_err());
    }
}
