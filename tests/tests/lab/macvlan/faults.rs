//! Macvlan containers whose start or stop is killed, or that start and stop at the same moment.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Child;

use ocinet_tests::lab::{Attached, Lab, Sandbox, Server, Snapshot, addresses, ping, until};
use serde_json::json;

use crate::PATIENCE;
use crate::faults::{every_point_of_a_start, inject, traced};
use crate::life::{start, used};
use crate::macvlan::{IP, IP2, RANGE, on_lan, second_link, with};
use crate::reach::reaches;

const ACCESS: [(&str, &str); 3] =
    [("net.driver", "macvlan"), ("net.ip-range", RANGE), ("net.host-access", "true")];

#[test]
#[ignore = "needs root"]
fn a_macvlan_start_killed_at_every_step() {
    every_point_of_a_start("signal=SIGKILL", false, &ACCESS);
}

#[test]
#[ignore = "needs root"]
fn a_macvlan_start_that_fails_at_every_step() {
    every_point_of_a_start("error=EIO", false, &ACCESS);
}

#[test]
#[ignore = "needs root"]
fn a_macvlan_stop_killed_at_every_step() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let begin = || {
        let mut attached = lab.attach("victim", &ACCESS);
        drop(attached.net);
        attached.sandbox.end();
    };
    begin();
    let points = traced(&lab, &["poststop"], r#"{"id":"victim"}"#);
    before.assert_is_back(&lab, "a traced stop");
    for (call, nth) in &points {
        begin();
        let words = inject(call, *nth, "signal=SIGKILL");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let _ = lab.run_under(&words, &["poststop"], r#"{"id":"victim"}"#);
        let again = lab.poststop("victim");
        assert_eq!((again.code, again.stderr.as_str()), (0, ""), "again after a kill at {call} {nth}");
        before.assert_is_back(&lab, &format!("a kill at {call} {nth}"));
    }
    println!("poststop: {} points tried, nothing left", points.len());
    assert!(points.len() > 50);
}

fn finish(hook: Child) -> (i32, String) {
    let output = hook.wait_with_output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn stop_all(lab: &Lab, sandboxes: &mut [Sandbox]) {
    sandboxes.iter_mut().for_each(Sandbox::end);
    let input = |sandbox: &Sandbox| json!({"id": sandbox.id}).to_string();
    let hooks: Vec<Child> = sandboxes.iter().map(|one| start(lab, "poststop", &input(one))).collect();
    for hook in hooks {
        assert_eq!(finish(hook), (0, String::new()));
    }
}

#[test]
#[ignore = "needs root"]
fn many_starts_at_once_on_a_new_network_of_the_lan() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    for round in 0..4 {
        let mut sandboxes: Vec<Sandbox> = (0..7).map(|n| Sandbox::new(&format!("c{round}-{n}"))).collect();
        let begin = |one: &Sandbox| start(&lab, "createRuntime", &lab.state_of(one, &ACCESS));
        let hooks: Vec<Child> = sandboxes.iter().map(begin).collect();
        for hook in hooks {
            assert_eq!(finish(hook), (0, String::new()));
        }
        let records: Vec<_> = sandboxes.iter().map(|one| lab.record(&one.id).expect("a record")).collect();
        let distinct: BTreeSet<IpAddr> = records.iter().flat_map(addresses).collect();
        assert_eq!(distinct.len(), 14);
        for address in distinct {
            for from in [&lab.host, &lab.peer] {
                assert!(ping(from, address, PATIENCE), "{address} in round {round}");
            }
        }
        stop_all(&lab, &mut sandboxes);
        before.assert_is_back(&lab, "seven at once");
    }
}

/// The last container of a network leaves while the next one joins it.
pub(crate) fn thirty_in_a_row(annotations: &[(&str, &str)], prepare: impl Fn(&Lab)) {
    let lab = Lab::new();
    prepare(&lab);
    used(&lab);
    second_link(&lab, &["198.51.100.13/24", "2001:db8:1::13/64"]);
    let before = Snapshot::of(&lab);
    let mut last = lab.attach("c", annotations).sandbox;
    for round in 0..30 {
        let next = Sandbox::new(&format!("c{round}"));
        last.end();
        let stopping = start(&lab, "poststop", &json!({"id": last.id}).to_string());
        let starting = start(&lab, "createRuntime", &lab.state_of(&next, annotations));
        assert_eq!((finish(stopping), finish(starting)), ((0, String::new()), (0, String::new())));
        for address in addresses(&lab.record(&next.id).expect("a record")) {
            assert!(ping(&lab.peer, address, PATIENCE), "{address} in round {round}");
            if annotations.contains(&ACCESS[2]) {
                assert!(ping(&lab.host, address, PATIENCE), "{address} in round {round}");
            }
        }
        last = next;
    }
    stop_all(&lab, &mut [last]);
    before.assert_is_back(&lab, "thirty containers in a row");
}

#[test]
#[ignore = "needs root"]
fn the_last_stops_while_the_next_starts_on_the_lan() {
    thirty_in_a_row(&ACCESS, |_| ());
}

#[test]
#[ignore = "needs root"]
fn the_last_stops_while_the_next_wants_its_address_of_the_lan() {
    thirty_in_a_row(&[&ACCESS[..], &[("net.ip", IP)]].concat(), |_| ());
}

#[test]
#[ignore = "needs root"]
fn the_last_stops_while_the_next_wants_its_parent_for_itself() {
    let alone = with(&[("net.parent", "eth1"), ("net.mode", "passthru"), ("net.ip", IP)]);
    thirty_in_a_row(&alone, |_| ());
}

/// One of them gets it, the other is told, and neither takes away what is the other's.
fn one_of_two(annotations: [&[(&str, &str)]; 2], says: &str) {
    let lab = Lab::new();
    used(&lab);
    second_link(&lab, &["198.51.100.13/24", "2001:db8:1::13/64"]);
    let before = Snapshot::of(&lab);
    for round in 0..10 {
        let mut two: Vec<Sandbox> = ["a", "b"].map(|name| Sandbox::new(&format!("{name}{round}"))).into();
        let begin = |(one, annotations): (&Sandbox, &[(&str, &str)])| {
            start(&lab, "createRuntime", &lab.state_of(one, annotations))
        };
        let hooks: Vec<Child> = two.iter().zip(annotations).map(begin).collect();
        let mut ends: Vec<(i32, String)> = hooks.into_iter().map(finish).collect();
        ends.sort();
        assert_eq!(ends[0], (0, String::new()), "{ends:?}");
        assert!(ends[1].0 == 4 && ends[1].1.contains(says) && ends[1].1.lines().count() == 1, "{ends:?}");
        let winner = two.iter().find_map(|one| lab.record(&one.id)).expect("a record");
        for address in addresses(&winner) {
            assert!(ping(&lab.peer, address, PATIENCE), "{address} in round {round}");
            if annotations[0].contains(&ACCESS[2]) {
                assert!(ping(&lab.host, address, PATIENCE), "{address} in round {round}");
            }
        }
        stop_all(&lab, &mut two);
        before.assert_is_back(&lab, "two at once");
    }
}

#[test]
#[ignore = "needs root"]
fn two_starts_at_once_want_one_address_of_the_lan() {
    let annotations = [&ACCESS[..], &[("net.ip", IP)]].concat();
    one_of_two([&annotations, &annotations], "has it");
}

#[test]
#[ignore = "needs root"]
fn two_starts_at_once_want_one_parent_for_themselves() {
    let alone = |ip| with(&[("net.parent", "eth1"), ("net.mode", "passthru"), ("net.ip", ip)]);
    one_of_two([&alone(IP), &alone(IP2)], "cannot ");
}

/// A start that plans with an address, and finds that another was quicker, leaves the host's way to that one alone.
#[test]
#[ignore = "needs root"]
fn a_start_that_loses_an_address_does_not_take_the_winners_route_away() {
    let lab = Lab::new();
    let friend = on_lan(&lab, "friend", &ACCESS[1..]);
    let annotations = [&ACCESS[..], &[("net.ip", IP)]].concat();
    let slow = Sandbox::new("slow");
    // The first link(2) makes the record, the second takes the lease.
    let plan_then_wait = inject("linkat", 2, "delay_enter=1500000");
    let words: Vec<&str> = plan_then_wait.iter().map(String::as_str).collect();
    let winner: Attached = std::thread::scope(|scope| {
        let late =
            scope.spawn(|| lab.run_under(&words, &["createRuntime"], &lab.state_of(&slow, &annotations)));
        assert!(until(|| lab.record("slow").is_some()));
        let winner = lab.attach("winner", &annotations);
        let late = late.join().unwrap();
        assert!(late.code == 4 && late.stderr.contains("container winner has it"), "{}", late.stderr);
        winner
    });
    let _server = Server::tcp(&winner.net, 80, "winner");
    for ipv6 in [false, true] {
        reaches(&lab.host, winner.address(ipv6), 80, "winner");
    }
    drop(friend);
}

/// What could not be removed is removed by the next try, beside a container that keeps the host's macvlan.
#[test]
#[ignore = "needs root"]
fn a_macvlan_stop_that_fails_at_every_step_is_finished_by_the_next() {
    let lab = Lab::new();
    let _friend = on_lan(&lab, "friend", &ACCESS[1..]);
    let before = Snapshot::of(&lab);
    let annotations = [&ACCESS[..], &[("net.ip", IP)]].concat();
    let begin = || {
        let mut attached = lab.attach("victim", &annotations);
        drop(attached.net);
        attached.sandbox.end();
    };
    begin();
    let points = traced(&lab, &["poststop"], r#"{"id":"victim"}"#);
    for (call, nth) in &points {
        begin();
        let words = inject(call, *nth, "error=EIO");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let failed = lab.run_under(&words, &["poststop"], r#"{"id":"victim"}"#);
        let again = lab.poststop("victim");
        assert_eq!((again.code, again.stderr.as_str()), (0, ""), "again after EIO at {call} {nth}");
        before.assert_is_back(&lab, &format!("EIO at {call} {nth}, exit {}: {}", failed.code, failed.stderr));
    }
    assert!(points.len() > 50);
}
