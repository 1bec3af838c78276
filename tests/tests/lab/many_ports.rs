//! Hundreds and thousands of published ports: they come and go whole, also where somebody flushed the rules.

use std::net::{SocketAddr, UdpSocket};

use ocinet_tests::lab::{Attached, DUAL, HOST4, HOST6, INTERNET4, Lab, Sandbox, Server, Snapshot, ask_tcp};

use crate::PATIENCE;
use crate::connections::crowd;
use crate::life::used;

fn attach(lab: &Lab, ports: &str) -> Attached {
    lab.attach("web", &[("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", ports)])
}

#[test]
#[ignore = "needs root"]
fn a_container_of_many_ports_is_taken_back_after_a_flush() {
    for (ports, last) in [("20000-20099:20000-20099", 20099), ("20000-21023:20000-21023", 21023)] {
        let lab = Lab::new();
        used(&lab);
        let before = Snapshot::of(&lab);
        let web = attach(&lab, ports);
        for host in [HOST4, HOST6] {
            let _server = Server::tcp(&web.net, last, "web");
            let answer = ask_tcp(&lab.peer, SocketAddr::new(host, last), PATIENCE);
            assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("web"));
        }
        lab.host.ok(&["nft", "flush", "ruleset"]);
        lab.detach(web);
        assert!(lab.record("web").is_none());
        // Nothing is in the way of the next, which makes the tables anew.
        let next = attach(&lab, ports);
        assert_eq!(lab.run(&["reload"], "").code, 0);
        // The elements alone are gone, all at once.
        for set in ["publish4", "publish6", "port_in4", "port_in6", "port_out4", "port_out6"] {
            lab.host.ok(&[
                "nft",
                "flush",
                if set.starts_with("publish") { "map" } else { "set" },
                "inet",
                "ocinet",
                set,
            ]);
        }
        lab.detach(next);
        before.assert_is_back(&lab, "many ports and a flush");
    }
}

/// What is asked for is refused before anything is made, or can be read again and is released.
#[test]
#[ignore = "needs root"]
fn ten_thousand_ports_come_and_go() {
    let lab = Lab::new();
    used(&lab);
    lab.configure("max-ports = 65535\n");
    let before = Snapshot::of(&lab);
    let web = attach(&lab, "10000-20000:10000-20000/udp");
    let listed = lab.run(&["list"], "").ok();
    assert!(listed.contains("10000-20000:10000-20000/udp"), "{listed}");
    lab.host.ok(&["nft", "flush", "ruleset"]);
    lab.detach(web);
    before_but_for_the_tables(&lab);
    let web = attach(&lab, "10000-20000:10000-20000/udp");
    lab.detach(web);
    before.assert_is_back(&lab, "ten thousand ports");
    let all = Sandbox::new("all");
    let refused = lab.create(&all, &[("net.subnet", DUAL), ("net.ports", "1-65535:1-65535")]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("publish fewer ports"), "{}", refused.stderr);
    before.assert_is_back(&lab, "a refusal");
}

fn before_but_for_the_tables(lab: &Lab) {
    assert!(lab.record("web").is_none());
    assert_eq!(lab.run(&["list"], "").ok().lines().count(), 1);
}

/// To list connections costs milliseconds: a start does so where one names its UDP port, or where there are many, and
/// once for each family then.
#[test]
#[ignore = "needs root"]
fn a_start_asks_few_questions_about_the_connections_of_its_udp_ports() {
    let lab = Lab::new();
    used(&lab);
    let trace = lab.dir().join("trace");
    let under = ["strace", "-qq", "-e", "trace=sendto", "-o", trace.to_str().unwrap()];
    // None of them is dead, and swept by the next.
    let mut alive = Vec::new();
    let mut start = |id: &str, ports: &str, wanted: usize| {
        let sandbox = Sandbox::new(id);
        let asked = [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", ports)];
        let _ = lab.run_under(&under, &["createRuntime"], &lab.state_of(&sandbox, &asked)).ok();
        let sent = std::fs::read_to_string(&trace).unwrap();
        let questions = |kind: &str| sent.lines().filter(|line| line.contains(kind)).count();
        assert_eq!(questions("IPCTNL_MSG_CT_GET"), wanted, "{id}: {sent}");
        assert_eq!(questions("IPCTNL_MSG_CT_DELETE"), 0, "{id}: {sent}");
        alive.push(sandbox);
    };
    assert_eq!(lab.host.ok(&["cat", "/proc/sys/net/netfilter/nf_conntrack_count"]).trim(), "0");
    start("idle", "5301:53/udp", 0);
    // The host's own with another machine.
    let asks = |port| {
        let socket = lab.host.bind(|| UdpSocket::bind("0.0.0.0:0"));
        assert_eq!(socket.send_to(b"hello", (INTERNET4, port)).unwrap(), 5);
    };
    asks(9);
    start("tcp", "9:53", 0);
    start("one", "5300:53/udp", 0);
    start("many", "7000-7099:7000-7099/udp", 0);
    start("named", "9:9/udp", 2);
    asks(10);
    start("bound", "198.51.100.10:10:10/udp", 1);
    crowd(&lab);
    start("crowd", "5302:53/udp", 2);
    start("crowd-bound", "198.51.100.10:5303:53/udp", 1);
    start("crowd-tcp", "5304:53", 0);
    start("crowd-many", "7100-7199:7100-7199/udp", 2);
}
