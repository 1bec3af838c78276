//! What a hook may do while it works.

use std::fs;
use std::process::Stdio;

use ocinet_tests::lab::{Background, Lab, until};

/// CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID, NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_PTRACE and SYS_ADMIN, by their
/// numbers in linux/capability.h.
const NEEDED: [u32; 10] = [0, 1, 3, 6, 7, 10, 12, 13, 19, 21];

#[test]
fn a_hook_has_the_capabilities_that_it_needs_and_no_others() {
    let lab = Lab::new();
    let needed = NEEDED.iter().fold(0_u64, |set, number| set | 1 << number);
    for command in ["createRuntime", "poststart", "poststop"] {
        // It waits for the container's state.
        let mut hook = lab.ocinet();
        let hook = Background(hook.arg(command).stdin(Stdio::piped()).spawn().unwrap());
        let status = || fs::read_to_string(format!("/proc/{}/status", hook.0.id())).unwrap();
        let has = |line: &str| status().lines().any(|has| has == line);
        assert!(until(|| has("NoNewPrivs:\t1")), "{command}: {}", status());
        for (set, expected) in [("CapEff", needed), ("CapPrm", needed), ("CapInh", 0)] {
            assert!(until(|| has(&format!("{set}:\t{expected:016x}"))), "{command}, {set}: {}", status());
        }
    }
}
