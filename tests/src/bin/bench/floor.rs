//! The floor: `floor.c`, compiled here.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use ocinet_tests::lab::{Netns, Sandbox, command, finish, ocinet_path};
use serde_json::json;

use crate::ocinet;
use crate::tool::{BRIDGE_UP_TO, Container, Step, StepOf, Tool};

pub struct Floor(PathBuf);

impl Floor {
    /// Compiles the program.
    pub fn new(folder: &Path) -> Self {
        let program = folder.join("floor-program");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin/bench/floor.c");
        let mut compiler = command("cc");
        compiler.args(["-O2", "-static", "-o"]).arg(&program).arg(source).stderr(Stdio::inherit());
        assert!(compiler.status().expect("cc").success(), "compile {source}");
        Self(program)
    }

    fn step(&self, words: Vec<String>) -> Vec<StepOf> {
        let program = self.0.clone();
        vec![Box::new(move |_| {
            let mut floor = command(&program);
            floor.args(&words);
            Step { command: floor, input: String::new() }
        })]
    }
}

impl Tool for Floor {
    fn name(&self) -> String {
        "floor".to_owned()
    }

    fn most(&self) -> usize {
        BRIDGE_UP_TO
    }

    /// The tables are ocinet's: a first container of ocinet's makes them, and leaves.
    fn prepare(&self, host: &Netns, folder: &Path) {
        let mut first = Sandbox::new("first");
        let state = json!({"id": "first", "pid": first.pid(), "annotations": {"net.driver": "bridge"}});
        for stage in ["createRuntime", "poststop"] {
            if stage == "poststop" {
                // One that lives keeps its network.
                first.end();
            }
            let mut hook = ocinet::hook(&ocinet_path(), folder, stage, &state);
            hook.command.stdin(Stdio::piped()).stderr(Stdio::piped());
            let finished = finish(host.spawn(hook.command), hook.input.as_bytes());
            assert_eq!(finished.code, 0, "ocinet makes the tables: {}", finished.stderr);
        }
    }

    fn up(&self, _: &Path, container: &Container, _: &str) -> Vec<StepOf> {
        let words = [
            "up",
            &container.sandbox.pid().to_string(),
            &link(container),
            "ocinet0",
            &container.address("10.90"),
            "16",
            "10.90.0.1",
            &container.port.to_string(),
            "80",
        ];
        self.step(words.map(str::to_owned).to_vec())
    }

    fn down(&self, _: &Path, container: &Container, _: &str) -> Vec<StepOf> {
        let port = container.port.to_string();
        let words = [
            "down",
            &link(container),
            "ocinet0",
            &container.address("10.90"),
            &port,
            "80",
            if container.alone { "last" } else { "more" },
        ];
        self.step(words.map(str::to_owned).to_vec())
    }

    fn prefix(&self) -> &'static str {
        "10.90"
    }

    fn takes_back_the_dead(&self) -> bool {
        true
    }
}

fn link(container: &Container) -> String {
    format!("fl-{}", container.number)
}
