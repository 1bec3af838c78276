//! Characters that nobody sees, and that drive a terminal: whatever a user writes into an annotation or its key, what
//! `ocinet plan` says of it has none of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use ocinet_shared::one_line::is_unseen;

/// Of each kind: a control character, one of format, and the two that end lines and paragraphs.
const UNSEEN: [char; 7] = ['\u{1b}', '\u{9b}', '\u{ad}', '\u{200b}', '\u{202e}', '\u{2028}', '\u{2029}'];

/// What is said of a container with one annotation.
#[expect(clippy::disallowed_methods, reason = "a test runs the program that it tests")]
fn said_of(key: &str, value: &str) -> String {
    let state = serde_json::json!({
        "ociVersion": "1.0.2", "id": "web", "status": "creating", "pid": 1, "bundle": "/b",
        "annotations": { "net.driver": "bridge", key: value },
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_ocinet"))
        .env_clear()
        .args(["--state-dir", "/nowhere/ocinet", "plan", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(state.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn nothing_unseen_is_printed_of_what_a_user_wrote() {
    for unseen in UNSEEN {
        let odd = format!("é漢{unseen}x");
        let keys = ocinet::KEYS.iter().map(|key| (format!("net.{}", key.name), odd.clone()));
        let others = [
            (format!("net.{odd}"), "1".to_owned()),
            ("net.hosts".to_owned(), format!("192.0.2.1 {odd}")),
            ("net.sysctls".to_owned(), format!("net.ipv4.{odd}=1")),
            ("net.sysctls".to_owned(), format!("net.ipv4.ip_unprivileged_port_start={odd}")),
            ("net.routes".to_owned(), format!("192.0.2.0/24 via {odd}")),
            ("net.ip".to_owned(), format!("10.90.0.7,{odd}")),
        ];
        for (key, value) in keys.chain(others) {
            let said = said_of(&key, &value);
            let raw: Vec<char> = said.chars().filter(|c| *c != '\n' && is_unseen(*c)).collect();
            assert!(!said.is_empty() && raw.is_empty(), "{key}={value:?}: {raw:?} in {said:?}");
            // Letters stay readable.
            assert!(!said.contains("\\u{e9}") && !said.contains("\\u{6f22}"), "{said}");
        }
    }
}
