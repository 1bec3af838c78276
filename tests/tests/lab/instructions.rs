//! How many instructions a hook takes of its own, counted by valgrind's callgrind: unlike time, the number is the same on a busy
//! machine. What the kernel does for it is not in it; docs/benchmark.md has the time.

use std::fs;
use std::path::Path;

use ocinet_tests::lab::{Finished, Lab, Sandbox};

use crate::life::{PUBLISHED, used};

/// The most that a start may take beside another container, with addresses of both families and a published port.
const START: u64 = 1_072_000;
/// The most that the stop of such a container may take.
const STOP: u64 = 308_000;

/// Starts and stops that are counted. The numbers differ by some hundreds: names are drawn, and numbers have more or fewer digits. On
/// a busy machine a hook that waits for the kernel asks more often, so that the least is compared.
const LIVES: usize = 5;

#[test]
#[ignore = "needs root and a release build"]
fn a_start_and_a_stop_take_no_more_instructions_than_they_may() {
    let lab = Lab::new();
    assert_is_release_build(lab.ocinet_path());
    used(&lab);
    let _other = lab.attach("other", &[PUBLISHED[0], PUBLISHED[1]]);
    let lives = (0..LIVES).map(|number| {
        let mut sandbox = Sandbox::new(&format!("counted{number}"));
        let start = start(&lab, &sandbox);
        sandbox.end();
        (start, stop(&lab, &sandbox))
    });
    let (starts, stops): (Vec<u64>, Vec<u64>) = lives.unzip();
    for (what, counts, ceiling) in [("start", starts, START), ("stop", stops, STOP)] {
        let least = counts.iter().min();
        assert!(
            least.is_some_and(|least| (ceiling / 2..=ceiling).contains(least)),
            "a {what} takes {counts:?} instructions, and may take {ceiling}, which is to be some 6% above; \
             `valgrind --tool=callgrind` and callgrind_annotate show where they are"
        );
    }
}

/// What is counted of an unoptimised program says nothing about the one that users have.
fn assert_is_release_build(program: &Path) {
    let bytes = fs::read(program).expect("read the program");
    let has_symbols = bytes.windows(8).any(|window| window == b".symtab\0");
    assert!(
        !has_symbols,
        "{} is no release build, whose instructions are counted: run `make build`, and leave OCINET_BIN out",
        program.display()
    );
}

/// Runs createRuntime and returns how many instructions it took.
fn start(lab: &Lab, sandbox: &Sandbox) -> u64 {
    let (finished, count) = counted(lab, &[], "createRuntime", &lab.state_of(sandbox, &PUBLISHED));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    count
}

/// Runs poststop and returns how many instructions it took until everything is taken back. valgrind ends there: it knows no clone(2)
/// of the kind that makes the child which waits for the kernel. It is told to write down now and then what it has counted.
fn stop(lab: &Lab, sandbox: &Sandbox) -> u64 {
    let now_and_then = ["--combine-dumps=yes", "--dump-every-bb=500"];
    let state = format!("{{\"id\":\"{}\"}}", sandbox.id);
    let (finished, count) = counted(lab, &now_and_then, "poststop", &state);
    assert!(finished.stderr.contains("Unsupported clone() flags"), "{}", finished.stderr);
    assert!(lab.record(&sandbox.id).is_none(), "{} is taken back", sandbox.id);
    count
}

/// Runs a hook with an environment of its own: the C library looks at each variable at its start. Its functions that copy and compare
/// are those for every processor.
fn counted(lab: &Lab, options: &[&str], hook: &str, state: &str) -> (Finished, u64) {
    let counts = lab.state_dir().with_file_name("callgrind");
    let out = format!("--callgrind-out-file={}", counts.display());
    let folder = format!("OCINET_STATE_DIR={}", lab.state_dir().display());
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let processor = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM";
    let environment = ["env", "-i", path, &folder, processor];
    let callgrind = ["valgrind", "-q", "--tool=callgrind", &out];
    let finished = lab.run_under(&[&environment[..], &callgrind, options].concat(), &[hook], state);
    let text = fs::read_to_string(&counts).expect("what callgrind counted");
    let parts = text.lines().filter_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
    let count = parts.sum();
    fs::remove_file(&counts).expect("remove the counts");
    (finished, count)
}
