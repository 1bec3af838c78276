//! Elements that somebody took: `ocinet reload --if-missing`, which the timer runs, misses each and puts it back.

use std::net::SocketAddr;
use std::thread;

use ocinet_tests::lab::{DUAL, HOST4, HOST6, INTERNET4, Lab, Sandbox, Server, ask_tcp, until};

use crate::PATIENCE;
use crate::reach::reaches;

const PUBLISHED: [(&str, &str); 2] = [("net.subnet", DUAL), ("net.ports", "8080:80")];

/// Runs what the timer runs, and returns what it says.
fn run_timer(lab: &Lab) -> String {
    let finished = lab.run(&["reload", "--if-missing"], "");
    assert_eq!(finished.code, 0, "{finished:?}");
    finished.stderr
}

#[test]
#[ignore = "needs root"]
fn elements_that_somebody_took_come_back_by_the_timer() {
    let lab = Lab::new();
    let _first = lab.attach("first", &[("net.subnet", DUAL)]);
    let web = lab.attach("web", &PUBLISHED);
    let _server = Server::tcp(&web.net, 80, "web");
    for taken in [
        "flush map inet ocinet publish4",
        "flush set inet ocinet within",
        "flush set inet ocinet container4",
        "flush set inet ocinet itself4",
        "flush set bridge ocinet links",
    ] {
        lab.host.ok(&["nft", taken]);
        assert_eq!(lab.run(&["check"], "").code, 1, "{taken}");
        assert_eq!(run_timer(&lab), "");
        assert_eq!(lab.run(&["check"], "").stdout, "everything is as recorded\n", "{taken}");
        reaches(&lab.peer, HOST4, 8080, "web");
    }
}

/// A start with another state folder makes the tables anew, and knows nothing of this folder's containers. Those that this
/// folder starts then find the tables there, and the links of their network as well.
#[test]
#[ignore = "needs root"]
fn another_folders_start_does_not_keep_this_ones_rules_away() {
    for starts_another in [false, true] {
        let lab = Lab::new();
        let web = lab.attach("web", &PUBLISHED);
        let _server = Server::tcp(&web.net, 80, "web");
        let sandbox = Sandbox::new("other");
        lab.host.ok(&["nft", "flush", "ruleset"]);
        let folder = lab.state_dir().with_file_name("other-state");
        let state = lab.state_of(&sandbox, &[("net.network", "t"), ("net.subnet", "10.97.0.0/24")]);
        let started = lab.run(&["--state-dir", folder.to_str().unwrap(), "createRuntime"], &state);
        assert_eq!((started.code, started.stderr.as_str()), (0, ""));
        // Its id is listed before the other's.
        let another =
            starts_another.then(|| lab.attach("another", &[("net.subnet", DUAL), ("net.ports", "8081:80")]));
        let _other_server = another.as_ref().map(|another| Server::tcp(&another.net, 80, "another"));
        assert_eq!(run_timer(&lab), "");
        for host in [HOST4, HOST6] {
            reaches(&lab.peer, host, 8080, "web");
            if another.is_some() {
                reaches(&lab.peer, host, 8081, "another");
            }
        }
        let checked = lab.run(&["check"], "").stdout;
        assert!(!checked.contains("missing"), "{checked}");
    }
}

/// A port that another state folder's container took, while the rules were gone, is that one's. The container that had it
/// keeps all else, and the timer does not restore the rules for it again and again.
#[test]
#[ignore = "needs root"]
fn a_port_that_was_lost_costs_its_container_nothing_else() {
    let lab = Lab::new();
    let _first = lab.attach("first", &[("net.subnet", DUAL)]);
    let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "8080:80,8081:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    let outside = Server::tcp(&lab.wan, 81, "outside");
    let sandbox = another_takes_the_port(&lab);
    let _other_server = Server::tcp(&sandbox.net(), 80, "other");
    let said = run_timer(&lab);
    assert!(said.contains("leads elsewhere") && said.contains("8080"), "{said}");
    reaches(&lab.peer, HOST4, 8080, "other");
    for host in [HOST4, HOST6] {
        reaches(&lab.peer, host, 8081, "web");
    }
    assert!(ask_tcp(&web.net, SocketAddr::new(INTERNET4, 81), PATIENCE).is_some());
    assert!(!outside.all_clients().contains(&web.address(false)), "it went out untranslated");
    assert_eq!(run_timer(&lab), "", "it was restored again");
    for command in [&["check"][..], &["check", "web"], &["doctor"], &["doctor", "web"]] {
        let said = lab.run(command, "");
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.stdout.contains("leads elsewhere") && said.stdout.contains("8080"), "{said:?}");
    }
    let counted = lab.run(&["inspect", "web"], "").ok();
    assert!(counted.contains("8080:80/tcp: 0 connections"), "{counted}");
    // Its end leaves the port to who has it.
    lab.detach(web);
    reaches(&lab.peer, HOST4, 8080, "other");
    lab.host.ok(&["nft", "get element inet ocinet taken4 { tcp . 8080 }"]);
}

/// A container of another state folder, which publishes port 8080 while the rules are gone.
fn another_takes_the_port(lab: &Lab) -> Sandbox {
    let sandbox = Sandbox::new("other");
    lab.host.ok(&["nft", "flush", "ruleset"]);
    let folder = lab.state_dir().with_file_name("other-state");
    let annotations = [("net.network", "t"), ("net.subnet", "10.97.0.0/24"), ("net.ports", "8080:80")];
    let state = lab.state_of(&sandbox, &annotations);
    let started = lab.run(&["--state-dir", folder.to_str().unwrap(), "createRuntime"], &state);
    assert_eq!((started.code, started.stderr.as_str()), (0, ""));
    sandbox
}

/// Nor does it take the last one away.
#[test]
#[ignore = "needs root"]
fn who_lost_the_only_port_it_had_leaves_it_to_who_has_it() {
    let lab = Lab::new();
    let only = [("net.network", "w"), ("net.subnet", "10.98.0.0/24"), ("net.ports", "8080:80")];
    let web = lab.attach("web", &only);
    let sandbox = another_takes_the_port(&lab);
    let _server = Server::tcp(&sandbox.net(), 80, "other");
    lab.detach(web);
    reaches(&lab.peer, HOST4, 8080, "other");
    lab.host.ok(&["nft", "get element inet ocinet taken4 { tcp . 8080 }"]);
}

/// Between adding its elements and being ready, a start may lose a port to another state folder's container, which finds no
/// tables. It says who has the port, and takes nothing from that one.
#[test]
#[ignore = "needs root"]
fn a_port_that_a_start_lost_before_it_was_ready_refuses_it() {
    let lab = Lab::new();
    let _first = lab.attach("first", &[("net.subnet", DUAL)]);
    let (web, other) = (Sandbox::new("web"), Sandbox::new("other"));
    let slow = ["strace", "-qq", "-o", "/dev/null", "-e", "inject=rename:delay_enter=1500000"];
    let folder = lab.state_dir().with_file_name("other-state");
    let state = lab.state_of(&web, &[("net.subnet", DUAL), ("net.ports", "8080:80")]);
    let refused = thread::scope(|scope| {
        let start = scope.spawn(|| lab.run_under(&slow, &["createRuntime"], &state));
        let published = || lab.host.elements("map inet ocinet publish4");
        assert!(until(|| !published().is_empty()));
        lab.host.ok(&["nft", "flush ruleset"]);
        let annotations = [("net.network", "t"), ("net.subnet", "10.97.0.0/24"), ("net.ports", "8080:80")];
        let state = lab.state_of(&other, &annotations);
        let _ = lab.run(&["--state-dir", folder.to_str().unwrap(), "createRuntime"], &state).ok();
        start.join().unwrap()
    });
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("port 8080/tcp"), "{}", refused.stderr);
    assert!(lab.record("web").is_none());
    let _server = Server::tcp(&other.net(), 80, "other");
    reaches(&lab.peer, HOST4, 8080, "other");
    lab.host.ok(&["nft", "get element inet ocinet taken4 { tcp . 8080 }"]);
}
