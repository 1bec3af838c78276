//! The resources of the exporter's own process, as proc_pid_stat(5) and getrlimit(2) have them.
//!
//! The crate prometheus has a collector for this, too. It tells processor time in whole seconds, and it reads every limit of the process
//! to find one, which took a quarter of a scrape's instructions.

use nix::sys::resource::{Resource, getrlimit};
use procfs::process::Process;
use procfs::{ProcResult, boot_time_secs, page_size, ticks_per_second};

use crate::scrape::snapshot::ProcessUsage;

/// Reads what the process takes now.
///
/// # Errors
/// Those of reading /proc/self and /proc/stat.
pub fn read() -> ProcResult<ProcessUsage> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second() as f64;
    let (max_fds, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(std::io::Error::from)?;
    Ok(ProcessUsage {
        cpu_seconds: seconds(stat.utime + stat.stime),
        open_fds: process.fd_count()? as u64,
        max_fds,
        virtual_bytes: stat.vsize,
        resident_bytes: stat.rss * page_size(),
        start_time: boot_time_secs()? as f64 + seconds(stat.starttime),
        threads: stat.num_threads.unsigned_abs(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, Instant, SystemTime};

    use super::*;

    #[test]
    fn what_the_process_takes_is_told_in_the_units_of_the_names() {
        let before = read().expect("read /proc");
        let files: Vec<File> = (0..20).map(|_| File::open("/dev/null").expect("a file")).collect();
        let memory = vec![1_u8; 32 << 20];
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(60) {}
        let after = read().expect("read /proc");
        assert!(after.open_fds >= before.open_fds + files.len() as u64 - 5, "{before:?} {after:?}");
        assert!(
            after.resident_bytes >= before.resident_bytes + memory.len() as u64 / 2,
            "{before:?} {after:?}"
        );
        assert!(after.virtual_bytes > after.resident_bytes, "{after:?}");
        let used = after.cpu_seconds - before.cpu_seconds;
        assert!((0.01..60.0).contains(&used), "{used} s");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
        assert!((now - 3600.0..now + 2.0).contains(&after.start_time), "{after:?} at {now}");
        assert!(after.max_fds >= after.open_fds && after.threads >= 1, "{after:?}");
    }
}
