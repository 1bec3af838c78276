//! Containers without a runtime: a process in a namespace of its own, for which the test itself calls the hooks.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::net::if_::if_nametoindex;
use serde_json::{Value, json};

use super::host::Host;
use super::netns::Netns;
use super::process::{Finished, command, finish, finish_with_a_fault};
use super::traffic::until;

/// A process that keeps a network namespace alive.
#[derive(Debug)]
pub struct Sandbox {
    /// The container's id.
    pub id: String,
    /// Its namespace; this does not keep it alive when the process has ended.
    process: Child,
}

impl Sandbox {
    /// A process in an empty namespace.
    #[must_use]
    pub fn new(id: &str) -> Self {
        let mut sleep = command("sleep");
        sleep.arg("infinity");
        Self { id: id.to_owned(), process: Netns::spawn_apart(sleep) }
    }

    /// A process of one's own in an empty namespace.
    #[must_use]
    pub fn running(id: &str, command: Command) -> Self {
        Self { id: id.to_owned(), process: Netns::spawn_apart(command) }
    }

    /// A process in a namespace that is there: a pod's next container.
    #[must_use]
    pub fn beside(id: &str, net: &Netns) -> Self {
        let mut sleep = command("sleep");
        sleep.arg("infinity");
        Self { id: id.to_owned(), process: net.spawn(sleep) }
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its namespace, for as long as the returned value lives.
    #[must_use]
    pub fn net(&self) -> Netns {
        Netns::of_pid(self.pid())
    }

    /// Ends the process.
    pub fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.end();
    }
}

/// A sandbox that ocinet has attached.
#[derive(Debug)]
pub struct Attached {
    /// The process.
    pub sandbox: Sandbox,
    /// The namespace; drop it before the namespace is to end.
    pub net: Netns,
    /// The record that createRuntime wrote.
    pub record: Value,
}

impl Attached {
    /// The container's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.sandbox.id
    }

    /// The container's address of a family.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    #[track_caller]
    pub fn address(&self, ipv6: bool) -> IpAddr {
        addresses(&self.record)
            .into_iter()
            .find(|address| address.is_ipv6() == ipv6)
            .expect("an address of the family")
    }

    /// A port at the container's own address.
    #[must_use]
    #[track_caller]
    pub fn at(&self, ipv6: bool, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(ipv6), port)
    }
}

/// The addresses of a record.
///
/// # Panics
/// When it is no record.
#[must_use]
pub fn addresses(record: &Value) -> Vec<IpAddr> {
    let attachments = record["attachments"].as_array().expect("attachments");
    let cidrs =
        attachments.iter().flat_map(|attachment| attachment["addresses"].as_array().expect("addresses"));
    cidrs
        .map(|cidr| {
            cidr.as_str().expect("a text").split('/').next().expect("an address").parse().expect("an address")
        })
        .collect()
}

/// The host's end of an attachment; macvlan and ipvlan have none.
fn host_interface(attachment: &Value) -> Option<&str> {
    attachment["host_interface"].as_str()
}

impl Host {
    /// Runs ocinet on the host, all of `input` on its standard input.
    #[track_caller]
    pub fn run(&self, arguments: &[&str], input: &str) -> Finished {
        self.run_under(&[], arguments, input)
    }

    /// The same under another program, such as strace.
    #[track_caller]
    pub fn run_under(&self, under: &[&str], arguments: &[&str], input: &str) -> Finished {
        finish(self.spawn_under(under, arguments), input.as_bytes())
    }

    /// The same under a program that makes system calls fail, perhaps the one that reads the input.
    #[must_use]
    #[track_caller]
    pub fn run_with_a_fault(&self, under: &[&str], arguments: &[&str], input: &str) -> Finished {
        finish_with_a_fault(self.spawn_under(under, arguments), input.as_bytes())
    }

    fn spawn_under(&self, under: &[&str], arguments: &[&str]) -> Child {
        let mut program = match under.split_first() {
            None => self.ocinet(),
            Some((first, rest)) => {
                let mut program = command(first);
                program.args(rest).arg(self.ocinet_path()).envs(self.environment());
                program
            }
        };
        program.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.net.spawn(program)
    }

    /// The state that a runtime writes to createRuntime.
    #[must_use]
    pub fn state_of(&self, sandbox: &Sandbox, annotations: &[(&str, &str)]) -> String {
        let annotations: serde_json::Map<String, Value> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let made = self.bundle();
        let bundle = if made.exists() { made } else { "/bundle".into() };
        json!({
            "ociVersion": "1.0.2-dev", "id": sandbox.id, "status": "creating", "pid": sandbox.pid(),
            "bundle": bundle, "annotations": annotations,
        })
        .to_string()
    }

    /// Where the bundle of sandboxes is, if there is one: most tests have none.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.state_dir().with_file_name("bundle-of-sandboxes")
    }

    /// Makes the bundle of sandboxes, with a root and these parts of its config.json.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn make_bundle(&self, process: &Value, linux: &Value) {
        let bundle = self.bundle();
        std::fs::create_dir_all(bundle.join("rootfs")).expect("make a bundle");
        let config = json!({ "root": { "path": "rootfs" }, "process": process, "linux": linux });
        std::fs::write(bundle.join("config.json"), config.to_string()).expect("write a config.json");
    }

    /// createRuntime for a sandbox.
    #[track_caller]
    pub fn create(&self, sandbox: &Sandbox, annotations: &[(&str, &str)]) -> Finished {
        self.run(&["createRuntime"], &self.state_of(sandbox, annotations))
    }

    /// poststop for an id, as runc calls it: without a pid.
    #[track_caller]
    pub fn poststop(&self, id: &str) -> Finished {
        self.run(
            &["poststop"],
            &json!({"ociVersion": "1.0.2-dev", "id": id, "status": "stopped"}).to_string(),
        )
    }

    /// A container that must come up.
    ///
    /// # Panics
    /// When createRuntime fails.
    #[must_use]
    #[track_caller]
    pub fn attach(&self, id: &str, annotations: &[(&str, &str)]) -> Attached {
        let sandbox = Sandbox::new(id);
        let finished = self.create(&sandbox, annotations);
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "createRuntime of {id}");
        let net = sandbox.net();
        Attached { net, record: self.record(id).expect("a record"), sandbox }
    }

    /// Ends a container as a runtime does: its process, its namespace, then poststop. Its links are gone when this returns:
    /// the kernel removes them a moment after the namespace, and what looks at the host next is not to see them.
    ///
    /// # Panics
    /// When poststop fails, or a link stays.
    #[track_caller]
    pub fn detach(&self, attached: Attached) {
        let Attached { mut sandbox, net, record } = attached;
        drop(net);
        sandbox.end();
        let finished = self.poststop(&sandbox.id);
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "poststop of {}", sandbox.id);
        for link in record["attachments"].as_array().into_iter().flatten().filter_map(host_interface) {
            assert!(until(|| !self.has_link(link)), "{link} stays after the poststop of {}", sandbox.id);
        }
    }

    /// Whether the host has a link of that name.
    fn has_link(&self, name: &str) -> bool {
        self.net.within(|| if_nametoindex(name)).is_ok()
    }

    /// A container's record.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn record(&self, id: &str) -> Option<Value> {
        let text = std::fs::read_to_string(self.state_dir().join(format!("containers/{id}.json"))).ok()?;
        Some(serde_json::from_str(&text).expect("a record is JSON"))
    }

    /// What `ocinet inspect` counts for a container.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    #[track_caller]
    pub fn counters(&self, id: &str) -> Value {
        let text = self.run(&["inspect", id, "--json"], "").ok();
        let inspected: Value = serde_json::from_str(&text).expect("JSON");
        inspected["counters"].clone()
    }
}
