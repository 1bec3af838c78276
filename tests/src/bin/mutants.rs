//! `make mutants`: takes every rule of base.nft out in turn, and runs the lab's test that holds it, which must fail.
//!
//! `mutants [CHAIN…]` runs the tests that docs/guards.md names. `mutants --find [CHAIN…]` looks for a test for each rule that
//! the page has none for, and writes what it found there.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for people, which fails by panicking"
)]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Mutex;
use std::{env, fs, thread};

use ocinet_tests::guards::{Guard, PAGE, Rule, page, read_page, rules};
use ocinet_tests::lab::{command, ocinet_path};

/// How many rules are tried at once.
const AT_ONCE: usize = 2;
/// The modules of the lab whose tests are tried for a rule, the likeliest first.
const MODULES: [&str; 20] = [
    "routed::",
    "spoof::",
    "reach::",
    "publish::",
    "disguise::",
    "impersonation::",
    "guards::",
    "outgoing::",
    "mtu::",
    "connections::",
    "overlay::apart::",
    "forwarding::",
    "truth::",
    "rates::",
    "options::",
    "flushed::",
    "overlay::",
    "macvlan::host::",
    "many_ports::",
    "reload::",
];

/// The lab's tests, and a place for programs that lack a rule.
struct Lab {
    tests: PathBuf,
    folder: PathBuf,
    program: Vec<u8>,
    base: String,
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let finds = arguments.iter().any(|argument| argument == "--find");
    arguments.retain(|argument| argument != "--find");
    let lab = Lab::new();
    let known = read_page();
    let is_wanted = |rule: &Rule| arguments.is_empty() || arguments.contains(&rule.chain);
    let test_of =
        |rule: &Rule| known.iter().find(|guard| guard.rule == *rule).map(|guard| guard.test.clone());
    let all = rules(&lab.base);
    let queue: VecDeque<Rule> =
        all.iter().filter(|rule| is_wanted(rule) && !(finds && test_of(rule).is_some())).cloned().collect();
    let (queue, guards) = (Mutex::new(queue), Mutex::new(known.clone()));
    let survivors = Mutex::new(0);
    thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            let next = || queue.lock().expect("a list").pop_front();
            let (lab, guards, survivors, all) = (&lab, &guards, &survivors, &all);
            scope.spawn(move || {
                while let Some(rule) = next() {
                    let mutant = lab.without(&rule, worker);
                    let held = if finds {
                        lab.find(&mutant)
                    } else {
                        test_of(&rule).filter(|test| !lab.passes(&mutant, test))
                    };
                    let says = held.as_deref().unwrap_or("NO TEST NOTICES");
                    println!("{} {}: {says}", rule.chain, rule.text);
                    match held {
                        Some(test) if finds => {
                            let mut guards = guards.lock().expect("a list");
                            guards.push(Guard { rule, test });
                            fs::write(PAGE, page(all, &guards)).expect("write the page");
                        }
                        Some(_) => {}
                        None => *survivors.lock().expect("a number") += 1,
                    }
                }
            });
        }
    });
    let survivors = survivors.into_inner().expect("a number");
    println!("{survivors} rules can be taken out unnoticed");
    ExitCode::from(u8::from(survivors > 0))
}

impl Lab {
    fn new() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/mutants");
        fs::create_dir_all(&folder).expect("make a folder");
        let program = fs::read(ocinet_path()).expect("a built ocinet: run `make build` first");
        let base = ocinet_tests::guards::base();
        Self { tests: built_tests(), folder: folder.canonicalize().expect("a folder"), program, base }
    }

    /// A copy of ocinet whose base tables lack a rule: spaces stand in its place.
    fn without(&self, rule: &Rule, worker: usize) -> PathBuf {
        let at = find(&self.program, self.base.as_bytes()).expect("ocinet has the rules of this checkout");
        let mut mutant = self.program.clone();
        mutant[at + rule.span.start..at + rule.span.end].fill(b' ');
        let path = self.folder.join(format!("ocinet-{worker}"));
        // A program that still runs cannot be written to.
        let _ = fs::remove_file(&path);
        fs::write(&path, mutant).expect("write a program");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set a mode");
        path
    }

    fn passes(&self, ocinet: &Path, test: &str) -> bool {
        let mut command = command(&self.tests);
        command.args(["--exact", "--include-ignored", test]).env("OCINET_BIN", ocinet);
        command.status().expect("run the lab").success()
    }

    /// The first test that fails with this ocinet, and not with the whole one.
    fn find(&self, mutant: &Path) -> Option<String> {
        let mut names = command(&self.tests);
        let listed =
            names.args(["--list", "--format=terse"]).stdout(Stdio::piped()).output().expect("list the tests");
        let listed = String::from_utf8(listed.stdout).expect("names");
        let names: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
        let likely =
            MODULES.iter().flat_map(|module| names.iter().filter(move |name| name.starts_with(module)));
        let fails = |name: &&&str| !self.passes(mutant, name) && self.passes(&ocinet_path(), name);
        likely.into_iter().find(fails).map(|name| (**name).to_owned())
    }
}

/// The lab's tests as cargo has built them.
fn built_tests() -> PathBuf {
    let mut cargo = command(env!("CARGO"));
    cargo.args([
        "test",
        "--locked",
        "-p",
        "ocinet-tests",
        "--test",
        "lab",
        "--no-run",
        "--message-format=json",
    ]);
    let built = cargo.stdout(Stdio::piped()).stderr(Stdio::inherit()).output().expect("run cargo");
    let messages = String::from_utf8(built.stdout).expect("JSON");
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "lab").then(|| message["executable"].as_str().map(PathBuf::from))?
    };
    messages.lines().find_map(executable).expect("the lab's tests")
}

fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}
