//! What the hooks write down for the exporter: labels, and counts of their own runs.

use std::fs;
use std::process::Stdio;

use ocinet_tests::lab::{Lab, Sandbox, finish, until};
use serde_json::Value;

use crate::conflict::refused_as_it_is as refused;
use crate::locks::hold;

fn stats(lab: &Lab) -> Value {
    let text = fs::read_to_string(lab.state_dir().join("stats.json")).expect("stats.json");
    serde_json::from_str::<Value>(&text).expect("JSON")["stages"].clone()
}

#[test]
#[ignore = "needs root"]
fn runs_are_counted_by_stage_and_result() {
    let lab = Lab::new();
    for id in ["a", "b", "c"] {
        let attached = lab.attach(id, &[("net.driver", "bridge")]);
        lab.detach(attached);
    }
    // Links whose namespaces have ended are the kernel's to remove.
    assert!(until(|| lab.host.links_named("oc-").is_empty()));
    refused(&lab, &[("net.ports", "0:80")], 3, "is not a port");
    // Nothing to do is no run: a container of somebody else's, and one that was detached already.
    let other = Sandbox::new("other");
    assert_eq!(lab.create(&other, &[]).code, 0);
    assert_eq!(lab.poststop("other").code, 0);
    let stats = stats(&lab);
    assert_eq!(stats["createRuntime"]["results"], serde_json::json!({ "annotation": 1, "ok": 3 }));
    assert_eq!(stats["poststop"]["results"], serde_json::json!({ "ok": 3 }));
    for (stage, count) in [("createRuntime", 4), ("poststop", 3)] {
        let stage = &stats[stage];
        assert_eq!(stage["count"], count);
        let counts: Vec<u64> =
            stage["buckets"].as_array().unwrap().iter().map(|pair| pair[1].as_u64().unwrap()).collect();
        assert!(counts.is_sorted() && counts.last() == Some(&count), "{stage}");
        assert!(stage["sum_us"].as_u64().unwrap() > 0);
    }
}

#[test]
#[ignore = "needs root"]
fn the_log_shows_what_a_start_spends_its_time_on() {
    let lab = Lab::new();
    let sandbox = Sandbox::new("web");
    let mut hook = lab.ocinet();
    hook.arg("createRuntime").env("OCINET_LOG", "debug");
    hook.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let state = lab.state_of(&sandbox, &[("net.driver", "bridge"), ("net.ports", "8080:80")]);
    let said = finish(lab.host.spawn(hook), state.as_bytes()).stderr;
    let line = said.lines().find_map(|line| line.split_once("the start of container web took "));
    let (total, phases) =
        line.and_then(|(_, took)| took.split_once(" µs: ")).unwrap_or_else(|| panic!("{said}"));
    let phases: Vec<(&str, u64)> = phases
        .split(", ")
        .map(|phase| phase.rsplit_once(' ').expect("a name and a number"))
        .map(|(name, took)| (name, took.parse().expect("microseconds")))
        .collect();
    for wanted in ["read", "plan", "record", "join the network", "elements", "link", "filters", "interface"] {
        assert!(phases.iter().any(|(name, _)| *name == wanted), "{wanted}: {said}");
    }
    let sum: u64 = phases.iter().map(|(_, took)| took).sum();
    assert!(total.parse::<u64>().expect("microseconds").abs_diff(sum) <= phases.len() as u64, "{said}");
    // Nobody asked: runc would paste it into its own messages.
    let other = Sandbox::new("other");
    assert_eq!(lab.create(&other, &[("net.driver", "bridge")]).stderr, "");
}

#[test]
#[ignore = "needs root"]
fn forty_runs_at_once_are_all_counted() {
    let lab = Lab::new();
    let sandboxes: Vec<Sandbox> = (0..40).map(|number| Sandbox::new(&format!("c{number}"))).collect();
    std::thread::scope(|scope| {
        for sandbox in &sandboxes {
            scope.spawn(|| assert_eq!(lab.create(sandbox, &[("net.driver", "bridge")]).stderr, ""));
        }
    });
    assert_eq!(stats(&lab)["createRuntime"]["results"]["ok"], 40);
}

#[test]
#[ignore = "needs root"]
fn a_damaged_or_locked_file_of_counts_fails_no_run() {
    let lab = Lab::new();
    fs::create_dir_all(lab.state_dir()).unwrap();
    let path = lab.state_dir().join("stats.json");
    fs::write(&path, "{").unwrap();
    let attached = lab.attach("web", &[("net.driver", "bridge")]);
    assert_eq!(stats(&lab)["createRuntime"]["results"]["ok"], 1);
    let held = fs::OpenOptions::new().read(true).write(true).open(lab.state_dir().join("lock")).unwrap();
    // The bytes that may stand for the files that belong to no container.
    hold(&held, 3 << 60, 1 << 60);
    lab.detach(attached);
    assert!(stats(&lab)["poststop"].is_null());
}

#[test]
#[ignore = "needs root"]
fn names_are_written_down_from_annotations() {
    let lab = Lab::new();
    let labelled =
        [("net.driver", "bridge"), ("ocinet.name", "web"), ("io.kubernetes.cri.image-name", "nginx:1")];
    let attached = lab.attach("c1", &labelled);
    assert_eq!(attached.record["labels"], serde_json::json!({ "name": "web", "image": "nginx:1" }));
}

/// Every id that fails once would otherwise leave its file until the next boot.
#[test]
#[ignore = "needs root"]
fn the_reasons_of_the_last_hundred_failed_starts_are_kept() {
    let lab = Lab::new();
    let mut sandbox = Sandbox::new("c0");
    for number in 0..105 {
        sandbox.id = format!("c{number}");
        assert_eq!(lab.create(&sandbox, &[("net.ports", "0:80")]).code, 3);
    }
    let kept = fs::read_dir(lab.state_dir().join("last-error")).unwrap().count();
    assert_eq!(kept, 100);
    assert!(lab.state_dir().join("last-error/c104.json").exists());
    assert!(!lab.state_dir().join("last-error/c0.json").exists());
}
