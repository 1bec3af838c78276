//! Who can stop a start by holding a lock: nobody but root, and not for long.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use ocinet_tests::lab::{DUAL, Lab, Sandbox, Snapshot, finish, until};

use crate::life::used;

const PUBLISHED: [(&str, &str); 3] =
    [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "8080:80,127.0.0.1:8081:81")];
/// What a start and a stop take where nobody is in their way, on a busy machine.
const SOON: Duration = Duration::from_secs(4);

/// Locks bytes of a file for as long as it is open, as whoever can read it may.
pub(crate) fn hold(file: &File, start: i64, length: i64) {
    let kinds = [libc::F_WRLCK, libc::F_RDLCK];
    let taken = kinds.into_iter().any(|kind| {
        let lock = libc::flock {
            l_type: kind.try_into().unwrap(),
            l_whence: libc::SEEK_SET.try_into().unwrap(),
            l_start: start,
            l_len: length,
            l_pid: 0,
        };
        fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).is_ok()
    });
    assert!(taken, "a lock");
}

fn read_lock(file: &File) {
    hold(file, 0, 0);
}

/// Every file and folder of the state folder.
fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() { found.extend(all(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

/// flock(2) and fcntl(2) ask for no more than a descriptor that reads.
#[test]
#[ignore = "needs root"]
fn what_others_can_open_stops_nobody() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut web = lab.attach("web", &PUBLISHED);
    let held: Vec<File> = all(&lab.state_dir())
        .into_iter()
        .filter(|path| fs::metadata(path).unwrap().mode() & 0o004 != 0)
        .map(|path| {
            let file = File::open(path).unwrap();
            // Leases are links to one file, which is locked by now.
            let _ = file.try_lock();
            if file.metadata().unwrap().is_file() {
                read_lock(&file);
            }
            file
        })
        .collect();
    assert!(held.len() > 8, "{} files that others can open", held.len());
    let began = Instant::now();
    let next = lab.attach("next", &PUBLISHED[..2]);
    let other = lab.attach("other", &[("net.network", "blue"), ("net.subnet", "10.95.0.0/24")]);
    assert_eq!(lab.run(&["gc"], "").code, 0);
    lab.detach(other);
    lab.detach(next);
    drop(web.net);
    web.sandbox.end();
    assert_eq!(lab.poststop("web").code, 0);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    drop(held);
    before.assert_is_back(&lab, "starts and stops beside held locks");
}

/// Whatever umask the runtime has: the exporter and `ocinet list` read as anybody, and nobody but root writes.
#[test]
#[ignore = "needs root"]
fn modes_are_the_same_under_every_umask() {
    for umask in ["0", "077", "022"] {
        let lab = Lab::new();
        fs::remove_dir_all(lab.state_dir()).unwrap();
        let web = Sandbox::new("web");
        let script = format!("umask {umask}; exec \"$@\"");
        let under = ["sh", "-c", script.as_str(), "sh"];
        for (sandbox, annotations, code) in
            [(&web, &PUBLISHED[..], 0), (&Sandbox::new("bad"), &[("net.ip", "x")], 3)]
        {
            let created = lab.run_under(&under, &["createRuntime"], &lab.state_of(sandbox, annotations));
            assert_eq!(created.code, code, "{}", created.stderr);
        }
        for path in all(&lab.state_dir()) {
            let metadata = fs::metadata(&path).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            // What quotes a failed start's annotations is not for every user.
            let is_private =
                ["lock", "sweep"].contains(&name) || path.parent().unwrap().ends_with("last-error");
            let wanted = match (metadata.is_dir(), is_private) {
                (true, _) => 0o755,
                (false, true) => 0o600,
                (false, false) => 0o644,
            };
            assert_eq!(metadata.mode() & 0o7777, wanted, "{} under umask {umask}", path.display());
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_state_folder_that_others_wrote_to_is_refused() {
    let lab = Lab::new();
    let sandbox = Sandbox::new("web");
    let before = Snapshot::of(&lab);
    let planted = lab.state_dir().join("containers");
    fs::create_dir(&planted).unwrap();
    chown(&planted, Some(65534), Some(65534)).unwrap();
    for mode in [0o777, 0o1777, 0o775] {
        fs::set_permissions(lab.state_dir(), Permissions::from_mode(mode)).unwrap();
        let refused = lab.create(&sandbox, &PUBLISHED);
        assert_eq!(refused.code, 7, "{}", refused.stderr);
        assert!(refused.stderr.contains("others can write to it"), "{}", refused.stderr);
        assert!(refused.stderr.contains("containers is not root's"), "{}", refused.stderr);
        assert_eq!(fs::metadata(lab.state_dir()).unwrap().mode() & 0o7777, mode);
        let checked = lab.run(&["check"], "");
        assert_eq!(checked.code, 1, "{checked:?}");
        assert!(checked.stdout.contains("others can write to it"), "{checked:?}");
    }
    fs::remove_dir(&planted).unwrap();
    before.assert_is_back(&lab, "refusals");
    assert_eq!(lab.create(&sandbox, &PUBLISHED).code, 0);
    assert_eq!(fs::metadata(lab.state_dir()).unwrap().mode() & 0o7777, 0o755);
}

#[track_caller]
fn says_who_holds(stderr: &str) {
    let parts = [
        "another ocinet did not let go of it for 20s (`fuser ",
        "; hint: try again; if that does not help, end the process",
    ];
    assert!(parts.iter().all(|part| stderr.contains(part)), "{stderr}");
}

/// A process of root's that was stopped holds its locks: the others end by their deadline, and change nothing.
#[test]
#[ignore = "needs root"]
fn no_wait_is_without_an_end() {
    let lab = Lab::new();
    used(&lab);
    let mut web = lab.attach("web", &PUBLISHED);
    let before = Snapshot::of(&lab);
    let lock = file_of_locks(&lab);
    hold(&lock, 0, 0);
    let began = Instant::now();
    let late = lab.create(&Sandbox::new("late"), &PUBLISHED[..2]);
    assert_eq!(
        (late.code, late.stderr.lines().filter(|line| line.starts_with("ocinet: cannot")).count()),
        (7, 1),
        "{}",
        late.stderr
    );
    says_who_holds(&late.stderr);
    before.assert_is_back(&lab, "a start that waited in vain");
    web.sandbox.end();
    let stopped = lab.poststop("web");
    assert_eq!(stopped.code, 7, "{}", stopped.stderr);
    says_who_holds(&stopped.stderr);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    drop(lock);
    drop(web.net);
    assert_eq!(lab.poststop("web").code, 0);
    assert!(lab.record("late").is_none() && lab.record("web").is_none());
}

/// Where the bytes of the locks of networks begin, of the making of networks and of the sweep; and how many there are of each.
const OF_NETWORKS: i64 = 1 << 60;
const OF_MAKING: i64 = 2 << 60;
const OF_SWEEP: i64 = 4 << 60;
const OF_EACH: i64 = 1 << 60;
const BLUE: [(&str, &str); 3] =
    [("net.network", "blue"), ("net.subnet", "10.85.0.0/24"), ("net.ports", "8080:80")];

/// Whoever joins a network holds it shared: one after another, and never nobody.
struct Joining {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Joining {
    fn stream(lab: &Lab) -> Self {
        let (path, ended) = (lab.state_dir().join("lock"), Arc::new(AtomicBool::new(false)));
        let end = Arc::clone(&ended);
        let next = move || {
            let file = File::open(&path).unwrap();
            hold(&file, OF_NETWORKS, OF_EACH);
            file
        };
        let mut last = Some(next());
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(5));
                drop(last.replace(next()));
            }
        });
        Self { ended, thread: Some(thread) }
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The file of the locks, open as a process of root's has it.
fn file_of_locks(lab: &Lab) -> File {
    fs::OpenOptions::new().read(true).write(true).open(lab.state_dir().join("lock")).unwrap()
}

/// The only container of a network has ended, and its stop is still to come; and how the host was before it.
fn only_one_has_ended(asked: &[(&str, &str)]) -> (Lab, Snapshot) {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut web = lab.attach("web", asked);
    drop(web.net);
    web.sandbox.end();
    (lab, before)
}

/// They would hold up whoever leaves it last for as long as they come.
#[test]
#[ignore = "needs root"]
fn a_stop_does_not_wait_for_those_who_join() {
    let (lab, before) = only_one_has_ended(&BLUE);
    let joining = Joining::stream(&lab);
    let began = Instant::now();
    let stopped = lab.poststop("web");
    assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    drop(joining);
    lab.detach(lab.attach("next", &BLUE));
    before.assert_is_back(&lab, "the next container of the network");
}

/// A stop that leaves time for a start between its last lease and its network.
const SLOW: [&str; 6] = ["strace", "-qq", "-o", "/dev/null", "-e", "inject=rmdir:delay_exit=2000000"];

/// A stop that leaves time for a start before it gives anything back.
const SLOW_TO_GIVE_BACK: [&str; 6] =
    ["strace", "-qq", "-o", "/dev/null", "-e", "inject=unlink,unlinkat:delay_enter=300000"];

/// The start finds a dead container in its way and waits for its lock, which the stop of that container holds.
#[test]
#[ignore = "needs root"]
fn who_waited_for_the_stop_of_another_has_its_address_and_port() {
    for asked in [[BLUE[0], BLUE[1], ("net.ip", "10.85.0.50")], BLUE] {
        let (lab, before) = only_one_has_ended(&asked);
        // A sweep would take the container back before the start looks for its address.
        let sweep = file_of_locks(&lab);
        hold(&sweep, OF_SWEEP, OF_EACH);
        thread::scope(|scope| {
            let leaving = scope.spawn(|| lab.run_under(&SLOW_TO_GIVE_BACK, &["poststop"], r#"{"id":"web"}"#));
            sleep(Duration::from_millis(250));
            lab.detach(lab.attach("next", &asked));
            let left = leaving.join().unwrap();
            assert_eq!((left.code, left.stderr.as_str()), (0, ""));
        });
        before.assert_is_back(&lab, "both");
    }
}

/// How a start ends that joined a network while its last container left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joins {
    Well,
    InVain,
    Killed,
}

fn starting(lab: &Lab, sandbox: &Sandbox, joins: Joins) -> Child {
    let mut hook = lab.ocinet();
    hook.arg("createRuntime").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut start = lab.host.spawn(hook);
    let mut asked = BLUE.to_vec();
    asked.extend((joins == Joins::InVain).then_some(("net.sysctl", "net.core.somaxconn=-1")));
    start.stdin.take().unwrap().write_all(lab.state_of(sandbox, &asked).as_bytes()).unwrap();
    start
}

#[test]
#[ignore = "needs root"]
fn a_network_goes_also_when_its_last_left_it_to_one_who_joined() {
    for joins in [Joins::Well, Joins::InVain, Joins::Killed] {
        let (lab, before) = only_one_has_ended(&BLUE);
        // The start stops where it turns forwarding on: it has joined by then.
        lab.host.sysctl("ipv4/ip_forward", "0");
        let (making, sweep) = (file_of_locks(&lab), file_of_locks(&lab));
        hold(&making, OF_MAKING, OF_EACH);
        // The start would look whether the container that stops is dead, and wait for its stop.
        hold(&sweep, OF_SWEEP, OF_EACH);
        let leases = lab.state_dir().join("leases/blue");
        let mut next = Sandbox::new("next");
        thread::scope(|scope| {
            let leaving = scope.spawn(|| lab.run_under(&SLOW, &["poststop"], r#"{"id":"web"}"#));
            assert!(until(|| !leases.exists()), "the last lease is given back");
            let mut start = starting(&lab, &next, joins);
            assert!(until(|| leases.exists()), "another joins");
            let began = Instant::now();
            let left = leaving.join().unwrap();
            assert_eq!((left.code, left.stderr.as_str()), (0, ""), "{joins:?}");
            assert!(began.elapsed() < SOON, "{joins:?}: {:?}", began.elapsed());
            if joins == Joins::Killed {
                start.kill().unwrap();
            }
            drop(making);
            let said = finish(start, b"");
            let code = match joins {
                Joins::Well => 0,
                Joins::InVain => 3,
                Joins::Killed => -9,
            };
            assert_eq!(said.code, code, "{joins:?}: {}", said.stderr);
        });
        let network = lab.state_dir().join("networks/blue.json");
        assert_eq!(network.exists(), joins != Joins::InVain, "{joins:?}");
        next.end();
        let ends = if joins == Joins::Killed { lab.run(&["gc"], "") } else { lab.poststop("next") };
        assert_eq!(ends.code, 0, "{}", ends.stderr);
        before.assert_is_back(&lab, &format!("a start that joined: {joins:?}"));
    }
}
