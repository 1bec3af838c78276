//! Real containers: runc, crun, and podman through its hooks.d files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use super::netns::Netns;
use super::process::{Finished, command, finish};
use super::sandbox::Sandbox;
use super::topology::Lab;

/// A container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// runc, with the hooks in config.json.
    Runc,
    /// crun, with the hooks in config.json.
    Crun,
    /// podman on runc, with the hooks in hooks.d.
    PodmanRunc,
    /// podman on crun, with the hooks in hooks.d.
    PodmanCrun,
}

/// crun refuses these machines' hybrid cgroups: it sees only the first hierarchy.
const ONE_HIERARCHY: &str = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"";

/// A container that a runtime has started.
#[derive(Debug)]
pub struct Container<'a> {
    lab: &'a Lab,
    runtime: Runtime,
    /// The id that the runtime gave to its hooks.
    pub id: String,
    /// Its first process.
    pub pid: u32,
}

impl Runtime {
    /// Every runtime.
    pub const ALL: [Self; 4] = [Self::Runc, Self::Crun, Self::PodmanRunc, Self::PodmanCrun];

    /// Starts a container that sleeps. An error is what the runtime said.
    ///
    /// # Errors
    /// The runtime's, with its standard error.
    ///
    /// # Panics
    /// When the runtime cannot be started.
    pub fn start<'a>(
        self,
        lab: &'a Lab,
        name: &str,
        annotations: &[(&str, &str)],
    ) -> Result<Container<'a>, Finished> {
        self.start_in(lab, None, name, annotations)
    }

    fn start_in<'a>(
        self,
        lab: &'a Lab,
        pod: Option<&Holder>,
        name: &str,
        annotations: &[(&str, &str)],
    ) -> Result<Container<'a>, Finished> {
        let id = lab.unique(name);
        let started = match self {
            Self::Runc | Self::Crun => {
                let bundle = bundle(lab, &id, annotations);
                if let Some(Holder::Process(sandbox)) = pod {
                    join_namespace(&bundle, sandbox.pid());
                }
                return self.start_bundle(lab, &id, &bundle);
            }
            Self::PodmanRunc | Self::PodmanCrun => {
                prepare_podman(self, lab);
                let mut arguments = vec!["run", "-d", "--name", &id];
                match pod {
                    Some(Holder::Pod(pod)) => arguments.extend(["--pod", pod]),
                    _ => arguments.push("--network=none"),
                }
                // podman 4 splits the option's value at commas.
                let annotations: Vec<String> = annotations
                    .iter()
                    .map(|(key, value)| format!("--annotation={key}={}", value.replace(',', " ")))
                    .collect();
                arguments.extend(annotations.iter().map(String::as_str));
                arguments.extend(["lab-image", "sleep", "600"]);
                self.run(lab, &arguments)
            }
        };
        self.started(lab, id, started)
    }

    /// Starts what a bundle holds, with runc or crun. An error is what the runtime said.
    ///
    /// # Errors
    /// The runtime's, with its standard error.
    ///
    /// # Panics
    /// When the runtime cannot be started.
    pub fn start_bundle<'a>(self, lab: &'a Lab, id: &str, bundle: &Path) -> Result<Container<'a>, Finished> {
        let started = self.run(lab, &["run", "-d", "-b", &bundle.display().to_string(), id]);
        self.started(lab, id.to_owned(), started)
    }

    /// Starts what a bundle holds in two steps, as engines do, with something in between.
    ///
    /// # Errors
    /// The runtime's, with its standard error.
    ///
    /// # Panics
    /// When the runtime cannot be started.
    pub fn start_in_two_steps<'a>(
        self,
        lab: &'a Lab,
        (id, bundle): (&str, &Path),
        between: impl FnOnce(),
    ) -> Result<Container<'a>, Finished> {
        let mut done = self.run(lab, &["create", "-b", &bundle.display().to_string(), id]);
        if done.code == 0 {
            between();
            done = self.run(lab, &["start", id]);
        }
        self.started(lab, id.to_owned(), done)
    }

    /// Puts a program in the place of the runtime that podman calls; it finds the runtime by its name.
    ///
    /// # Panics
    /// When the program cannot be written.
    pub fn wrap(self, lab: &Lab, script: &str) {
        let path = self.wrapped(lab);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        fs::write(&path, script).expect("write a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make it a program");
    }

    /// podman knows a runtime by the name of its program.
    fn wrapped(self, lab: &Lab) -> PathBuf {
        let runtime = if matches!(self, Self::Runc | Self::PodmanRunc) { "runc" } else { "crun" };
        lab.dir().join("wrapped").join(runtime)
    }

    fn started(self, lab: &Lab, id: String, started: Finished) -> Result<Container<'_>, Finished> {
        if started.code != 0 {
            let _ = self.remove(lab, &id);
            return Err(started);
        }
        let id = if self.is_podman() { started.stdout.trim().to_owned() } else { id };
        let pid = self.pid(lab, &id);
        Ok(Container { lab, runtime: self, id, pid })
    }

    /// A network namespace for several containers.
    ///
    /// # Panics
    /// When podman cannot make the pod.
    #[must_use]
    pub fn pod<'a>(self, lab: &'a Lab, name: &str) -> Pod<'a> {
        let holder = if self.is_podman() {
            prepare_podman(self, lab);
            let pod = lab.unique(name);
            let arguments = ["pod", "create", "--network=none", "--name", &pod, "--infra-image", "lab-image"];
            let made = self.run(lab, &[&arguments[..], &["--infra-command", "sleep 600"]].concat());
            assert_eq!(made.code, 0, "podman pod create: {}", made.stderr);
            Holder::Pod(pod)
        } else {
            Holder::Process(Sandbox::new("holder"))
        };
        Pod { lab, runtime: self, holder }
    }

    fn is_podman(self) -> bool {
        matches!(self, Self::PodmanRunc | Self::PodmanCrun)
    }

    fn pid(self, lab: &Lab, id: &str) -> u32 {
        let text = if self.is_podman() {
            self.run(lab, &["inspect", "--format", "{{.State.Pid}}", id]).ok()
        } else {
            let state: Value = serde_json::from_str(&self.run(lab, &["state", id]).ok()).expect("JSON");
            state["pid"].to_string()
        };
        text.trim().parse().expect("a pid")
    }

    fn remove(self, lab: &Lab, id: &str) -> Finished {
        if self.is_podman() {
            self.run(lab, &["rm", "-f", "-t", "0", id])
        } else {
            self.run(lab, &["delete", "-f", id])
        }
    }

    fn run(self, lab: &Lab, arguments: &[&str]) -> Finished {
        let root = |name: &str| lab.dir().join(name).display().to_string();
        let mut words: Vec<String> = ["-m", "sh", "-c", ONE_HIERARCHY, "sh"].map(str::to_owned).to_vec();
        match self {
            Self::Runc => {
                words.drain(..);
                words.extend(["-m".into(), "runc".into(), "--root".into(), root("runc")]);
            }
            Self::Crun => words.extend(["crun".into(), "--root".into(), root("crun")]),
            Self::PodmanRunc | Self::PodmanCrun => {
                let wrapped = self.wrapped(lab);
                let program =
                    if wrapped.exists() { &wrapped } else { Path::new(wrapped.file_name().expect("a name")) };
                words.extend([
                    "podman".into(),
                    "--root".into(),
                    root("storage"),
                    "--runroot".into(),
                    root("run"),
                ]);
                words.extend(["--tmpdir".into(), root("tmp"), "--storage-driver=vfs".into()]);
                words
                    .extend(["--cgroup-manager=cgroupfs".into(), format!("--runtime={}", program.display())]);
                words.extend(["--hooks-dir".into(), root("hooks.d")]);
            }
        }
        words.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        // A detached container keeps what it inherits open: what the runtime says goes to files.
        let (out, err) = (lab.dir().join("runtime.out"), lab.dir().join("runtime.err"));
        let mut unshare = command("unshare");
        unshare.args(&words).stdin(Stdio::null()).env("CONTAINERS_CONF", root("containers.conf"));
        unshare
            .stdout(fs::File::create(&out).expect("a file"))
            .stderr(fs::File::create(&err).expect("a file"));
        let code = finish(lab.host.spawn(unshare), &[]).code;
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        Finished { code, stdout: text(&out), stderr: text(&err) }
    }
}

impl Container<'_> {
    /// The container's network namespace; drop it before the container is stopped.
    #[must_use]
    pub fn net(&self) -> Netns {
        Netns::of_pid(self.pid)
    }

    /// Stops the container and removes it.
    ///
    /// # Panics
    /// When the runtime fails.
    #[track_caller]
    pub fn stop(self) {
        let removed = self.runtime.remove(self.lab, &self.id);
        assert_eq!(removed.code, 0, "{:?}: {}", self.runtime, removed.stderr);
    }
}

/// What keeps a pod's network namespace.
#[derive(Debug)]
enum Holder {
    /// A process, which runc's and crun's containers join.
    Process(Sandbox),
    /// podman's own.
    Pod(String),
}

/// A network namespace for several containers.
#[derive(Debug)]
pub struct Pod<'a> {
    lab: &'a Lab,
    runtime: Runtime,
    holder: Holder,
}

impl<'a> Pod<'a> {
    /// Starts a container in it.
    ///
    /// # Panics
    /// When the runtime fails.
    #[must_use]
    #[track_caller]
    pub fn start(&self, name: &str, annotations: &[(&str, &str)]) -> Container<'a> {
        let started = self.runtime.start_in(self.lab, Some(&self.holder), name, annotations);
        started.unwrap_or_else(|said| panic!("{:?}: {}", self.runtime, said.stderr))
    }

    /// Removes the pod, whose containers are gone.
    ///
    /// # Panics
    /// When podman fails.
    #[track_caller]
    pub fn stop(self) {
        if let Holder::Pod(pod) = &self.holder {
            let removed = self.runtime.run(self.lab, &["pod", "rm", "-f", "-t", "0", pod]);
            assert_eq!(removed.code, 0, "podman pod rm: {}", removed.stderr);
        }
    }
}

fn join_namespace(bundle: &Path, pid: u32) {
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).expect("read it")).expect("JSON");
    for namespace in config["linux"]["namespaces"].as_array_mut().expect("namespaces") {
        if namespace["type"] == "network" {
            namespace["path"] = json!(format!("/proc/{pid}/ns/net"));
        }
    }
    fs::write(&path, config.to_string()).expect("write it");
}

/// A bundle that `runc spec` made, whose container sleeps; nothing in it is of ocinet.
///
/// # Panics
/// When runc fails.
#[must_use]
pub fn plain_bundle(lab: &Lab, id: &str) -> PathBuf {
    let folder = lab.dir().join(format!("bundle-{id}"));
    fs::create_dir_all(&folder).expect("make a bundle");
    let mut spec = command("runc");
    spec.args(["spec", "-b"]).arg(&folder);
    assert!(spec.status().expect("runc spec").success());
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).expect("read it")).expect("JSON");
    config["process"]["terminal"] = json!(false);
    config["process"]["rlimits"] = json!([]);
    config["process"]["args"] = json!(["sleep", "600"]);
    config["root"]["path"] = json!(lab.rootfs());
    config["root"]["readonly"] = json!(lab.has_read_only_root());
    fs::write(&path, serde_json::to_string_pretty(&config).expect("text")).expect("write it");
    folder
}

fn bundle(lab: &Lab, id: &str, annotations: &[(&str, &str)]) -> PathBuf {
    let folder = plain_bundle(lab, id);
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).expect("read it")).expect("JSON");
    let annotations: serde_json::Map<String, Value> =
        annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    config["annotations"] = json!(annotations);
    let hook =
        |stage: &str| json!([{"path": lab.ocinet_path(), "args": ["ocinet", stage], "env": variables(lab)}]);
    config["hooks"] = json!({"createRuntime": hook("createRuntime"), "poststop": hook("poststop")});
    fs::write(&path, config.to_string()).expect("write it");
    folder
}

fn variables(lab: &Lab) -> Vec<String> {
    let variable = |(name, path): (&str, &Path)| format!("{name}={}", path.display());
    lab.environment().into_iter().map(variable).collect()
}

/// The hooks.d files that ocinet ships, with the lab's program, state folder and configuration in them, and an image.
fn prepare_podman(runtime: Runtime, lab: &Lab) {
    let hooks = lab.dir().join("hooks.d");
    if !hooks.exists() {
        ship_hooks(lab, &hooks);
    }
    let archive = lab.dir().join("root.tar");
    if archive.exists() {
        return;
    }
    // Raising a limit fails on these machines (CAP_SYS_RESOURCE), and a pod's own container takes no option for it.
    let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
    fs::write(lab.dir().join("containers.conf"), limits).expect("write containers.conf");
    let mut tar = command("tar");
    tar.arg("-C").arg(lab.rootfs()).arg("-cf").arg(&archive).arg(".");
    assert!(tar.status().expect("tar").success());
    let imported = runtime.run(lab, &["import", &archive.display().to_string(), "lab-image"]);
    assert_eq!(imported.code, 0, "podman import: {}", imported.stderr);
}

fn ship_hooks(lab: &Lab, hooks: &Path) {
    fs::create_dir_all(hooks).expect("make hooks.d");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/hooks.d");
    for entry in fs::read_dir(shipped).expect("packaging/hooks.d").flatten() {
        let text = fs::read_to_string(entry.path()).expect("read a hooks.d file");
        let mut hook: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(hook["hook"]["path"], "/usr/bin/ocinet");
        hook["hook"]["path"] = json!(lab.ocinet_path());
        hook["hook"]["env"] = json!(variables(lab));
        fs::write(hooks.join(entry.file_name()), hook.to_string()).expect("write a hooks.d file");
    }
}
