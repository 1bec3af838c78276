//! What somebody else does to the host meanwhile: links deleted, rules flushed, namespaces kept, links that come and go.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ocinet_tests::lab::{DUAL, HOST4, Lab, Server, Snapshot, addresses, ask_tcp};

use crate::PATIENCE;
use crate::life::used;

const PUBLISHED: [(&str, &str); 3] =
    [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "8080:80,127.0.0.1:8081:81")];

#[test]
#[ignore = "needs root"]
fn a_bridge_that_was_deleted_is_made_again_and_nothing_is_left() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let old = lab.attach("old", &[("net.driver", "bridge"), ("net.subnet", DUAL)]);
    lab.host.ok(&["ip", "link", "delete", "ocinet0"]);
    let web = lab.attach("web", &PUBLISHED);
    let server = Server::tcp(&web.net, 80, "web");
    let answer = ask_tcp(&lab.peer, SocketAddr::new(HOST4, 8080), PATIENCE);
    assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("web"));
    drop(server);
    lab.host.ok(&["ip", "link", "delete", "ocinet0"]);
    lab.detach(web);
    lab.detach(old);
    before.assert_is_back(&lab, "two lives on a bridge that was deleted");
}

#[test]
#[ignore = "needs root"]
fn rules_that_were_flushed_or_deleted_do_not_keep_a_container_from_ending() {
    for meanwhile in ["flush ruleset", "delete table inet ocinet", "delete table bridge ocinet"] {
        let lab = Lab::new();
        used(&lab);
        let web = lab.attach("web", &PUBLISHED);
        lab.host.ok(&["nft", meanwhile]);
        assert!(!lab.host.links_named("oc-").is_empty());
        lab.detach(web);
        used(&lab);
        let left = fs::read_dir(lab.state_dir().join("containers")).unwrap().count();
        assert_eq!(left, 0, "{meanwhile}");
        let rules = lab.host.ok(&["nft", "list", "ruleset"]);
        assert!(!rules.contains("elements = { \"oc-"), "{meanwhile}: {rules}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_namespace_that_is_mounted_elsewhere_loses_its_network_and_is_free_for_another() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let web = lab.attach("web", &PUBLISHED);
    let kept = web.net.again();
    let had = addresses(&web.record);
    lab.detach(web);
    before.assert_is_back(&lab, "poststop of a namespace that lives on");
    assert_eq!(kept.links_named("eth0"), []);
    // The address is another container's at once, and the old namespace cannot answer for it.
    let next = lab.attach("next", &[("net.subnet", DUAL), ("net.ip", &had[0].to_string())]);
    let _server = Server::tcp(&next.net, 80, "next");
    let answer = ask_tcp(&lab.host, SocketAddr::new(had[0], 80), PATIENCE);
    assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("next"));
}

/// Dumps of links, addresses and routes that changes interrupt are begun again.
#[test]
#[ignore = "needs root"]
fn new_networks_are_made_beside_links_and_routes_that_come_and_go() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let over = AtomicBool::new(false);
    let lives = thread::scope(|scope| {
        let churn = scope.spawn(|| {
            let mut rounds = 0_u32;
            while !over.load(Ordering::Relaxed) {
                lab.host.batch(&format!(
                    "link add c0 type bridge\naddr add 203.0.113.{}/32 dev c0\nlink set c0 up\nroute add 192.0.2.0/24 dev c0\nlink delete c0\n",
                    rounds % 200 + 2
                ));
                rounds += 1;
            }
            rounds
        });
        for number in 0..30 {
            let network = format!("n{number}");
            let attached = lab.attach("web", &[("net.network", network.as_str())]);
            assert!(addresses(&attached.record)[0].is_ipv4());
            lab.detach(attached);
        }
        over.store(true, Ordering::Relaxed);
        churn.join().unwrap()
    });
    assert!(lives > 10, "{lives} rounds of changes");
    before.assert_is_back(&lab, "thirty networks beside links that come and go");
}

/// A record as the first version wrote it is undone by every later one.
#[test]
#[ignore = "needs root"]
fn a_record_of_version_1_is_taken_back() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mut web = lab.attach("web", &PUBLISHED);
    let path = lab.state_dir().join("containers/web.json");
    let own: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let link = own["attachments"][0]["host_interface"].as_str().unwrap();
    // The text is the first version's own; what differs from one start to the next is filled in.
    let first = include_str!("version-1.json");
    let text = first
        .replace("BOOT", own["boot_id"].as_str().unwrap())
        .replace("LINK", link)
        .replace("\"DEVICE\"", &own["netns"]["device"].to_string())
        .replace("\"INODE\"", &own["netns"]["inode"].to_string());
    fs::write(&path, text).unwrap();
    // It claimed no Ethernet addresses, and had no sets of all containers' addresses and all published ports.
    fs::remove_dir_all(lab.state_dir().join("macs/networks/default")).unwrap();
    let port = "tcp . 8080".to_owned();
    for (set, key) in [
        ("container4", web.address(false).to_string()),
        ("container6", web.address(true).to_string()),
        ("itself4", format!("{0} . {0}", web.address(false))),
        ("itself6", format!("{0} . {0}", web.address(true))),
        ("taken4", port.clone()),
        ("taken6", port),
    ] {
        lab.host.ok(&["nft", &format!("delete element inet ocinet {set} {{ {key} }}")]);
    }
    drop(web.net);
    web.sandbox.end();
    let stopped = lab.poststop("web");
    assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""));
    before.assert_is_back(&lab, "poststop with a record of version 1");
}
