//! What a hook may do while it works.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use ocinet_tests::lab::{Background, Lab, Sandbox, until};

/// CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID, NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_PTRACE and SYS_ADMIN, by their
/// numbers in linux/capability.h.
const NEEDED: [u32; 10] = [0, 1, 3, 6, 7, 10, 12, 13, 19, 21];

#[test]
#[ignore = "needs root"]
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

/// A program in nft's place says which capabilities it has, and tries to write.
#[test]
#[ignore = "needs root"]
fn nft_has_one_capability_and_writes_no_file() {
    let lab = Lab::new();
    let (program, written) = (lab.dir().join("nft"), lab.dir().join("written"));
    let script = format!(
        "#!/bin/sh\nwhile read -r line; do case $line in Name:*|Cap[EPI]*) printf '%s %s ' $line >&2;; esac; \
         done </proc/self/status\necho written >{}\nexit 1\n",
        written.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mount = format!("mount --bind {} /usr/sbin/nft && exec \"$@\"", program.display());
    let sandbox = Sandbox::new("web");
    let input = lab.state_of(&sandbox, &[("net.driver", "bridge")]);
    let under = ["unshare", "--mount", "sh", "-c", mount.as_str(), "sh"];
    let started = lab.run_under(&under, &["createRuntime"], &input);
    assert_eq!(started.code, 6, "{}", started.stderr);
    // CAP_NET_ADMIN, by its number in linux/capability.h.
    for has in
        ["Name: nft", "CapInh: 0000000000000000", "CapPrm: 0000000000001000", "CapEff: 0000000000001000"]
    {
        assert!(started.stderr.contains(has), "{has}: {}", started.stderr);
    }
    assert!(!written.exists());
}
