//! `make demo` shows what README.md says, and leaves nothing, however it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ocinet_tests::lab::{exporter_path, ocinet_path};
use tempfile::NamedTempFile;

/// One demo at a time: the last one removes `/run/netns` where the first had to make it, and another one may be about to
/// use it.
static ALONE: Mutex<()> = Mutex::new(());

/// A run of the demo. What it says goes to a file: a pipe would stay open with whatever it leaves behind.
struct Demo {
    child: Child,
    said: NamedTempFile,
    _alone: MutexGuard<'static, ()>,
}

impl Demo {
    #[expect(clippy::disallowed_methods, reason = "a test of a script, which makes namespaces of its own")]
    fn start(exporter: &Path) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let said = NamedTempFile::new().expect("make a file");
        let file = said.reopen().expect("open the file");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/demo.sh");
        // A shell cannot trap a signal that was ignored when the shell started, as SIGHUP is under nohup(1).
        let child = Command::new("env")
            .arg("--default-signal=HUP,INT,TERM")
            .arg(script)
            .env("OCINET_BIN", ocinet_path().canonicalize().expect("a built ocinet"))
            .env("OCINET_EXPORTER_BIN", exporter)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("share the file"))
            .stderr(file)
            .spawn()
            .expect("start the demo");
        Self { child, said, _alone: alone }
    }

    /// How it ended, what it said, and that it left nothing.
    fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("wait for the demo");
        let said = fs::read_to_string(self.said.path()).expect("read what it said");
        leaves_nothing(self.child.id(), &said);
        (status, said)
    }
}

fn exporter() -> PathBuf {
    exporter_path().canonicalize().expect("a built exporter")
}

/// What bears the name of one run of the demo: namespaces, files, and processes by their arguments or environment.
fn left(pid: u32) -> Vec<String> {
    let name = format!("ocinet-demo-{pid}");
    let in_folder = |folder: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.path().display().to_string());
        names.filter(|path| path.contains(&name)).collect::<Vec<_>>()
    };
    let mut left = in_folder("/run/netns");
    left.extend(in_folder("/tmp"));
    for process in fs::read_dir("/proc").expect("read /proc").flatten().map(|entry| entry.path()) {
        let read = |file: &str| fs::read(process.join(file)).unwrap_or_default();
        let told = [read("cmdline"), read("environ")].concat();
        if String::from_utf8_lossy(&told).contains(&name) {
            left.push(format!(
                "{}: {}",
                process.display(),
                String::from_utf8_lossy(&read("cmdline")).replace('\0', " ")
            ));
        }
    }
    left
}

/// The hook's child that waits for the kernel may live a moment longer than the hook.
fn leaves_nothing(pid: u32, said: &str) {
    for _ in 0..100 {
        if left(pid).is_empty() {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("the demo left {:#?} and said {said}", left(pid));
}

#[test]
#[ignore = "needs root"]
fn the_demo_shows_it_all_and_leaves_nothing() {
    let (status, said) = Demo::start(&exporter()).ended();
    assert!(status.success(), "{said}");
    let told =
        ["hello from the container", "hello from the internet", "ocinet_published_port_connections_total"];
    for line in told.into_iter().chain(["Nothing is left but the tables"]) {
        assert!(said.contains(line), "{line} is not in {said}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_demo_that_fails_leaves_nothing() {
    let (status, said) = Demo::start(Path::new("/bin/false")).ended();
    assert!(!status.success() && said.contains("hello from the internet"), "{said}");
}

/// At once, and later and later until it has ended before.
#[test]
#[ignore = "needs root"]
fn a_demo_that_is_interrupted_leaves_nothing() {
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().cycle();
    let delays = (0..).map(|step| Duration::from_millis(400 * step));
    for (delay, signal) in delays.zip(signals) {
        let demo = Demo::start(&exporter());
        let pid = Pid::from_raw(demo.child.id().cast_signed());
        sleep(delay);
        kill(pid, signal).expect("interrupt the demo");
        let (status, said) = demo.ended();
        if status.success() {
            assert!(delay > Duration::from_secs(1), "{said}");
            return;
        }
        assert!(status.code().is_none_or(|code| code >= 128), "{status}: {said}");
    }
}
