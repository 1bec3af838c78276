//! Standard input, output and error that a caller closed, or that nobody reads any more.

use std::fs;

use ocinet_tests::lab::{Lab, Sandbox};

/// The first file that a process opens has the lowest number that is free: where standard error is closed, what ocinet says
/// must not go into a file or a socket of its own.
#[test]
#[ignore = "needs root"]
fn what_is_said_to_a_closed_stream_goes_nowhere_else() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.driver", "bridge"), ("net.ports", "8080:80")]);
    let other = Sandbox::new("other");
    let conflict = lab.state_of(&other, &[("net.driver", "bridge"), ("net.ports", "8080:80")]);
    let calls = lab.dir().join("calls");
    for closed in ["2>&-", ">&- 2>&-", ">&-", "<&-", "<&- >&- 2>&-"] {
        let exec = format!("exec \"$@\" {closed}");
        for (command, input, code) in [("createRuntime", conflict.as_str(), 4), ("gc", "", 0)] {
            let is_fed = !closed.contains('<');
            let under = ["strace", "-qq", "-o", calls.to_str().unwrap(), "-e", "trace=openat,socket"];
            let under = [&under[..], &["sh", "-c", &exec, "sh"]].concat();
            let finished = lab.run_under(&under, &[command], if is_fed { input } else { "" });
            let expected = if is_fed || command == "gc" { code } else { 2 };
            assert_eq!(finished.code, expected, "{closed}: {finished:?}");
            let is_standard = |line: &&str| ["= 0", "= 1", "= 2"].iter().any(|end| line.ends_with(end));
            let calls = fs::read_to_string(&calls).unwrap();
            let given: Vec<&str> = calls.lines().filter(is_standard).collect();
            assert!(given.iter().all(|line| line.contains("\"/dev/null\"")), "{closed}: {given:?}");
            assert_eq!(given.len(), closed.matches('-').count(), "{closed}");
        }
    }
}

/// As in `ocinet list | head -1`.
#[test]
#[ignore = "needs root"]
fn a_reader_that_has_gone_is_no_failure() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.driver", "bridge")]);
    let script = "set -o pipefail; (sleep 0.2; \"$@\"; echo \"code $?\" >&2) | true";
    let finished = lab.run_under(&["bash", "-c", script, "bash"], &["list"], "");
    assert_eq!(finished.stderr, "code 0\n");
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_is_a_failure() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.driver", "bridge")]);
    for arguments in [&["list"][..], &["--help"], &["--version"], &["completions", "bash"]] {
        let finished = lab.run_under(&["sh", "-c", "exec \"$@\" >/dev/full", "sh"], arguments, "");
        assert_eq!((finished.code, finished.stderr.lines().count()), (2, 1), "{arguments:?}: {finished:?}");
    }
}
