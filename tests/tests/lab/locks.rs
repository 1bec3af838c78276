//! Who can stop a start by holding a lock: nobody but root, and not for long.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use ocinet_tests::lab::{DUAL, Lab, Sandbox, Snapshot};

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
            let wanted = match (metadata.is_dir(), name) {
                (true, _) => 0o755,
                (false, "lock" | "sweep") => 0o600,
                (false, _) => 0o644,
            };
            assert_eq!(metadata.mode() & 0o7777, wanted, "{} under umask {umask}", path.display());
        }
    }
}

#[test]
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
    }
    fs::remove_dir(&planted).unwrap();
    before.assert_is_back(&lab, "refusals");
    // A new tmpfs is open to everybody too.
    assert_eq!(lab.create(&sandbox, &PUBLISHED).code, 0);
    assert_eq!(fs::metadata(lab.state_dir()).unwrap().mode() & 0o7777, 0o755);
}

/// A process of root's that was stopped holds its locks: the others end by their deadline, and change nothing.
#[test]
fn no_wait_is_without_an_end() {
    let lab = Lab::new();
    used(&lab);
    let mut web = lab.attach("web", &PUBLISHED);
    let before = Snapshot::of(&lab);
    let lock = fs::OpenOptions::new().read(true).write(true).open(lab.state_dir().join("lock")).unwrap();
    hold(&lock, 0, 0);
    let began = Instant::now();
    let late = lab.create(&Sandbox::new("late"), &PUBLISHED[..2]);
    assert_eq!(
        (late.code, late.stderr.lines().filter(|line| line.starts_with("ocinet: cannot")).count()),
        (7, 1),
        "{}",
        late.stderr
    );
    web.sandbox.end();
    let stopped = lab.poststop("web");
    assert_eq!(stopped.code, 7, "{}", stopped.stderr);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(lock);
    let _ = before;
    drop(web.net);
    assert_eq!(lab.poststop("web").code, 0);
    assert!(lab.record("late").is_none() && lab.record("web").is_none());
}
