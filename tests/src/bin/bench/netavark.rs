//! netavark: Debian's, and a newer one where NETAVARK2 names it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use ocinet_tests::lab::command;
use serde_json::json;

use crate::tool::{Container, OTHERS_UP_TO, Step, StepOf, Tool};

pub struct Netavark {
    program: PathBuf,
    version: String,
}

/// Those that are installed.
pub fn found() -> Vec<Netavark> {
    let newer = std::env::var_os("NETAVARK2").map(PathBuf::from);
    let programs = newer.into_iter().chain([PathBuf::from("/usr/lib/podman/netavark")]);
    programs
        .filter(|program| program.exists())
        .map(|program| Netavark { version: version(&program), program })
        .collect()
}

fn version(program: &Path) -> String {
    let output =
        command(program).arg("--version").stdout(Stdio::piped()).output().expect("netavark --version");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Netavark {
    fn step(&self, verb: &'static str, folder: &Path, container: &Container) -> Vec<StepOf> {
        let subnets = if container.dual {
            json!([{"subnet": "10.89.0.0/16", "gateway": "10.89.0.1"}, {"subnet": "fd00:89::/64", "gateway": "fd00:89::1"}])
        } else {
            json!([{"subnet": "10.89.0.0/16", "gateway": "10.89.0.1"}])
        };
        let ports = json!({"container_port": 80, "host_ip": "", "host_port": container.port, "protocol": "tcp", "range": container.ports});
        let ports = if container.ports > 0 { vec![ports] } else { Vec::new() };
        let options = json!({
            "container_id": container.sandbox.id, "container_name": container.sandbox.id,
            "port_mappings": ports,
            "networks": {"podman": {"static_ips": container.addresses("10.89"), "interface_name": "eth0"}},
            "network_info": {"podman": {
                "name": "podman", "id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
                "driver": "bridge", "network_interface": "podman0", "created": "2026-01-01T00:00:00Z",
                "subnets": subnets,
                "ipv6_enabled": container.dual, "internal": false, "dns_enabled": false, "ipam_options": {"driver": "host-local"},
            }},
        });
        let (program, folder, netns) = (self.program.clone(), folder.join("config"), container.netns());
        vec![Box::new(move |_| {
            let mut netavark = command(&program);
            netavark
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .env("NETAVARK_FW", firewall(&program));
            netavark.arg("--config").arg(&folder).arg(verb).arg(&netns);
            std::fs::create_dir_all(&folder).expect("make a folder");
            Step { command: netavark, input: options.to_string() }
        })]
    }
}

/// Debian's netavark knows iptables alone.
fn firewall(program: &Path) -> &'static str {
    if program.starts_with("/usr/lib/podman") { "iptables" } else { "nftables" }
}

impl Tool for Netavark {
    fn name(&self) -> String {
        self.version.clone()
    }

    fn prefix(&self) -> &'static str {
        "10.89"
    }

    fn most(&self) -> usize {
        OTHERS_UP_TO
    }

    fn up(&self, folder: &Path, container: &Container, _: &str) -> Vec<StepOf> {
        self.step("setup", folder, container)
    }

    fn down(&self, folder: &Path, container: &Container, _: &str) -> Vec<StepOf> {
        self.step("teardown", folder, container)
    }
}
