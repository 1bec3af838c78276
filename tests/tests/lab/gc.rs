//! `ocinet gc`: what no live container owns is removed, and nothing else.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ocinet_tests::lab::{Attached, DUAL, HOST4, HOST6, Lab, Server, Snapshot, ask_tcp};

use crate::PATIENCE;
use crate::life::used;

const PUBLISHED: [(&str, &str); 2] = [("net.subnet", DUAL), ("net.ports", "8080:80,127.0.0.1:8081:81")];

fn end(mut attached: Attached) {
    drop(attached.net);
    attached.sandbox.end();
}

#[track_caller]
fn gc(lab: &Lab, arguments: &[&str]) -> String {
    let finished = lab.run(&[&["gc"], arguments].concat(), "");
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    finished.stdout
}

#[test]
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
    assert!(listed.contains("container dead has ended, and was never taken back"), "{listed}");
    assert_eq!(gc(&lab, &["--dry-run"]), listed, "a dry run changes nothing");
    gc(&lab, &[]);
    before.assert_is_back(&lab, "gc");
    assert_eq!(gc(&lab, &[]), "", "nothing is left to remove");
    let answer = ask_tcp(&lab.peer, SocketAddr::new(HOST4, 9000), PATIENCE);
    assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("web"));
}

/// Somebody deleted the records: what they were about is found by what is left of it.
#[test]
fn what_has_no_record_is_removed_by_what_is_left_of_it() {
    let lab = Lab::new();
    used(&lab);
    let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "9000:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    let before = Snapshot::of(&lab);
    let kept = [
        lab.attach("a", &PUBLISHED),
        lab.attach(
            "b",
            &[("net.network", "blue"), ("net.subnet", "10.95.0.0/24"), ("net.rate-out", "10mbit")],
        ),
        lab.attach("c", &[("net.driver", "veth"), ("net.subnet", "10.97.0.0/24,fd00:97::/64")]),
    ];
    for attached in &kept {
        fs::remove_file(lab.state_dir().join(format!("containers/{}.json", attached.id()))).unwrap();
    }
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
    drop(kept);
}

#[test]
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
