//! Containers that share a network namespace.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use ocinet_tests::lab::{
    Attached, DUAL, HOST4, HOST6, Lab, Runtime, Sandbox, Server, Snapshot, addresses, ask_tcp,
    reaches_nobody, until,
};

use crate::PATIENCE;
use crate::life::used;

const POD: [(&str, &str); 2] = [("net.driver", "bridge"), ("net.subnet", DUAL)];

fn owner(lab: &Lab) -> Attached {
    lab.attach("owner", &[POD[0], POD[1], ("net.ports", "8080:80")])
}

/// A container that joins the owner's namespace and publishes a port of its own.
#[track_caller]
fn join(lab: &Lab, owner: &Attached, id: &str, ports: &str) -> Sandbox {
    let member = Sandbox::beside(id, &owner.net);
    let joined = lab.create(&member, &[POD[0], POD[1], ("net.ports", ports)]);
    assert_eq!((joined.code, joined.stderr.as_str()), (0, ""));
    member
}

#[track_caller]
fn answers(lab: &Lab, port: u16, who: Option<&str>) {
    for host in [HOST4, HOST6] {
        let to = SocketAddr::new(host, port);
        if who.is_none() {
            reaches_nobody(&lab.peer, to);
            continue;
        }
        let answer = ask_tcp(&lab.peer, to, PATIENCE);
        assert_eq!(answer.map(|answer| answer.from).as_deref(), who, "port {port} of {host}");
    }
}

#[track_caller]
fn stop(lab: &Lab, sandbox: &mut Sandbox) {
    sandbox.end();
    let stopped = lab.poststop(&sandbox.id);
    assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""), "poststop of {}", sandbox.id);
}

/// Whether a member has ended cannot be told where its record cannot be read.
#[test]
#[ignore = "needs root"]
fn a_member_whose_record_cannot_be_read_keeps_its_network() {
    for damage in ["sed -i 's/\"version\":1,/\"version\":99,/'", "truncate --size=0", "chmod 666"] {
        let lab = Lab::new();
        let mut owner = owner(&lab);
        let mut member = join(&lab, &owner, "member", "9090:90");
        let record = lab.state_dir().join("containers/member.json");
        let whole = std::fs::read(&record).unwrap();
        lab.host.ok(&["sh", "-c", &format!("{damage} {}", record.display())]);
        owner.sandbox.end();
        drop(owner.net);
        let others: Vec<Sandbox> = (0..3).map(|n| Sandbox::new(&format!("other{n}"))).collect();
        for other in &others {
            assert_eq!(lab.create(other, &POD).code, 0, "{damage}");
        }
        assert_eq!(lab.poststop("owner").code, 0, "{damage}");
        let _server = Server::tcp(&member.net(), 80, "pod");
        answers(&lab, 8080, Some("pod"));
        // The owner's id is not free for a container with a network of its own, which would have none.
        let again = Sandbox::new("owner");
        let refused = lab.create(&again, &POD);
        assert_eq!(refused.code, 4, "{damage}: {}", refused.stderr);
        assert!(refused.stderr.contains("member.json"), "{damage}: {}", refused.stderr);
        answers(&lab, 8080, Some("pod"));
        // Once it can be read, the last to leave takes all of it back.
        std::fs::remove_file(&record).unwrap();
        std::fs::write(&record, whole).unwrap();
        stop(&lab, &mut member);
        assert!(lab.record("owner").is_none() && lab.record("member").is_none(), "{damage}");
    }
}

/// A record that cannot be read keeps no network of which nothing can live.
#[test]
#[ignore = "needs root"]
fn a_member_that_has_ended_keeps_nothing_whatever_its_record_says() {
    for (of_member, of_owner) in [("s/\"version\":1,/\"version\":99,/", ""), ("d", "s/\"boot_id\":\"../&x/")]
    {
        let lab = Lab::new();
        let mut owner = owner(&lab);
        let mut member = join(&lab, &owner, "member", "9090:90");
        for (id, edit) in [("member", of_member), ("owner", of_owner)] {
            lab.host.ok(&["sed", "-i", edit, &format!("{}/containers/{id}.json", lab.state_dir().display())]);
        }
        owner.sandbox.end();
        member.end();
        drop(owner.net);
        let again = Sandbox::new("owner");
        let created = lab.create(&again, &[POD[0], POD[1], ("net.ports", "8080:80")]);
        assert_eq!(created.code, 0, "{of_member} {of_owner}: {}", created.stderr);
        let _server = Server::tcp(&again.net(), 80, "again");
        answers(&lab, 8080, Some("again"));
    }
}

#[test]
#[ignore = "needs root"]
fn a_member_shares_the_addresses_and_publishes_its_own_ports() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let owner = owner(&lab);
    let alone = Snapshot::of(&lab);
    let mut member = join(&lab, &owner, "member", "9090:90,9091:80");
    let (_http, _other) = (Server::tcp(&owner.net, 80, "owner"), Server::tcp(&owner.net, 90, "member"));
    let record = lab.record("member").expect("a record");
    assert_eq!(addresses(&record), addresses(&owner.record));
    assert_eq!(record["shares"], "owner");
    answers(&lab, 8080, Some("owner"));
    answers(&lab, 9090, Some("member"));
    answers(&lab, 9091, Some("owner"));
    assert_eq!(lab.counters("member")["ports"][0]["connections"], 2);
    stop(&lab, &mut member);
    answers(&lab, 9090, None);
    answers(&lab, 8080, Some("owner"));
    alone.assert_is_back(&lab, "a member's stop");
    drop((_http, _other));
    lab.detach(owner);
    before.assert_is_back(&lab, "the pod");
}

/// What it asks for by name is what the owner has.
#[test]
#[ignore = "needs root"]
fn a_member_may_name_the_pods_address() {
    let lab = Lab::new();
    let owner = owner(&lab);
    let member = Sandbox::beside("member", &owner.net);
    let (ipv4, ipv6) = (owner.address(false), owner.address(true));
    let both = format!("{ipv4},{ipv6}");
    let joined = lab.create(&member, &[POD[0], ("net.ip", &both), ("net.ports", "9090:90")]);
    assert_eq!((joined.code, joined.stderr.as_str()), (0, ""));
    let _server = Server::tcp(&owner.net, 90, "member");
    answers(&lab, 9090, Some("member"));
}

#[test]
#[ignore = "needs root"]
fn the_network_of_a_pod_outlives_its_owner() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut owner = owner(&lab);
    let mut first = join(&lab, &owner, "first", "9090:90");
    let mut second = join(&lab, &owner, "second", "9091:90");
    let server = Server::tcp(&owner.net, 90, "pod");
    stop(&lab, &mut owner.sandbox);
    answers(&lab, 9090, Some("pod"));
    answers(&lab, 9091, Some("pod"));
    // Other starts sweep, and must not take a living pod's owner for dead.
    for id in ["a", "b", "c"] {
        let other = lab.attach(id, &POD);
        lab.detach(other);
    }
    stop(&lab, &mut first);
    answers(&lab, 9090, None);
    answers(&lab, 9091, Some("pod"));
    drop(server);
    drop(owner.net);
    stop(&lab, &mut second);
    before.assert_is_back(&lab, "the last member's stop");
}

#[test]
#[ignore = "needs root"]
fn an_owner_that_comes_back_finds_its_network() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut owner = owner(&lab);
    let mut member = join(&lab, &owner, "member", "9090:90");
    stop(&lab, &mut owner.sandbox);
    let mut again = Sandbox::beside("owner", &owner.net);
    let back = lab.create(&again, &[POD[0], POD[1], ("net.ports", "8080:80")]);
    assert_eq!((back.code, back.stderr.as_str()), (0, ""));
    let server = Server::tcp(&owner.net, 80, "again");
    answers(&lab, 8080, Some("again"));
    drop(server);
    stop(&lab, &mut member);
    let server = Server::tcp(&owner.net, 80, "again");
    answers(&lab, 8080, Some("again"));
    drop(server);
    drop(owner.net);
    stop(&lab, &mut again);
    before.assert_is_back(&lab, "the owner's second life");
}

/// Whoever joins has locked the owner's record. The last to leave looks for members again once it has that lock.
#[test]
#[ignore = "needs root"]
fn who_joins_while_the_last_leaves_keeps_the_network_of_a_pod() {
    let lab = Lab::new();
    let mut owner = owner(&lab);
    let mut last = join(&lab, &owner, "last", "9090:90");
    stop(&lab, &mut owner.sandbox);
    let next = Sandbox::beside("next", &owner.net);
    let state = lab.state_of(&next, &[POD[0], POD[1], ("net.ports", "9091:90")]);
    let member = lab.state_dir().join("members/owner/next");
    let slow = ["strace", "-qq", "-o", "/dev/null", "-P", member.to_str().unwrap()];
    let slow = [&slow[..], &["-e", "inject=linkat:delay_enter=1500000"]].concat();
    let joined = thread::scope(|scope| {
        let join = scope.spawn(|| lab.run_under(&slow, &["createRuntime"], &state));
        assert!(until(|| lab.record("next").is_some_and(|record| record["shares"] == "owner")));
        // It locks the owner's record next.
        thread::sleep(Duration::from_millis(200));
        stop(&lab, &mut last);
        assert!(member.exists(), "the last was gone first");
        join.join().unwrap()
    });
    assert_eq!((joined.code, joined.stderr.as_str()), (0, ""));
    assert!(lab.record("owner").is_some());
    let _server = Server::tcp(&owner.net, 90, "pod");
    answers(&lab, 9091, Some("pod"));
}

#[test]
#[ignore = "needs root"]
fn a_member_that_dies_without_a_poststop_is_swept_and_takes_the_owner_along() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut owner = owner(&lab);
    let mut member = join(&lab, &owner, "member", "9090:90");
    stop(&lab, &mut owner.sandbox);
    drop(owner.net);
    member.end();
    for id in ["a", "b", "c"] {
        let other = lab.attach(id, &POD);
        lab.detach(other);
    }
    before.assert_is_back(&lab, "the sweep of a pod");
}

#[test]
#[ignore = "needs root"]
fn a_member_that_asks_for_something_else_is_refused() {
    let lab = Lab::new();
    let owner = owner(&lab);
    let before = Snapshot::of(&lab);
    let late = Sandbox::beside("late", &owner.net);
    for (annotations, says) in [
        (&[("net.driver", "veth")][..], "whose eth0 is on bridge network default, not on veth network veth"),
        (&[("net.ip", "10.90.77.77")][..], "whose eth0 has not the address 10.90.77.77"),
        (&[("net.mac", "02:00:00:00:00:07")][..], "has not the Ethernet address 02:00:00:00:00:07"),
        (&[("net.ports", "8080:81")][..], "container owner publishes port 8080:80/tcp already"),
        (&[("net.network", "blue")][..], "not on bridge network blue"),
    ] {
        let refused = lab.create(&late, annotations);
        assert_eq!(refused.code, 4, "{}", refused.stderr);
        assert!(
            refused.stderr.contains("it shares the network namespace of container owner"),
            "{}",
            refused.stderr
        );
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
        before.assert_is_back(&lab, "a refusal");
    }
}

#[test]
#[ignore = "needs root"]
fn a_second_interface_may_be_added_to_a_pod() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let owner = owner(&lab);
    let mut more = Sandbox::beside("more", &owner.net);
    let annotations = [("net.eth1.network", "blue"), ("net.eth1.subnet", "10.92.0.0/24")];
    assert_eq!(lab.create(&more, &annotations).stderr, "");
    assert_eq!(owner.net.link("eth1").kind, "veth");
    stop(&lab, &mut more);
    assert!(owner.net.links_named("eth1").is_empty());
    lab.detach(owner);
    before.assert_is_back(&lab, "a pod with two interfaces");
}

/// runc and crun join by a path in config.json, podman by a pod.
#[test]
#[ignore = "needs root"]
fn pods_of_every_runtime_live_and_leave_nothing() {
    for runtime in Runtime::ALL {
        let lab = Lab::new();
        used(&lab);
        let before = Snapshot::of(&lab);
        let pod = runtime.pod(&lab, "pod");
        let first = pod.start("first", &[POD[0], POD[1], ("net.ports", "8080:80")]);
        let second = pod.start("second", &[POD[0], POD[1], ("net.ports", "9090:90")]);
        {
            let net = first.net();
            let (_first, _second) = (Server::tcp(&net, 80, "first"), Server::tcp(&net, 90, "second"));
            answers(&lab, 8080, Some("first"));
            answers(&lab, 9090, Some("second"));
        }
        first.stop();
        {
            let net = second.net();
            let _second = Server::tcp(&net, 90, "second");
            answers(&lab, 9090, Some("second"));
        }
        second.stop();
        pod.stop();
        before.assert_is_back(&lab, &format!("a pod of {runtime:?}"));
    }
}
