//! Folders of the state folder that everybody could write to, as an ocinet under umask 0 made them, and what a user put
//! there: nothing of it is believed, waited for or in anybody's way.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ocinet_tests::lab::{DUAL, Finished, HOST4, Lab, Sandbox, Server, Snapshot, command, until};
use serde_json::json;

use crate::life::used;
use crate::reach::reaches;

pub(crate) const PUBLISHED: [(&str, &str); 3] =
    [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "8080:80")];
pub(crate) const NOBODY: u32 = 65534;
/// Much more than any command takes.
const SOON: [&str; 2] = ["timeout", "15"];
/// What coreutils' timeout(1) says of a command that it ended.
const TOO_LATE: i32 = 124;

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Makes a folder of the state folder as open as it was, which no ocinet has locked yet.
pub(crate) fn open(lab: &Lab, folder: &str) -> PathBuf {
    let path = lab.state_dir().join(folder);
    fs::create_dir_all(&path).unwrap();
    set_mode(&path, 0o777);
    let _ = fs::remove_file(lab.state_dir().join("lock"));
    path
}

pub(crate) fn by_a_user(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

pub(crate) fn fifo(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_file(path);
    assert!(command("mkfifo").arg(path).status().unwrap().success());
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_users_record_takes_nothing_from_a_living_container() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let web = lab.attach("web", &PUBLISHED);
    let _server = Server::tcp(&web.net, 80, "web");
    let folder = open(&lab, "containers");
    let mut evil = web.record.clone();
    (evil["id"], evil["pid"], evil["pid_start"]) = (json!("evil"), json!(4_194_000), json!(1));
    let path = folder.join("evil.json");
    by_a_user(&path, &evil.to_string());
    for next in ["next", "after"] {
        let sandbox = Sandbox::new(next);
        assert_eq!(lab.create(&sandbox, &PUBLISHED[..2]).code, 0);
        drop(sandbox);
        assert_eq!(lab.poststop(next).code, 0);
        reaches(&lab.peer, HOST4, 8080, "web");
    }
    assert_eq!(mode(&folder), 0o755);
    let says = format!("cannot trust {}: it belongs to the user {NOBODY}", path.display());
    for (command, code) in [("list", 0), ("check", 1), ("gc", 0), ("doctor", 0), ("reload", 0)] {
        let said = lab.run(&[command], "");
        assert_eq!(said.code, code, "{command}: {}", said.stderr);
        let all = said.stdout + &said.stderr;
        assert!(all.contains(&says), "{command}: {all}");
        reaches(&lab.peer, HOST4, 8080, "web");
    }
    assert!(lab.run(&["list"], "").ok().contains("web "));
    // A file of root's under another name is no record of that name either.
    fs::remove_file(&path).unwrap();
    fs::rename(folder.join("web.json"), &path).unwrap();
    let said = lab.run(&["list"], "");
    assert!(said.stderr.contains("it is the record of container web"), "{}", said.stderr);
    fs::rename(&path, folder.join("web.json")).unwrap();
    drop(_server);
    lab.detach(web);
    before.assert_is_back(&lab, "a user's record");
}

/// To open a FIFO would wait for whoever opens its other end.
#[test]
#[ignore = "needs root"]
fn no_command_waits_for_a_users_fifo() {
    let lab = Lab::new();
    used(&lab);
    for (name, code) in [
        ("containers/evil.json", 0),
        ("containers/.web.json", 0),
        ("containers/.web.claim", 0),
        ("networks/evil.json", 0),
        ("networks/default.json", 7),
        ("last-error/web.json", 0),
        ("leases/default/10.90.0.7", 0),
        ("ports/tcp-8080/198.51.100.10", 0),
        ("stats.json", 0),
        ("sweep", 0),
        ("forwarding.json", 0),
    ] {
        let path = lab.state_dir().join(name);
        fifo(&path);
        let sandbox = Sandbox::new("web");
        let asked =
            [PUBLISHED[0], PUBLISHED[1], ("net.ip", "10.90.0.7"), ("net.ports", "198.51.100.10:8080:80")];
        let state = lab.state_of(&sandbox, &asked);
        let started = lab.run_under(&SOON, &["createRuntime"], &state);
        assert_eq!(started.code, code, "{name}: {}", started.stderr);
        for command in ["list", "check", "doctor", "gc", "reload", "plan", "poststop"] {
            let input = match command {
                "poststop" => r#"{"id":"web"}"#,
                "plan" => &state,
                _ => "",
            };
            let arguments: &[&str] = if command == "plan" { &["plan", "-"] } else { &[command] };
            let said: Finished = lab.run_under(&SOON, arguments, input);
            assert_ne!(said.code, TOO_LATE, "{command} beside {name}");
        }
        drop(sandbox);
        assert_ne!(lab.run_under(&SOON, &["poststop"], r#"{"id":"web"}"#).code, TOO_LATE, "{name}");
        let _ = fs::remove_file(&path);
        assert_eq!(lab.run(&["gc"], "").code, 0, "{name}");
        assert!(lab.record("web").is_none(), "{name}");
    }
}

#[test]
#[ignore = "needs root"]
fn the_exporter_waits_for_no_fifo() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    for name in ["containers/evil.json", "networks/evil.json"] {
        fifo(&lab.state_dir().join(name));
    }
    let mut other = web.record.clone();
    other["id"] = json!("other");
    by_a_user(&lab.state_dir().join("containers/other.json"), &other.to_string());
    fifo(&lab.state_dir().join("stats.json"));
    let exporter = lab.exporter(&[]);
    let page = exporter.get("/metrics").body;
    assert!(page.contains("id=\"web\"") && !page.contains("id=\"other\""), "{page}");
    drop(exporter);
    lab.detach(web);
}

/// A user's file in the place of a lease or a claim is nobody's: a start takes the name, and gc removes the rest.
#[test]
#[ignore = "needs root"]
fn a_users_lease_is_in_nobodys_way() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let folder = open(&lab, "leases/default");
    for address in ["10.90.0.7", "10.90.0.8", "10.90.0.9"] {
        by_a_user(&folder.join(address), "somebody\n");
    }
    // Root's own are as little a lease. A user chooses any name.
    symlink("/nowhere", folder.join("10.90.0.10")).unwrap();
    fifo(&folder.join("10.90.0.11"));
    chown(folder.join("10.90.0.11"), Some(0), Some(0)).unwrap();
    by_a_user(&folder.join("a\n\u{1b}[2J"), "somebody\n");
    let claims = open(&lab, "ports/tcp-8081");
    by_a_user(&claims.join("127.0.0.1"), "somebody\n");
    let source = open(&lab, "containers").join(".web.claim");
    by_a_user(&source, "somebody\n");
    let asked =
        [PUBLISHED[0], PUBLISHED[1], ("net.ip", "10.90.0.7"), ("net.ports", "8080:80,127.0.0.1:8081:81")];
    let web = lab.attach("web", &asked);
    for file in [folder.join("10.90.0.7"), claims.join("127.0.0.1")] {
        assert_eq!(fs::metadata(&file).unwrap().uid(), 0);
        assert_eq!(fs::read_to_string(&file).unwrap(), "web\n");
    }
    let _server = Server::tcp(&web.net, 80, "web");
    reaches(&lab.peer, HOST4, 8080, "web");
    let removed = lab.run(&["gc"], "").ok();
    for (address, reason) in [
        ("10.90.0.8", "it belongs to the user 65534"),
        ("10.90.0.9", "it belongs to the user 65534"),
        ("10.90.0.10", "it is a symbolic link"),
        ("10.90.0.11", "it is not an ordinary file"),
        (r"a\n\u{1b}[2J", "it belongs to the user 65534"),
    ] {
        assert!(removed.contains(&format!("{address} claims nothing: {reason}\n")), "{removed:?}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "one of each family");
    assert_eq!(lab.run(&["check"], "").ok(), "everything is as recorded\n");
    drop(_server);
    lab.detach(web);
    before.assert_is_back(&lab, "a user's leases");
}

#[test]
#[ignore = "needs root"]
fn a_users_folder_in_the_state_folder_is_refused() {
    for (open_one, inside) in
        [("leases", Some("leases/default")), ("macs", Some("macs/networks")), ("", None)]
    {
        let lab = Lab::new();
        let theirs = lab.state_dir().join(inside.unwrap_or("containers"));
        fs::create_dir_all(&theirs).unwrap();
        if inside.is_some() {
            set_mode(&lab.state_dir().join(open_one), 0o777);
        }
        chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
        // It is not forgotten by the next start.
        for _ in 0..2 {
            let refused = lab.create(&Sandbox::new("web"), &PUBLISHED);
            assert_eq!((refused.code, refused.stderr.lines().count()), (7, 1), "{}", refused.stderr);
            let says = format!("cannot use {}: it belongs to the user {NOBODY}; hint: ", theirs.display());
            assert!(refused.stderr.contains(&says), "{}", refused.stderr);
        }
        chown(&theirs, Some(0), Some(0)).unwrap();
        assert_eq!(lab.create(&Sandbox::new("web"), &PUBLISHED).code, 0);
        assert_eq!(mode(&lab.state_dir().join(open_one)), 0o755);
        assert_eq!(lab.poststop("web").code, 0);
    }
}

/// New containers are refused. Those that live get their rules back.
#[test]
#[ignore = "needs root"]
fn a_users_folder_in_the_state_folder_does_not_keep_the_rules_away() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    let _server = Server::tcp(&web.net, 80, "web");
    let theirs = lab.state_dir().join("leases/theirs");
    fs::create_dir_all(&theirs).unwrap();
    set_mode(&lab.state_dir().join("leases"), 0o777);
    chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
    assert_eq!(lab.create(&Sandbox::new("other"), &PUBLISHED).code, 7);
    lab.host.ok(&["nft", "flush", "ruleset"]);
    let finished = lab.run(&["reload", "--if-missing"], "");
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert!(finished.stderr.contains("leases/theirs"), "{}", finished.stderr);
    reaches(&lab.peer, HOST4, 8080, "web");
}

/// As /tmp is: its mode is everybody's business.
#[test]
#[ignore = "needs root"]
fn a_folder_that_many_share_is_not_changed() {
    let lab = Lab::new();
    let before = Snapshot::of(&lab);
    let folder = lab.state_dir();
    for (open, file, says) in [
        (0o1777, None, "it is one that many share"),
        (0o1777, Some("foo"), "foo is not ocinet's"),
        (0o1775, None, "it is one that many share"),
        (0o777, Some("foo"), "foo is not ocinet's"),
    ] {
        set_mode(&folder, open);
        if let Some(file) = file {
            fs::write(folder.join(file), "").unwrap();
        }
        for command in ["createRuntime", "gc"] {
            let sandbox = Sandbox::new("web");
            let state = lab.state_of(&sandbox, &PUBLISHED);
            let refused = lab.run(&[command], if command == "gc" { "" } else { &state });
            assert_eq!((refused.code, refused.stderr.lines().count()), (7, 1), "{}", refused.stderr);
            assert!(refused.stderr.contains(says), "{}", refused.stderr);
            assert!(refused.stderr.contains("; hint: name a folder of ocinet's own with --state-dir"));
            assert_eq!(mode(&folder), open);
            let names: Vec<_> =
                fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, file.into_iter().collect::<Vec<_>>(), "{command}");
        }
        if let Some(file) = file {
            fs::remove_file(folder.join(file)).unwrap();
        }
    }
    before.assert_is_back(&lab, "refusals");
}

/// A start that is killed before its record appears leaves what it wrote so far.
#[test]
#[ignore = "needs root"]
fn gc_removes_what_a_killed_start_wrote_and_leaves_a_start_alone() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let traced = |inject: &'static str| ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject];
    let killed = Sandbox::new("killed");
    let state = lab.state_of(&killed, &PUBLISHED);
    lab.run_under(&traced("inject=link,linkat:signal=KILL:when=1"), &["createRuntime"], &state);
    let left = lab.state_dir().join("containers/.killed.json");
    assert!(left.exists());
    let slow = Sandbox::new("slow");
    let state = lab.state_of(&slow, &PUBLISHED);
    let under_way = lab.state_dir().join("containers/.slow.json");
    let inject = traced("inject=link,linkat:delay_enter=3000000:when=1");
    thread::scope(|scope| {
        let starting = scope.spawn(|| lab.run_under(&inject, &["createRuntime"], &state));
        assert!(until(|| under_way.exists()));
        thread::sleep(Duration::from_millis(20));
        let says = format!("the file {} is left of an interrupted write\n", left.display());
        assert_eq!(lab.run(&["gc", "--dry-run"], "").ok(), says);
        assert_eq!(lab.run(&["gc"], "").ok(), format!("removed: {says}"));
        assert!(under_way.exists() && !left.exists());
        let started = starting.join().unwrap();
        assert_eq!((started.code, started.stderr.as_str()), (0, ""));
    });
    drop(slow);
    assert_eq!(lab.poststop("slow").code, 0);
    before.assert_is_back(&lab, "a killed start");
}

/// podman without root runs its hooks in a user namespace, in which root's folder is nobody's.
#[test]
#[ignore = "needs root"]
fn a_container_that_is_started_without_root_says_so() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.subnet", DUAL)]);
    // The container's process is that user's, too.
    let start = "unshare --net sleep 100 & sed \"s/PID/$!/\" | \"$@\"; code=$?; kill $!; exit $code";
    let user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];
    let without_root =
        [&user[..], &["unshare", "--user", "--map-root-user", "sh", "-c", start, "sh"]].concat();
    let state = r#"{"ociVersion":"1.0.2","id":"rootless","status":"creating","pid":PID,"bundle":"/bundle","annotations":{"net.ports":"8080:80"}}"#;
    let refused = lab.run_under(&without_root, &["createRuntime"], state);
    assert_eq!(refused.code, 7, "{refused:?}");
    let said = "the user namespace of this process does not know its owner; hint: start the container as root (`sudo podman run …`)";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
}
