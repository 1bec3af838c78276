//! `ocinet gc`: what no live container owns is removed, and nothing else.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ocinet_tests::lab::{Attached, DUAL, HOST4, HOST6, Lab, Sandbox, Server, Snapshot, ask_tcp, until};

use crate::PATIENCE;
use crate::disguise::host_end;
use crate::life::used;

const PUBLISHED: [(&str, &str); 2] = [("net.subnet", DUAL), ("net.ports", "8080:80,127.0.0.1:8081:81")];

fn end(mut attached: Attached) {
    drop(attached.net);
    attached.sandbox.end();
}

/// The kernel removes the links of a namespace some milliseconds after its end.
fn has_host_ends(lab: &Lab) -> bool {
    lab.host.links_of_kind("veth").iter().any(|link| link.name.starts_with("oc-"))
}

#[track_caller]
fn gc(lab: &Lab, arguments: &[&str]) -> String {
    let finished = lab.run(&[&["gc"], arguments].concat(), "");
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    finished.stdout
}

#[test]
#[ignore = "needs root"]
fn what_ended_without_a_poststop_is_removed_and_what_lives_is_not_touched() {
    let lab = Lab::new();
    used(&lab);
    let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "9000:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    let before = Snapshot::of(&lab);
    for number in 0..5 {
        end(lab.attach(
            &format!("c{number}"),
            &[
                ("net.network", format!("n{}", number % 2).as_str()),
                ("net.subnet", if number % 2 == 0 { "10.95.0.0/24" } else { "10.96.0.0/24" }),
            ],
        ));
    }
    end(lab.attach("dead", &PUBLISHED));
    let listed = gc(&lab, &["--dry-run"]);
    assert!(listed.contains("container dead has ended, and was never detached"), "{listed}");
    assert_eq!(gc(&lab, &["--dry-run"]), listed, "a dry run changes nothing");
    gc(&lab, &[]);
    before.assert_is_back(&lab, "gc");
    assert_eq!(gc(&lab, &[]), "", "nothing is left to remove");
    let answer = ask_tcp(&lab.peer, SocketAddr::new(HOST4, 9000), PATIENCE);
    assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("web"));
}

/// Somebody deleted the records: what they were about is found by what is left of it.
#[test]
#[ignore = "needs root"]
fn what_has_no_record_is_removed_by_what_is_left_of_it() {
    let lab = Lab::new();
    used(&lab);
    let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "9000:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    let before = Snapshot::of(&lab);
    let lost = [
        lab.attach("a", &PUBLISHED),
        lab.attach(
            "b",
            &[("net.network", "blue"), ("net.subnet", "10.95.0.0/24"), ("net.rate-out", "10mbit")],
        ),
        lab.attach("c", &[("net.driver", "veth"), ("net.subnet", "10.97.0.0/24,fd00:97::/64")]),
    ];
    let ends = lost.each_ref().map(host_end);
    for attached in lost {
        fs::remove_file(lab.state_dir().join(format!("containers/{}.json", attached.id()))).unwrap();
        end(attached);
    }
    // The kernel removes their links some moments later; until then gc keeps what may live.
    assert!(until(|| ends.iter().all(|end| lab.host.links_named(end).is_empty())), "{ends:?}");
    let listed = gc(&lab, &["--dry-run"]);
    for expected in [
        "container a has no record, but",
        "the port 127.0.0.1:8081->81/tcp",
        "the link oc-",
        "the element inet ocinet publish4 { tcp . 8080",
    ] {
        assert!(listed.contains(expected) || expected.contains("->"), "{expected}: {listed}");
    }
    gc(&lab, &[]);
    before.assert_is_back(&lab, "gc without records");
    let check = lab.run(&["check"], "");
    assert_eq!((check.code, check.stdout.as_str()), (0, "everything is as recorded\n"));
    let answer = ask_tcp(&lab.peer, SocketAddr::new(HOST4, 9000), PATIENCE);
    assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("web"));
}

/// One container of each kind that has something on the host, each with what it answers by.
fn of_every_kind(lab: &Lab) -> Vec<(Attached, SocketAddr)> {
    let all: [&[(&str, &str)]; 4] = [
        &[("net.subnet", DUAL), ("net.ports", "8080:80,127.0.0.1:8081:81"), ("net.rate-out", "100mbit")],
        &[("net.driver", "veth"), ("net.subnet", "10.97.0.0/24,fd00:97::/64"), ("net.ports", "8082:80")],
        &[
            ("net.driver", "vxlan"),
            ("net.vni", "7"),
            ("net.subnet", "10.98.0.0/24"),
            ("net.ip", "10.98.0.7"),
            ("net.ports", "8083:80"),
        ],
        &[
            ("net.driver", "macvlan"),
            ("net.parent", "eth0"),
            ("net.subnet", "198.51.100.0/24"),
            ("net.ip-range", "198.51.100.64/28"),
            ("net.host-access", "true"),
        ],
    ];
    let attached = all.iter().enumerate().map(|(number, annotations)| {
        let attached = lab.attach(&format!("kind{number}"), annotations);
        let at = if number == 3 {
            attached.at(false, 80)
        } else {
            SocketAddr::new(HOST4, [8080, 8082, 8083][number])
        };
        (attached, at)
    });
    attached.collect()
}

/// Every container answers, from the LAN and, where the host has a way of its own to it, from the host.
#[track_caller]
fn all_answer(lab: &Lab, all: &[(Attached, SocketAddr)]) {
    for (attached, at) in all {
        let _server = Server::tcp(&attached.net, 80, attached.id());
        for from in [&lab.peer, &lab.host] {
            let answer = ask_tcp(from, *at, PATIENCE);
            assert_eq!(answer.map(|answer| answer.from).as_deref(), Some(attached.id()), "{at}");
        }
    }
}

/// What is told of the containers that live without a record, and that gc removes nothing of theirs.
#[track_caller]
fn nothing_of_theirs_is_removed(lab: &Lab, arguments: &[&str], all: &[(Attached, SocketAddr)]) {
    let before = Snapshot::of(lab);
    let listed = gc(lab, &[arguments, &["--dry-run"]].concat());
    for (attached, _) in all {
        let (id, pid) = (attached.id(), attached.sandbox.pid());
        let kept = format!("kept: container {id} lives and has no record here: process {pid} is in its");
        assert!(listed.contains(&kept), "{kept}: {listed}");
    }
    assert!(listed.lines().all(|line| line.starts_with("kept: ")), "{listed}");
    assert_eq!(gc(lab, arguments), listed, "what is kept is said, and nothing is removed");
    before.assert_is_back(lab, "gc beside containers without a record");
    all_answer(lab, all);
}

#[test]
#[ignore = "needs root"]
fn a_folder_that_is_not_there_removes_nothing() {
    let lab = Lab::new();
    let all = of_every_kind(&lab);
    all_answer(&lab, &all);
    let before = Snapshot::of(&lab);
    let absent = lab.dir().join("absent").display().to_string();
    for command in [
        &["gc"][..],
        &["gc", "--dry-run"],
        &["check"],
        &["list"],
        &["reload"],
        &["doctor"],
        &["inspect", "kind0"],
    ] {
        let refused = lab.run(&[&["--state-dir", &absent], command].concat(), "");
        assert_eq!((refused.code, refused.stderr.lines().count()), (7, 1), "{command:?}: {}", refused.stderr);
        assert!(
            refused.stderr.contains(&absent) && refused.stderr.contains("; hint: "),
            "{}",
            refused.stderr
        );
        before.assert_is_back(&lab, &format!("{command:?} with another folder"));
    }
    assert!(!lab.dir().join("absent").exists());
    all_answer(&lab, &all);
}

#[test]
#[ignore = "needs root"]
fn an_empty_folder_removes_nothing_of_what_lives() {
    let lab = Lab::new();
    let all = of_every_kind(&lab);
    let empty = lab.dir().join("empty");
    fs::create_dir(&empty).unwrap();
    nothing_of_theirs_is_removed(&lab, &["--state-dir", empty.to_str().unwrap()], &all);
}

/// Of the folder that somebody deleted nothing is left, or some of its folders are.
#[test]
#[ignore = "needs root"]
fn a_deleted_state_folder_costs_no_living_container_anything() {
    for deleted in ["", "containers", "leases", "networks", "forwarding.json"] {
        let lab = Lab::new();
        let all = of_every_kind(&lab);
        let path = lab.state_dir().join(deleted);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        fs::create_dir_all(lab.state_dir()).unwrap();
        if deleted == "containers" || deleted.is_empty() {
            nothing_of_theirs_is_removed(&lab, &[], &all);
        } else {
            gc(&lab, &[]);
            all_answer(&lab, &all);
        }
        // What ended is removed again, whichever folder says so.
        all.into_iter().for_each(|(attached, _)| end(attached));
        assert!(until(|| !has_host_ends(&lab)), "links of ended namespaces");
        gc(&lab, &[]);
        assert_eq!(lab.host.links_named("oc"), [], "{deleted}");
        let rules = lab.host.ok(&["nft", "list", "ruleset"]);
        assert!(!rules.contains("8082") && !rules.contains("10.9"), "{deleted}: {rules}");
    }
}

/// Each of two folders has its containers on one host, and neither's gc removes the other's.
#[test]
#[ignore = "needs root"]
fn two_state_folders_on_one_host_leave_each_other_alone() {
    let lab = Lab::new();
    let all = of_every_kind(&lab);
    let second = lab.dir().join("second");
    let named = ["--state-dir", second.to_str().unwrap()];
    let own = [("net.network", "own"), ("net.subnet", "10.95.0.0/24"), ("net.ports", "9000:80")];
    let sandbox = Sandbox::new("own");
    let created = lab.run(&[&named[..], &["createRuntime"]].concat(), &lab.state_of(&sandbox, &own));
    assert_eq!((created.code, created.stderr.as_str()), (0, ""));
    let dead = Sandbox::new("dead");
    let created = lab.run(&[&named[..], &["createRuntime"]].concat(), &lab.state_of(&dead, &[own[0]]));
    assert_eq!((created.code, created.stderr.as_str()), (0, ""));
    drop(dead);
    let _server = Server::tcp(&sandbox.net(), 80, "own");
    for arguments in [&[][..], &named] {
        let said = gc(&lab, arguments);
        assert_eq!(said.contains("removed: container dead"), !arguments.is_empty(), "{said}");
        all_answer(&lab, &all);
        let answer = ask_tcp(&lab.peer, SocketAddr::new(HOST4, 9000), PATIENCE);
        assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("own"));
    }
}

/// Somebody mounted the namespace of a container whose process and record are gone: it may be used again.
#[test]
#[ignore = "needs root"]
fn a_mounted_namespace_keeps_what_leads_to_it() {
    let lab = Lab::new();
    used(&lab);
    let web = lab.attach("web", &PUBLISHED);
    let pinned = web.net.pin();
    fs::remove_file(lab.state_dir().join("containers/web.json")).unwrap();
    end(web);
    let before = Snapshot::of(&lab);
    let listed = gc(&lab, &["--dry-run"]);
    let kept = "leads to a container without a record here: something keeps its network namespace";
    assert!(listed.starts_with("kept: the link oc-") && listed.contains(kept), "{listed}");
    gc(&lab, &[]);
    before.assert_is_back(&lab, "gc beside a namespace that is kept");
    let file = lab.dir().join("mounted").display().to_string();
    fs::write(&file, "").unwrap();
    let mount = format!("mount --bind /proc/{}/fd/{} {file}; \"$@\"", std::process::id(), pinned.as_raw_fd());
    let under = ["unshare", "-m", "sh", "-ec", mount.as_str(), "sh"];
    let listed = lab.run_under(&under, &["gc", "--dry-run"], "").ok();
    let kept = format!(
        "kept: container web lives and has no record here: its network namespace is mounted on {file}"
    );
    assert_eq!(listed.trim(), kept);
    drop(pinned);
    assert!(until(|| !has_host_ends(&lab)));
    gc(&lab, &[]);
    assert!(lab.host.links_named("ocinet0").is_empty());
}

#[test]
#[ignore = "needs root"]
fn what_is_not_ours_stays() {
    let lab = Lab::new();
    used(&lab);
    lab.host.batch(
        "link add br7 type bridge\nlink add oc-mine type bridge\nlink add v1 type veth peer name v2\n",
    );
    lab.host.ok(&["nft", "add table inet mine; add set inet mine sent4 { type ipv4_addr; }; add element inet mine sent4 { 10.0.0.1 }"]);
    fs::write(lab.state_dir().join("containers/note.txt"), "mine").unwrap();
    let before = Snapshot::of(&lab);
    end(lab.attach("dead", &PUBLISHED));
    gc(&lab, &[]);
    before.assert_is_back(&lab, "gc beside what others have");
}

/// A record that cannot be read may own anything: what it may own stays, and the rest goes.
#[test]
#[ignore = "needs root"]
fn an_unreadable_record_is_named_and_its_things_stay() {
    let lab = Lab::new();
    used(&lab);
    let odd = lab.attach("odd", &PUBLISHED);
    let path = lab.state_dir().join("containers/odd.json");
    let whole = fs::read(&path).unwrap();
    end(lab.attach("dead", &[("net.subnet", DUAL)]));
    fs::write(&path, &whole[..50]).unwrap();
    let finished = lab.run(&["gc"], "");
    assert_eq!(finished.code, 0);
    assert!(
        finished.stderr.contains("odd.json") && finished.stdout.contains("container dead"),
        "{}",
        finished.stderr
    );
    fs::write(&path, &whole).unwrap();
    let _server = Server::tcp(&odd.net, 80, "odd");
    let answer = ask_tcp(&lab.peer, SocketAddr::new(HOST4, 8080), PATIENCE);
    assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("odd"));
    let check = lab.run(&["check", "odd"], "");
    assert_eq!((check.code, check.stdout.as_str()), (0, "everything is as recorded\n"));
}

#[test]
#[ignore = "needs root"]
fn starts_and_stops_are_never_disturbed_by_gc_and_check() {
    let lab = Lab::new();
    used(&lab);
    let over = AtomicBool::new(false);
    let rounds = thread::scope(|scope| {
        let collecting = scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                let finished = lab.run(&["gc"], "");
                assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
                let checked = lab.run(&["check"], "");
                assert!(!checked.stdout.contains(": the"), "{}", checked.stdout);
                rounds += 1;
            }
            rounds
        });
        for _ in 0..30 {
            let web = lab.attach("web", &PUBLISHED);
            let _server = Server::tcp(&web.net, 80, "web");
            for host in [HOST4, HOST6] {
                let answer = ask_tcp(&lab.peer, SocketAddr::new(host, 8080), PATIENCE);
                assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("web"));
            }
            drop(_server);
            lab.detach(web);
        }
        over.store(true, Ordering::Relaxed);
        collecting.join().unwrap()
    });
    assert!(rounds > 10, "{rounds} rounds");
}
