//! Debian's CNI plugins: bridge with host-local, then portmap, called as a runtime calls a plugin chain.

use std::path::Path;

use ocinet_tests::lab::command;
use serde_json::{Value, json};

use crate::tool::{Container, OTHERS_UP_TO, Step, StepOf, Tool};

const PLUGINS: &str = "/usr/lib/cni";

pub struct Cni;

/// The plugins, where they are installed.
pub fn found() -> Option<Cni> {
    Path::new(PLUGINS).join("portmap").exists().then_some(Cni)
}

fn plugin(name: &'static str, verb: &'static str, folder: &Path, container: &Container) -> StepOf {
    let (id, netns) = (container.sandbox.id.clone(), container.netns());
    let (first, ports, dual) = (container.port, container.ports, container.dual);
    let data = folder.join("leases");
    Box::new(move |previous| {
        let mut config = if name == "bridge" {
            json!({
                "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
                "ipam": {"type": "host-local", "dataDir": data, "ranges": ranges(dual), "routes": routes(dual)},
            })
        } else {
            json!({
                "capabilities": {"portMappings": true},
                "runtimeConfig": {"portMappings": mappings(first, ports)},
            })
        };
        config["cniVersion"] = json!("0.4.0");
        config["name"] = json!("bench");
        config["type"] = json!(name);
        if let Ok(previous) = serde_json::from_str::<Value>(previous) {
            config["prevResult"] = previous;
        }
        let mut plugin = command(format!("{PLUGINS}/{name}"));
        plugin
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &id)
            .env("CNI_NETNS", &netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", PLUGINS);
        Step { command: plugin, input: config.to_string() }
    })
}

/// host-local gives addresses out one after the other.
fn ranges(dual: bool) -> Value {
    if dual {
        json!([
            [{"subnet": "10.88.0.0/16", "rangeStart": "10.88.1.2"}],
            [{"subnet": "fd00:88::/64", "rangeStart": "fd00:88::1:2"}]
        ])
    } else {
        json!([[{"subnet": "10.88.0.0/16"}]])
    }
}

fn routes(dual: bool) -> Value {
    if dual { json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]) } else { json!([{"dst": "0.0.0.0/0"}]) }
}

fn mappings(first: u16, ports: u16) -> Value {
    (0..ports)
        .map(|port| json!({"hostPort": first + port, "containerPort": 80 + port, "protocol": "tcp"}))
        .collect()
}

impl Tool for Cni {
    fn name(&self) -> String {
        "CNI 1.1.1".to_owned()
    }

    fn prefix(&self) -> &'static str {
        "10.88"
    }

    fn most(&self) -> usize {
        OTHERS_UP_TO
    }

    fn up(&self, folder: &Path, container: &Container, _: &str) -> Vec<StepOf> {
        ["bridge", "portmap"].map(|name| plugin(name, "ADD", folder, container)).into()
    }

    fn down(&self, folder: &Path, container: &Container, printed: &str) -> Vec<StepOf> {
        // DEL prints nothing: each plugin gets what ADD printed.
        let chain = ["portmap", "bridge"].map(|name| plugin(name, "DEL", folder, container));
        let with = |step: StepOf| {
            let printed = printed.to_owned();
            Box::new(move |_: &str| step(&printed)) as StepOf
        };
        chain.into_iter().map(with).collect()
    }
}
