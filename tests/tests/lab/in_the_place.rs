//! What is in the place of a file or a folder of ocinet's, and is none: it is moved away or refused, and every stop comes to its
//! end.

use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use ocinet_tests::lab::{Lab, Sandbox, Snapshot};

use crate::life::used;
use crate::planted::link_of_a_user;
use crate::trust::{NOBODY, PUBLISHED, by_a_user, mode, set_mode};

fn folder_of_a_user(path: &Path) {
    let _ = fs::remove_file(path);
    fs::create_dir(path).unwrap();
    by_a_user(&path.join("x"), "x");
    lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

fn remove_asides(lab: &Lab) {
    for entry in fs::read_dir(lab.state_dir()).unwrap().flatten() {
        if entry.file_name().to_str().unwrap().starts_with("aside-") {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

/// It is moved out of the way, with what is in it.
#[test]
#[ignore = "needs root"]
fn a_users_folder_in_the_place_of_a_file_blocks_no_start_and_no_stop() {
    let inner = ["containers/.web.json", "containers/.web.claim", "leases/default/10.90.0.9"];
    for place in ["forwarding.json", "sweep", "stats.json", "lock"].iter().chain(&inner) {
        let lab = Lab::new();
        used(&lab);
        let before = Snapshot::of(&lab);
        let asked = [PUBLISHED[0], PUBLISHED[1], ("net.ip", "10.90.0.9"), PUBLISHED[2]];
        let aside = |number: u32| lab.state_dir().join(format!("aside-{number}/x"));
        let path = lab.state_dir().join(place);
        let mut web = lab.attach("web", &asked);
        // Where the container itself has a file, it is taken.
        folder_of_a_user(&path);
        set_mode(path.parent().unwrap(), 0o755);
        let said = lab.run(&["gc"], "");
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{place}");
        assert!(!path.is_dir() && aside(0).exists(), "{place}: {}", said.stdout);
        folder_of_a_user(&path);
        drop(web.net);
        web.sandbox.end();
        let stopped = lab.poststop("web");
        assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""), "{place}");
        assert_eq!(lab.run(&["gc"], "").code, 0, "{place}");
        assert!(!path.is_dir() && aside(1).exists(), "{place}");
        assert_eq!(lab.run(&["check"], "").ok(), "everything is as recorded\n", "{place}");
        if path.parent().unwrap().is_dir() {
            folder_of_a_user(&path);
        }
        lab.detach(lab.attach("web", &asked));
        let forwarding = lab.host.ok(&["sysctl", "-n", "net.ipv4.ip_forward"]);
        if *place == "forwarding.json" {
            // What ocinet turned on was not known any more.
            assert_eq!(forwarding, "1\n");
            continue;
        }
        remove_asides(&lab);
        before.assert_is_back(&lab, place);
    }
}

/// While the folder that it is in is open to everybody, too.
#[test]
#[ignore = "needs root"]
fn a_users_folder_among_the_records_blocks_nobody() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut web = lab.attach("web", &PUBLISHED);
    let containers = lab.state_dir().join("containers");
    let plant = || {
        set_mode(&containers, 0o777);
        folder_of_a_user(&containers.join(".web.json"));
    };
    plant();
    assert_eq!(lab.run(&["gc"], "").code, 0);
    assert!(!containers.join(".web.json").exists() && mode(&containers) == 0o755);
    plant();
    lab.detach(lab.attach("next", &[("net.network", "next"), ("net.subnet", "10.85.0.0/24")]));
    plant();
    drop(web.net);
    web.sandbox.end();
    let stopped = lab.poststop("web");
    assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""));
    set_mode(&containers, 0o755);
    remove_asides(&lab);
    before.assert_is_back(&lab, "a user's folder among the records");
}

/// A file of a user's says nothing, whatever it has taken the place of, and no command waits or ends for it.
#[test]
#[ignore = "needs root"]
fn a_users_file_in_the_place_of_a_folder_of_the_state_folder_is_removed() {
    for place in ["leases", "ports", "macs", "members", "networks", "last-error"] {
        let lab = Lab::new();
        used(&lab);
        let asked = [PUBLISHED[0], PUBLISHED[1], ("net.ports", "127.0.0.1:8080:80")];
        let path = lab.state_dir().join(place);
        let plant = || {
            let _ = fs::remove_dir_all(&path);
            by_a_user(&path, "somebody\n");
        };
        let mut web = lab.attach("web", &asked);
        for (command, code) in [("list", 0), ("check", 1), ("doctor", 0), ("reload", 0), ("gc", 0)] {
            plant();
            let said = lab.run(&[command], "");
            assert!(
                said.code == code || command == "doctor" && said.code < 2,
                "{command} beside {place}: {}",
                said.stderr
            );
            let says = format!("{} claims nothing: it belongs to the user {NOBODY}", path.display());
            let is_said = said.stdout.contains(&says);
            assert_eq!(is_said, matches!(command, "gc" | "check"), "{command}: {}", said.stdout);
            assert_eq!(path.is_file(), command != "gc", "{command} beside {place}");
        }
        plant();
        drop(web.net);
        web.sandbox.end();
        let stopped = lab.poststop("web");
        assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""), "{place}");
        plant();
        let next = lab.create(&Sandbox::new("next"), &asked);
        assert_eq!((next.code, next.stderr.as_str()), (0, ""), "{place}");
        assert_eq!(lab.poststop("next").code, 0, "{place}");
        assert_eq!(lab.run(&["gc"], "").code, 0, "{place}");
    }
}

fn remove_lock(lock: &Path) {
    let _ = fs::remove_dir(lock);
    let _ = fs::remove_file(lock);
}

#[test]
#[ignore = "needs root"]
fn what_is_in_the_place_of_the_lock_file_is_replaced() {
    let plants: [fn(&Path); 3] = [
        |path| link_of_a_user(Path::new("/etc/passwd"), path),
        |path| drop(UnixListener::bind(path).unwrap()),
        |path| fs::create_dir(path).unwrap(),
    ];
    for plant in plants {
        let lab = Lab::new();
        used(&lab);
        let before = Snapshot::of(&lab);
        let lock = lab.state_dir().join("lock");
        let web = lab.attach("web", &PUBLISHED);
        for command in ["check", "gc", "reload", "list"] {
            remove_lock(&lock);
            plant(&lock);
            let said = lab.run(&[command], "");
            assert_eq!(said.code, 0, "{command}: {}", said.stderr);
        }
        remove_lock(&lock);
        plant(&lock);
        lab.detach(web);
        assert!(fs::symlink_metadata(&lock).unwrap().is_file());
        before.assert_is_back(&lab, "the lock");
    }
}

/// Nothing is written or removed where it leads, and the stop removes what is the container's.
#[test]
#[ignore = "needs root"]
fn a_link_one_level_down_is_not_followed() {
    for of_root in [false, true] {
        for place in ["leases", "leases/default", "ports/tcp-8080", "macs/networks/default", "macs/networks"]
        {
            let lab = Lab::new();
            used(&lab);
            let before = Snapshot::of(&lab);
            let elsewhere = lab.dir().join("elsewhere");
            fs::create_dir_all(&elsewhere).unwrap();
            let path = lab.state_dir().join(place);
            let plant = || {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let _ = fs::remove_dir_all(&path);
                symlink(&elsewhere, &path).unwrap();
                if !of_root {
                    lchown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
                }
            };
            plant();
            let asked =
                [PUBLISHED[0], PUBLISHED[1], ("net.ip", "10.90.0.9"), ("net.ports", "127.0.0.1:8080:80")];
            let said = lab.create(&Sandbox::new("web"), &asked);
            assert_eq!((said.code, said.stderr.lines().count()), (7, 1), "{}", said.stderr);
            let says = format!("cannot use {}: it is a symbolic link; hint: remove the link", path.display());
            assert!(said.stderr.contains(&says), "{}", said.stderr);
            assert_eq!(lab.poststop("web").code, 0, "{place}");
            let gc = lab.run(&["gc"], "");
            assert!(gc.code == 7 && gc.stderr.contains(&says), "{place}: {}", gc.stderr);
            let check = lab.run(&["check"], "");
            let names = format!("the state folder: cannot use {}: it is a symbolic link\n", path.display());
            assert_eq!((check.code, check.stdout.as_str()), (1, names.as_str()), "{place}");
            fs::remove_file(&path).unwrap();
            // One that came while the container ran.
            let mut web = lab.attach("web", &asked);
            plant();
            fs::create_dir_all(elsewhere.join("default")).unwrap();
            let names = ["default/10.90.0.9", "10.90.0.9", "127.0.0.1"].map(|name| elsewhere.join(name));
            names.iter().for_each(|name| fs::write(name, "web\n").unwrap());
            drop(web.net);
            web.sandbox.end();
            let stopped = lab.poststop("web");
            assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""), "{place}");
            assert!(names.iter().all(|name| name.exists()), "{place}");
            fs::remove_file(&path).unwrap();
            let _ = fs::remove_dir_all(lab.state_dir().join("macs/networks"));
            assert_eq!(lab.run(&["gc"], "").code, 0, "{place}");
            before.assert_is_back(&lab, place);
        }
    }
}

/// The container's things are not removed then, and the stop says so.
#[test]
#[ignore = "needs root"]
fn a_link_in_the_place_of_a_record_is_named_by_the_stop() {
    let lab = Lab::new();
    used(&lab);
    let web = lab.attach("web", &PUBLISHED);
    let record = lab.state_dir().join("containers/web.json");
    let away = lab.dir().join("web.json");
    fs::rename(&record, &away).unwrap();
    for target in [Path::new("/nowhere"), away.as_path()] {
        symlink(target, &record).unwrap();
        let said = lab.poststop("web");
        assert_eq!(said.code, 7, "{}", said.stderr);
        assert!(said.stderr.contains("web.json: it is a symbolic link"), "{}", said.stderr);
        fs::remove_file(&record).unwrap();
    }
    fs::rename(&away, &record).unwrap();
    lab.detach(web);
}
