//! Network namespaces: making them, and working inside them. The only place of the lab that changes namespace.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::resume_unwind;
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, unshare};

use super::process::{Finished, command, finish};
use super::traffic::until;

/// A network namespace, alive at least as long as this value.
#[derive(Debug)]
pub struct Netns(File);

impl Netns {
    /// An empty namespace with its loopback up.
    ///
    /// # Panics
    /// Without root.
    #[must_use]
    pub fn new() -> Self {
        let (made, namespace) = apart(|| ());
        let () = made;
        namespace.batch("link set lo up");
        namespace
    }

    /// A process started in a namespace that only it keeps alive.
    ///
    /// # Panics
    /// When the process cannot be started.
    #[must_use]
    pub fn spawn_apart(mut command: Command) -> Child {
        let (child, namespace) = apart(move || command.spawn().expect("start a process"));
        namespace.batch("link set lo up");
        child
    }

    /// The namespace of a process.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    #[track_caller]
    pub fn of_pid(pid: u32) -> Self {
        let path = format!("/proc/{pid}/ns/net");
        Self(File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    /// The same namespace once more.
    ///
    /// # Panics
    /// When no descriptor is free.
    #[must_use]
    pub fn again(&self) -> Self {
        Self(self.pin().into())
    }

    /// A path by which other programs can open the namespace while this value lives.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs `work` inside, on a thread that then ends. A socket that it returns stays inside.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                enter(&self.0);
                work()
            });
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Binds a socket inside, after at most ten seconds: until its exec(2), a program that another test starts has
    /// everything open that was open when it was forked, so that a port can be taken for a moment after its socket was closed.
    ///
    /// # Panics
    /// When it cannot be bound.
    #[track_caller]
    pub fn bind<T: Send>(&self, bind: impl Fn() -> io::Result<T> + Sync) -> T {
        let mut bound = self.within(&bind);
        until(|| {
            let taken = matches!(&bound, Err(error) if error.kind() == ErrorKind::AddrInUse);
            if taken {
                bound = self.within(&bind);
            }
            !taken
        });
        bound.expect("bind a socket")
    }

    /// Starts a program inside.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(&self, mut command: Command) -> Child {
        self.within(move || command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Runs a program inside to its end.
    #[must_use]
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        let mut program = command(arguments[0]);
        program.args(&arguments[1..]).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(self.spawn(program), &[])
    }

    /// The standard output of a program that must succeed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let finished = self.run(arguments);
        assert_eq!(finished.code, 0, "{arguments:?}: {}", finished.stderr);
        finished.stdout
    }

    /// Lines of `ip -batch`, all of which must succeed.
    ///
    /// # Panics
    /// When one does not.
    #[track_caller]
    pub fn batch(&self, lines: &str) {
        let mut ip = command("ip");
        ip.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let finished = finish(self.spawn(ip), lines.as_bytes());
        assert_eq!(finished.code, 0, "ip -batch: {}\n{lines}", finished.stderr);
    }

    /// Writes a `net.*` sysctl inside, given as a path below /proc/sys/net.
    ///
    /// # Panics
    /// When there is no such sysctl.
    #[track_caller]
    pub fn sysctl(&self, path: &str, value: &str) {
        let file = format!("/proc/sys/net/{path}");
        self.within(|| std::fs::write(&file, value)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }

    /// Sends what is for 127.0.0.0/8 to a gateway, as an attacker can who is root in a namespace.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[track_caller]
    pub fn route_loopback_via(&self, gateway: std::net::IpAddr) {
        self.sysctl("ipv4/conf/all/route_localnet", "1");
        self.batch(&format!(
            "route del local 127.0.0.0/8 dev lo table local\nroute del local 127.0.0.1 dev lo table local\n\
             route add 127.0.0.0/8 via {gateway}\n"
        ));
    }

    /// A descriptor of the namespace, to keep it pinned.
    ///
    /// # Panics
    /// When no descriptor is free.
    #[must_use]
    pub fn pin(&self) -> OwnedFd {
        self.0.try_clone().expect("duplicate a descriptor").into()
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> (T, Netns) {
    let worker = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace (the lab needs root)");
        let namespace = Netns(File::open("/proc/thread-self/ns/net").expect("open the new namespace"));
        (work(), namespace)
    });
    worker.join().unwrap_or_else(|panic| resume_unwind(panic))
}

#[allow(clippy::disallowed_methods, reason = "the lab's own setns, on a thread that then ends")]
fn enter(namespace: &File) {
    nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET).expect("enter a namespace");
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    #[test]
    #[ignore = "needs root"]
    fn a_port_is_bound_as_soon_as_it_is_free() {
        let net = Netns::new();
        let held = net.bind(|| UdpSocket::bind("0.0.0.0:53"));
        thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(50));
                drop(held);
            });
            net.bind(|| UdpSocket::bind("[::]:53"));
        });
    }
}
