//! ocinet itself: `target/bin/ocinet`, or OCINET_BIN.

use std::path::{Path, PathBuf};

use ocinet_tests::lab::command;
use serde_json::json;

use crate::tool::{Container, Step, StepOf, Tool};

pub struct Ocinet(PathBuf);

/// The program under test.
pub fn program() -> PathBuf {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bin/ocinet");
    std::env::var_os("OCINET_BIN").map_or_else(|| PathBuf::from(built), PathBuf::from)
}

impl Ocinet {
    pub fn new() -> Self {
        Self(program())
    }
}

/// A hook's call.
pub fn hook(program: &Path, folder: &Path, stage: &str, state: &serde_json::Value) -> Step {
    let mut hook = command(program);
    hook.arg(stage).env_clear().env("OCINET_STATE_DIR", folder.join("state"));
    Step { command: hook, input: state.to_string() }
}

impl Tool for Ocinet {
    fn name(&self) -> String {
        "ocinet".to_owned()
    }

    fn up(&self, folder: &Path, container: &Container, _: &str) -> Vec<StepOf> {
        let state = json!({
            "ociVersion": "1.0.2", "id": container.sandbox.id, "status": "creating", "pid": container.sandbox.pid(),
            "bundle": "/bundle",
            "annotations": {"net.driver": "bridge", "net.ports": format!("{}:80", container.port)},
        });
        let (program, folder) = (self.0.clone(), folder.to_owned());
        vec![Box::new(move |_| hook(&program, &folder, "createRuntime", &state))]
    }

    fn down(&self, folder: &Path, container: &Container, _: &str) -> Vec<StepOf> {
        let state = json!({"ociVersion": "1.0.2", "id": container.sandbox.id, "status": "stopped"});
        let (program, folder) = (self.0.clone(), folder.to_owned());
        vec![Box::new(move |_| hook(&program, &folder, "poststop", &state))]
    }

    fn takes_back_the_dead(&self) -> bool {
        true
    }
}
