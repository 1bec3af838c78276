//! `make mutants`: takes every rule of base.nft out in turn, and runs the lab's test that holds it, which must fail.
//!
//! `mutants [--since=COMMIT] [CHAIN…]` runs the tests that docs/guards.md names. `mutants --find [CHAIN…]` looks for a test
//! for each rule that the page has none for, and writes what it found there; with `--likely`, among those alone that are about
//! the rule's chain.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for people, which fails by panicking"
)]

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Mutex;
use std::{env, fs, thread};

use ocinet_tests::guards::{Guard, Held, PAGE, Rule, page, read_page, rules};
use ocinet_tests::lab::{command, ocinet_path};

/// How many rules are tried at once.
const AT_ONCE: usize = 4;
/// Where a test for a rule is looked for first: chains, and the modules of the lab that are about them.
const LIKELY: [(&[&str], &[&str]); 12] = [
    (
        &["routed_guard", "from_routed", "behind_headers6", "judged6"],
        &["disguise::what", "disguise::frames", "disguise::", "overlay::apart::", "guards::"],
    ),
    (
        &["before_tracking", "from_networks", "from_outside"],
        &["impersonation::", "reach::", "overlay::apart::", "path::", "guards::", "spoof::"],
    ),
    (
        &["publish_incoming", "publish_here", "publish_local", "publish"],
        &["publish::", "outgoing::", "routed::", "reach::"],
    ),
    (
        &["port_out", "port_in", "port_either", "leaves_by_port", "enters_by_port", "host_to_port"],
        &["publish::", "truth::", "options::", "scrape::"],
    ),
    (
        &["forward", "from_network", "leaves", "into_network", "enters", "between", "let_in", "output"],
        &[
            "reach::",
            "publish::",
            "truth::",
            "impersonation::",
            "icmp_errors::",
            "path::",
            "overlay::apart::",
            "guards::",
        ],
    ),
    (
        &["same_network", "by_routed_neighbour", "related", "related_between", "own_errors"],
        &["icmp_errors::", "connections::", "reach::"],
    ),
    (&["overlay_guard", "overlay_guard_of_host"], &["overlay::apart::", "overlay::"]),
    (&["transit", "transit_out"], &["impersonation::", "forwarding::", "macvlan::host::", "publish::"]),
    (
        &["input", "to_host"],
        &["reach::", "impersonation::", "icmp_errors::", "guards::", "overlay::apart::", "attachments::"],
    ),
    (
        &[
            "leave",
            "leave_into_network",
            "leave_by_another_port",
            "another_port4",
            "another_port6",
            "taken_guard",
            "not_taken",
        ],
        &["connections::", "reach::", "publish::", "options::"],
    ),
    (
        &["from_container", "from_container6", "from_container_arp", "judged_arp"],
        &[
            "guards::rules_and_filters_each_hold_the_attacks_alone_on_a_bridge",
            "disguise::frames",
            "disguise::",
        ],
    ),
    (
        &["prerouting", "from_tunnel", "from_tunnel6", "tunnel_guard", "to_tunnel"],
        &["overlay::apart::", "overlay::wire::", "overlay::", "guards::", "disguise::"],
    ),
];
/// The modules whose tests are tried for every rule in the end.
const MODULES: [&str; 23] = [
    "routed::",
    "spoof::",
    "reach::",
    "publish::",
    "icmp_errors::",
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
    "disguise::",
    "flushed::",
    "overlay::",
    "macvlan::host::",
    "many_ports::",
    "reload::",
    "path::",
    "attachments::",
];

/// The lab's tests, and a place for programs that lack a rule.
struct Lab {
    tests: PathBuf,
    folder: PathBuf,
    program: Vec<u8>,
    base: String,
    /// Where the program has the text of the base tables. One that is not optimised has it more than once.
    places: Vec<usize>,
    /// Whether only the likely modules are tried.
    likely_only: bool,
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let finds = arguments.iter().any(|argument| argument == "--find");
    let likely_only = arguments.iter().any(|argument| argument == "--likely");
    let since = arguments.iter().find_map(|argument| argument.strip_prefix("--since=")).map(str::to_owned);
    arguments.retain(|argument| !argument.starts_with("--"));
    let lab = Lab::new(likely_only);
    let known = read_page();
    let earlier = since.as_deref().map(rules_of).unwrap_or_default();
    let is_wanted =
        |rule: &Rule| (arguments.is_empty() || arguments.contains(&rule.chain)) && !earlier.contains(rule);
    let held_by =
        |rule: &Rule| known.iter().find(|guard| guard.rule == *rule).map(|guard| guard.held.clone());
    let all = rules(&lab.base);
    let queue: VecDeque<Rule> =
        all.iter().filter(|rule| is_wanted(rule) && !(finds && held_by(rule).is_some())).cloned().collect();
    let (queue, guards) = (Mutex::new(queue), Mutex::new(known.clone()));
    let survivors = Mutex::new(0);
    thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            let next = || queue.lock().expect("a list").pop_front();
            let (lab, guards, survivors, all) = (&lab, &guards, &survivors, &all);
            scope.spawn(move || {
                while let Some(rule) = next() {
                    let mutant = lab.without(&rule, worker);
                    let held = match held_by(&rule) {
                        _ if finds => lab.find(&rule, &mutant).map(Held::By),
                        Some(Held::By(test)) if lab.passes(&mutant, &test) => None,
                        held => held,
                    };
                    let says = held.as_ref().map_or("NO TEST NOTICES".to_owned(), Held::to_string);
                    println!("{} {}: {says}", rule.chain, rule.text);
                    match held {
                        Some(held) if finds => {
                            let mut guards = guards.lock().expect("a list");
                            guards.push(Guard { rule, held });
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
    fn new(likely_only: bool) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/mutants");
        fs::create_dir_all(&folder).expect("make a folder");
        let program = fs::read(ocinet_path()).expect("a built ocinet: run `make build` first");
        let base = ocinet_tests::guards::base();
        let text = base.as_bytes();
        let places: Vec<usize> = program
            .windows(text.len())
            .enumerate()
            .filter(|(_, window)| *window == text)
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty(), "ocinet has not the rules of this checkout: run `make build` first");
        // A build meanwhile replaces the tests, and not these.
        let folder = folder.canonicalize().expect("a folder");
        let tests = folder.join("lab");
        let _ = fs::remove_file(&tests);
        fs::copy(built_tests(), &tests).expect("copy the lab's tests");
        Self { tests, folder, program, base, places, likely_only }
    }

    /// A copy of ocinet whose base tables lack a rule: spaces stand in its place.
    fn without(&self, rule: &Rule, worker: usize) -> PathBuf {
        let mut mutant = self.program.clone();
        for at in &self.places {
            mutant[at + rule.span.start..at + rule.span.end].fill(b' ');
        }
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

    /// The first test that fails with this ocinet, each time, and not with the whole one.
    fn find(&self, rule: &Rule, mutant: &Path) -> Option<String> {
        let mut names = command(&self.tests);
        let listed =
            names.args(["--list", "--format=terse"]).stdout(Stdio::piped()).output().expect("list the tests");
        let listed = String::from_utf8(listed.stdout).expect("names");
        let names: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
        let about = LIKELY.iter().filter(|(chains, _)| chains.contains(&rule.chain.as_str()));
        let rest = MODULES.iter().filter(|_| !self.likely_only);
        let modules = about.flat_map(|(_, modules)| *modules).chain(rest);
        let mut likely: Vec<&&str> =
            modules.flat_map(|module| names.iter().filter(move |name| name.starts_with(module))).collect();
        let mut seen = BTreeSet::new();
        likely.retain(|name| seen.insert(**name));
        let fails = |name: &&&str| {
            !self.passes(mutant, name) && self.passes(&ocinet_path(), name) && !self.passes(mutant, name)
        };
        likely.into_iter().find(fails).map(|name| (**name).to_owned())
    }
}

/// The rules as a commit had them.
fn rules_of(commit: &str) -> Vec<Rule> {
    let mut git = command("git");
    let shown = git.args(["show", &format!("{commit}:./shared/src/kernel/nft/base.nft")]);
    let shown = shown.stdout(Stdio::piped()).stderr(Stdio::inherit()).output().expect("run git");
    assert!(shown.status.success(), "there is no commit {commit}");
    rules(&String::from_utf8(shown.stdout).expect("text"))
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
