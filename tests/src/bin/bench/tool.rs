//! What the tools under measurement have in common.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ocinet_tests::lab::{Netns, Sandbox, command};

/// Beside more containers only ocinet and the floor are measured: rivals take minutes, and ever longer, to attach hundreds, and
/// with every namespace on the machine the kernel looks longer for the sysctls of one.
pub const OTHERS_UP_TO: usize = 100;

/// Beside more containers nothing on a bridge is measured. A bridge has 1,023 ports, and what is sent to all of more than 1,000 is
/// more than the kernel queues by default (net.core.netdev_max_backlog): the last ones are not found by ARP.
pub const BRIDGE_UP_TO: usize = 900;

/// A container for a tool to wire.
pub struct Container {
    /// Its process.
    pub sandbox: Sandbox,
    /// Its number among this tool's containers; from it come its address and port.
    pub number: usize,
    /// The first host port, which leads to its port 80.
    pub port: u16,
    /// How many of its ports, from 80 on, are published.
    pub ports: u16,
    /// Whether it has an IPv6 address as well.
    pub dual: bool,
    /// Whether no other container is attached.
    pub alone: bool,
}

impl Container {
    /// An address of its own in a /16.
    pub fn address(&self, prefix: &str) -> String {
        format!("{prefix}.{}.{}", 1 + self.number / 250, 2 + self.number % 250)
    }

    /// The same with so many ports, and with both families.
    pub fn with(self, ports: u16) -> Self {
        Self { ports, dual: true, ..self }
    }

    /// Its address in a /16 of a tool's, and its IPv6 address where it has one.
    pub fn addresses(&self, prefix: &str) -> Vec<String> {
        let ipv6 = format!(
            "fd00:{}::{:x}:{:x}",
            prefix.trim_start_matches("10."),
            1 + self.number / 250,
            2 + self.number % 250
        );
        std::iter::once(self.address(prefix)).chain(self.dual.then_some(ipv6)).collect()
    }

    /// Where the host reaches its port 80.
    pub fn published(&self) -> SocketAddr {
        SocketAddr::new(super::HOST.parse().expect("an address"), self.port)
    }

    /// A path by which its namespace can be opened.
    pub fn netns(&self) -> String {
        format!("/proc/{}/ns/net", self.sandbox.pid())
    }
}

/// A program to start, with its standard input.
pub struct Step {
    /// The program, its arguments and its environment.
    pub command: Command,
    /// What it reads.
    pub input: String,
}

/// A tool that attaches containers.
pub trait Tool {
    /// Its name in the table.
    fn name(&self) -> String;
    /// The programs that a runtime would start to wire a container; each gets what the one before it printed.
    fn up(&self, folder: &Path, container: &Container, printed: &str) -> Vec<StepOf>;
    /// The programs that detach it, given what the last of `up` printed.
    fn down(&self, folder: &Path, container: &Container, printed: &str) -> Vec<StepOf>;
    /// Whether its runtime calls it when the container's process has ended, as poststop is called.
    fn takes_back_the_dead(&self) -> bool {
        false
    }
    /// What the addresses of its containers begin with, `10.` and a number; IPv6 ones begin with `fd00:` and the number.
    fn prefix(&self) -> &'static str;
    /// Whether the host's address leads to a container; without, the container itself is asked.
    fn is_translated(&self) -> bool {
        true
    }
    /// Beside how many containers it is measured at most.
    fn most(&self) -> usize {
        usize::MAX
    }
    /// From where, and at which address, the container's server answers once it is attached.
    fn reached_from<'a>(&'a self, host: &'a Netns, container: &Container) -> (&'a Netns, SocketAddr) {
        (host, container.published())
    }
    /// What it needs on its host before the first container.
    fn prepare(&self, _host: &Netns, _folder: &Path) {}
}

/// A step that is made once what the one before it printed is known.
pub type StepOf = Box<dyn Fn(&str) -> Step + Send>;

/// A tool on a host of its own, with the containers that it has attached.
pub struct Bench {
    /// The tool.
    pub tool: Box<dyn Tool>,
    /// Its host.
    pub host: Netns,
    folder: PathBuf,
    attached: Vec<Container>,
    next: usize,
    printed: Vec<String>,
}

impl Bench {
    /// A fresh host for a tool.
    pub fn new(tool: Box<dyn Tool>, folder: &Path) -> Self {
        let host = Netns::new();
        host.batch(&format!("addr add {}/32 dev lo\n", super::HOST));
        host.sysctl("ipv4/ip_forward", "1");
        Self::on(host, tool, folder)
    }

    /// A tool on a host that is there.
    pub fn on(host: Netns, tool: Box<dyn Tool>, folder: &Path) -> Self {
        let folder = folder.join(tool.name().replace([' ', '.'], "-"));
        std::fs::create_dir_all(&folder).expect("make a folder");
        tool.prepare(&host, &folder);
        Self { tool, host, folder, attached: Vec::new(), next: 0, printed: Vec::new() }
    }

    /// A container that is not attached yet.
    pub fn next_container(&mut self) -> Container {
        let number = self.next;
        self.next += 1;
        let port = 10_000 + u16::try_from(number).expect("less than 50,000 containers");
        self.printed.push(String::new());
        Container {
            sandbox: Sandbox::new(&format!("bench{number}")),
            number,
            port,
            ports: 1,
            dual: false,
            alone: self.attached.is_empty(),
        }
    }

    /// Wires containers that stay until there are as many.
    pub fn attach_up_to(&mut self, size: usize) {
        while self.attached.len() < size {
            let container = self.next_container();
            self.up(&container);
            self.attached.push(container);
        }
    }

    /// Wires a container, timed.
    pub fn up(&mut self, container: &Container) -> Duration {
        let steps = self.tool.up(&self.folder, container, "");
        let ran = self.run(steps, String::new(), &[]);
        self.printed[container.number] = ran.printed;
        ran.took
    }

    /// Takes a container back, timed.
    pub fn down(&self, container: &Container) -> Duration {
        let printed = self.printed[container.number].clone();
        self.run(self.tool.down(&self.folder, container, &printed), printed, &[]).took
    }

    /// How many containers are attached.
    pub fn attached(&self) -> usize {
        self.attached.len()
    }

    /// What a set-up says for whoever looks for a fault; the container is detached.
    pub fn said_at_start(&mut self) -> String {
        let mut container = self.next_container();
        let steps = self.tool.up(&self.folder, &container, "");
        let ran = self.run(steps, String::new(), &["/usr/bin/env", "OCINET_LOG=debug"]);
        container.sandbox.end();
        self.down(&container);
        ran.said
    }

    /// What one life costs besides time, from a run under strace and one under time(1): processes and system calls of a
    /// set-up, of a take-back, and the peak memory in KiB of a set-up's largest process.
    pub fn costs(&mut self) -> [usize; 5] {
        let trace = self.folder.join("trace");
        let strace = ["strace", "-f", "-qq", "-A", "-o", trace.to_str().expect("a path")];
        let count = || {
            let text = std::fs::read_to_string(&trace).unwrap_or_default();
            let _ = std::fs::remove_file(&trace);
            let executed = text.lines().filter(|line| line.contains(" execve(")).count();
            (executed, text.lines().filter(|line| line.contains('(') && !line.contains("resumed>")).count())
        };
        let mut container = self.next_container();
        let steps = self.tool.up(&self.folder, &container, "");
        let printed = self.run(steps, String::new(), &strace).printed;
        let up = count();
        if self.tool.takes_back_the_dead() {
            container.sandbox.end();
        }
        let steps = self.tool.down(&self.folder, &container, &printed);
        self.run(steps, printed, &strace);
        let down = count();
        let memory = self.folder.join("memory");
        let time = ["/usr/bin/time", "-a", "-f", "%M", "-o", memory.to_str().expect("a path")];
        let container = self.next_container();
        let steps = self.tool.up(&self.folder, &container, "");
        self.run(steps, String::new(), &time);
        self.attached.push(container);
        let text = std::fs::read_to_string(&memory).unwrap_or_default();
        let peak = text.lines().filter_map(|line| line.trim().parse().ok()).max().unwrap_or(0);
        [up.0, up.1, down.0, down.1, peak]
    }

    /// Runs steps on the tool's host, one after the other; what is timed is from the first start to the last end.
    fn run(&self, steps: Vec<StepOf>, mut printed: String, under: &[&str]) -> Ran {
        self.host.within(move || {
            let (mut took, mut said) = (Duration::ZERO, String::new());
            for step in steps {
                let step = step(&printed);
                let mut program = wrap(step.command, under);
                program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let begun = Instant::now();
                let mut child = program.spawn().unwrap_or_else(|error| panic!("{program:?}: {error}"));
                let mut stdin = child.stdin.take().expect("a pipe");
                let _ = stdin.write_all(step.input.as_bytes());
                drop(stdin);
                let output = child.wait_with_output().expect("wait");
                took += begun.elapsed();
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                printed = text(output.stdout);
                said = text(output.stderr);
                assert!(output.status.success(), "{program:?}: {said}{printed}");
            }
            Ran { took, printed, said }
        })
    }
}

/// What became of a row of programs.
struct Ran {
    took: Duration,
    /// What the last of them printed.
    printed: String,
    /// What it said on standard error.
    said: String,
}

/// The same program started by another, such as strace.
fn wrap(program: Command, under: &[&str]) -> Command {
    let Some((first, rest)) = under.split_first() else { return program };
    let mut wrapped = command(first);
    wrapped.args(rest).arg(program.get_program()).args(program.get_args());
    for (key, value) in program.get_envs() {
        wrapped.env(key, value.unwrap_or_default());
    }
    wrapped
}
