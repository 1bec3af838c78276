use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use super::*;
use crate::state::StateDir;

/// A state folder that is not there yet.
struct Folder(PathBuf, #[expect(dead_code, reason = "it goes with its value")] tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let made = tempfile::tempdir().unwrap();
        Self(made.path().join("state"), made)
    }

    /// The locks as another process has them.
    fn locks(&self) -> Locks {
        Locks::new(&self.0)
    }
}

fn at_once(locks: &Locks, what: Locked<'_>, mode: Mode) -> Result<Lock, StateError> {
    locks.take(what, mode, Duration::ZERO)
}

#[test]
fn a_lock_keeps_others_from_the_same_and_from_nothing_else() {
    let folder = Folder::new();
    let (one, other) = (folder.locks(), folder.locks());
    let (web, db) = ("web".parse().unwrap(), "db".parse().unwrap());
    let held = at_once(&one, Locked::Container(&web), Mode::Exclusive).unwrap();
    let _own = at_once(&one, Locked::Container(&db), Mode::Exclusive).unwrap();
    for mode in [Mode::Shared, Mode::Exclusive] {
        let busy = at_once(&other, Locked::Container(&web), mode).unwrap_err();
        assert!(matches!(&busy, StateError::Busy { what, .. } if what == "container web"), "{busy}");
    }
    for free in [Locked::Network(&web), Locked::Networks, Locked::Common, Locked::Sweep] {
        at_once(&other, free, Mode::Exclusive).unwrap();
    }
    drop(held);
    let _shared = at_once(&one, Locked::Container(&web), Mode::Shared).unwrap();
    at_once(&other, Locked::Container(&web), Mode::Shared).unwrap();
    assert!(at_once(&other, Locked::Container(&web), Mode::Exclusive).is_err());
}

#[test]
fn those_who_hold_a_lock_shared_are_not_waited_for() {
    let folder = Folder::new();
    let (one, other, third) = (folder.locks(), folder.locks(), folder.locks());
    let web = "web".parse().unwrap();
    let leave = |patience| third.take_unless_shared(Locked::Network(&web), patience);
    let mut held = at_once(&one, Locked::Network(&web), Mode::Shared).unwrap();
    assert!(leave(Duration::MAX).unwrap().is_none());
    // Nor is a stream of them that never breaks off.
    for locks in [&other, &one, &other] {
        held = at_once(locks, Locked::Network(&web), Mode::Shared).unwrap();
        assert!(leave(Duration::MAX).unwrap().is_none());
    }
    drop(held);
    let alone = leave(Duration::ZERO).unwrap().unwrap();
    assert!(at_once(&one, Locked::Network(&web), Mode::Shared).is_err());
    drop(alone);
    // Who else leaves is waited for.
    let _alone = at_once(&one, Locked::Network(&web), Mode::Exclusive).unwrap();
    let busy = leave(Duration::from_millis(2)).unwrap_err().to_string();
    let says = "cannot lock network web: another ocinet did not let go of it for 2ms (`fuser ";
    assert!(busy.starts_with(says), "{busy}");
}

#[test]
fn a_lock_of_a_removed_folder_is_taken_anew() {
    let folder = Folder::new();
    let (one, other) = (folder.locks(), folder.locks());
    drop(at_once(&one, Locked::Common, Mode::Exclusive).unwrap());
    fs::remove_dir_all(&folder.0).unwrap();
    let _held = at_once(&other, Locked::Common, Mode::Exclusive).unwrap();
    assert!(at_once(&one, Locked::Common, Mode::Exclusive).is_err());
}

#[test]
fn only_its_owner_can_open_the_file() {
    let folder = Folder::new();
    let path = folder.0.join(LOCK_FILE);
    let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
    fs::create_dir_all(folder.0.join("leases/n")).unwrap();
    for inner in ["leases", "leases/n"] {
        fs::set_permissions(folder.0.join(inner), fs::Permissions::from_mode(0o777)).unwrap();
    }
    drop(at_once(&folder.locks(), Locked::Common, Mode::Exclusive).unwrap());
    assert_eq!(mode(), 0o600);
    for inner in ["leases", "leases/n"] {
        assert_eq!(fs::metadata(folder.0.join(inner)).unwrap().mode() & 0o7777, 0o755, "{inner}");
    }
    // Somebody had it open before it was closed to others.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let strangers = Locks {
        folder: folder.0.clone(),
        file: Arc::new(Mutex::new(Some(Arc::new(
            OpenOptions::new().read(true).write(true).open(&path).unwrap(),
        )))),
    };
    let _held = at_once(&strangers, Locked::Common, Mode::Exclusive).unwrap();
    drop(at_once(&folder.locks(), Locked::Common, Mode::Exclusive).unwrap());
    assert_eq!(mode(), 0o600);
}

#[test]
fn a_folder_that_others_wrote_to_is_refused_and_an_open_one_is_closed() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).unwrap();
    let mode = || fs::metadata(&folder.0).unwrap().mode() & 0o7777;
    for open in [0o777, 0o775] {
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(open)).unwrap();
        drop(at_once(&folder.locks(), Locked::Common, Mode::Exclusive).unwrap());
        assert_eq!(mode(), 0o755);
        fs::remove_file(folder.0.join(LOCK_FILE)).unwrap();
    }
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o700)).unwrap();
    at_once(&folder.locks(), Locked::Common, Mode::Exclusive).unwrap();
}

#[test]
fn those_who_delete_elements_do_not_keep_out_who_puts_them_back() {
    let folder = Folder::new();
    let [deleter, restorer, late] = [(); 3].map(|()| StateDir::new(&folder.0));
    let held = deleter.lock_elements_to_delete().unwrap();
    let [restored, deleted] = thread::scope(|scope| {
        let restorer = scope.spawn(|| {
            let _locks = restorer.lock_elements_to_restore().unwrap();
            sleep(Duration::from_millis(50));
            Instant::now()
        });
        while !late.is_ending(Locked::Restoring).unwrap() {
            thread::yield_now();
        }
        let late = scope.spawn(|| late.lock_elements_to_delete().map(|_| Instant::now()).unwrap());
        sleep(Duration::from_millis(50));
        drop(held);
        [restorer.join().unwrap(), late.join().unwrap()]
    });
    assert!(restored <= deleted);
}
