//! Hundreds of published ports: they come and go whole, also where somebody flushed the rules.

use std::net::SocketAddr;

use ocinet_tests::lab::{Attached, DUAL, HOST4, HOST6, Lab, Server, Snapshot, ask_tcp};

use crate::PATIENCE;
use crate::life::used;

fn attach(lab: &Lab, ports: &str) -> Attached {
    lab.attach("web", &[("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", ports)])
}

#[test]
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
