//! `ocinet poststart`: an engine that writes a container's files anew after createRuntime, as podman 5 does.

mod hostile;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ocinet_tests::lab::{DUAL, Finished, Lab, Runtime, plain_bundle, until};
use serde_json::{Value, json};

use crate::resolver::{Rooted, seen};

const ASKED: [(&str, &str); 4] = [
    ("net.driver", "bridge"),
    ("net.subnet", DUAL),
    ("net.hosts", "db:10.90.0.7"),
    ("net.dns", "192.0.2.53"),
];
/// What podman 5.4 writes for a container without a network; the container's name comes behind.
const REWRITTEN: &str =
    "127.0.0.1\tlocalhost\n::1\tlocalhost\n192.0.2.1\thost.containers.internal\n127.0.0.1\t";
/// podman calls it as its runtime. After `create` it writes the file behind the container's etc/hosts, in place.
const AS_PODMAN_5: &str = r#"#!/bin/sh
"${0##*/}" "$@" || exit
last= bundle= is_create=
for word; do
	case $last in -b | --bundle) bundle=$word ;; esac
	case $word in create) is_create=yes ;; esac
	last=$word
done
[ -n "$is_create" ] || exit 0
file=$(jq -r '.mounts[] | select(.destination == "/etc/hosts") | .source' "$bundle/config.json")
echo "$file" >"${0%/*}/file"
{ printf "$REWRITTEN"; jq -r '.hostname + " alias"' "$bundle/config.json"; } >"$file"
"#;

/// Whether a hosts file has the name with addresses of both families, and with no other.
fn has_own(hosts: &str, name: &str) -> bool {
    let lines = hosts.lines().filter(|line| line.split_whitespace().skip(1).any(|word| word == name));
    let mut addresses: Vec<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    addresses.sort_unstable();
    matches!(addresses[..], [four, six] if four.starts_with("10.90.") && six.starts_with("fd"))
}

/// How many processes of ocinet's there are that use the lab's state folder.
fn waiting(lab: &Lab) -> usize {
    let state = format!("OCINET_STATE_DIR={}\0", lab.state_dir().display());
    let uses =
        |pid: u32| fs::read_to_string(format!("/proc/{pid}/environ")).is_ok_and(|all| all.contains(&state));
    lab.ocinet_processes().into_iter().filter(|pid| uses(*pid)).count()
}

#[test]
#[ignore = "needs root"]
fn an_engine_that_writes_etc_hosts_after_its_hooks_leaves_the_container_its_name() {
    for runtime in [Runtime::PodmanRunc, Runtime::PodmanCrun] {
        let lab = Lab::new();
        runtime.wrap(&lab, &AS_PODMAN_5.replace("$REWRITTEN", REWRITTEN));
        let web = runtime.start(&lab, "web", &ASKED[..3]).unwrap_or_else(|said| panic!("{}", said.stderr));
        let name = &web.id[..12];
        let is_told = || {
            let hosts = seen(web.pid, "etc/hosts");
            has_own(&hosts, name) && has_own(&hosts, "alias") && hosts.contains("10.90.0.7\tdb\n")
        };
        assert!(until(is_told), "{runtime:?}: {}", seen(web.pid, "etc/hosts"));
        assert!(seen(web.pid, "etc/hosts").contains("192.0.2.1\thost.containers.internal\n"));
        let file = fs::read_to_string(lab.dir().join("wrapped/file")).unwrap();
        assert_eq!(fs::read_to_string(file.trim()).unwrap(), seen(web.pid, "etc/hosts"), "it is this file");
        assert!(until(|| waiting(&lab) == 0), "{runtime:?}: nobody waits any more");
        web.stop();
    }
}

/// A bundle whose etc/hosts and etc/resolv.conf are files that an engine made, with all three hooks.
fn bundle(lab: &Lab, id: &str, annotations: &[(&str, &str)]) -> PathBuf {
    let folder = plain_bundle(lab, id);
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config["hostname"] = json!("web-1");
    config["annotations"] =
        annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let environment = [format!("OCINET_STATE_DIR={}", lab.state_dir().display())];
    for stage in ["createRuntime", "poststart", "poststop"] {
        config["hooks"][stage] =
            json!([{"path": lab.ocinet_path(), "args": ["ocinet", stage], "env": environment}]);
    }
    for name in ["hosts", "resolv.conf"] {
        let source = folder.join(name);
        fs::write(&source, "").unwrap();
        let mount = json!({"destination": format!("/etc/{name}"), "type": "bind", "source": source, "options": ["bind", "rprivate"]});
        config["mounts"].as_array_mut().unwrap().push(mount);
        fs::write(lab.rootfs().join("etc").join(name), "").unwrap();
    }
    fs::write(&path, config.to_string()).unwrap();
    folder
}

fn write_anew(bundle: &Path) {
    let told = fs::read_to_string(bundle.join("hosts")).unwrap();
    assert!(has_own(&told, "web-1"), "createRuntime: {told}");
    fs::write(bundle.join("hosts"), format!("{REWRITTEN}web-1 alias\n")).unwrap();
    fs::write(bundle.join("resolv.conf"), "nameserver 203.0.113.1\nsearch lan\n").unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_container_of_runc_and_crun_is_told_both_files_again() {
    for (runtime, is_read_only) in [(Runtime::Runc, true), (Runtime::Crun, false), (Runtime::Crun, true)] {
        let lab = Lab::new();
        let id = lab.unique("web");
        let folder = bundle(&lab, &id, &ASKED);
        if is_read_only {
            lab.make_root_read_only();
            let config = fs::read_to_string(folder.join("config.json")).unwrap();
            let config = config.replace("\"readonly\":false", "\"readonly\":true");
            // As podman does with --read-only.
            let config = config.replace("\"bind\",\"rprivate\"", "\"bind\",\"rprivate\",\"ro\"");
            fs::write(folder.join("config.json"), config).unwrap();
        }
        let started = runtime.start_in_two_steps(&lab, (&id, &folder), || write_anew(&folder));
        let web = started.unwrap_or_else(|said| panic!("{runtime:?}: {}", said.stderr));
        assert_eq!(
            fs::read_to_string(folder.join("config.json")).unwrap().contains("\"rprivate\",\"ro\""),
            is_read_only
        );
        let is_told = || has_own(&seen(web.pid, "etc/hosts"), "web-1");
        assert!(until(is_told), "{runtime:?}: {}", seen(web.pid, "etc/hosts"));
        assert!(until(|| seen(web.pid, "etc/resolv.conf") == "search lan\nnameserver 192.0.2.53\n"));
        assert!(until(|| waiting(&lab) == 0));
        let stats = fs::read_to_string(lab.state_dir().join("stats.json")).unwrap();
        let stats: Value = serde_json::from_str(&stats).unwrap();
        assert_eq!(stats["stages"]["poststart"]["results"], json!({"ok": 1}), "{runtime:?}");
        web.stop();
    }
}

/// A container that its runtime ends before its program runs is waited for by nobody.
#[test]
#[ignore = "needs root"]
fn a_container_that_never_starts_is_not_waited_for() {
    let lab = Lab::new();
    let id = lab.unique("web");
    let folder = bundle(&lab, &id, &ASKED);
    let mut is_created = false;
    let started = Runtime::Runc.start_in_two_steps(&lab, (&id, &folder), || {
        is_created = true;
        assert!(until(|| waiting(&lab) == 1), "a child waits");
        let pid = lab.record(&id).unwrap()["pid"].as_i64().unwrap();
        lab.host.ok(&["kill", "-9", &pid.to_string()]);
    });
    assert!(started.is_err() && is_created);
    assert!(until(|| waiting(&lab) == 0));
    assert!(lab.record(&id).is_none());
}

/// A process in a bundle's root, which is its own root too, with the bundle's file `hosts` mounted on etc/hosts.
pub(crate) struct Running {
    pub(crate) rooted: Rooted,
    pub(crate) file: PathBuf,
}

/// What config.json says about the mounted file.
const SAYS: &str = r#"[{"destination":"/etc/hosts","type":"bind","source":"hosts","options":["bind"]}]"#;
const MOUNTS: &str = "mount --bind \"$1/../hosts\" \"$1/etc/hosts\"";

impl Running {
    /// `mounts` as [`Rooted::new`] has them; `chroot` is the directory that the process then has as its root.
    pub(crate) fn with(prepare: impl Fn(&Path), mounts: &str, chroot: &str, user: Option<u32>) -> Self {
        let prepare = |root: &Path| {
            fs::create_dir_all(root.join("bin")).unwrap();
            fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
            fs::write(root.parent().unwrap().join("hosts"), "").unwrap();
            fs::write(root.join("etc/hosts"), "").unwrap();
            prepare(root);
        };
        let script = format!("{mounts}\nmkdir \"$2\"\nexec chroot \"{chroot}\" /bin/busybox sleep 600");
        let rooted = Rooted::with(prepare, &script, SAYS, user);
        let file = rooted.root.parent().unwrap().join("hosts");
        Self { rooted, file }
    }

    pub(crate) fn new() -> Self {
        let running = Self::with(|_| {}, MOUNTS, "$1", None);
        running.is_up();
        running
    }

    /// Whether the process has a directory as its root.
    pub(crate) fn is_in(&self, root: &Path) -> bool {
        let found = fs::read_link(format!("/proc/{}/root", self.rooted.sandbox.pid()));
        found.is_ok_and(|found| found == root)
    }

    /// Waits until the process has its root, as it has before a runtime calls poststart.
    #[track_caller]
    pub(crate) fn is_up(&self) {
        assert!(until(|| self.is_in(&self.rooted.root)), "a process in its root");
    }

    /// What createRuntime wrote, and what an engine writes then.
    #[track_caller]
    pub(crate) fn create_and_write_anew(&self, annotations: &[(&str, &str)]) -> String {
        let created = self.rooted.create_with(annotations);
        assert_eq!((created.code, created.stderr.as_str()), (0, ""));
        let told = fs::read_to_string(&self.file).unwrap();
        fs::write(&self.file, format!("{REWRITTEN}web-1 alias\n")).unwrap();
        told
    }

    pub(crate) fn state(&self) -> Value {
        let bundle = self.file.parent().unwrap();
        json!({"ociVersion": "1.0", "id": "web", "status": "running", "pid": self.rooted.sandbox.pid(), "bundle": bundle})
    }

    pub(crate) fn poststart(&self, state: &Value) -> Finished {
        self.rooted.lab.run(&["poststart"], &state.to_string())
    }

    /// When the file was last written, and what it says.
    pub(crate) fn written(&self) -> (i64, i64, String) {
        let is = fs::metadata(&self.file).unwrap();
        (is.mtime(), is.mtime_nsec(), fs::read_to_string(&self.file).unwrap())
    }

    #[track_caller]
    pub(crate) fn is_left_alone(&self, state: &Value) {
        let before = self.written();
        let done = self.poststart(state);
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", ""), "{state}");
        assert_eq!(self.written(), before, "{state}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_container_is_told_once_and_what_its_program_writes_stays() {
    let running = Running::new();
    let told = running.create_and_write_anew(&ASKED[..3]);
    assert!(has_own(&told, "web-1") && told.contains("10.90.0.7\tdb\n"), "{told}");
    let done = running.poststart(&running.state());
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", ""));
    let (.., text) = running.written();
    assert!(has_own(&text, "web-1") && text.contains("10.90.0.7\tdb\n"), "{text}");
    running.is_left_alone(&running.state());
    fs::write(&running.file, format!("# its own\n{text}192.0.2.9\tadded\n")).unwrap();
    running.is_left_alone(&running.state());
}

/// As with podman 4: nothing was written anew.
#[test]
#[ignore = "needs root"]
fn what_createruntime_wrote_is_not_written_again() {
    let running = Running::new();
    let told = running.create_and_write_anew(&ASKED[..3]);
    fs::write(&running.file, told).unwrap();
    running.is_left_alone(&running.state());
    let stats = fs::read_to_string(running.rooted.lab.state_dir().join("stats.json")).unwrap();
    assert!(!stats.contains("poststart"), "a run that had nothing to do is not counted: {stats}");
}

#[test]
#[ignore = "needs root"]
fn the_containers_of_others_are_left_alone() {
    let running = Running::new();
    let state = |key: &str, value: Value| {
        let mut state = running.state();
        state[key] = value;
        state
    };
    // Before there is any record.
    running.is_left_alone(&running.state());
    running.create_and_write_anew(&ASKED[..3]);
    running.is_left_alone(&state("id", json!("other")));
    running.is_left_alone(&state("bundle", json!("/somewhere/else")));
    for pid in [json!(std::process::id()), json!(0), json!(null), json!(-1)] {
        running.is_left_alone(&state("pid", pid));
    }
    let done = running.poststart(&running.state());
    assert!(done.code == 0 && has_own(&running.written().2, "web-1"), "its own is told");
}

#[test]
#[ignore = "needs root"]
fn a_container_on_no_network_has_no_name_to_be_told() {
    for driver in ["none", "host"] {
        let running = Running::new();
        running.create_and_write_anew(&[("net.driver", driver)]);
        running.is_left_alone(&running.state());
        assert_eq!(running.rooted.lab.poststop("web").code, 0);
        // What is asked for is told, whatever the driver.
        running.create_and_write_anew(&[("net.driver", driver), ("net.hosts", "db:10.90.0.7")]);
        assert_eq!(running.poststart(&running.state()).code, 0);
        assert!(running.written().2.contains("10.90.0.7\tdb\n"), "{driver}");
    }
}

/// A runtime ends a container whose poststart hook fails.
#[test]
#[ignore = "needs root"]
fn it_never_fails() {
    let running = Running::new();
    running.create_and_write_anew(&ASKED[..3]);
    let lab = &running.rooted.lab;
    for state in ["", "{", "[]", "{}", "{\"id\":5}", "{\"id\":\"../x\"}"] {
        let done = lab.run(&["poststart"], state);
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.lines().count()), (0, "", 1), "{state}");
    }
    fs::write(lab.state_dir().join("containers/web.json"), "{").unwrap();
    let done = running.poststart(&running.state());
    assert_eq!((done.code, done.stderr.lines().count()), (0, 1), "{}", done.stderr);
    let none = lab.run(&["--state-dir", "/nonexistent/ocinet", "poststart"], &running.state().to_string());
    assert_eq!((none.code, none.stderr.as_str()), (0, ""));
}
