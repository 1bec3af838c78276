//! A failure, or a kill, at every system call of a start and of a stop.

mod folder;
mod host;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use ocinet_tests::lab::{DUAL, HOST4, HOST6, Lab, Sandbox, Server, Snapshot, ask_tcp, until};

use crate::PATIENCE;

const PUBLISHED: [(&str, &str); 3] =
    [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "8080:80,127.0.0.1:8081:80")];
/// What the C library does before main, and what cannot fail, is not ocinet's.
const NOT_OURS: [&str; 20] = [
    "execve",
    "exit",
    "exit_group",
    "brk",
    "mmap",
    "munmap",
    "mprotect",
    "arch_prctl",
    "set_tid_address",
    "set_robust_list",
    "rseq",
    "prlimit64",
    "rt_sigaction",
    "rt_sigprocmask",
    "sigaltstack",
    "sched_getaffinity",
    "gettid",
    "getpid",
    "getrandom",
    "poll",
];

/// A lab whose tables are there, and in it another container, whose things must never be touched. Before that, a container like the
/// one under test starts and stops, so that nft has already made the tables that it needs.
fn lab_with_neighbour(
    neighbour: bool,
    annotations: &[(&str, &str)],
) -> (Lab, Option<ocinet_tests::lab::Attached>) {
    let lab = Lab::new();
    let same = lab.attach("same", annotations);
    lab.detach(same);
    let first =
        lab.attach("neighbour", &[("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "9000:80")]);
    if neighbour {
        return (lab, Some(first));
    }
    lab.detach(first);
    assert!(until(|| lab.host.links_named("oc-").is_empty()));
    (lab, None)
}

/// Every (system call, how many times) of one run of the program.
fn points(trace: &str) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    // On a busy host, the kernel restarts the write of a sysctl thousands of times until it gets its lock. Here they are one
    // call. Where strace injects, it counts each: there, the writes behind this one are not reached.
    for line in trace.lines().filter(|line| !line.contains("= ? ERESTART")) {
        // The child that waits for the kernel is not the hook.
        let call = line.split_whitespace().nth(1).and_then(|rest| rest.split_once('(')).map(|(name, _)| name);
        if let Some(name) = call.filter(|name| !NOT_OURS.contains(name)) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts.into_iter().flat_map(|(name, count)| (1..=count).map(move |nth| (name.clone(), nth))).collect()
}

pub(crate) fn traced(lab: &Lab, arguments: &[&str], input: &str) -> Vec<(String, usize)> {
    let file = lab.dir().join("trace");
    let path = file.to_str().unwrap();
    let _ = lab.run_under(&["strace", "-f", "-qq", "-o", path], arguments, input).ok();
    points(&fs::read_to_string(file).unwrap())
}

pub(crate) fn inject(call: &str, nth: usize, what: &str) -> Vec<String> {
    let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e"];
    let mut words: Vec<String> = words.map(str::to_owned).to_vec();
    words.extend([format!("trace={call}"), "-e".to_owned(), format!("inject={call}:{what}:when={nth}")]);
    words
}

fn stop(lab: &Lab, sandbox: &mut Sandbox) {
    sandbox.end();
    let stopped = lab.poststop(&sandbox.id);
    assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""));
}

/// createRuntime with something done to it at every point; then poststop, and everything is as before.
pub(crate) fn every_point_of_a_start(what: &str, neighbour: bool, annotations: &[(&str, &str)]) {
    let (lab, _neighbour) = lab_with_neighbour(neighbour, annotations);
    let before = Snapshot::of(&lab);
    let mut sandbox = Sandbox::new("victim");
    let points = traced(&lab, &["createRuntime"], &lab.state_of(&sandbox, annotations));
    stop(&lab, &mut sandbox);
    before.assert_is_back(&lab, "a traced life");
    let mut failed = 0;
    for (call, nth) in &points {
        let mut sandbox = Sandbox::new("victim");
        let words = inject(call, *nth, what);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let finished = lab.run_with_a_fault(&words, &["createRuntime"], &lab.state_of(&sandbox, annotations));
        failed += usize::from(finished.code != 0);
        let point = format!("{what} at {call} {nth}");
        let one_line =
            finished.stderr.lines().filter(|line| line.starts_with("ocinet: cannot ")).count() == 1;
        // 70 is the standard library's own panic where close() fails; a negative code is a signal.
        if finished.code > 0 {
            assert!(one_line, "{point}: {}", finished.stderr);
        }
        if finished.code > 0 && ![8, 70].contains(&finished.code) && call != "unlink" {
            before.assert_is_back(&lab, &format!("{point} (its own undo)"));
        }
        stop(&lab, &mut sandbox);
        before.assert_is_back(&lab, &point);
    }
    println!("{what}: {} points tried, {failed} starts failed, nothing left", points.len());
    assert!(points.len() > 100 && failed > points.len() / 4, "{} points, {failed} failed", points.len());
}

#[test]
#[ignore = "needs root"]
fn a_start_killed_at_every_step() {
    every_point_of_a_start("signal=SIGKILL", false, &PUBLISHED);
}

#[test]
#[ignore = "needs root"]
fn a_start_killed_at_every_step_beside_another_container() {
    every_point_of_a_start("signal=SIGKILL", true, &PUBLISHED);
}

#[test]
#[ignore = "needs root"]
fn a_start_that_fails_at_every_step() {
    every_point_of_a_start("error=EIO", false, &PUBLISHED);
}

#[test]
#[ignore = "needs root"]
fn a_start_on_a_full_disk_beside_another_container() {
    every_point_of_a_start("error=ENOSPC", true, &PUBLISHED);
}

/// poststop killed at every point, and run again; then everything is as before.
pub(crate) fn every_point_of_a_stop(neighbour: bool, annotations: &[(&str, &str)]) {
    let (lab, _neighbour) = lab_with_neighbour(neighbour, annotations);
    let before = Snapshot::of(&lab);
    let input = r#"{"id":"victim"}"#;
    let begin = || {
        let mut attached = lab.attach("victim", annotations);
        drop(attached.net);
        attached.sandbox.end();
    };
    begin();
    let points = traced(&lab, &["poststop"], input);
    before.assert_is_back(&lab, "a traced stop");
    for (call, nth) in &points {
        begin();
        let words = inject(call, *nth, "signal=SIGKILL");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let _ = lab.run_with_a_fault(&words, &["poststop"], input);
        let again = lab.poststop("victim");
        assert_eq!(
            (again.code, again.stderr.as_str()),
            (0, ""),
            "poststop again after a kill at {call} {nth}"
        );
        before.assert_is_back(&lab, &format!("a kill at {call} {nth}"));
    }
    println!("poststop: {} points tried, nothing left", points.len());
    assert!(points.len() > 50);
}

#[test]
#[ignore = "needs root"]
fn a_stop_killed_at_every_step() {
    every_point_of_a_stop(false, &PUBLISHED);
}

/// Another container wants the port of one that was killed just before it lost it: it keeps what it has.
#[test]
#[ignore = "needs root"]
fn a_killed_start_does_not_take_another_containers_port_away() {
    let lab = Lab::new();
    let web = lab.attach("web", &[("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "8080:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    let annotations = [("net.driver", "bridge"), ("net.ports", "8080:80")];
    let points =
        [("sendto", 1), ("sendto", 2), ("recvfrom", 1), ("recvfrom", 3), ("recvfrom", 4), ("recvfrom", 5)];
    for (call, nth) in points {
        let mut late = Sandbox::new("late");
        let words = inject(call, nth, "signal=SIGKILL");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let killed = lab.run_under(&words, &["createRuntime"], &lab.state_of(&late, &annotations));
        assert_eq!(killed.code, -9, "{call} {nth}");
        late.end();
        assert_eq!(lab.poststop("late").code, 0);
        let answer = ask_tcp(&lab.peer, SocketAddr::new(HOST4, 8080), PATIENCE);
        assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("web"), "after a kill at {call} {nth}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_flushed_rule_set_comes_back_with_the_next_start() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    let _server = Server::tcp(&web.net, 80, "web");
    let ask =
        |address| ask_tcp(&lab.peer, SocketAddr::new(address, 8080), PATIENCE).map(|answer| answer.from);
    assert_eq!(ask(HOST4).as_deref(), Some("web"));
    lab.host.ok(&["nft", "flush", "ruleset"]);
    assert_eq!(ask(HOST4), None);
    let next = lab.attach("next", &[("net.driver", "bridge")]);
    for address in [HOST4, HOST6] {
        assert_eq!(ask(address).as_deref(), Some("web"), "{address}");
    }
    lab.host.ok(&["nft", "flush", "ruleset"]);
    lab.detach(next);
}

/// Damage to one record, at whatever length it is cut off, is named and does not hide the others.
#[test]
#[ignore = "needs root"]
fn a_truncated_record_does_not_hide_the_rest() {
    let lab = Lab::new();
    let _web = lab.attach("web", &PUBLISHED);
    let _other = lab.attach("other", &[("net.driver", "bridge")]);
    let path = lab.state_dir().join("containers/web.json");
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len() - 2).step_by(97) {
        fs::write(&path, &whole[..length]).unwrap();
        let list = lab.run(&["list"], "");
        assert_eq!(list.code, 0);
        assert!(
            list.stdout.contains("other") && list.stderr.contains("web.json"),
            "{length}: {}",
            list.stderr
        );
        let stopped = lab.poststop("web");
        assert_eq!((stopped.code, stopped.stderr.lines().count()), (7, 1), "{length}: {}", stopped.stderr);
    }
    let mut newer: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    newer["version"] = 99.into();
    newer["undo"] = serde_json::json!([{"something": "new"}]);
    fs::write(&path, newer.to_string()).unwrap();
    let stopped = lab.poststop("web");
    assert!(stopped.code == 7 && stopped.stderr.contains("a newer ocinet"), "{}", stopped.stderr);
}

/// The state folder was lost, the bridge was not: it gets what the network of its name is made with now.
#[test]
#[ignore = "needs root"]
fn a_bridge_without_its_network_is_used_again() {
    let lab = Lab::new();
    let before = lab.attach("before", &[("net.network", "n"), ("net.subnet", "10.95.0.0/24")]);
    fs::remove_dir_all(lab.state_dir()).unwrap();
    let after = lab.attach("after", &[("net.network", "n"), ("net.subnet", "10.96.0.0/24")]);
    let _server = Server::tcp(&lab.host, 7000, "host");
    let gateway = SocketAddr::new("10.96.0.1".parse().unwrap(), 7000);
    assert_eq!(ask_tcp(&after.net, gateway, PATIENCE).map(|answer| answer.from).as_deref(), Some("host"));
    drop(before);
}

/// SIGCHLD ignored is inherited: nft's exit status is then lost, but not what it did.
#[test]
#[ignore = "needs root"]
fn a_runtime_that_ignores_its_children_gets_its_tables() {
    let lab = Lab::new();
    let web = Sandbox::new("web");
    let ignoring = ["env", "--ignore-signal=CHLD"];
    let created = lab.run_under(&ignoring, &["createRuntime"], &lab.state_of(&web, &PUBLISHED));
    assert_eq!((created.code, created.stderr.as_str()), (0, ""));
    let _server = Server::tcp(&web.net(), 80, "web");
    let answer = ask_tcp(&lab.peer, SocketAddr::new(HOST4, 8080), PATIENCE);
    assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("web"));
}
