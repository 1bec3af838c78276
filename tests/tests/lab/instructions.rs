//! How many instructions a hook and a scrape take of their own, counted by valgrind's callgrind: unlike time, the number is the same
//! on a busy machine. What the kernel does for them is not in it; docs/benchmark.md and docs/benchmark-exporter.md have the time.

use std::fs;
use std::path::Path;

use ocinet_tests::lab::{Finished, Lab, Sandbox, exporter_path};

use crate::life::{PUBLISHED, used};

/// The most that a start may take beside another container, with addresses of both families and a published port.
const START: u64 = 1_072_000;
/// The most that the stop of such a container may take.
const STOP: u64 = 308_000;
/// The most that a scrape of two containers, one with a published port, may take with the request and the answer.
const SCRAPE: u64 = 352_000;

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
    assert_at_most(START, "start", &starts);
    assert_at_most(STOP, "stop", &stops);
}

#[test]
#[ignore = "needs root and a release build"]
fn a_scrape_takes_no_more_instructions_than_it_may() {
    let lab = Lab::new();
    assert_is_release_build(&exporter_path());
    let _containers = [lab.attach("one", &PUBLISHED), lab.attach("two", &PUBLISHED[..2])];
    let counts: Vec<u64> = (0..LIVES).map(|_| (scrapes(&lab, 11) - scrapes(&lab, 1)) / 10).collect();
    assert_at_most(SCRAPE, "scrape", &counts);
}

#[track_caller]
fn assert_at_most(ceiling: u64, what: &str, counts: &[u64]) {
    let least = counts.iter().min();
    assert!(
        least.is_some_and(|least| (ceiling / 2..=ceiling).contains(least)),
        "a {what} takes {counts:?} instructions, and may take {ceiling}, which is to be some 6% above; \
         `valgrind --tool=callgrind` and callgrind_annotate show where they are"
    );
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

/// Runs poststop and returns how many instructions it took until everything is removed. valgrind ends there: it knows no clone(2)
/// of the kind that makes the child which waits for the kernel. It is told to write down now and then what it has counted.
fn stop(lab: &Lab, sandbox: &Sandbox) -> u64 {
    let now_and_then = ["--combine-dumps=yes", "--dump-every-bb=500"];
    let state = format!("{{\"id\":\"{}\"}}", sandbox.id);
    let (finished, count) = counted(lab, &now_and_then, "poststop", &state);
    assert!(finished.stderr.contains("Unsupported clone() flags"), "{}", finished.stderr);
    assert!(lab.record(&sandbox.id).is_none(), "{} is detached", sandbox.id);
    count
}

/// Runs an exporter for so many scrapes, and returns how many instructions it took from its start to its end.
fn scrapes(lab: &Lab, number: usize) -> u64 {
    let counts = lab.state_dir().with_file_name("callgrind");
    let out = format!("--callgrind-out-file={}", counts.display());
    let folder = format!("OCINET_STATE_DIR={}", lab.state_dir().display());
    let mut exporter = lab.exporter_under(&[&environment(&folder)[..], &callgrind(&out)].concat(), &[]);
    for _ in 0..number {
        let reply = exporter.get("/metrics");
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    exporter.terminate();
    assert!(exporter.ended().success(), "{}", exporter.log());
    take_total(&counts)
}

/// An environment of its own: the C library looks at each variable at its start. Its functions that copy and compare are those for
/// every processor.
fn environment(folder: &str) -> [&str; 5] {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let processor = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM";
    ["env", "-i", path, folder, processor]
}

fn callgrind(out: &str) -> [&str; 4] {
    ["valgrind", "-q", "--tool=callgrind", out]
}

/// What callgrind counted, whose file is removed.
fn take_total(counts: &Path) -> u64 {
    let text = fs::read_to_string(counts).expect("what callgrind counted");
    fs::remove_file(counts).expect("remove the counts");
    text.lines().filter_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok()).sum()
}

/// Runs a hook, and returns how many instructions it took.
fn counted(lab: &Lab, options: &[&str], hook: &str, state: &str) -> (Finished, u64) {
    let counts = lab.state_dir().with_file_name("callgrind");
    let out = format!("--callgrind-out-file={}", counts.display());
    let folder = format!("OCINET_STATE_DIR={}", lab.state_dir().display());
    let under = [&environment(&folder)[..], &callgrind(&out), options].concat();
    let finished = lab.run_under(&under, &[hook], state);
    (finished, take_total(&counts))
}
