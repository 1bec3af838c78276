//! The exporter on a machine of the lab, and a client of it that speaks HTTP byte by byte.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::host::Host;
use super::netns::Netns;
use super::process::{Background, Finished, command, finish};
use super::traffic::until;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running exporter; dropping it ends it.
#[derive(Debug)]
pub struct Exporter {
    net: Netns,
    process: Background,
    log: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What it answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    /// What came behind them until the connection ended.
    pub body: String,
}

impl Reply {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// The exporter under test.
#[must_use]
pub fn exporter_path() -> PathBuf {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bin/ocinet-exporter");
    std::env::var_os("OCINET_EXPORTER_BIN").map_or_else(|| PathBuf::from(built), PathBuf::from)
}

impl Host {
    /// Runs the exporter to its end, which it has to come to by itself.
    #[must_use]
    #[track_caller]
    pub fn exporter_fails(&self, flags: &[&str]) -> Finished {
        let mut program = command(exporter_path());
        program.env_clear().args(flags).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(self.net.spawn(program), &[])
    }

    /// Starts the exporter with the host's state folder, listening on :9477 unless the flags say otherwise.
    #[must_use]
    #[track_caller]
    pub fn exporter(&self, flags: &[&str]) -> Exporter {
        self.exporter_under(&[], flags)
    }

    /// The same under another program.
    ///
    /// # Panics
    /// When it does not listen soon.
    #[must_use]
    #[track_caller]
    pub fn exporter_under(&self, under: &[&str], flags: &[&str]) -> Exporter {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let log = self.state_dir().with_extension(format!("exporter-{number}.log"));
        let path = exporter_path();
        let mut program = match under.split_first() {
            None => command(&path),
            Some((first, rest)) => {
                let mut program = command(first);
                program.args(rest).arg(&path);
                program
            }
        };
        program.env("OCINET_STATE_DIR", self.state_dir()).args(flags);
        program.stderr(fs::File::create(&log).expect("a log file"));
        let process = Background(self.net.spawn(program));
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9477);
        let exporter = Exporter { net: self.net.again(), process, log, address };
        let listens = (0..5).any(|_| until(|| exporter.log().contains("Listening on")));
        assert!(listens, "{}", exporter.log());
        exporter
    }
}

impl Exporter {
    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// A connection to it.
    ///
    /// # Panics
    /// When it takes none.
    #[must_use]
    #[track_caller]
    pub fn connect(&self) -> TcpStream {
        let stream =
            self.net.within(|| TcpStream::connect_timeout(&self.address, PATIENCE)).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream
    }

    /// The answer to a GET.
    #[must_use]
    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.get_with(path, "")
    }

    /// The answer to a GET with further header lines, each ended by `\r\n`.
    #[must_use]
    #[track_caller]
    pub fn get_with(&self, path: &str, headers: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: exporter\r\nConnection: close\r\n{headers}\r\n"))
    }

    /// Everything that comes back for these bytes until the connection ends.
    ///
    /// # Panics
    /// When that is not an answer.
    #[must_use]
    #[track_caller]
    pub fn ask(&self, request: &str) -> Reply {
        let mut stream = self.connect();
        // An answer may come, and the connection end, before everything is written.
        let _ = stream.write_all(request.as_bytes());
        read_reply(&mut stream).unwrap_or_else(|said| panic!("no answer: {said:?}\n{}", self.log()))
    }

    /// Runs curl in the machine's namespace, silent but for errors.
    #[must_use]
    #[track_caller]
    pub fn curl(&self, arguments: &[&str]) -> Finished {
        let mut words = vec!["curl", "-sS", "--noproxy", "*", "--max-time", "60"];
        words.extend(arguments);
        self.net.run(&words)
    }

    /// Tells it to end.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        kill(pid, Signal::SIGTERM).expect("it is alive");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended after ten seconds.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.process.0.try_wait().expect("wait for it") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it has not ended\n{}", self.log());
    }

    /// The processor time that it has used.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it is alive");
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        // utime and stime of proc(5), in hundredths of a second.
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// The memory that it has resident, in bytes.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.process.resident()
    }
}

/// Reads one answer and whatever comes behind it, until the connection ends.
///
/// # Errors
/// What came, where it is no answer.
pub fn read_reply(stream: &mut TcpStream) -> Result<Reply, String> {
    let mut bytes = Vec::new();
    // A reset behind the answer does not take it back.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| text.clone())?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| text.clone())?;
    Ok(Reply { status, head: head.to_owned(), body: body.to_owned() })
}

/// A strace that delays every opening of a path by a process, while this value lives.
#[derive(Debug)]
pub struct Slow(Child);

impl Slow {
    /// Begins.
    ///
    /// # Panics
    /// Without strace.
    #[must_use]
    #[track_caller]
    pub fn opening(path: &Path, pid: u32, delay: Duration) -> Self {
        let mut strace = command("strace");
        strace.args(["-f", "-o", "/dev/null", "-P"]).arg(path);
        strace.args(["-e", "trace=openat", "-e"]);
        strace.arg(format!("inject=openat:delay_enter={}", delay.as_micros()));
        strace.args(["-p", &pid.to_string()]);
        let strace = Self(strace.spawn().expect("strace"));
        let traced = || {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            tasks.into_iter().all(|task| {
                let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
                !status.contains("TracerPid:\t0\n")
            })
        };
        assert!(until(traced), "strace attaches to every thread");
        strace
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // What it traces goes on; told to end by itself, it would wait for a process that has ended and that nobody reaps.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
