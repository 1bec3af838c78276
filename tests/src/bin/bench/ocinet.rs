//! ocinet itself: `target/bin/ocinet`, or OCINET_BIN, with each driver.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ocinet_tests::lab::{Netns, command, ocinet_path};
use serde_json::{Value, json};

use crate::tool::{BRIDGE_UP_TO, Container, OTHERS_UP_TO, Step, StepOf, Tool};

/// The bench host's link to its LAN, where macvlan and vxlan need one.
const LAN: &str = "lan0";
const HOST_ON_LAN: &str = "192.0.2.1";
const NEIGHBOUR: &str = "192.0.2.2";
/// The addresses of macvlan containers begin with this.
const LAN_PREFIX: &str = "10.88";

pub struct Ocinet {
    program: PathBuf,
    driver: &'static str,
    neighbour: Netns,
}

/// One tool for each driver that this kernel has.
pub fn drivers() -> impl Iterator<Item = Ocinet> {
    ["bridge", "veth", "macvlan", "vxlan"].into_iter().map(|driver| Ocinet {
        program: ocinet_path(),
        driver,
        neighbour: Netns::new(),
    })
}

impl Ocinet {
    fn annotations(&self, container: &Container) -> Value {
        let mut annotations = self.of_driver(container);
        let (first, last) = (container.port, container.port + container.ports.saturating_sub(1));
        if self.driver != "macvlan" && container.ports > 0 {
            annotations["net.ports"] = match container.ports {
                1 => json!(format!("{first}:80")),
                ports => json!(format!("{first}-{last}:80-{}", 79 + ports)),
            };
        }
        if container.dual {
            let number = self.prefix().trim_start_matches("10.");
            annotations["net.subnet"] = json!(format!("10.{number}.0.0/16,fd00:{number}::/64"));
            annotations["net.ip"] = json!(container.addresses(self.prefix()).join(","));
        }
        annotations
    }

    fn of_driver(&self, container: &Container) -> Value {
        match self.driver {
            "macvlan" => json!({
                "net.driver": "macvlan", "net.parent": LAN, "net.subnet": format!("{LAN_PREFIX}.0.0/16"),
                "net.ip": container.address(LAN_PREFIX),
            }),
            "vxlan" => json!({
                "net.driver": "vxlan", "net.vni": "7", "net.local": HOST_ON_LAN, "net.peers": NEIGHBOUR,
                "net.subnet": "10.87.0.0/16", "net.ip": container.address("10.87"),
            }),
            // Its own network would have 253 addresses.
            "veth" => json!({"net.driver": "veth", "net.subnet": "10.86.0.0/16"}),
            driver => json!({"net.driver": driver}),
        }
    }
}

/// A hook's call.
pub fn hook(program: &Path, folder: &Path, stage: &str, state: &Value) -> Step {
    let mut hook = command(program);
    hook.arg(stage).env_clear().env("OCINET_STATE_DIR", folder.join("state"));
    Step { command: hook, input: state.to_string() }
}

impl Tool for Ocinet {
    fn name(&self) -> String {
        if self.driver == "bridge" { "ocinet".to_owned() } else { format!("ocinet, {}", self.driver) }
    }

    fn prefix(&self) -> &'static str {
        match self.driver {
            "macvlan" => LAN_PREFIX,
            "vxlan" => "10.87",
            "veth" => "10.86",
            _ => "10.90",
        }
    }

    fn most(&self) -> usize {
        match self.driver {
            "bridge" => BRIDGE_UP_TO,
            "veth" => usize::MAX,
            _ => OTHERS_UP_TO,
        }
    }

    fn prepare(&self, host: &Netns, _: &Path) {
        if !matches!(self.driver, "macvlan" | "vxlan") {
            return;
        }
        let neighbour = self.neighbour.path();
        host.batch(&format!(
            "link add {LAN} type veth peer name eth0 netns {neighbour}\nlink set {LAN} up\n\
             addr add {HOST_ON_LAN}/24 dev {LAN}\n"
        ));
        self.neighbour.batch(&format!(
            "addr add {NEIGHBOUR}/24 dev eth0\naddr add {LAN_PREFIX}.0.9/16 dev eth0\nlink set eth0 up\n"
        ));
    }

    fn reached_from<'a>(&'a self, host: &'a Netns, container: &Container) -> (&'a Netns, SocketAddr) {
        if self.driver == "macvlan" {
            let address = container.address(LAN_PREFIX).parse().expect("an address");
            return (&self.neighbour, SocketAddr::new(address, 80));
        }
        (host, container.published())
    }

    fn up(&self, folder: &Path, container: &Container, _: &str) -> Vec<StepOf> {
        let state = json!({
            "ociVersion": "1.0.2", "id": container.sandbox.id, "status": "creating", "pid": container.sandbox.pid(),
            "bundle": "/bundle", "annotations": self.annotations(container),
        });
        let (program, folder) = (self.program.clone(), folder.to_owned());
        vec![Box::new(move |_| hook(&program, &folder, "createRuntime", &state))]
    }

    fn down(&self, folder: &Path, container: &Container, _: &str) -> Vec<StepOf> {
        let state = json!({"ociVersion": "1.0.2", "id": container.sandbox.id, "status": "stopped"});
        let (program, folder) = (self.program.clone(), folder.to_owned());
        vec![Box::new(move |_| hook(&program, &folder, "poststop", &state))]
    }

    fn takes_back_the_dead(&self) -> bool {
        true
    }
}
