//! A container whose root, or a file in it, is the host's own: neither its `/etc/hosts` nor its `/etc/resolv.conf` is
//! rewritten for a container.
//!
//! The host here is a mount namespace of its own, whose root and `etc` are on a tmpfs: the machine that the tests run on
//! has nothing to lose.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ocinet_tests::lab::{Background, Finished, Lab, Sandbox, Snapshot, command, until};

use crate::life::used;

/// Makes $1 the root, with the machine's programs and folders in it, but for `etc` and `run`: there, a resolver answers on
/// the loopback.
const PIVOT: &str = "set -e; mount -t tmpfs none \"$1\"
for top in /*; do
  if [ -L \"$top\" ]; then cp -P \"$top\" \"$1$top\"
  elif [ -d \"$top\" ] && [ \"$top\" != /etc ] && [ \"$top\" != /run ]; then mkdir \"$1$top\"; mount --rbind \"$top\" \"$1$top\"
  fi
done
mkdir -p \"$1/etc\" \"$1/old\" \"$1/run/systemd/resolve\"
echo 127.0.0.1 localhost > \"$1/etc/hosts\"; echo nameserver 127.0.0.53 > \"$1/etc/resolv.conf\"
echo nameserver 198.51.100.53 > \"$1/run/systemd/resolve/resolv.conf\"
cd \"$1\"; pivot_root . old; umount -l /old; rmdir /old; mkdir \"$2\"; exec sleep infinity";

/// The host's files, and what they say.
const FILES: [(&str, &str); 2] =
    [("etc/hosts", "127.0.0.1 localhost\n"), ("etc/resolv.conf", "nameserver 127.0.0.53\n")];
/// What asks for both files, and what asks for neither: the name and the name servers are told all the same.
const ASKED: [(&str, &str); 3] =
    [("net.driver", "bridge"), ("net.dns", "192.0.2.53"), ("net.hosts", "db:10.90.0.7")];
const UNASKED: [(&str, &str); 1] = [("net.driver", "bridge")];

/// A bundle, and what its config.json has about the root and the mounts.
type Spec<'a> = (&'a Path, &'a str, &'a str);

struct Machine {
    lab: Lab,
    process: Background,
    bundle: PathBuf,
    before: Snapshot,
}

impl Machine {
    fn new() -> Self {
        let lab = Lab::new();
        used(&lab);
        let (root, mark, bundle) =
            (lab.dir().join("machine"), lab.dir().join("up"), lab.dir().join("bundle"));
        fs::create_dir(&root).unwrap();
        fs::create_dir_all(bundle.join("root/etc")).unwrap();
        let mut shell = command("unshare");
        shell.args(["-m", "sh", "-c", PIVOT, "sh"]).arg(&root).arg(&mark);
        let process = Background(shell.spawn().unwrap());
        assert!(until(|| mark.exists()), "a root of its own");
        let before = Snapshot::of(&lab);
        let machine = Self { lab, process, bundle, before };
        for folder in ["", "etc"] {
            let is = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).unwrap();
            assert_ne!(is(&machine.root(folder)), is(&Path::new("/").join(folder)), "the lab's own");
        }
        machine
    }

    /// A path of the host's, seen from outside.
    fn root(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.pid())).join(path)
    }

    /// Runs commands in a process's mount namespace, where $1 is the bundle.
    #[track_caller]
    fn sh(&self, pid: u32, script: &str) {
        let mut shell = command("nsenter");
        shell.args(["-m", "-t", &pid.to_string(), "sh", "-ec", script, "sh"]).arg(&self.bundle);
        assert!(shell.status().unwrap().success(), "{script}");
    }

    fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// A container of a bundle. `mounts` are commands that make what the container has mounted, where $1 is the bundle.
    fn sandbox(&self, mounts: &str) -> Sandbox {
        let mark = self.lab.dir().join("ready");
        let _ = fs::remove_dir(&mark);
        let script = format!("set -e; {mounts}\nmkdir \"$2\"; exec sleep infinity");
        let mut shell = command("nsenter");
        shell.args(["-m", "-t", &self.pid().to_string(), "unshare", "-m", "sh", "-c", &script, "sh"]);
        shell.arg(&self.bundle).arg(&mark);
        let sandbox = Sandbox::running("web", shell);
        assert!(until(|| mark.exists()), "{mounts}");
        sandbox
    }

    /// A hook, on the host, for a container of a bundle whose config.json names a root and mounts.
    fn hook(&self, stage: &str, sandbox: &Sandbox, spec: Spec<'_>, asked: &[(&str, &str)]) -> Finished {
        let (bundle, root, says) = spec;
        let config = format!(
            r#"{{"root":{{"path":"{root}"}},"hostname":"web-1","annotations":{{}},"mounts":{says}}}"#
        );
        fs::write(self.root("").join(bundle.strip_prefix("/").unwrap()).join("config.json"), config).unwrap();
        let state = self.lab.state_of(sandbox, asked).replace("/bundle", bundle.to_str().unwrap());
        self.lab.run_under(&["nsenter", "-m", "-t", &self.pid().to_string()], &[stage], &state)
    }

    /// createRuntime, and the container's end.
    fn create(&self, bundle: &Path, config: (&str, &str), mounts: &str, asked: &[(&str, &str)]) -> Finished {
        let sandbox = self.sandbox(mounts);
        let created = self.hook("createRuntime", &sandbox, (bundle, config.0, config.1), asked);
        drop(sandbox);
        self.lab.poststop("web");
        created
    }

    #[track_caller]
    fn is_untouched(&self, what: &str) {
        for (file, text) in FILES {
            assert_eq!(fs::read_to_string(self.root(file)).unwrap(), text, "{file}: {what}");
        }
        assert_eq!(fs::read_dir(self.root("etc")).unwrap().count(), 2, "{what}");
    }

    /// Whoever asks is refused; whoever does not is started without its names.
    #[track_caller]
    fn tells_nothing(&self, bundle: &Path, config: (&str, &str), mounts: &str, cause: &str) {
        for asked in [&ASKED[..2], &[ASKED[0], ASKED[2]]] {
            let refused = self.create(bundle, config, mounts, asked);
            self.is_untouched(&format!("{config:?} {asked:?}: {}", refused.stderr));
            assert_eq!((refused.code, refused.stderr.lines().count()), (5, 1), "{}", refused.stderr);
            assert!(refused.stderr.contains(cause), "{}", refused.stderr);
            self.before.assert_is_back(&self.lab, "a refusal");
        }
        let started = self.create(bundle, config, mounts, &UNASKED);
        self.is_untouched(&format!("{config:?}, unasked"));
        assert_eq!((started.code, started.stderr.as_str()), (0, ""), "{config:?}");
    }

    #[track_caller]
    fn tells(&self, config: (&str, &str), mounts: &str, at: &str) {
        for asked in [&ASKED[..], &UNASKED] {
            for file in ["hosts", "resolv.conf"] {
                fs::write(self.bundle.join(at).join(file), "").unwrap();
            }
            let started = self.create(&self.bundle, config, mounts, asked);
            assert_eq!((started.code, started.stderr.as_str()), (0, ""), "{config:?}");
            let hosts = fs::read_to_string(self.bundle.join(at).join("hosts")).unwrap();
            assert!(hosts.contains("\tweb-1\n"), "{hosts}");
            let server = if asked == UNASKED { "198.51.100.53" } else { "192.0.2.53" };
            let resolver = fs::read_to_string(self.bundle.join(at).join("resolv.conf")).unwrap();
            assert!(resolver.contains(server), "{resolver}");
            self.is_untouched(&format!("{config:?}"));
        }
    }
}

fn bound(file: &str, source: &str) -> String {
    format!(r#"{{"destination":"/etc/{file}","type":"bind","source":"{source}","options":["bind"]}}"#)
}

#[test]
#[ignore = "needs root"]
fn a_root_that_is_the_hosts_own_is_not_written_to() {
    let machine = Machine::new();
    std::os::unix::fs::symlink("/", machine.bundle.join("link")).unwrap();
    fs::create_dir(machine.bundle.join("bound")).unwrap();
    for (root, mounts) in [
        ("/", "true"),
        ("../../../../../../..", "true"),
        ("/etc/..", "true"),
        ("link", "true"),
        ("bound", "mount --bind / \"$1/bound\""),
    ] {
        let cause = "the container's root is the host's own";
        machine.tells_nothing(&machine.bundle, (root, "[]"), mounts, cause);
        // config.json says that files of the container's own are there, and they are not.
        let says = format!("[{},{}]", bound("hosts", "hosts"), bound("resolv.conf", "resolv.conf"));
        for file in ["hosts", "resolv.conf"] {
            fs::write(machine.bundle.join(file), "").unwrap();
        }
        machine.tells_nothing(
            &machine.bundle,
            (root, &says),
            mounts,
            "it is not the file that config.json says",
        );
        let says = r#"[{"destination":"/etc","type":"tmpfs","source":"tmpfs"}]"#;
        machine.tells_nothing(&machine.bundle, (root, says), mounts, cause);
    }
    machine.tells(("root", "[]"), "true", "root/etc");
    // An engine's files for the container, or a tmpfs of its own, over the host's: those are the container's.
    let says = format!("[{},{}]", bound("hosts", "hosts"), bound("resolv.conf", "resolv.conf"));
    let mounts = "for file in hosts resolv.conf; do mount --bind \"$1/$file\" \"/etc/$file\"; done";
    machine.tells(("/", &says), mounts, "");
    let says = r#"[{"destination":"/etc","type":"tmpfs","source":"tmpfs"}]"#;
    let started = machine.create(&machine.bundle, ("/", says), "mount -t tmpfs none /etc", &ASKED);
    assert_eq!((started.code, started.stderr.as_str()), (0, ""));
    machine.is_untouched("a tmpfs of its own");
}

/// A file that is missing on the host is not made there either.
#[test]
#[ignore = "needs root"]
fn a_root_that_is_the_hosts_own_gets_no_file() {
    let machine = Machine::new();
    for file in ["hosts", "resolv.conf"] {
        fs::remove_file(machine.root("etc").join(file)).unwrap();
        fs::write(machine.bundle.join(file), "").unwrap();
    }
    let says = format!("[{},{}]", bound("hosts", "hosts"), bound("resolv.conf", "resolv.conf"));
    for says in ["[]", &says] {
        let refused = machine.create(&machine.bundle, ("/", says), "true", &ASKED);
        assert_eq!(fs::read_dir(machine.root("etc")).unwrap().count(), 0, "{says}: {}", refused.stderr);
        assert_eq!(refused.code, 5, "{}", refused.stderr);
        let started = machine.create(&machine.bundle, ("/", says), "true", &UNASKED);
        assert_eq!(fs::read_dir(machine.root("etc")).unwrap().count(), 0, "{says}: {}", started.stderr);
        assert_eq!((started.code, started.stderr.as_str()), (0, ""), "{says}");
    }
}

/// What the bundle says is the container's own is the host's: the bundle is the host's root, or has the file by a mount.
#[test]
#[ignore = "needs root"]
fn a_file_that_is_the_hosts_own_is_not_written_to() {
    let machine = Machine::new();
    for file in ["hosts", "resolv.conf"] {
        fs::write(machine.bundle.join("root/etc").join(file), "").unwrap();
    }
    let root = machine.bundle.join("root").display().to_string();
    let mounts = "for file in hosts resolv.conf; do mount --bind \"/etc/$file\" \"$1/root/etc/$file\"; done";
    let says = format!("[{},{}]", bound("hosts", "/etc/hosts"), bound("resolv.conf", "/etc/resolv.conf"));
    let config = (root.as_str(), says.as_str());
    machine.tells_nothing(&machine.bundle, config, mounts, "which is not the container's own");
    machine.tells_nothing(Path::new("/"), config, mounts, "which is not the container's own");
    // The bundle's own file is the host's by a mount.
    for file in ["hosts", "resolv.conf"] {
        fs::write(machine.bundle.join(file), "").unwrap();
    }
    let says = format!("[{},{}]", bound("hosts", "hosts"), bound("resolv.conf", "resolv.conf"));
    let host_mounts = "for file in hosts resolv.conf; do mount --bind \"/etc/$file\" \"$1/$file\"; done";
    machine.sh(machine.pid(), host_mounts);
    machine.tells_nothing(&machine.bundle, ("root", &says), mounts, "it is the host's own");
    // Beside them, files of its own are told.
    fs::write(machine.bundle.join("own"), "").unwrap();
    let says = format!("[{}]", bound("hosts", "own"));
    let mounts = "mount --bind \"$1/own\" \"$1/root/etc/hosts\"";
    let started = machine.create(&machine.bundle, ("root", &says), mounts, &UNASKED);
    assert_eq!((started.code, started.stderr.as_str()), (0, ""));
    assert!(fs::read_to_string(machine.bundle.join("own")).unwrap().contains("\tweb-1\n"));
    machine.is_untouched("a file of its own");
}

/// The container's files are an engine's at first, and the host's afterwards, for the host and for the container.
#[test]
#[ignore = "needs root"]
fn at_poststart_the_hosts_own_files_are_not_written_to_either() {
    let machine = Machine::new();
    let own = machine.bundle.join("hosts");
    fs::write(&own, "").unwrap();
    let says = format!("[{}]", bound("hosts", "hosts"));
    let sandbox = machine.sandbox("mount --bind \"$1/hosts\" /etc/hosts");
    let run = |stage| {
        let ran = machine.hook(stage, &sandbox, (&machine.bundle, "/", &says), &UNASKED);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        machine.is_untouched(stage);
        ran.stderr
    };
    assert_eq!(run("createRuntime"), "");
    fs::write(&own, "127.0.0.1 web-1\n").unwrap();
    assert_eq!(run("poststart"), "");
    assert!(!fs::read_to_string(&own).unwrap().contains("127.0.0.1 web-1"), "it is told again");
    machine.sh(sandbox.pid(), "umount /etc/hosts");
    machine.sh(machine.pid(), "mount --bind /etc/hosts \"$1/hosts\"");
    let said = run("poststart");
    assert!(said.contains("it is the host's own"), "{said}");
}
