//! Attacks on the files that ocinet opens in a container's root: by the image, by a running container that shares a
//! volume or the root with the one that starts, and by mounts that are the host's.
//!
//! What must not be written is on file systems of the lab's own, and a sysctl of the lab's own host.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ocinet_tests::lab::{Background, Lab, command, until};

use crate::resolver::Rooted;

/// A proc in the root, as every container has it.
const PROC: &str = "mkdir -p \"$1/proc\"; mount -t proc none \"$1/proc\";";
/// A folder beside the root, as a volume.
const VOLUME: &str = "mkdir -p \"$1/vol\"; mount --bind \"$1/../vol\" \"$1/vol\";";
/// A sysctl of the host's network namespace that nothing depends on, and what it is at first.
const SYSCTL: (&str, &str) = ("/proc/sys/net/ipv4/ip_default_ttl", "64");
/// What the attacker wants it to be.
const WANTED: &str = "77\n";
/// How many containers start while the attacker changes the link.
const STARTS: usize = 150;

fn volume(root: &Path) -> PathBuf {
    let volume = root.parent().unwrap().join("vol");
    fs::create_dir_all(&volume).unwrap();
    volume
}

fn sysctl(lab: &Lab) -> String {
    lab.host.run(&["cat", SYSCTL.0]).ok().trim_end().to_owned()
}

/// The kernel's files: some wait, some do what is written to them. Those here are the lab's own, if it goes wrong.
#[test]
#[ignore = "needs root"]
fn a_link_to_a_file_of_the_kernels_own_is_refused() {
    let mounts = format!("{PROC} mkdir -p \"$1/sys\"; mount -t sysfs none \"$1/sys\"");
    for to in [SYSCTL.0, "../proc/self/../self/comm", "/sys/class/net/lo/ifalias"] {
        let rooted = Rooted::new(|root| symlink(to, root.join("etc/resolv.conf")).unwrap(), &mounts);
        rooted.is_refused("it is on another mount than the container's root");
        assert_eq!(sysctl(&rooted.lab), SYSCTL.1, "{to}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_link_to_a_file_that_is_waited_for_is_refused_at_once() {
    let rooted = Rooted::new(|root| symlink("/proc/kmsg", root.join("etc/hosts")).unwrap(), PROC);
    let started = Instant::now();
    rooted.is_refused("it is on another mount than the container's root");
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// A root that is itself of the kernel's own has no file that is opened.
#[test]
#[ignore = "needs root"]
fn a_root_that_is_no_ordinary_file_system_is_refused() {
    Rooted::new(|_| {}, "mount -t proc none \"$1\"").is_refused("not known to hold ordinary files");
}

/// A volume is the host's or another container's: neither a file on it nor a new one is written.
#[test]
#[ignore = "needs root"]
fn a_file_on_a_volume_is_not_written() {
    let secret = |root: &Path| {
        let file = volume(root).join("secret");
        fs::write(&file, "the host's").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    for to in ["/vol/secret", "/vol/new", "../vol/secret"] {
        let prepare = |root: &Path| {
            secret(root);
            symlink(to, root.join("etc/resolv.conf")).unwrap();
        };
        let rooted = Rooted::new(prepare, VOLUME);
        rooted.is_refused("it is on another mount than the container's root");
        let volume = volume(&rooted.root);
        assert_eq!(fs::read_to_string(volume.join("secret")).unwrap(), "the host's");
        assert!(!volume.join("new").exists());
    }
    // The whole of etc as a volume, also where config.json says so.
    let etc = "mount --bind \"$1/../vol\" \"$1/etc\"";
    for says in ["[]", r#"[{"destination":"/etc","type":"bind","source":"vol"}]"#] {
        let rooted = Rooted::with(secret, etc, says, None);
        rooted.is_refused("it is on another mount than the container's root");
        assert_eq!(fs::read_dir(volume(&rooted.root)).unwrap().count(), 1);
    }
    // Beside it, the same file where it is the container's own.
    let rooted = Rooted::new(
        |root| {
            secret(root);
            fs::rename(root.parent().unwrap().join("vol/secret"), root.join("etc/resolv.conf")).unwrap();
        },
        VOLUME,
    );
    rooted.is_told("etc/resolv.conf");
}

/// A file of the host that is mounted there is not rewritten; one that an engine made for the container is.
#[test]
#[ignore = "needs root"]
fn a_mounted_file_is_written_where_an_engine_made_it() {
    let id = "0123456789abcdef".repeat(4);
    let engine = |under: &str| format!("{under}/{id}");
    for (folder, is_own) in [
        (engine("../containers"), true),
        (format!("{}/userdata", engine("../overlay-containers")), true),
        (engine("../sandboxes"), true),
        ("userdata".to_owned(), true),
        (format!("{}/_data", engine("../volumes")), false),
        ("../etc".to_owned(), false),
        ("../containers/web".to_owned(), false),
    ] {
        let prepare = |root: &Path| {
            let folder = root.parent().unwrap().join(&folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("resolv.conf"), "options ndots:2\n").unwrap();
            fs::write(root.join("etc/resolv.conf"), "").unwrap();
        };
        let source = format!("{folder}/resolv.conf");
        let mount = format!("mount --bind \"$1/../{source}\" \"$1/etc/resolv.conf\"");
        let says = format!(
            r#"[{{"destination":"/etc/resolv.conf","type":"bind","source":"{source}","options":["bind","rprivate"]}}]"#
        );
        let rooted = Rooted::with(prepare, &mount, &says, None);
        let file = rooted.root.parent().unwrap().join(&source);
        if is_own {
            rooted.is_told("etc/resolv.conf");
            assert!(fs::read_to_string(&file).unwrap().starts_with("options ndots:2\n"), "{folder}");
        } else {
            rooted.is_refused("which is not the container's own");
            assert_eq!(fs::read_to_string(&file).unwrap(), "options ndots:2\n", "{folder}");
        }
        assert_eq!(fs::read_to_string(rooted.root.join("etc/resolv.conf")).unwrap(), "", "{folder}");
        // Without a word of it in config.json, it is anybody's.
        let rooted = Rooted::new(prepare, &mount);
        rooted.is_refused("it is on another mount than the container's root");
    }
}

/// config.json names a file of the container's own, and another one is mounted there.
#[test]
#[ignore = "needs root"]
fn a_mount_that_is_not_what_config_json_says_is_refused() {
    let prepare = |root: &Path| {
        for folder in ["userdata", "other"] {
            fs::create_dir(root.parent().unwrap().join(folder)).unwrap();
            fs::write(root.parent().unwrap().join(folder).join("resolv.conf"), folder).unwrap();
        }
        fs::write(root.join("etc/resolv.conf"), "").unwrap();
    };
    let says = r#"[{"destination":"/etc/resolv.conf","type":"bind","source":"userdata/resolv.conf"}]"#;
    let mount = "mount --bind \"$1/../other/resolv.conf\" \"$1/etc/resolv.conf\"";
    let rooted = Rooted::with(prepare, mount, says, None);
    rooted.is_refused("it is not the file that config.json says is mounted there");
    let other = rooted.root.parent().unwrap().join("other/resolv.conf");
    assert_eq!(fs::read_to_string(other).unwrap(), "other");
}

#[test]
#[ignore = "needs root"]
fn a_file_with_a_second_name_is_not_written() {
    let prepare = |root: &Path| {
        fs::write(root.join("etc/shadow"), "secret").unwrap();
        fs::hard_link(root.join("etc/shadow"), root.join("etc/hosts")).unwrap();
    };
    let rooted = Rooted::new(prepare, "true");
    rooted.is_refused("it has other names too (hard links)");
    assert_eq!(fs::read_to_string(rooted.root.join("etc/shadow")).unwrap(), "secret");
}

/// In a user namespace, the container's root is somebody else on the host, and what that one may not write stays.
#[test]
#[ignore = "needs root"]
fn in_a_user_namespace_the_rights_are_the_containers() {
    const USER: u32 = 100_000;
    let give = |root: &Path, mode: u32, owner: u32| {
        let file = root.join("etc/resolv.conf");
        fs::write(&file, "options ndots:2\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        chown(&file, Some(owner), Some(owner)).unwrap();
        for folder in [root, &root.join("etc")] {
            chown(folder, Some(USER), Some(USER)).unwrap();
        }
    };
    for (mode, owner) in [(0o644, 0), (0o600, 0), (0o660, 0), (0o600, 1000)] {
        let rooted = Rooted::with(|root| give(root, mode, owner), "true", "[]", Some(USER));
        rooted.is_refused("Permission denied");
        let text = fs::read_to_string(rooted.root.join("etc/resolv.conf")).unwrap();
        assert_eq!(text, "options ndots:2\n", "{mode:o} of {owner}");
    }
    let rooted = Rooted::with(|root| give(root, 0o600, USER), "true", "[]", Some(USER));
    rooted.is_told("etc/resolv.conf");
    let hosts = fs::metadata(rooted.root.join("etc/hosts")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&hosts), USER, "what is made is the container's");
}

/// As podman without root has it: the hook is root of the same user namespace as the container, and nobody else.
#[test]
#[ignore = "needs root"]
fn in_the_hooks_own_user_namespace_the_files_are_written_as_root() {
    let lab = Lab::new();
    let script = "d=$(mktemp -d) && mkdir -p $d/bundle/root/etc $d/state && ip link set lo up && \
        echo '{\"root\":{\"path\":\"root\"},\"hostname\":\"web\"}' >$d/bundle/config.json && \
        export OCINET_STATE_DIR=$d/state && { unshare --net --mount sleep 60 & pid=$!; } && sleep 0.3 && \
        sed \"s|PID|$pid|; s|BUNDLE|$d/bundle|\" | \"$@\"; code=$?; cat $d/bundle/root/etc/*; kill $pid; rm -r $d; exit $code";
    let user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];
    let space = ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", script, "sh"];
    let state = r#"{"ociVersion":"1.0.2","id":"web","status":"creating","pid":PID,"bundle":"BUNDLE","annotations":{"net.driver":"bridge","net.dns":"192.0.2.53"}}"#;
    let started = lab.run_under(&[&user[..], &space].concat(), &["createRuntime"], state);
    assert_eq!(started.code, 0, "{}", started.stderr);
    let says = |text: &str| assert!(started.stdout.contains(text), "{started:?}");
    says("nameserver 192.0.2.53\n");
    says("\tweb\n");
}

/// What a running container makes of a link, again and again, while others start.
struct Swapper<'a> {
    link: PathBuf,
    targets: &'a [&'a str],
    stop: AtomicBool,
}

impl Swapper<'_> {
    fn run(&self) {
        let next = self.link.with_extension("next");
        while !self.stop.load(Ordering::Relaxed) {
            for target in self.targets {
                let _ = fs::remove_file(&next);
                let _ = symlink(target, &next);
                let _ = fs::rename(&next, &self.link);
            }
        }
    }
}

/// Starts containers beside the swapper; how many were told their resolver, and how many were not.
fn attacked(rooted: &Rooted, swapper: &Swapper<'_>) -> (usize, usize) {
    let (mut told, mut refused) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| swapper.run());
        for _ in 0..STARTS {
            // Without a network, a start is quick.
            let created = rooted.create_with(&[("net.driver", "none"), ("net.dns", "192.0.2.53")]);
            match created.code {
                0 => told += 1,
                5 => refused += 1,
                _ => panic!("exit {}: {}", created.code, created.stderr),
            }
            rooted.lab.poststop("web");
            let _ = fs::remove_file(rooted.root.join("etc/missing"));
        }
        swapper.stop.store(true, Ordering::Relaxed);
    });
    (told, refused)
}

/// The link is on a volume that both containers have, or in a root that both have. Its targets: an ordinary file, one
/// that is to be made, and the sysctl, which is never written.
#[test]
#[ignore = "needs root"]
fn a_link_that_changes_while_containers_start_leads_nowhere() {
    let prepare = |root: &Path| {
        let volume = volume(root);
        symlink("/vol/link", root.join("etc/resolv.conf")).unwrap();
        fs::write(volume.join("file"), WANTED).unwrap();
    };
    let rooted = Rooted::new(prepare, &format!("{PROC} {VOLUME}"));
    let link = volume(&rooted.root).join("link");
    let targets = ["/vol/file", SYSCTL.0, "/vol/missing", SYSCTL.0];
    let (told, refused) =
        attacked(&rooted, &Swapper { link, targets: &targets, stop: AtomicBool::new(false) });
    assert_eq!(sysctl(&rooted.lab), SYSCTL.1, "after {told} starts and {refused} refusals");
    assert_eq!((told, refused), (0, STARTS));
    assert_eq!(fs::read_to_string(volume(&rooted.root).join("file")).unwrap(), WANTED);

    let prepare = |root: &Path| fs::write(root.join("etc/file"), WANTED).unwrap();
    let rooted = Rooted::new(prepare, PROC);
    let link = rooted.root.join("etc/resolv.conf");
    let targets = ["file", SYSCTL.0, "missing", SYSCTL.0];
    let (told, refused) =
        attacked(&rooted, &Swapper { link, targets: &targets, stop: AtomicBool::new(false) });
    assert_eq!(sysctl(&rooted.lab), SYSCTL.1, "after {told} starts and {refused} refusals");
    assert!(told > 0 && refused > 0, "{told} starts and {refused} refusals");
}

/// Whoever has a lease on a file makes the next one who opens it wait for 45 seconds (fcntl(2), `F_SETLEASE`).
#[test]
#[ignore = "needs root"]
fn a_lease_on_a_file_is_not_waited_for() {
    let rooted = Rooted::new(|root| fs::write(root.join("etc/resolv.conf"), "").unwrap(), "true");
    let lease =
        "$SIG{IO} = 'IGNORE'; open F, '<', $ARGV[0]; fcntl(F, 1024, 0) or die; mkdir $ARGV[1]; sleep 60";
    let (file, ready) = (rooted.root.join("etc/resolv.conf"), rooted.lab.dir().join("leased"));
    let mut holder = command("perl");
    holder.arg("-e").arg(lease).arg(&file).arg(&ready);
    let holder = Background(holder.spawn().unwrap());
    assert!(until(|| ready.exists()), "a lease");
    let started = Instant::now();
    rooted.is_refused("Resource temporarily unavailable");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(holder.is_alive());
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
}
