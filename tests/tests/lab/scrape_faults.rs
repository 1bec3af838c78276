//! The exporter where something goes wrong or changes under its hands: what it tells stays right, and never falls.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use ocinet_exporter::render::metrics::{Format, write};
use ocinet_exporter::scrape::snapshot::{Container, Routed, Snapshot};
use ocinet_tests::lab::{HOST4, HOST6, INTERNET4, Lab, Server};

use crate::scrape::{Exporter, asks, dual, exported_counters, failed, of, ports, routed};

fn never_falls(before: &Snapshot, after: &Snapshot, id: &str) {
    let counters = |snapshot: &Snapshot| {
        let container = of(snapshot, id);
        let mut counters: Vec<u64> = exported_counters(container).into_values().flatten().collect();
        let routed = container.routed.unwrap_or_default();
        let both = [routed.sent, routed.received];
        counters.extend(both.iter().flat_map(|counter| [counter.bytes, counter.packets]));
        counters.push(routed.masqueraded);
        for port in &container.ports {
            counters.extend([port.connections, port.received.bytes, port.received.packets]);
            counters.extend([port.sent.bytes, port.sent.packets]);
        }
        counters
    };
    let (before, after) = (counters(before), counters(after));
    assert_eq!(before.len(), after.len());
    assert!(before.iter().zip(&after).all(|(before, after)| before <= after), "{before:?}\n{after:?}");
}

#[test]
#[ignore = "needs root"]
fn counters_never_fall_when_the_table_is_flushed_and_put_back() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "8080:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    let _internet = Server::tcp(&lab.wan, 80, "internet");
    let mut exporter = Exporter::new(&lab);
    let mut last = exporter.sound();
    let mut connections = 0;
    for round in 0..4 {
        // More than before the flush before, or fewer: what the kernel says then falls, or does not.
        let more = [2, 5, 1, 3][round];
        asks(&lab.peer, HOST4, 8080, more);
        asks(&lab.peer, HOST6, 8080, 1);
        asks(&web.net, INTERNET4, 80, more);
        connections += more + 1;
        let snapshot = exporter.sound();
        never_falls(&last, &snapshot, "web");
        assert_eq!(ports(&snapshot, "web")[0].connections, connections, "round {round}");
        assert_eq!(routed(&snapshot, "web").masqueraded, connections - 1 - round as u64);
        lab.host.ok(&["nft", "flush", "ruleset"]);
        let flushed = exporter.scrape();
        assert_eq!(failed(&flushed), ["nft"]);
        let container = of(&flushed, "web");
        assert!(container.routed.is_none() && container.ports.is_empty());
        assert!(exported_counters(container)["eth0"][0] > 0);
        assert_eq!(flushed.tables.map(|tables| (tables.inet, tables.bridge)), Some((false, false)));
        // Any start puts the tables back.
        let other = dual(&lab, &format!("other{round}"), &[]);
        let restored = exporter.sound();
        never_falls(&snapshot, &restored, "web");
        assert_eq!(ports(&restored, "web")[0].connections, connections);
        assert_eq!(restored.tables.map(|tables| (tables.inet, tables.bridge)), Some((true, true)));
        lab.detach(other);
        last = restored;
    }
    // Another life of the same id is another container.
    lab.detach(web);
    exporter.sound();
    let again = dual(&lab, "web", &[("net.ports", "8080:80")]);
    let snapshot = exporter.sound();
    assert_eq!(ports(&snapshot, again.id())[0].connections, 0);
    assert_eq!(routed(&snapshot, again.id()), Routed::default());
}

/// The elements of one set alone are flushed and put back by hand.
#[test]
#[ignore = "needs root"]
fn counters_never_fall_when_a_set_is_flushed() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "8080:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    let mut exporter = Exporter::new(&lab);
    asks(&lab.peer, HOST4, 8080, 3);
    let before = exporter.sound();
    lab.host.ok(&["nft", "flush", "set", "inet", "ocinet", "sent4"]);
    let missing = exporter.sound();
    never_falls(&before, &missing, "web");
    assert_eq!(routed(&missing, "web"), routed(&before, "web"));
    let element = format!("add element inet ocinet sent4 {{ {} }}", web.address(false));
    lab.host.ok(&["nft", &element]);
    asks(&lab.peer, HOST4, 8080, 1);
    let after = exporter.sound();
    never_falls(&missing, &after, "web");
    assert!(routed(&after, "web").sent.packets > routed(&before, "web").sent.packets);
}

#[test]
#[ignore = "needs root"]
fn a_state_folder_that_cannot_be_read_takes_nothing_else_along() {
    let lab = Lab::new();
    let web = dual(&lab, "web", &[("net.ports", "8080:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    let mut exporter = Exporter::new(&lab);
    asks(&lab.peer, HOST4, 8080, 1);
    exporter.sound();
    let (folder, aside) = (lab.state_dir(), lab.dir().join("aside"));
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "a file").unwrap();
    asks(&lab.peer, HOST4, 8080, 1);
    let snapshot = exporter.scrape();
    assert_eq!(failed(&snapshot), ["records", "pools", "hooks"]);
    assert_eq!(ports(&snapshot, "web")[0].connections, 2);
    assert!(exported_counters(of(&snapshot, "web"))["eth0"][0] > 0);
    let mut page = String::new();
    write(&snapshot, &exporter.options, Format::Text, &mut page);
    assert!(page.contains("ocinet_scrape_source_success{source=\"records\"} 0\n"), "{page}");
    assert!(page.contains("ocinet_scrape_source_success{source=\"nft\"} 1\n"), "{page}");
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    assert_eq!(ports(&exporter.sound(), "web")[0].connections, 2);
}

/// A scrape of the whole host, at any moment of other containers' lives, has whole containers: each with all its counters,
/// which are its own.
#[test]
#[ignore = "needs root"]
fn scrapes_beside_starts_and_stops_have_no_half_container() {
    let lab = Lab::new();
    let steady = dual(&lab, "steady", &[("net.ports", "8080:80")]);
    let _server = Server::tcp(&steady.net, 80, "steady");
    let cycles: u64 = std::env::var("OCINET_CYCLES").map_or(60, |cycles| cycles.parse().unwrap());
    let over = AtomicBool::new(false);
    let mut exporter = Exporter::new(&lab);
    let (scrapes, seen) = std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for cycle in 0..cycles {
                one_life(&lab, cycle);
                if cycle % 10 == 0 {
                    asks(&lab.peer, HOST4, 8080, 1);
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        let (mut scrapes, mut seen) = (0, 0);
        let mut last = exporter.sound();
        while !over.load(Ordering::Relaxed) && !churn.is_finished() {
            let snapshot = exporter.sound();
            never_falls(&last, &snapshot, "steady");
            seen += snapshot.containers.len() - 1;
            snapshot.containers.iter().for_each(is_whole);
            last = snapshot;
            scrapes += 1;
        }
        churn.join().unwrap();
        (scrapes, seen)
    });
    assert_eq!(ports(&exporter.sound(), "steady")[0].connections, cycles.div_ceil(10));
    println!("{cycles} lives, {scrapes} scrapes, which saw {seen} of these containers");
    assert!(scrapes > cycles / 10 && seen > 0, "{scrapes} scrapes, {seen} containers");
}

/// A container that has an address and a port that many had before it, each of which was asked once.
fn one_life(lab: &Lab, cycle: u64) {
    let id = format!("c{}", cycle % 3);
    let address = format!("10.90.7.{}", 1 + cycle % 2);
    let attached = dual(lab, &id, &[("net.ip", &address), ("net.ports", "9000:90")]);
    let server = Server::tcp(&attached.net, 90, &id);
    asks(&lab.peer, HOST4, 9000, 1);
    drop(server);
    lab.detach(attached);
}

fn is_whole(container: &Container) {
    let id = &container.record.id;
    let all = container.interfaces.iter().all(|interface| interface.counters.is_some());
    assert!(all && container.interfaces.len() == 1, "{id} has all its interfaces");
    assert_eq!(container.ports.len(), 1);
    let (port, routed) = (container.ports[0], container.routed.unwrap());
    if id.as_str() != "steady" {
        assert!(port.connections <= 1 && port.received.packets <= 8, "{id}: {port:?}");
        assert!(routed.received.packets <= 8 && routed.masqueraded == 0, "{id}: {routed:?}");
        assert!(exported_counters(container)["eth0"][0] < 5_000, "{id}");
    }
}
