//! What keeps containers apart when somebody flushes the rules, at any moment.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ocinet_tests::lab::{
    Attached, DUAL, Forwarding, HOST4, HOST6, INTERNET4, Lab, Netns, Server, Stage, Station, ask_tcp,
    link_address,
};

use crate::PATIENCE;
use crate::disguise::{Guards, host_end};
use crate::guards::no_way_back_is_checked;
use crate::reach::{does_not_reach, reaches};

/// How long the attacks go on beside flushes, and for how long they wait for enough of these.
const ATTACKED: Duration = Duration::from_secs(4);
const LONGEST: Duration = Duration::from_secs(180);

/// What the attacks are, for people.
const PAGE: &str = "docs/attacks.md";

/// Containers of two networks and of an internal one, with a driver.
pub(crate) struct Cast {
    victim: Attached,
    mate: Attached,
    third: Attached,
    stranger: Attached,
    inside: Attached,
    /// Of the victim's network, where that is an overlay.
    vni: Option<u8>,
}

impl Cast {
    pub(crate) fn new(lab: &Lab, driver: &str) -> Self {
        let attach = |id: &str, network: &str, subnet: &str, more: &[(&str, &str)]| {
            let mut annotations =
                vec![("net.driver", driver), ("net.network", network), ("net.subnet", subnet)];
            annotations.extend(more);
            let (vni, range) = match network {
                "red" => ("1", "10.90.1.0/24,fd00:90::100/120"),
                "blue" => ("2", "10.92.0.128/25,fd00:92::100/120"),
                _ => ("3", "10.93.0.128/25,fd00:93::100/120"),
            };
            if driver == "vxlan" {
                annotations.extend([("net.vni", vni), ("net.ip-range", range)]);
            }
            lab.attach(id, &annotations)
        };
        let blue = "10.92.0.0/24,fd00:92::/64";
        let ports = [("net.ports", "8080:80,127.0.0.1:8081:81")];
        Self {
            victim: attach("victim", "red", DUAL, &ports),
            mate: attach("mate", "red", DUAL, &[]),
            third: attach("third", "red", DUAL, &[]),
            stranger: attach("stranger", "blue", blue, &[]),
            inside: attach("inside", "inner", "10.93.0.0/24,fd00:93::/64", &[("net.internal", "true")]),
            vni: (driver == "vxlan").then_some(1),
        }
    }

    /// The links that have a filter: the host's ends of theirs, and the victim's tunnel.
    pub(crate) fn links(&self) -> Vec<String> {
        let ends = [&self.victim, &self.mate, &self.third, &self.stranger, &self.inside].map(host_end);
        ends.into_iter().chain(self.vni.map(|vni| format!("oc-vni{vni}"))).collect()
    }

    pub(crate) fn stage(&self, lab: &Lab) -> Stage {
        let station = |attached: &Attached| Station {
            net: attached.net.again(),
            interface: "eth0".to_owned(),
            addresses: vec![attached.address(false), attached.address(true)],
            gateway: gateway_of(lab, attached),
            gateways: gateways_of(attached).to_vec(),
        };
        Stage {
            host: lab.host.again(),
            host_address: HOST4,
            wan: lab.wan.again(),
            peer: Station::lan_neighbour(lab),
            victim: station(&self.victim),
            mate: station(&self.mate),
            third: station(&self.third),
            stranger: station(&self.stranger),
            inside: station(&self.inside),
            vni: self.vni,
        }
    }
}

/// The gateway's addresses, which an internal network's record does not name.
fn gateways_of(attached: &Attached) -> [IpAddr; 2] {
    let gateways = match attached.id() {
        "stranger" => ["10.92.0.1", "fd00:92::1"],
        "inside" => ["10.93.0.1", "fd00:93::1"],
        _ => ["10.90.0.1", "fd00:90::1"],
    };
    gateways.map(|gateway| gateway.parse().expect("an address"))
}

/// The Ethernet address of the host's side of a container's link.
fn gateway_of(lab: &Lab, attached: &Attached) -> [u8; 6] {
    let attachment = &attached.record["attachments"][0];
    let link = attachment["parent"].as_str().or(attachment["host_interface"].as_str()).expect("a link");
    link_address(&lab.host, link)
}

fn flush(net: &Netns) {
    net.ok(&["nft", "flush", "ruleset"]);
}

#[track_caller]
pub(crate) fn no_hits(stage: &Stage, go_on: impl FnMut(usize) -> bool) {
    let outcomes = stage.attack(go_on);
    let hits: Vec<_> = outcomes.iter().filter(|outcome| outcome.hits > 0).collect();
    assert!(hits.is_empty(), "attacks that arrived: {hits:?}");
    let sent: usize = outcomes.iter().map(|outcome| outcome.sent).sum();
    println!("{} classes, {sent} attacks, none arrived", outcomes.len());
}

fn attacks_on(driver: &str) {
    for forwarding in [Forwarding::Off, Forwarding::Unchecked] {
        println!("{forwarding:?}");
        attacks_beside(forwarding, driver);
    }
}

fn attacks_beside(forwarding: Forwarding, driver: &str) {
    let lab = Lab::with(forwarding);
    lab.obey_source_routes();
    let cast = Cast::new(&lab, driver);
    let stage = cast.stage(&lab);
    no_hits(&stage, |round| round < 3);
    flush(&lab.host);
    no_hits(&stage, |round| round < 20);
    // While the rules are flushed and put back all the time; a start puts them back.
    let (over, flushes) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let other = lab.attach("other", &[("net.network", "other"), ("net.subnet", "10.99.0.0/24")]);
                flush(&lab.host);
                lab.detach(other);
                flushes.fetch_add(1, Ordering::Relaxed);
            }
        });
        // A slow machine takes longer for as many flushes.
        let (begun, few) = (Instant::now(), || flushes.load(Ordering::Relaxed) <= 10);
        no_hits(&stage, |_| begun.elapsed() < ATTACKED || (few() && begun.elapsed() < LONGEST));
        over.store(true, Ordering::Relaxed);
    });
    let flushes = flushes.into_inner();
    assert!(flushes > 10, "{flushes} flushes");
}

#[test]
#[ignore = "needs root"]
fn no_attack_arrives_while_the_rules_are_flushed_on_a_bridge() {
    attacks_on("bridge");
}

#[test]
#[ignore = "needs root"]
fn no_attack_arrives_while_the_rules_are_flushed_on_veths() {
    attacks_on("veth");
}

#[test]
#[ignore = "needs root"]
fn no_attack_arrives_while_the_rules_are_flushed_on_an_overlay() {
    attacks_on("vxlan");
}

/// A bridge that has been told by which port a container is lets nobody else take its place.
fn forget_the_ports(lab: &Lab) {
    for line in lab.host.ok(&["bridge", "fdb", "show"]).lines().filter(|line| line.contains(" static")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [mac, "dev", port, ..] = words[..] else { panic!("{line}") };
        lab.host.ok(&["bridge", "fdb", "del", mac, "dev", port, "master"]);
    }
}

/// The same frames do arrive where the rules are off and the filters too: the attacks are attacks.
#[test]
#[ignore = "needs root"]
fn every_attack_arrives_where_nothing_is_in_its_way() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    let page = fs::read_to_string(page).expect("read the page");
    for driver in ["veth", "bridge", "vxlan"] {
        let lab = Lab::new();
        lab.obey_source_routes();
        let cast = Cast::new(&lab, driver);
        let stage = cast.stage(&lab);
        flush(&lab.host);
        Guards::Rules.alone(&lab, &cast.links());
        forget_the_ports(&lab);
        lab.obey_source_routes();
        lab.host.sysctl("ipv4/conf/eth0/route_localnet", "1");
        no_way_back_is_checked(&lab);
        for outcome in stage.attack(|round| round < 5) {
            assert!(page.contains(&format!("\n| {} |", outcome.class)), "{} is not in {PAGE}", outcome.class);
            if driver == "veth" {
                assert_eq!(outcome.hits == 0, outcome.needs_a_bridge, "{driver}: {outcome:?}");
            } else {
                assert_eq!(outcome.never, [""; 0], "{driver}: {outcome:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn service_returns_with_the_rules() {
    let lab = Lab::new();
    let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "8080:80")]);
    let mate = lab.attach("mate", &[("net.subnet", DUAL)]);
    let (_web, _internet) = (Server::tcp(&web.net, 80, "web"), Server::tcp(&lab.wan, 80, "internet"));
    let published = |host: IpAddr| reaches(&lab.peer, host, 8080, "web");
    published(HOST4);
    flush(&lab.host);
    does_not_reach(&lab.peer, HOST4, 8080);
    does_not_reach(&web.net, INTERNET4, 80);
    // Neighbours need no rule.
    reaches(&mate.net, web.address(false), 80, "web");
    let other = lab.attach("other", &[("net.driver", "bridge")]);
    for host in [HOST4, HOST6] {
        published(host);
    }
    reaches(&web.net, INTERNET4, 80, "internet");
    lab.detach(other);
    let host = ask_tcp(&lab.host, SocketAddr::new(web.address(true), 80), PATIENCE);
    assert_eq!(host.map(|answer| answer.from).as_deref(), Some("web"), "the host reaches its containers");
}
