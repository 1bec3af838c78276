//! Containers of Docker's: its daemon runs in a host's namespace, with all that it writes in one folder.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::netns::Netns;
use super::process::{Background, command, finish};
use super::traffic::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Where it finds the programs that it starts, besides its own.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
const IMAGE: &str = "busybox";

/// A daemon that runs for as long as this value lives, and its containers with it.
pub struct Docker {
    daemon: Background,
    programs: PathBuf,
    socket: String,
    cgroup: String,
}

impl Docker {
    /// Starts the daemon. `programs` is the folder with docker, dockerd, containerd and its shims; what it writes is below `folder`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(host: &Netns, folder: &Path, programs: &Path) -> Self {
        let folder = folder.join("docker");
        let image = folder.join("image/bin");
        fs::create_dir_all(&image).expect("make a folder");
        let socket = format!("unix://{}", folder.join("socket").display());
        let cgroup = format!("ocinet-docker-{}", std::process::id());
        // What it has in /run is its own.
        let script = "mount -t tmpfs tmpfs /run && exec \"$@\"";
        // A real-time process could not be moved to a container's cgroup, which has no time for such.
        let mut daemon = command("chrt");
        // Its own programs come first.
        daemon.env("PATH", format!("{}:{PATH}", programs.display()));
        daemon
            .args(["--other", "0", "unshare", "--mount", "sh", "-c", script, "sh"])
            .arg(programs.join("dockerd"));
        for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            daemon.arg(flag).arg(folder.join(name));
        }
        daemon.args(["--host", &socket, "--storage-driver=vfs", "--ip6tables", "--experimental"]);
        daemon.args(["--cgroup-parent", &format!("/{cgroup}"), "--log-level=error"]);
        let daemon = Background(host.spawn(daemon));
        let docker = Self { daemon, programs: programs.to_owned(), socket, cgroup };
        let answers = (0..20).any(|_| until(|| docker.try_to(&["version"]).is_some()));
        assert!(answers, "the daemon does not answer");
        fs::copy("/bin/busybox", image.join("busybox")).expect("copy busybox");
        symlink("busybox", image.join("sleep")).expect("make a link");
        let tar = folder.join("image.tar").display().to_string();
        host.ok(&["tar", "-C", &folder.join("image").display().to_string(), "-cf", &tar, "."]);
        docker.to(&["import", &tar, IMAGE]);
        docker
    }

    /// What it says of its version.
    #[must_use]
    pub fn version(&self) -> String {
        self.to(&["version", "--format", "{{.Server.Version}}"])
    }

    /// Makes a network.
    pub fn network(&self, name: &str, subnets: &[String], is_internal: bool) {
        let mut words = vec!["network", "create", "--ipv6"];
        words.extend(is_internal.then_some("--internal"));
        words.extend(subnets.iter().flat_map(|subnet| ["--subnet", subnet.as_str()]));
        words.push(name);
        self.to(&words);
    }

    /// Starts a container on a network; its namespace.
    ///
    /// # Panics
    /// When Docker does not.
    #[must_use]
    pub fn run(&self, id: &str, network: &str, addresses: &[IpAddr], ports: &[&str]) -> Netns {
        let mut words = vec!["run", "--detach", "--name", id, "--network", network];
        words.extend(ports.iter().flat_map(|port| ["--publish", *port]));
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        for (address, text) in addresses.iter().zip(&texts) {
            words.extend([if address.is_ipv6() { "--ip6" } else { "--ip" }, text.as_str()]);
        }
        words.extend([IMAGE, "sleep", "86400"]);
        self.to(&words);
        let pid = self.to(&["inspect", "--format", "{{.State.Pid}}", id]);
        Netns::of_pid(pid.parse().expect("a pid"))
    }

    fn to(&self, words: &[&str]) -> String {
        self.try_to(words).unwrap_or_else(|| panic!("docker {words:?}"))
    }

    fn try_to(&self, words: &[&str]) -> Option<String> {
        let mut docker = command(self.programs.join("docker"));
        docker.args(["--host", &self.socket]).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        let finished = finish(docker.spawn().expect("start docker"), &[]);
        (finished.code == 0).then(|| finished.stdout.trim().to_owned())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let all = self.to(&["ps", "--all", "--quiet"]);
        let remove: Vec<&str> =
            ["rm", "--force", "--volumes"].into_iter().chain(all.split_whitespace()).collect();
        let _ = self.try_to(&remove);
        // Its own containerd ends with it.
        let pid = Pid::from_raw(self.daemon.0.id().cast_signed());
        let _ = kill(pid, Signal::SIGTERM);
        let _ = (0..20).any(|_| until(|| !self.daemon.is_alive()));
        for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(controller.path().join(&self.cgroup));
        }
        let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(&self.cgroup));
    }
}
