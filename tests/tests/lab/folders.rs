//! A state folder that somebody emptied, and several on one host: what a living container uses stays, whoever else starts and
//! stops, and nobody is given what it has.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ocinet_tests::lab::{
    Attached, DUAL, Finished, HOST4, HOST6, INTERNET4, INTERNET6, Lab, Link, Sandbox, Server, ask_tcp, until,
};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::forwarding::forwards;
use crate::reach::{does_not_reach, reaches};

/// Networks of every kind that has something on the host; all but the last are routed.
const KINDS: [&[(&str, &str)]; 5] = [
    &[("net.subnet", DUAL)],
    &[("net.driver", "veth"), ("net.network", "v"), ("net.subnet", "10.97.0.0/24,fd00:97::/64")],
    &[
        ("net.driver", "vxlan"),
        ("net.vni", "7"),
        ("net.subnet", "10.98.0.0/24"),
        ("net.ip-range", "10.98.0.0/24"),
    ],
    // Smaller packets than its network's make the host a route to each container.
    &[("net.network", "m"), ("net.subnet", "10.99.0.0/24"), ("net.mtu", "1400")],
    &[
        ("net.driver", "macvlan"),
        ("net.parent", "eth0"),
        ("net.subnet", "198.51.100.0/24"),
        ("net.ip-range", "198.51.100.64/28"),
        ("net.host-access", "true"),
    ],
];
/// The number of the kind that has a tunnel.
const OVERLAY: usize = 2;
/// The number of the kind that is on the LAN itself.
const LAN: usize = 4;

/// The port of the host that leads to a kind's first container.
fn port(kind: usize) -> u16 {
    8080 + u16::try_from(kind).unwrap()
}

fn first_of(lab: &Lab, kind: usize) -> Attached {
    let ports = format!("{}:80", port(kind));
    let mut annotations = KINDS[kind].to_vec();
    annotations.extend((kind != LAN).then_some(("net.ports", ports.as_str())));
    lab.attach(&format!("a{kind}"), &annotations)
}

fn empty(lab: &Lab) {
    for entry in fs::read_dir(lab.state_dir()).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

/// It is reached from the LAN and from the host, and reaches the internet.
#[track_caller]
fn lives(lab: &Lab, kind: usize, of: &Attached) {
    let _server = Server::tcp(&of.net, 80, of.id());
    let at = if kind == LAN { of.at(false, 80) } else { SocketAddr::new(HOST4, port(kind)) };
    for from in [&lab.peer, &lab.host] {
        let answer = ask_tcp(from, at, PATIENCE);
        assert_eq!(answer.map(|answer| answer.from).as_deref(), Some(of.id()), "{at}");
    }
    if kind != LAN {
        reaches(&of.net, INTERNET4, 80, "internet");
    }
    if kind < 2 {
        reaches(&of.net, INTERNET6, 80, "internet");
    }
    if kind == OVERLAY {
        // There is nobody at the other end to ask.
        assert_eq!(lab.host.link("oc-vni7").kind, "vxlan");
        lab.host.ok(&["nft", "get element bridge ocinet tunnels { oc-vni7 }"]);
        let overlays = lab.host.elements("set inet ocinet overlays");
        assert!(overlays.iter().any(|overlay| overlay.key[0] == "4789"), "{overlays:?}");
    }
}

/// A second state folder of the same host.
struct Folder<'a> {
    lab: &'a Lab,
    path: PathBuf,
}

impl<'a> Folder<'a> {
    fn new(lab: &'a Lab) -> Self {
        Self { lab, path: lab.dir().join("second") }
    }

    fn run(&self, arguments: &[&str], input: &str) -> Finished {
        self.lab.run(&[&["--state-dir", self.path.to_str().unwrap()], arguments].concat(), input)
    }

    fn create(&self, sandbox: &Sandbox, annotations: &[(&str, &str)]) -> Finished {
        self.run(&["createRuntime"], &self.lab.state_of(sandbox, annotations))
    }

    #[track_caller]
    fn attach(&self, id: &str, annotations: &[(&str, &str)]) -> Sandbox {
        let sandbox = Sandbox::new(id);
        let created = self.create(&sandbox, annotations);
        assert_eq!((created.code, created.stderr.as_str()), (0, ""), "createRuntime of {id}");
        sandbox
    }

    #[track_caller]
    fn detach(&self, id: &str, mut sandbox: Sandbox) {
        sandbox.end();
        let state = json!({"ociVersion": "1.0.2-dev", "id": id, "status": "stopped"}).to_string();
        let stopped = self.run(&["poststop"], &state);
        assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""), "poststop of {id}");
    }

    fn addresses(&self, id: &str) -> Vec<IpAddr> {
        let text = fs::read_to_string(self.path.join(format!("containers/{id}.json"))).unwrap();
        let record: Value = serde_json::from_str(&text).unwrap();
        ocinet_tests::lab::addresses(&record)
    }
}

#[test]
#[ignore = "needs root"]
fn a_newcomers_stop_after_the_folder_was_emptied_cuts_nobody_off() {
    let lab = Lab::new();
    let _internet = Server::tcp(&lab.wan, 80, "internet");
    let first: Vec<Attached> = (0..KINDS.len()).map(|kind| first_of(&lab, kind)).collect();
    let mate = Sandbox::beside("mate", &first[0].net);
    let shared = lab.create(&mate, KINDS[0]);
    assert_eq!((shared.code, shared.stderr.as_str()), (0, ""));
    empty(&lab);
    for (kind, annotations) in KINDS.iter().enumerate() {
        let newcomer = lab.attach("b", annotations);
        lives(&lab, kind, &first[kind]);
        lab.detach(newcomer);
        lives(&lab, kind, &first[kind]);
        // One that is refused takes nothing away either.
        if kind != LAN {
            let ports = format!("{}:80", port(kind));
            let refused = Sandbox::new("c");
            let said = lab.create(&refused, &[annotations, &[("net.ports", ports.as_str())][..]].concat());
            assert_eq!(said.code, 4, "{}", said.stderr);
            lives(&lab, kind, &first[kind]);
        }
    }
    for (kind, first) in first.iter().enumerate() {
        lives(&lab, kind, first);
    }
    // The pod's other container is still there after its first: it has the namespace.
    let Attached { mut sandbox, net, .. } = first.into_iter().next().unwrap();
    sandbox.end();
    let newcomer = lab.attach("d", KINDS[0]);
    lab.detach(newcomer);
    let _server = Server::tcp(&net, 80, "mate");
    reaches(&lab.peer, HOST4, port(0), "mate");
    reaches(&net, INTERNET4, 80, "internet");
}

/// Once everything has ended, what is left goes with `ocinet gc`.
#[test]
#[ignore = "needs root"]
fn what_was_left_to_the_living_goes_with_them() {
    let lab = Lab::new();
    let first: Vec<Attached> = (0..KINDS.len()).map(|kind| first_of(&lab, kind)).collect();
    empty(&lab);
    for annotations in KINDS {
        let newcomer = lab.attach("b", annotations);
        lab.detach(newcomer);
    }
    for Attached { mut sandbox, net, .. } in first {
        drop(net);
        sandbox.end();
    }
    let is_gone = || {
        assert_eq!(lab.run(&["gc"], "").code, 0);
        lab.host.links_named("oc").is_empty()
    };
    assert!(until(is_gone), "{:?}", lab.host.links());
    let rules = lab.host.ok(&["nft", "list", "ruleset"]);
    assert!(!rules.contains("10.9") && !rules.contains("0x6f"), "{rules}");
}

#[test]
#[ignore = "needs root"]
fn two_folders_on_one_network_do_not_take_it_from_each_other() {
    for second_first in [false, true] {
        let lab = Lab::new();
        let _internet = Server::tcp(&lab.wan, 80, "internet");
        let second = Folder::new(&lab);
        for (kind, annotations) in KINDS.iter().enumerate() {
            let one = first_of(&lab, kind);
            let other = second.attach("other", &[annotations, &[("net.ifname", "eth0")][..]].concat());
            lives(&lab, kind, &one);
            if second_first {
                second.detach("other", other);
                lives(&lab, kind, &one);
                lab.detach(one);
            } else {
                lab.detach(one);
                let net = other.net();
                if kind != LAN {
                    reaches(&net, INTERNET4, 80, "internet");
                }
                drop(net);
                second.detach("other", other);
            }
        }
        let is_left =
            |link: &Link| link.name == "ocinet0" || link.kind == "vxlan" || link.name.contains("vxlan");
        assert!(!lab.host.links().iter().any(is_left), "{:?}", lab.host.links());
    }
}

/// Both folders' containers have one id, by which the first address to try is chosen.
#[test]
#[ignore = "needs root"]
fn an_address_of_a_living_container_is_given_to_nobody_else() {
    let lab = Lab::new();
    let _internet = Server::tcp(&lab.wan, 80, "internet");
    let second = Folder::new(&lab);
    for (kind, annotations) in KINDS.iter().enumerate().take(LAN) {
        let one = first_of(&lab, kind);
        let other = second.attach(one.id(), annotations);
        let has = one.address(false);
        let got = second.addresses(one.id());
        assert!(!got.contains(&has), "{has} {got:?}");
        if kind < 2 {
            assert!(!got.contains(&one.address(true)), "{got:?}");
        }
        lives(&lab, kind, &one);
        reaches(&other.net(), INTERNET4, 80, "internet");
        // A connection that is open goes on beside a start that is refused.
        let from = format!("src={has} ");
        let counted = || lab.host.ok(&["cat", "/proc/net/nf_conntrack"]).matches(&from).count();
        let before = counted();
        assert!(before > 0);
        let refused = Sandbox::new("named");
        let text = has.to_string();
        let named = [annotations, &[("net.ip", text.as_str())][..]].concat();
        let named: Vec<(&str, &str)> = named.into_iter().filter(|(key, _)| *key != "net.ip-range").collect();
        let said = second.create(&refused, &named);
        assert_eq!((said.code, said.stderr.lines().count()), (4, 1), "{}", said.stderr);
        let expected = format!(
            "container {} uses it, and this state folder has no lease of that container for it",
            one.id()
        );
        assert!(said.stderr.contains(&expected) && said.stderr.contains("; hint: "), "{}", said.stderr);
        assert_eq!(counted(), before);
        lives(&lab, kind, &one);
        second.detach(one.id(), other);
        lives(&lab, kind, &one);
        lab.detach(one);
    }
}

/// What is left of a container that ended without a poststop, and without its record, keeps its address from nobody.
#[test]
#[ignore = "needs root"]
fn an_address_of_a_dead_container_without_a_record_is_free() {
    let lab = Lab::new();
    let _internet = Server::tcp(&lab.wan, 80, "internet");
    let asked = [("net.subnet", DUAL), ("net.ip", "10.90.0.7,fd00:90::7"), ("net.ports", "8080:80")];
    let Attached { mut sandbox, net, .. } = lab.attach("dead", &asked[..2]);
    drop(net);
    sandbox.end();
    assert!(until(|| lab.host.links_named("oc-").is_empty()));
    empty(&lab);
    let next = lab.attach("next", &asked);
    lives(&lab, 0, &next);
    lab.detach(next);
}

#[test]
#[ignore = "needs root"]
fn forwarding_stays_on_for_another_folders_containers() {
    for (subnet, left) in [("10.95.0.0/24,fd00:95::/64", ["1", "1"]), ("10.95.0.0/24", ["1", "0"])] {
        for driver in ["bridge", "veth"] {
            let lab = Lab::new();
            let _internet = Server::tcp(&lab.wan, 80, "internet");
            lab.peer
                .batch(&format!("route add {INTERNET4} via {HOST4}\nroute add {INTERNET6} via {HOST6}\n"));
            let second = Folder::new(&lab);
            let v =
                [("net.driver", "veth"), ("net.network", "one"), ("net.subnet", "10.94.0.0/24,fd00:94::/64")];
            let one = lab.attach("one", &v);
            assert_eq!(forwards(&lab), ["1", "1"]);
            let two = [
                ("net.driver", driver),
                ("net.network", "two"),
                ("net.subnet", subnet),
                ("net.ports", "8080:80"),
            ];
            let other = second.attach("other", &two);
            let net = other.net();
            let _server = Server::tcp(&net, 80, "other");
            lab.detach(one);
            let is_well = || {
                assert_eq!(forwards(&lab), left);
                reaches(&lab.peer, HOST4, 8080, "other");
                reaches(&net, INTERNET4, 80, "internet");
                if left[1] == "1" {
                    reaches(&net, INTERNET6, 80, "internet");
                }
                // The host was no router before.
                does_not_reach(&lab.peer, INTERNET4, 80);
            };
            is_well();
            let doctor = lab.run(&["doctor"], "");
            assert_eq!(doctor.stdout.lines().last(), Some("nothing is wrong"), "{}", doctor.stdout);
            for command in ["gc", "reload"] {
                assert_eq!(lab.run(&[command], "").code, 0);
                assert_eq!(second.run(&[command], "").code, 0);
                is_well();
            }
            // Another of the first folder comes and goes.
            let again = lab.attach("again", &v);
            lab.detach(again);
            is_well();
            drop(_server);
            drop(net);
            second.detach("other", other);
            // It is the first folder's to give back.
            assert_eq!(second.run(&["gc"], "").ok(), "");
            assert_eq!(forwards(&lab), left);
            does_not_reach(&lab.peer, INTERNET4, 80);
            assert!(lab.run(&["gc"], "").ok().contains("forwarding"));
            assert_eq!(forwards(&lab), ["0", "0"]);
        }
    }
}
