//! The last container off a host takes the bridge and the tunnel's end with it, and nothing of anybody else's.

use std::fs;
use std::net::IpAddr;
use std::thread::scope;

use ocinet_tests::lab::{Attached, Lab, Runtime, Sandbox, Snapshot, ping, until};

use super::{Overlay, SUBNET, Underlay};
use crate::PATIENCE;
use crate::faults::{every_point_of_a_start, every_point_of_a_stop};
use crate::life::{lives_and_leaves_nothing, used};

/// Everything that a start with this driver does.
const FULL: [(&str, &str); 6] = [
    ("net.driver", "vxlan"),
    ("net.vni", "7"),
    ("net.subnet", SUBNET),
    ("net.ip", "10.99.0.9,fd00:99::9"),
    ("net.peers", "198.51.100.31,198.51.100.32"),
    ("net.ports", "8080:80,127.0.0.1:8081:80"),
];

fn has(lab: &Lab, link: &str) -> bool {
    !lab.host.links_named(link).is_empty()
}

fn of_network_8(overlay: &Overlay, host: usize) -> Attached {
    let address = format!("10.98.0.{},fd00:98::{}", 20 + host, 20 + host);
    let subnet = ("net.subnet", "10.98.0.0/24,fd00:98::/64");
    overlay.attach(host, 20, &[("net.vni", "8"), subnet, ("net.ip", &address)])
}

#[test]
#[ignore = "needs root"]
fn the_last_container_takes_the_links_with_it_and_no_others() {
    for underlay in [Underlay::Peers4, Underlay::Group6] {
        let overlay = Overlay::new(underlay);
        let lab = &overlay.lab;
        used(lab);
        lab.host.batch(
            "link add oc-mine type bridge\nlink set oc-mine address 02:00:00:00:00:70 addrgenmode none up\n\
             link add vx0 type vxlan id 70 dstport 4789 local 198.51.100.10\n\
             link set vx0 addrgenmode none master oc-mine up\n",
        );
        assert!(until(|| lab.host.link("oc-mine").is_up));
        let far = of_network_8(&overlay, 1);
        let before = Snapshot::of(lab);
        let blue = of_network_8(&overlay, 0);
        let with_blue = Snapshot::of(lab);
        let (a, b) = (overlay.attach(0, 10, &[]), overlay.attach(0, 11, &[]));
        lab.detach(a);
        assert!(has(lab, "oc-vxlan-7") && has(lab, "oc-vni7"));
        // A link that the administrator put on the bridge is set free.
        lab.host.batch("link add there0 type veth peer name there1\nlink set there0 master oc-vxlan-7\n");
        lab.detach(b);
        assert!(has(lab, "there0"));
        lab.host.batch("link del there0\n");
        with_blue.assert_is_back(lab, "the last container of one of two networks");
        for ipv6 in [false, true] {
            assert!(ping(&blue.net, far.address(ipv6), PATIENCE), "{underlay:?}");
        }
        lab.detach(blue);
        before.assert_is_back(lab, "the last container of all");
    }
}

#[test]
#[ignore = "needs root"]
fn a_link_that_took_the_place_of_a_tunnels_end_stays() {
    let overlay = Overlay::new(Underlay::Peers4);
    let lab = &overlay.lab;
    let a = overlay.attach(0, 10, &[]);
    lab.host.batch("link del oc-vni7\nlink add oc-vni7 type vxlan id 77 dstport 4777\n");
    lab.detach(a);
    assert_eq!(lab.host.link("oc-vni7").vxlan, Some((77, 4777)));
    assert!(!has(lab, "oc-vxlan-7"));
}

#[test]
#[ignore = "needs root"]
fn an_end_that_is_gone_comes_back_with_the_next_container() {
    for underlay in Underlay::ALL {
        let overlay = Overlay::new(underlay);
        let (a, far) = (overlay.attach(0, 10, &[]), overlay.attach(1, 11, &[]));
        overlay.lab.host.batch("link del oc-vni7\n");
        let b = overlay.attach(0, 12, &[]);
        for from in [&a, &b] {
            for ipv6 in [false, true] {
                assert!(ping(&from.net, far.address(ipv6), PATIENCE), "{underlay:?}, IPv6 {ipv6}");
            }
        }
    }
}

/// The state folder was lost, the links were not: what they were made with before counts no more.
#[test]
#[ignore = "needs root"]
fn a_tunnel_without_its_network_is_not_used_again() {
    let overlay = Overlay::new(Underlay::Peers4);
    let lab = &overlay.lab;
    let named = ("net.network", "n");
    let old = [named, ("net.port", "4790"), ("net.peers", "198.51.100.31,198.51.100.39")];
    let other = [named, ("net.vni", "8"), ("net.peers", "198.51.100.31")];
    for before in [&old[..], &other] {
        let first = overlay.attach(0, 10, before);
        fs::remove_dir_all(lab.state_dir()).unwrap();
        let again = overlay.attach(0, 11, &[named]);
        let far = overlay.attach(1, 12, &[]);
        assert!(ping(&again.net, far.address(false), PATIENCE));
        let tunnels: Vec<_> = lab.host.links_of_kind("vxlan").iter().map(|link| link.vxlan).collect();
        assert_eq!(tunnels, [Some((7, 4789))]);
        let flood = lab.host.ok(&["bridge", "fdb", "show", "dev", "oc-vni7"]);
        let peers = flood.lines().filter(|line| line.starts_with("00:00:00:00:00:00")).count();
        assert!(peers == 2 && !flood.contains("198.51.100.39"), "{flood}");
        overlay.further[0].detach(far);
        // What it is on stays for as long as it lives, whoever else leaves.
        drop(first);
        lab.detach(again);
        assert!(until(|| !has(lab, "oc-")));
    }
}

/// Starts and stops of many, each as soon as it can, so that the last leaves while the next one joins.
fn come_and_go(overlay: &Overlay, containers: u8, rounds: usize) {
    let (key, value) = overlay.reach(0);
    let one = |number: u8| {
        let (id, address) = (format!("n{number}"), format!("10.99.0.{number},fd00:99::{number}"));
        let annotations = [
            ("net.driver", "vxlan"),
            ("net.vni", "7"),
            ("net.subnet", SUBNET),
            ("net.ip", &address),
            (key, &value),
        ];
        for _ in 0..rounds {
            let mut sandbox = Sandbox::new(&id);
            let created = overlay.lab.create(&sandbox, &annotations);
            assert_eq!((created.code, created.stderr.as_str()), (0, ""), "createRuntime of {id}");
            sandbox.end();
            let stopped = overlay.lab.poststop(&id);
            assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""), "poststop of {id}");
        }
    };
    scope(|scope| {
        for number in 0..containers {
            let one = &one;
            scope.spawn(move || one(100 + number));
        }
    });
}

#[test]
#[ignore = "needs root"]
fn twenty_that_come_and_go_leave_nothing() {
    for (underlay, containers, rounds) in [(Underlay::Peers6, 20, 3), (Underlay::Group4, 2, 20)] {
        let overlay = Overlay::new(underlay);
        used(&overlay.lab);
        let before = Snapshot::of(&overlay.lab);
        come_and_go(&overlay, containers, rounds);
        before.assert_is_back(&overlay.lab, "many starts and stops at once");
    }
}

#[test]
#[ignore = "needs root"]
fn twenty_that_come_and_go_leave_what_lives() {
    let overlay = Overlay::new(Underlay::Peers4);
    used(&overlay.lab);
    let far = overlay.attach(1, 11, &[]);
    let lives = overlay.attach(0, 10, &[]);
    let before = Snapshot::of(&overlay.lab);
    come_and_go(&overlay, 20, 3);
    before.assert_is_back(&overlay.lab, "many starts and stops at once");
    for ipv6 in [false, true] {
        assert!(ping(&lives.net, far.address(ipv6), PATIENCE));
        assert!(ping(&far.net, lives.address(ipv6), PATIENCE));
    }
}

/// Two that are new at the same moment agree on one tunnel, also where the next network of that name is another.
#[test]
#[ignore = "needs root"]
fn twenty_at_once_are_on_one_tunnel() {
    let overlay = Overlay::new(Underlay::Peers4);
    let far = overlay.attach(1, 11, &[]);
    let mut containers: Vec<Attached> = Vec::new();
    scope(|scope| {
        let starts: Vec<_> = (100..120)
            .map(|number| {
                scope.spawn({
                    let overlay = &overlay;
                    move || overlay.attach(0, number, &[])
                })
            })
            .collect();
        containers.extend(starts.into_iter().map(|start| start.join().unwrap()));
    });
    for container in &containers {
        for ipv6 in [false, true] {
            let to: IpAddr = container.address(ipv6);
            assert!(ping(&far.net, to, PATIENCE), "{to}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn an_overlay_start_killed_at_every_step() {
    every_point_of_a_start("signal=SIGKILL", false, &FULL);
}

#[test]
#[ignore = "needs root"]
fn an_overlay_start_that_fails_at_every_step() {
    every_point_of_a_start("error=ENOBUFS", true, &FULL);
}

#[test]
#[ignore = "needs root"]
fn an_overlay_stop_killed_at_every_step() {
    every_point_of_a_stop(false, &FULL);
}

#[test]
#[ignore = "needs root"]
fn overlay_containers_of_every_runtime_live_and_leave_nothing() {
    for runtime in Runtime::ALL {
        lives_and_leaves_nothing(runtime, &FULL);
    }
}
