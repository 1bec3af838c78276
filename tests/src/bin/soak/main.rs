//! Hundreds of containers start and stop at once, some of the hooks killed at a random moment, some never called; at
//! the end nothing may be left, and meanwhile nobody may lose what is his.
//!
//! `soak SECONDS`; the seed is printed, and taken from `SOAK_SEED`.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for people, which fails by panicking"
)]

mod invariants;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ocinet_tests::lab::{
    DUAL, Finished, HOST4, HOST6, Host, Lab, Sandbox, Server, Snapshot, ask_tcp, finish,
};

/// How many containers live at once.
const AT_ONCE: u64 = 200;
/// Of a hundred: starts that are killed, stops that are killed, and stops that never come.
const KILLED_STARTS: u64 = 25;
const KILLED_STOPS: u64 = 20;
const NO_STOPS: u64 = 25;
/// A kill comes within so many microseconds of the hook's start.
const KILLED_WITHIN: u64 = 12_000;
/// A life lasts up to so many milliseconds.
const LIFE: u64 = 100;
/// Exit codes of a start that was not killed: done, or something was taken.
const MAY_END_WITH: [i32; 2] = [0, 4];

/// xorshift64*, so that a run can be repeated as nearly as threads allow.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

#[derive(Default)]
struct Counts {
    lives: AtomicU64,
    killed: AtomicU64,
    abandoned: AtomicU64,
    refused: AtomicU64,
    failures: Mutex<Vec<String>>,
}

fn main() {
    let seconds: u64 = std::env::args().nth(1).map_or(120, |text| text.parse().expect("a number of seconds"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let seed = std::env::var("SOAK_SEED").map_or(now.as_secs(), |text| text.parse().expect("a number"));
    println!("{AT_ONCE} containers at once for {seconds} s, SOAK_SEED={seed}");
    let lab = Lab::new();
    let anchor = lab.attach("anchor", &[("net.subnet", DUAL), ("net.ports", "8080:80")]);
    let _server = Server::tcp(&anchor.net, 80, "anchor");
    let before = Snapshot::of(&lab);
    let (counts, end) = (Counts::default(), Instant::now() + Duration::from_secs(seconds));
    let checks = thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            let (lab, counts) = (&lab, &counts);
            scope.spawn(move || {
                let mut random = Random(seed.wrapping_mul(2 * worker + 1) | 1);
                while Instant::now() < end {
                    live(lab, worker, &mut random, counts);
                }
            });
        }
        let mut checks = 0_u64;
        while Instant::now() < end {
            invariants::check(&lab);
            for host in [HOST4, HOST6] {
                let asked = Instant::now();
                let answer = ask_tcp(&lab.peer, SocketAddr::new(host, 8080), Duration::from_secs(10));
                let is_anchor = answer.is_some_and(|answer| answer.from == "anchor");
                assert!(
                    is_anchor,
                    "{host} port 8080, after {:?}: {:?}",
                    asked.elapsed(),
                    lab.run(&["check", "anchor"], "")
                );
            }
            checks += 1;
            sleep(Duration::from_millis(200));
        }
        checks
    });
    let failures = counts.failures.into_inner().expect("no panic in a worker");
    assert!(failures.is_empty(), "starts and stops failed: {failures:#?}");
    let removed = lab.run(&["gc"], "").ok();
    before.assert_is_back(&lab, "the soak and one gc");
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{} lives, {} hooks killed, {} containers never stopped, {} starts refused for what others had; \
         {checks} checks of who has what; the gc at the end removed {} things; 0 leaked",
        of(&counts.lives),
        of(&counts.killed),
        of(&counts.abandoned),
        of(&counts.refused),
        removed.lines().count(),
    );
}

/// One container's life.
fn live(lab: &Host, worker: u64, random: &mut Random, counts: &Counts) {
    let id = format!("s{worker}");
    let own = format!("{}:80,127.0.0.1:{}:81/udp", 10_000 + worker, 10_000 + worker);
    // Every tenth wants what another wants too.
    let ports = if worker.is_multiple_of(10) { "9999:80".to_owned() } else { own };
    let annotations = annotations(worker, &ports);
    let mut sandbox = Sandbox::new(&id);
    let kill = |random: &mut Random, of_hundred: u64| {
        (random.below(100) < of_hundred).then(|| Duration::from_micros(random.below(KILLED_WITHIN)))
    };
    let state =
        lab.state_of(&sandbox, &annotations.iter().map(|(k, v)| (*k, v.as_str())).collect::<Vec<_>>());
    let killed = kill(random, KILLED_STARTS);
    let started = run(lab, "createRuntime", &state, killed);
    counts.lives.fetch_add(1, Ordering::Relaxed);
    counts.killed.fetch_add(u64::from(started.code == -9), Ordering::Relaxed);
    counts.refused.fetch_add(u64::from(started.code == 4), Ordering::Relaxed);
    judge(counts, "createRuntime", killed, &started);
    sleep(Duration::from_millis(random.below(LIFE)));
    sandbox.end();
    if random.below(100) < NO_STOPS {
        counts.abandoned.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let stop = format!("{{\"id\":\"{id}\"}}");
    let killed = kill(random, KILLED_STOPS);
    let stopped = run(lab, "poststop", &stop, killed);
    counts.killed.fetch_add(u64::from(stopped.code == -9), Ordering::Relaxed);
    judge(counts, "poststop", killed, &stopped);
}

fn annotations(worker: u64, ports: &str) -> BTreeMap<&'static str, String> {
    let mut all = BTreeMap::from([("net.ports", ports.to_owned())]);
    match worker % 4 {
        0 | 1 => all.extend([("net.subnet", DUAL.to_owned())]),
        2 => all.extend([("net.driver", "veth".to_owned()), ("net.network", "routed".to_owned())]),
        _ => {
            all.extend([("net.network", format!("n{}", worker % 8)), ("net.rate-out", "100mbit".to_owned())]);
        }
    }
    all
}

fn judge(counts: &Counts, what: &str, killed: Option<Duration>, finished: &Finished) {
    let allowed = if what == "poststop" { &MAY_END_WITH[..1] } else { &MAY_END_WITH[..] };
    if allowed.contains(&finished.code) || killed.is_some() && finished.code == -9 {
        return;
    }
    let mut failures = counts.failures.lock().expect("no panic in a worker");
    if failures.len() < 20 {
        failures.push(format!("{what}: {} {}", finished.code, finished.stderr));
    }
}

fn run(lab: &Host, command: &str, input: &str, killed: Option<Duration>) -> Finished {
    let mut hook = lab.ocinet();
    hook.arg(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child: Child = lab.net.spawn(hook);
    match killed {
        None => finish(child, input.as_bytes()),
        Some(after) => {
            use std::io::Write as _;
            if let Some(mut stdin) = child.stdin.take() {
                let _ = stdin.write_all(input.as_bytes());
            }
            sleep(after);
            let _ = child.kill();
            child.wait_with_output().expect("wait for a hook").into()
        }
    }
}
