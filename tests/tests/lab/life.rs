//! From start to stop: with real runtimes and without, once, twice, and fifty at once.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use ocinet_tests::lab::{
    DUAL, HOST_SECOND4, HOST_SECOND6, HOST4, HOST6, INTERNET4, INTERNET6, Lab, Netns, Runtime, Sandbox,
    Server, Snapshot, addresses, ask_tcp, until,
};
use serde_json::json;

use crate::PATIENCE;

pub(crate) const PUBLISHED: [(&str, &str); 3] =
    [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "8080:80")];

/// A first container makes the tables, which stay.
pub(crate) fn used(lab: &Lab) {
    let first = lab.attach("first", &[("net.driver", "bridge"), ("net.subnet", DUAL)]);
    lab.detach(first);
    assert!(until(|| lab.host.links_named("oc-").is_empty()));
}

/// A container of a runtime whose port 8080 leads to port 80.
pub(crate) fn lives_and_leaves_nothing(runtime: Runtime, annotations: &[(&str, &str)]) {
    starts_and_leaves_nothing(runtime, annotations, |lab, net| {
        let _server = Server::tcp(net, 80, "web");
        let _internet = Server::tcp(&lab.wan, 80, "internet");
        for (host, internet) in [(HOST4, INTERNET4), (HOST6, INTERNET6)] {
            for from in [&lab.peer, &lab.host] {
                let answer = ask_tcp(from, SocketAddr::new(host, 8080), PATIENCE);
                assert_eq!(answer.expect("an answer").from, "web", "{runtime:?}");
            }
            let answer = ask_tcp(net, SocketAddr::new(internet, 80), PATIENCE).expect("an answer");
            assert_eq!(answer.from, "internet", "{runtime:?}");
            assert!([HOST4, HOST6, HOST_SECOND4, HOST_SECOND6].contains(&answer.seen_as), "{answer:?}");
        }
    });
}

/// A container of a runtime, `alive` to try it while it runs.
pub(crate) fn starts_and_leaves_nothing(
    runtime: Runtime,
    annotations: &[(&str, &str)],
    alive: impl FnOnce(&Lab, &Netns),
) {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let container =
        runtime.start(&lab, "web", annotations).unwrap_or_else(|said| panic!("{runtime:?}: {}", said.stderr));
    alive(&lab, &container.net());
    assert_eq!(lab.record(&container.id).expect("a record")["phase"], "ready");
    container.stop();
    assert!(until(|| lab.ocinet_processes().is_empty()), "a process is left");
    before.assert_is_back(&lab, &format!("a container of {runtime:?}"));
}

#[test]
#[ignore = "needs root"]
fn runc_container_lives_and_leaves_nothing() {
    lives_and_leaves_nothing(Runtime::Runc, &PUBLISHED);
}

#[test]
#[ignore = "needs root"]
fn crun_container_lives_and_leaves_nothing() {
    lives_and_leaves_nothing(Runtime::Crun, &PUBLISHED);
}

#[test]
#[ignore = "needs root"]
fn podman_container_on_runc_lives_and_leaves_nothing() {
    lives_and_leaves_nothing(Runtime::PodmanRunc, &PUBLISHED);
}

#[test]
#[ignore = "needs root"]
fn podman_container_on_crun_lives_and_leaves_nothing() {
    lives_and_leaves_nothing(Runtime::PodmanCrun, &PUBLISHED);
}

/// runc's runtimes show a refusal, crun's write it to the file that an annotation names, and the state folder has it.
#[test]
#[ignore = "needs root"]
fn every_runtime_refuses_a_bad_annotation_and_changes_nothing() {
    for runtime in Runtime::ALL {
        let lab = Lab::new();
        used(&lab);
        let before = Snapshot::of(&lab);
        let file = lab.dir().join("hooks.stderr");
        let asked = [("net.driver", "brigde"), ("run.oci.hooks.stderr", file.to_str().unwrap())];
        let refused = runtime.start(&lab, "bad", &asked).expect_err("a refusal");
        let is_shown = matches!(runtime, Runtime::Runc | Runtime::PodmanRunc);
        let said = if is_shown { refused.stderr } else { fs::read_to_string(&file).unwrap() };
        assert!(said.contains("the nearest one is bridge; there are"), "{runtime:?}: {said}");
        let errors: Vec<_> = fs::read_dir(lab.state_dir().join("last-error")).unwrap().flatten().collect();
        assert_eq!(errors.len(), 1, "{runtime:?}");
        let reason = fs::read_to_string(errors[0].path()).unwrap();
        assert!(
            reason.contains("the nearest one is bridge") && reason.contains("\"exit_code\":3"),
            "{reason}"
        );
        before.assert_is_back(&lab, "a refusal");
    }
}

#[test]
#[ignore = "needs root"]
fn poststop_twice_with_pid_0_and_for_nobody() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut attached = lab.attach("web", &PUBLISHED);
    drop(attached.net);
    attached.sandbox.end();
    // crun's state has pid 0 and a key of its own.
    let crun = json!({"ociVersion": "1.0", "id": "web", "pid": 0, "root": "/run/crun", "bundle": "/bundle", "status": "stopped"});
    for _ in 0..2 {
        let stopped = lab.run(&["poststop"], &crun.to_string());
        assert_eq!((stopped.code, stopped.stdout.as_str(), stopped.stderr.as_str()), (0, "", ""));
    }
    assert_eq!(lab.poststop("nobody").code, 0);
    before.assert_is_back(&lab, "poststop");
}

#[test]
#[ignore = "needs root"]
fn a_namespace_that_lives_on_loses_its_link() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let attached = lab.attach("web", &PUBLISHED);
    let pinned = attached.net.pin();
    lab.detach(attached);
    before.assert_is_back(&lab, "poststop with a pinned namespace");
    drop(pinned);
}

/// Whoever has it could send as the next container with the address.
#[test]
#[ignore = "needs root"]
fn an_interface_that_was_moved_elsewhere_goes_with_its_container() {
    for driver in ["bridge", "veth"] {
        let lab = Lab::new();
        let subnet = ("net.subnet", if driver == "bridge" { DUAL } else { "10.97.0.0/24,fd00:97::/64" });
        let asked = [("net.driver", driver), subnet];
        let other = lab.attach("other", &asked);
        let before = Snapshot::of(&lab);
        let mut attached = lab.attach("web", &asked);
        let elsewhere = Netns::new();
        attached.net.ok(&["ip", "link", "set", "eth0", "netns", &elsewhere.path()]);
        drop(attached.net);
        attached.sandbox.end();
        // The container's own namespace is gone by then.
        sleep(Duration::from_millis(500));
        assert_eq!(lab.poststop("web").code, 0);
        assert_eq!(elsewhere.links_named("eth0"), [], "{driver}");
        before.assert_is_back(&lab, driver);
        lab.detach(other);
    }
}

/// Whoever looks at links waits while the kernel removes those of ended namespaces.
#[test]
#[ignore = "needs root"]
fn the_stop_of_a_container_whose_links_are_gone_asks_for_none() {
    let lab = Lab::new();
    for driver in ["bridge", "veth"] {
        let subnet = ("net.subnet", if driver == "bridge" { DUAL } else { "10.97.0.0/24,fd00:97::/64" });
        let asked = [("net.driver", driver), subnet];
        let other = lab.attach("other", &asked);
        let mut attached = lab.attach("web", &asked);
        drop(attached.net);
        attached.sandbox.end();
        let link = attached.record["attachments"][0]["host_interface"].as_str().unwrap();
        assert!(until(|| lab.host.links_named(link).is_empty()), "{link} is left");
        let calls = lab.dir().join("calls");
        let under = ["strace", "-f", "-qq", "-e", "trace=sendto", "-o", calls.to_str().unwrap()];
        let _ = lab.run_under(&under, &["poststop"], r#"{"id":"web"}"#).ok();
        let calls = fs::read_to_string(&calls).unwrap();
        assert!(calls.contains("NFT_MSG_DELSETELEM"), "{calls}");
        assert!(!calls.contains("RTM_GETLINK") && !calls.contains("RTM_DELLINK"), "{driver}: {calls}");
        assert!(lab.record("web").is_none());
        lab.detach(other);
    }
}

/// Whoever closes the socket of a deletion last waits for the kernel: a child of the hook's, though it may be the quicker of the two.
#[test]
#[ignore = "needs root"]
fn the_wait_for_the_kernel_is_a_childs() {
    let lab = Lab::new();
    let mut attached = lab.attach("web", &PUBLISHED);
    drop(attached.net);
    attached.sandbox.end();
    let calls = lab.dir().join("calls");
    let slow =
        ["strace", "-f", "-qq", "-e", "trace=close,exit", "-e", "inject=close:delay_enter=20000", "-o"];
    let _ = lab
        .run_under(&[&slow[..], &[calls.to_str().unwrap()]].concat(), &["poststop"], r#"{"id":"web"}"#)
        .ok();
    let calls = fs::read_to_string(&calls).unwrap();
    let lines: Vec<&str> = calls.lines().collect();
    let ended = lines.iter().position(|line| line.contains(" exit(0")).expect("the child's end");
    // The hook's own calls are those of the process that came first. Of a call that waits, strace tells the beginning and the end.
    let hook = lines[0].split_whitespace().next().unwrap();
    let own = |wanted: &'static str| {
        move |(_, line): &(usize, &&str)| line.starts_with(hook) && line.contains(wanted)
    };
    let (begun, line) = lines.iter().enumerate().find(own("close(5")).expect("the socket is closed");
    let closed = if line.contains("unfinished") {
        lines.iter().enumerate().skip(begun).find(own("close resumed")).expect("the end of the call").0
    } else {
        begun
    };
    assert!(closed < ended, "{calls}");
}

#[test]
#[ignore = "needs root"]
fn the_same_id_again_without_a_poststop() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut first = lab.attach("web", &PUBLISHED);
    drop(first.net);
    first.sandbox.end();
    let second = lab.attach("web", &PUBLISHED);
    assert_eq!(addresses(&first.record), addresses(&second.record));
    let _server = Server::tcp(&second.net, 80, "second");
    let answer = ask_tcp(&lab.peer, SocketAddr::new(HOST4, 8080), PATIENCE);
    assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("second"));
    drop(_server);
    lab.detach(second);
    before.assert_is_back(&lab, "the second life of an id");
}

/// The exporter will find the counters of the host's end by this index.
#[test]
#[ignore = "needs root"]
fn the_record_has_the_index_of_the_hosts_end() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    let attachment = &web.record["attachments"][0];
    let name = attachment["host_interface"].as_str().unwrap();
    assert_eq!(attachment["host_ifindex"], lab.host.link(name).index);
}

#[test]
#[ignore = "needs root"]
fn an_id_gets_its_address_back() {
    let lab = Lab::new();
    let first = lab.attach("web", &PUBLISHED);
    let had = addresses(&first.record);
    lab.detach(first);
    let other = lab.attach("other", &[("net.driver", "bridge"), ("net.subnet", DUAL)]);
    assert_eq!(addresses(&lab.attach("web", &PUBLISHED).record), had);
    drop(other);
}

#[test]
#[ignore = "needs root"]
fn what_a_dead_container_left_is_swept_by_the_next_start() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut dead = lab.attach("dead", &PUBLISHED);
    drop(dead.net);
    dead.sandbox.end();
    let next = lab.attach("next", &PUBLISHED);
    assert!(lab.record("dead").is_none(), "the record of the dead is gone");
    let _server = Server::tcp(&next.net, 80, "next");
    let answer = ask_tcp(&lab.peer, SocketAddr::new(HOST4, 8080), PATIENCE);
    assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("next"), "its port is free");
    drop(_server);
    lab.detach(next);
    before.assert_is_back(&lab, "a sweep");
}

#[test]
#[ignore = "needs root"]
fn a_network_of_a_28_has_room_for_thirteen() {
    let lab = Lab::new();
    let small = [("net.network", "small"), ("net.subnet", "10.93.0.0/28")];
    let mut containers: Vec<_> = (0..13).map(|number| lab.attach(&format!("c{number}"), &small)).collect();
    let taken: BTreeSet<_> = containers.iter().flat_map(|container| addresses(&container.record)).collect();
    assert_eq!(taken.len(), 13);
    let late = Sandbox::new("late");
    let refused = lab.create(&late, &small);
    assert_eq!(refused.code, 4);
    assert!(refused.stderr.contains("every address of 10.93.0.0/28 is taken"), "{}", refused.stderr);
    // A dead one's address is found, also where its turn in the sweep has not come.
    let mut dead = containers.pop().expect("thirteen");
    drop(dead.net);
    dead.sandbox.end();
    assert_eq!(lab.create(&late, &small).code, 0);
}

#[test]
#[ignore = "needs root"]
fn a_subnet_is_chosen_that_nothing_uses() {
    let lab = Lab::new();
    lab.host.batch("link add other0 type bridge\nlink set other0 up\naddr add 10.91.0.9/24 dev other0\nroute add 10.91.1.0/24 dev other0\n");
    let blue = lab.attach("blue", &[("net.network", "blue")]);
    let green = lab.attach("green", &[("net.network", "green")]);
    assert!(addresses(&blue.record)[0].to_string().starts_with("10.91.2."), "{}", blue.record);
    assert!(addresses(&green.record)[0].to_string().starts_with("10.91.3."), "{}", green.record);
}

#[test]
#[ignore = "needs root"]
fn none_and_host_drivers() {
    let lab = Lab::new();
    let none = lab.attach("none", &[("net.driver", "none")]);
    assert!(none.net.links().iter().all(|link| link.name == "lo"));
    let own = json!({
        "id": "host", "pid": std::process::id(), "annotations": {"net.driver": "host"},
    });
    assert_eq!(lab.run(&["createRuntime"], &own.to_string()).code, 0);
    let list = lab.run(&["list"], "").ok();
    assert!(list.contains("host") && list.contains("none"), "{list}");
    lab.detach(none);
    assert_eq!(lab.poststop("host").code, 0);
}

pub(crate) fn start(lab: &Lab, command: &str, input: &str) -> Child {
    let mut hook = lab.ocinet();
    hook.arg(command).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = lab.host.spawn(hook);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child
}

#[test]
#[ignore = "needs root"]
fn fifty_at_once() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut sandboxes: Vec<Sandbox> = (0..50).map(|number| Sandbox::new(&format!("c{number}"))).collect();
    let hooks: Vec<Child> = sandboxes
        .iter()
        .enumerate()
        .map(|(number, sandbox)| {
            let ports = format!("{}:80,81", 9000 + number);
            let annotations = [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", ports.as_str())];
            start(&lab, "createRuntime", &lab.state_of(sandbox, &annotations))
        })
        .collect();
    for hook in hooks {
        let output = hook.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let records: Vec<_> =
        sandboxes.iter().map(|sandbox| lab.record(&sandbox.id).expect("a record")).collect();
    let distinct = |texts: Vec<String>| texts.into_iter().collect::<BTreeSet<_>>().len();
    assert_eq!(distinct(records.iter().flat_map(addresses).map(|a| a.to_string()).collect()), 100);
    assert_eq!(
        distinct(records.iter().map(|record| record["attachments"][0]["mac"].to_string()).collect()),
        50
    );
    let ports = records.iter().flat_map(|record| record["attachments"][0]["ports"].as_array().unwrap());
    assert_eq!(distinct(ports.map(|port| port["host_port"].to_string()).collect()), 100);
    for (number, sandbox) in sandboxes.iter().enumerate().step_by(7) {
        let _server = Server::tcp(&sandbox.net(), 80, &sandbox.id);
        let port = 9000 + u16::try_from(number).unwrap();
        let answer = ask_tcp(&lab.peer, SocketAddr::new(HOST4, port), PATIENCE).expect("an answer");
        assert_eq!(answer.from, sandbox.id);
    }
    sandboxes.iter_mut().for_each(Sandbox::end);
    let hooks: Vec<Child> =
        sandboxes.iter().map(|s| start(&lab, "poststop", &json!({"id": s.id}).to_string())).collect();
    for hook in hooks {
        let output = hook.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    before.assert_is_back(&lab, "fifty starts and stops");
}

/// New networks choose their subnets at the same moment: no two get the same.
#[test]
#[ignore = "needs root"]
fn thirty_new_networks_at_once() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut sandboxes: Vec<Sandbox> = (0..30).map(|number| Sandbox::new(&format!("n{number}"))).collect();
    let begin = |sandbox: &Sandbox| {
        let annotations = [("net.network", sandbox.id.as_str())];
        start(&lab, "createRuntime", &lab.state_of(sandbox, &annotations))
    };
    let hooks: Vec<Child> = sandboxes.iter().map(begin).collect();
    for hook in hooks {
        let output = hook.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let subnets: BTreeSet<String> = sandboxes
        .iter()
        .map(|sandbox| {
            lab.record(&sandbox.id).expect("a record")["attachments"][0]["gateways"][0].to_string()
        })
        .collect();
    assert_eq!(subnets.len(), 30);
    for sandbox in &mut sandboxes {
        sandbox.end();
        assert_eq!(lab.poststop(&sandbox.id).code, 0);
    }
    before.assert_is_back(&lab, "thirty networks");
}

#[test]
#[ignore = "needs root"]
fn no_program_is_started_once_the_tables_are_there() {
    let lab = Lab::new();
    used(&lab);
    let sandbox = Sandbox::new("traced");
    let trace = lab.dir().join("trace");
    let trace = trace.to_str().unwrap();
    let strace = ["strace", "-f", "-qq", "-e", "trace=execve,execveat,fork,vfork,clone,clone3", "-o", trace];
    assert_eq!(lab.run_under(&strace, &["createRuntime"], &lab.state_of(&sandbox, &PUBLISHED)).code, 0);
    let text = fs::read_to_string(trace).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("exec")).count(), 1, "{text}");
    assert_eq!(
        text.lines().filter(|line| line.contains("fork") || line.contains("clone")).count(),
        0,
        "{text}"
    );
}
