//! Two containers of one id: a record is a container's by its process and its bundle, and nothing is decided by the id.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ocinet_tests::lab::{
    Attached, DUAL, HOST4, HOST6, Lab, Runtime, Sandbox, Server, Snapshot, ask_tcp, until,
};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::life::used;

const PUBLISHED: [(&str, &str); 3] =
    [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "8080:80,127.0.0.1:8081:81")];

#[track_caller]
fn serves(lab: &Lab, who: &str) {
    for host in [HOST4, HOST6] {
        let answer = ask_tcp(&lab.peer, SocketAddr::new(host, 8080), PATIENCE);
        assert_eq!(answer.map(|answer| answer.from).as_deref(), Some(who), "{host}");
    }
}

/// The same bundle at another place.
fn copied(bundle: &Path) -> PathBuf {
    let copy = bundle.with_extension("other");
    fs::create_dir_all(&copy).unwrap();
    fs::copy(bundle.join("config.json"), copy.join("config.json")).unwrap();
    copy
}

fn bundle_of(lab: &Lab, id: &str) -> PathBuf {
    lab.dir().join(format!("bundle-{id}"))
}

/// The state of a container as a runtime writes it to a hook.
fn state(id: &str, pid: u32, bundle: &str, annotations: &[(&str, &str)]) -> String {
    let annotations: serde_json::Map<String, Value> =
        annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({ "ociVersion": "1.0.2", "id": id, "pid": pid, "bundle": bundle, "annotations": annotations })
        .to_string()
}

/// What a runtime is told of an id that a living container has; nothing of that one is touched, by the refused
/// runtime's poststop neither.
fn refused_beside(first: Runtime, second: Runtime, same_bundle: bool) {
    let lab = Lab::new();
    used(&lab);
    let web =
        first.start(&lab, "web", &PUBLISHED).unwrap_or_else(|said| panic!("{first:?}: {}", said.stderr));
    let _server = Server::tcp(&web.net(), 80, "web");
    let before = (Snapshot::of(&lab), lab.record(&web.id));
    let own = bundle_of(&lab, &web.id);
    let bundle = if same_bundle { own.clone() } else { copied(&own) };
    let refused = second.start_bundle(&lab, &web.id, &bundle).expect_err("a refusal");
    if second == Runtime::Runc {
        let pid = format!("process {}", web.pid);
        assert!(refused.stderr.contains(&pid) && refused.stderr.contains("bundle-web"), "{}", refused.stderr);
    }
    before.0.assert_is_back(&lab, "a refusal");
    assert_eq!(lab.record(&web.id), before.1);
    serves(&lab, "web");
    drop(_server);
    web.stop();
    assert!(until(|| lab.host.links_named("oc-").is_empty()));
}

#[test]
#[ignore = "needs root"]
fn an_id_that_another_runtimes_living_container_has_is_refused() {
    refused_beside(Runtime::Crun, Runtime::Runc, false);
    refused_beside(Runtime::Runc, Runtime::Crun, false);
    refused_beside(Runtime::Crun, Runtime::Runc, true);
}

/// Whichever of pid and bundle differs, and whatever the driver.
#[test]
#[ignore = "needs root"]
fn an_id_with_another_process_or_another_bundle_is_refused() {
    let lab = Lab::new();
    used(&lab);
    let empty = Snapshot::of(&lab);
    for annotations in [
        &PUBLISHED[..],
        &[("net.driver", "veth"), ("net.subnet", "10.97.0.0/24,fd00:97::/64")],
        &[("net.driver", "macvlan"), ("net.parent", "eth0"), ("net.ip", "198.51.100.77")],
        &[("net.driver", "none")],
    ] {
        let web = lab.attach("web", annotations);
        let other = Sandbox::new("web");
        let before = (Snapshot::of(&lab), lab.record("web"));
        for (pid, bundle) in
            [(other.pid(), "/bundle"), (other.pid(), "/other"), (web.sandbox.pid(), "/other")]
        {
            let refused = lab.run(&["createRuntime"], &state("web", pid, bundle, annotations));
            assert_eq!((refused.code, refused.stderr.lines().count()), (4, 1), "{}", refused.stderr);
            for says in [format!("process {}", web.sandbox.pid()), "/bundle".to_owned()] {
                assert!(refused.stderr.contains(&says), "{says}: {}", refused.stderr);
            }
            let stopped = lab.run(&["poststop"], &state("web", 0, bundle, annotations));
            assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""));
            before.0.assert_is_back(&lab, "a refusal and its poststop");
            assert_eq!(lab.record("web"), before.1);
        }
        lab.detach(web);
        // The links go a moment after the poststop: the next snapshot is not to see them.
        empty.assert_is_back(&lab, "a stop");
    }
}

/// The same container's hook may run twice: it is not in its own way.
#[test]
#[ignore = "needs root"]
fn the_same_container_again_is_started_anew() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let web = lab.attach("web", &PUBLISHED);
    let _server = Server::tcp(&web.net, 80, "web");
    let again = lab.create(&web.sandbox, &PUBLISHED);
    assert_eq!((again.code, again.stderr.as_str()), (0, ""));
    serves(&lab, "web");
    drop(_server);
    lab.detach(web);
    before.assert_is_back(&lab, "a container that was started twice");
}

fn end(attached: Attached) -> Sandbox {
    let Attached { mut sandbox, net, .. } = attached;
    drop(net);
    sandbox.end();
    sandbox
}

/// containerd restarts, and podman cleans up, after the id is somebody else's: every runtime's form of the state.
#[test]
#[ignore = "needs root"]
fn a_late_poststop_does_not_take_the_next_container_of_its_id_away() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let first = end(lab.attach("web", &PUBLISHED));
    let second = lab.attach("web", &PUBLISHED);
    let _server = Server::tcp(&second.net, 80, "second");
    let record = lab.record("web");
    for late in [
        json!({ "ociVersion": "1.0.2-dev", "id": "web", "status": "stopped", "bundle": "/bundle" }),
        json!({ "ociVersion": "1.0", "id": "web", "status": "stopped", "pid": 0, "bundle": "/" }),
        json!({ "id": "web", "pid": first.pid(), "bundle": "/elsewhere" }),
        json!({ "id": "web", "bundle": null }),
        json!({ "id": "web" }),
    ] {
        let stopped = lab.run(&["poststop"], &late.to_string());
        assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""), "{late}");
        assert_eq!(lab.record("web"), record, "{late}");
        serves(&lab, "second");
    }
    drop(_server);
    lab.detach(second);
    before.assert_is_back(&lab, "two lives of an id");
}

/// Of an ended container, only its own bundle's poststop takes the record back; a bundle that is not told counts as its own.
#[test]
#[ignore = "needs root"]
fn a_poststop_with_another_bundle_is_another_containers() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    for (bundle, is_its_own) in [("/other", false), ("/bundle/", true), ("/", true), ("", true)] {
        end(lab.attach("web", &PUBLISHED));
        let stopped = lab.run(&["poststop"], &state("web", 0, bundle, &[]));
        assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""), "{bundle}");
        assert_eq!(lab.record("web").is_none(), is_its_own, "{bundle}");
        assert_eq!(lab.poststop("web").code, 0);
        before.assert_is_back(&lab, &format!("a poststop with the bundle {bundle}"));
    }
}

/// A pod outlives its owner: another container of the owner's id is not it.
#[test]
#[ignore = "needs root"]
fn a_pods_network_is_not_taken_by_another_container_of_its_owners_id() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut owner = lab.attach("web", &PUBLISHED);
    let mut member = Sandbox::beside("member", &owner.net);
    let joined = lab.create(&member, &[PUBLISHED[0], PUBLISHED[1], ("net.ports", "9090:80")]);
    assert_eq!((joined.code, joined.stderr.as_str()), (0, ""));
    owner.sandbox.end();
    let _server = Server::tcp(&owner.net, 80, "member");
    let pod = (Snapshot::of(&lab), lab.record("web"));
    let other = Sandbox::new("web");
    let refused = lab.create(&other, &PUBLISHED);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    let says = format!("process {}", member.pid());
    assert!(refused.stderr.contains(&says) && refused.stderr.contains("member"), "{}", refused.stderr);
    pod.0.assert_is_back(&lab, "a refusal");
    assert_eq!(lab.record("web"), pod.1);
    serves(&lab, "member");
    drop(_server);
    drop(owner.net);
    member.end();
    assert_eq!(lab.poststop("member").code, 0);
    before.assert_is_back(&lab, "the pod's end");
}

/// A member that was taken away without a poststop, and whose id is a container of its own now, holds nothing.
#[test]
#[ignore = "needs root"]
fn a_member_is_one_by_its_record_and_not_by_its_id() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut owner = lab.attach("owner", &PUBLISHED);
    let mut member = Sandbox::beside("member", &owner.net);
    let joined = lab.create(&member, &PUBLISHED[..2]);
    assert_eq!((joined.code, joined.stderr.as_str()), (0, ""));
    member.end();
    fs::remove_file(lab.state_dir().join("containers/member.json")).unwrap();
    let own = lab.attach("member", &[("net.network", "own"), ("net.subnet", "10.95.0.0/24")]);
    drop(owner.net);
    owner.sandbox.end();
    assert_eq!(lab.poststop("owner").code, 0);
    assert!(lab.record("owner").is_none(), "nobody shares its network any more");
    lab.detach(own);
    assert_eq!(lab.run(&["gc"], "").code, 0);
    before.assert_is_back(&lab, "a member that became a container of its own");
}

/// What was refused to another container of the id is not told of the one that runs.
#[test]
#[ignore = "needs root"]
fn doctor_tells_the_refused_container_from_the_living_one() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    let other = Sandbox::new("web");
    assert_eq!(lab.run(&["createRuntime"], &state("web", other.pid(), "/other", &PUBLISHED)).code, 4);
    let said = lab.run(&["doctor", "web"], "");
    assert_eq!(said.code, 1, "{}", said.stderr);
    let other = "another container of the id web, of the bundle /other, was refused";
    assert!(said.stdout.contains(other) && !said.stdout.contains("the last start"), "{}", said.stdout);
    drop(web);
}

/// Two starts of one id at the same moment: one gets it, the other is refused, and neither undoes the other.
#[test]
#[ignore = "needs root"]
fn of_two_starts_of_one_id_at_once_one_is_refused() {
    let lab = Lab::new();
    used(&lab);
    for _ in 0..10 {
        let sandboxes = [Sandbox::new("web"), Sandbox::new("web")];
        let codes: Vec<(i32, String)> = std::thread::scope(|scope| {
            let starts = sandboxes.each_ref().map(|sandbox| {
                let lab = &lab;
                scope.spawn(move || {
                    let created = lab.create(sandbox, &PUBLISHED);
                    (created.code, created.stderr)
                })
            });
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let winner = codes.iter().position(|(code, _)| *code == 0).unwrap_or_else(|| panic!("{codes:?}"));
        assert_eq!(codes[1 - winner].0, 4, "{codes:?}");
        let record = lab.record("web").expect("a record");
        assert_eq!(record["pid"], sandboxes[winner].pid());
        let _server = Server::tcp(&sandboxes[winner].net(), 80, "winner");
        serves(&lab, "winner");
        drop(_server);
        let [mut one, mut two] = sandboxes;
        one.end();
        two.end();
        assert_eq!(lab.poststop("web").code, 0);
        assert!(lab.record("web").is_none());
    }
}

/// What `ocinet gc` holds while it works is given back at its end, whoever has it by then.
#[test]
#[ignore = "needs root"]
fn the_id_under_which_gc_works_is_refused() {
    let lab = Lab::new();
    let refused = lab.create(&Sandbox::new("ocinet-gc"), &[("net.driver", "bridge")]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("give the container another id"), "{}", refused.stderr);
    assert!(lab.record("ocinet-gc").is_none());
}

/// A process ends after the hook has read when it started, and another one gets its number before the hook opens the network
/// namespace. A PID namespace lets the test choose the number.
#[test]
#[ignore = "needs root"]
fn a_number_that_another_process_gets_meanwhile_is_refused() {
    const SCRIPT: &str = r#"
        unshare --net sleep 60 & first=$!
        sleep 0.3
        printf '{"ociVersion":"1.0.2","id":"web","status":"creating","pid":%s,"bundle":"/b","annotations":{"net.driver":"bridge"}}' $first |
            strace -f -qq -o /dev/null -P /proc/$first/ns/net -e trace=openat -e inject=openat:delay_enter=2000000 "$@" & hook=$!
        sleep 1
        kill -9 $first
        wait $first
        echo $((first - 1)) >/proc/sys/kernel/ns_last_pid
        unshare --net sleep 60 & second=$!
        [ $second = $first ] || echo "$second is not $first"
        wait $hook
        echo "exit $?"
        nsenter --net=/proc/$second/ns/net ip -br link
        kill -9 $second
    "#;
    let lab = Lab::new();
    let (ocinet, state) =
        (lab.ocinet().get_program().to_string_lossy().into_owned(), lab.state_dir().display().to_string());
    let said = lab.host.run(&[
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
        SCRIPT,
        "sh",
        &ocinet,
        "--state-dir",
        &state,
        "createRuntime",
    ]);
    assert!(said.stdout.starts_with("exit 2\n"), "{said:?}");
    assert!(!said.stdout.contains("eth0"), "{said:?}");
    assert!(lab.record("web").is_none());
}
