//! `net.dns`, `net.dns-search`, `net.hosts`: what the container reads in its own root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use ocinet_tests::lab::{Finished, Lab, Runtime, Sandbox, Snapshot, command, until};

use crate::life::used;

const TOLD: [(&str, &str); 4] = [
    ("net.driver", "bridge"),
    ("net.dns", "192.0.2.53,2001:db8::53"),
    ("net.dns-search", "example.org,lan"),
    ("net.hosts", "db:10.90.0.7,host.docker.internal:host-gateway"),
];

/// A file as the container's own processes see it.
pub(crate) fn seen(pid: u32, path: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/root/{path}")).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
#[ignore = "needs root"]
fn a_container_of_every_runtime_reads_its_resolver_and_hosts() {
    for runtime in Runtime::ALL {
        let lab = Lab::new();
        let container = runtime.start(&lab, "web", &TOLD).unwrap_or_else(|said| panic!("{}", said.stderr));
        let resolver = seen(container.pid, "etc/resolv.conf");
        for line in ["nameserver 192.0.2.53", "nameserver 2001:db8::53", "search example.org lan"] {
            assert!(resolver.lines().any(|told| told == line), "{runtime:?}: {resolver}");
        }
        assert_eq!(resolver.lines().filter(|line| line.starts_with("nameserver")).count(), 2, "{resolver}");
        let hosts = seen(container.pid, "etc/hosts");
        for line in ["10.90.0.7\tdb", "10.90.0.1\thost.docker.internal"] {
            assert!(hosts.lines().any(|told| told == line), "{runtime:?}: {hosts}");
        }
        container.stop();
    }
}

#[test]
#[ignore = "needs root"]
fn a_hostile_images_links_lead_nowhere() {
    for runtime in [Runtime::Runc, Runtime::Crun] {
        let lab = Lab::new();
        let outside = lab.dir().join("outside");
        fs::write(&outside, "the host's").unwrap();
        symlink(&outside, lab.rootfs().join("etc/resolv.conf")).unwrap();
        symlink("../../../../../../../../etc/ocinet-lab-escape", lab.rootfs().join("etc/hosts")).unwrap();
        let started = runtime.start(&lab, "hostile", &TOLD);
        let refused = started.err().map(|said| said.stderr);
        assert!(refused.is_some(), "{runtime:?}: the link's folder is not in the container's root");
        assert_eq!(fs::read_to_string(&outside).unwrap(), "the host's");
        fs::remove_file(lab.rootfs().join("etc/resolv.conf")).unwrap();
        let container = runtime.start(&lab, "web", &TOLD).unwrap_or_else(|said| panic!("{}", said.stderr));
        assert!(seen(container.pid, "etc/ocinet-lab-escape").contains("10.90.0.7\tdb"));
        assert!(!fs::exists("/etc/ocinet-lab-escape").unwrap());
        container.stop();
    }
}

#[test]
#[ignore = "needs root"]
fn a_root_that_starts_again_has_the_names_once() {
    let lab = Lab::new();
    for name in ["first", "second"] {
        let container =
            Runtime::Runc.start(&lab, name, &TOLD).unwrap_or_else(|said| panic!("{}", said.stderr));
        let hosts = seen(container.pid, "etc/hosts");
        assert_eq!(hosts.matches("\tdb").count(), 1, "{hosts}");
        container.stop();
    }
}

#[test]
#[ignore = "needs root"]
fn a_fifo_is_refused_at_once() {
    let lab = Lab::new();
    mkfifo(&lab.rootfs().join("etc/hosts"), Mode::S_IRUSR).unwrap();
    let refused = Runtime::Runc.start(&lab, "web", &TOLD).expect_err("a refusal");
    assert!(
        refused.stderr.contains("cannot write etc/hosts in the container's root: it is not an ordinary file"),
        "{}",
        refused.stderr
    );
}

/// A container whose root is at the same place as the host sees it, as between runc's mounts and its pivot_root(2).
pub(crate) struct Rooted {
    pub(crate) lab: Lab,
    pub(crate) root: PathBuf,
    pub(crate) sandbox: Sandbox,
}

/// What is done to a root before the container is there.
type Prepare<'a> = &'a dyn Fn(&Path);

/// What config.json says of a tmpfs on etc.
const TMPFS_ON_ETC: &str = r#"[{"destination":"/etc","type":"tmpfs","source":"tmpfs"}]"#;

impl Rooted {
    /// `mounts` are commands that the container's mount namespace is prepared with; $1 is its root.
    pub(crate) fn new(prepare: impl Fn(&Path), mounts: &str) -> Self {
        Self::with(prepare, mounts, "[]", None)
    }

    /// `says` is what config.json has about the mounts. `root_is` is another user than root, where the container's root is
    /// one: it has a user namespace then.
    pub(crate) fn with(prepare: impl Fn(&Path), mounts: &str, says: &str, root_is: Option<u32>) -> Self {
        let lab = Lab::new();
        used(&lab);
        let (bundle, marks) = (lab.dir().join("bundle"), lab.dir().join("marks"));
        let ready = marks.join("ready");
        let root = bundle.join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir(&marks).unwrap();
        fs::set_permissions(&marks, fs::Permissions::from_mode(0o777)).unwrap();
        prepare(&root);
        let config =
            format!(r#"{{"root":{{"path":"root"}},"hostname":"web-1","annotations":{{}},"mounts":{says}}}"#);
        fs::write(bundle.join("config.json"), config).unwrap();
        let mut shell = command("unshare");
        shell.args(root_is.map(|_| "-U")).args([
            "-m",
            "sh",
            "-c",
            &format!("set -e; until [ -e \"$2.mapped\" ]; do sleep 0.01; done; {mounts}\n mkdir \"$2\"; exec sleep infinity"),
            "sh",
        ]);
        let sandbox = Sandbox::running("web", {
            shell.arg(&root).arg(&ready);
            shell
        });
        if let Some(user) = root_is {
            let map =
                |file: &str| fs::write(format!("/proc/{}/{file}", sandbox.pid()), format!("0 {user} 65536"));
            assert!(until(|| map("uid_map").is_ok() && map("gid_map").is_ok()), "a user namespace");
        }
        fs::write(ready.with_extension("mapped"), "").unwrap();
        assert!(until(|| ready.exists()), "{mounts}");
        Self { lab, root, sandbox }
    }

    fn create(&self) -> Finished {
        self.create_with(&TOLD)
    }

    pub(crate) fn create_with(&self, annotations: &[(&str, &str)]) -> Finished {
        let state = self.lab.state_of(&self.sandbox, annotations);
        let bundle = self.root.parent().unwrap().display().to_string();
        self.lab.run_under(
            &["sh", "-c", "umask 077; exec \"$@\"", "sh"],
            &["createRuntime"],
            &state.replace("/bundle", &bundle),
        )
    }

    #[track_caller]
    pub(crate) fn is_told(&self, path: &str) {
        let created = self.create();
        assert_eq!((created.code, created.stderr.as_str()), (0, ""));
        let file = format!("/proc/{}/root{}/{path}", self.sandbox.pid(), self.root.display());
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(text.contains("nameserver 192.0.2.53"), "{text}");
    }

    /// One line that says so, the exit code of the kernel's refusals, and nothing left.
    #[track_caller]
    pub(crate) fn is_refused(&self, says: &str) {
        let before = Snapshot::of(&self.lab);
        let refused = self.create();
        assert_eq!((refused.code, refused.stderr.lines().count()), (5, 1), "{}", refused.stderr);
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
        before.assert_is_back(&self.lab, "a refusal");
    }
}

#[test]
#[ignore = "needs root"]
fn the_names_are_written_in_the_containers_own_mounts() {
    let rooted = Rooted::with(|_| {}, "mount -t tmpfs none \"$1/etc\"", TMPFS_ON_ETC, None);
    rooted.is_told("etc/resolv.conf");
    assert_eq!(fs::read_dir(rooted.root.join("etc")).unwrap().count(), 0, "the host's sees nothing of it");
}

#[test]
#[ignore = "needs root"]
fn a_root_that_cannot_be_written_is_said_to_be() {
    let read_only = "mount --bind \"$1\" \"$1\"; mount -o remount,ro,bind \"$1\"";
    Rooted::new(|_| {}, read_only)
        .is_refused("cannot write etc/resolv.conf in the container's root: Read-only file system");
    Rooted::with(|_| {}, "mount -t tmpfs -o size=4k,nr_inodes=1 none \"$1/etc\"", TMPFS_ON_ETC, None)
        .is_refused("No space left on device");
    Rooted::new(|root| fs::remove_dir_all(root).unwrap(), "true").is_refused("No such file or directory");
}

#[test]
#[ignore = "needs root"]
fn a_root_without_etc_gets_one_that_everybody_may_read() {
    let rooted = Rooted::new(|root| fs::remove_dir(root.join("etc")).unwrap(), "true");
    rooted.is_told("etc/resolv.conf");
    for (path, wanted) in [("etc", 0o755), ("etc/resolv.conf", 0o644), ("etc/hosts", 0o644)] {
        let mode = fs::metadata(rooted.root.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, wanted, "{path}");
    }
}

/// Whatever an image has there instead of a file: it is not opened, not replaced and not waited for.
#[test]
#[ignore = "needs root"]
fn what_is_no_file_is_refused() {
    let at = |root: &Path| root.join("etc/hosts");
    let device =
        |root: &Path| mknod(&at(root), SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(1, 3)).unwrap();
    let disk =
        |root: &Path| mknod(&at(root), SFlag::S_IFBLK, Mode::S_IRUSR | Mode::S_IWUSR, makedev(7, 0)).unwrap();
    let fifo = |root: &Path| mkfifo(&at(root), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let socket = |root: &Path| drop(UnixListener::bind(at(root)).unwrap());
    let folder = |root: &Path| fs::create_dir(at(root)).unwrap();
    let prepares: [(&str, Prepare<'_>); 5] = [
        ("character device", &device),
        ("disk", &disk),
        ("FIFO", &fifo),
        ("socket", &socket),
        ("folder", &folder),
    ];
    for (name, prepare) in prepares {
        let rooted = Rooted::new(prepare, "true");
        rooted.is_refused("cannot write etc/hosts in the container's root: it is not an ordinary file");
        assert!(at(&rooted.root).symlink_metadata().is_ok_and(|found| !found.is_file()), "{name}");
    }
    Rooted::new(|root| fs::write(at(root), vec![b'#'; (1 << 20) + 1]).unwrap(), "true")
        .is_refused("it is larger than 1 MiB");
    Rooted::new(|root| fs::write(at(root), b"\xff").unwrap(), "true").is_refused("UTF-8");
}

/// An image whose `etc` leads elsewhere: it leads there inside the root, or nowhere.
#[test]
#[ignore = "needs root"]
fn a_linked_etc_leads_nowhere_but_inside() {
    let outside = |root: &Path| root.parent().unwrap().join("outside");
    let link = |root: &Path, to: &str| {
        fs::create_dir(outside(root)).unwrap();
        fs::create_dir(root.join("inside")).unwrap();
        fs::remove_dir(root.join("etc")).unwrap();
        symlink(to, root.join("etc")).unwrap();
    };
    for (to, found) in [
        ("/inside", "inside"),
        ("../../../../../../inside", "inside"),
        ("inside/../inside", "inside"),
        ("/", ""),
    ] {
        let rooted = Rooted::new(|root| link(root, to), "true");
        rooted.is_told(&format!("{found}/resolv.conf"));
        assert_eq!(fs::read_dir(outside(&rooted.root)).unwrap().count(), 0, "{to}");
    }
    for (to, says) in [
        ("../outside", "No such file or directory"),
        ("/proc/self/root/tmp", "No such file or directory"),
        ("etc", "Too many levels of symbolic links"),
    ] {
        let rooted = Rooted::new(|root| link(root, to), "true");
        rooted.is_refused(says);
        assert_eq!(fs::read_dir(outside(&rooted.root)).unwrap().count(), 0, "{to}");
    }
    // The same where the image brings a proc of its own: its links to whole namespaces are not followed.
    let with_proc = |root: &Path| {
        link(root, "/proc/self/root/tmp");
        fs::create_dir(root.join("proc")).unwrap();
    };
    Rooted::new(with_proc, "mount -t proc none \"$1/proc\"").is_refused("it is on another mount");
}

#[test]
#[ignore = "needs root"]
fn a_container_with_a_read_only_root_is_told_all_the_same() {
    for runtime in [Runtime::Runc, Runtime::Crun] {
        let lab = Lab::new();
        lab.make_root_read_only();
        let container =
            runtime.start(&lab, "web", &TOLD).unwrap_or_else(|said| panic!("{runtime:?}: {}", said.stderr));
        assert!(seen(container.pid, "etc/resolv.conf").contains("nameserver 192.0.2.53"), "{runtime:?}");
        container.stop();
    }
}

#[test]
#[ignore = "needs root"]
fn a_container_on_no_network_is_told_its_names() {
    let rooted = Rooted::new(|_| {}, "true");
    let bundle = rooted.root.parent().unwrap().display().to_string();
    for (driver, number) in [("none", 1), ("host", 2)] {
        let server = format!("192.0.2.{number}");
        let asked = [("net.driver", driver), ("net.dns", server.as_str())];
        let state = rooted.lab.state_of(&rooted.sandbox, &asked).replace("/bundle", &bundle);
        let created = rooted.lab.run(&["createRuntime"], &state);
        assert_eq!((created.code, created.stderr.as_str()), (0, ""));
        let text = fs::read_to_string(rooted.root.join("etc/resolv.conf")).unwrap();
        assert_eq!(text, format!("nameserver {server}\n"));
        assert_eq!(rooted.lab.poststop("web").code, 0);
    }
}
