//! `net.rate-in` and `net.rate-out`, measured with iperf3.

use std::net::IpAddr;

use ocinet_tests::lab::{Lab, Netns, PEER6, Sandbox, Server, Snapshot, full_size_ping, iperf, until};

use crate::conflict::refused_as_it_is as refused;
use crate::faults::{every_point_of_a_start, every_point_of_a_stop};
use crate::life::used;
use crate::options::{Asked, BRIDGE, ROUTED, VETH, VXLAN, far, with};
use crate::reach::reaches;

const MBIT: f64 = 1e6;
const LIMITED: Asked = &[("net.rate-in", "20mbit"), ("net.rate-out", "40mbit")];
/// How long a measurement takes, in seconds: the first bytes, which find the bucket full, must not count for much.
const SECONDS: u32 = 3;

/// The bits per second that a container receives from `other`, and sends to it.
fn both_ways(container: &Netns, other: &Netns, at: IpAddr) -> [f64; 2] {
    [false, true].map(|reverse| iperf(container, other, at, SECONDS, reverse))
}

/// A rate never exceeds its limit by more than a tenth. That it comes up to it takes a processor that has the time: of
/// three measurements, one is enough.
#[track_caller]
fn within_a_tenth(wanted: f64, measure: impl Fn() -> f64) {
    let mut shares = Vec::new();
    while shares.len() < 3 {
        let share = measure() / wanted;
        println!("{:.2} Mbit/s of {:.0}", share * wanted / MBIT, wanted / MBIT);
        assert!(share <= 1.1, "{share:.3} of {:.0} Mbit/s", wanted / MBIT);
        if share >= 0.9 {
            return;
        }
        shares.push(share);
    }
    panic!("{shares:.3?} of {:.0} Mbit/s", wanted / MBIT);
}

/// What a container that is [`LIMITED`] receives from `other`, and sends to it, is what it may.
#[track_caller]
fn both_are_limited(container: &Netns, other: &Netns, at: IpAddr) {
    within_a_tenth(20.0 * MBIT, || iperf(container, other, at, SECONDS, false));
    within_a_tenth(40.0 * MBIT, || iperf(container, other, at, SECONDS, true));
}

/// A container with limits, and beside it one without.
fn holds(asked: Asked) {
    let lab = Lab::new();
    let (web, free) = (lab.attach("web", &with(asked, LIMITED)), lab.attach("free", asked));
    for ipv6 in [false, true] {
        both_are_limited(&web.net, &lab.host, web.address(ipv6));
    }
    // Its neighbour sends to it no faster than it receives, and another is not held up.
    within_a_tenth(20.0 * MBIT, || iperf(&web.net, &free.net, web.address(false), SECONDS, false));
    let fast = both_ways(&free.net, &lab.host, free.address(false));
    assert!(fast.iter().all(|rate| *rate > 200.0 * MBIT), "without a limit: {fast:?}");
}

#[test]
#[ignore = "needs root"]
fn the_rates_of_a_bridge_container_hold() {
    holds(BRIDGE);
}

#[test]
#[ignore = "needs root"]
fn the_rates_of_a_veth_container_hold() {
    holds(VETH);
}

#[test]
#[ignore = "needs root"]
fn the_rates_of_a_vxlan_container_hold() {
    holds(VXLAN);
}

#[test]
#[ignore = "needs root"]
fn rates_hold_through_a_tunnel() {
    let lab = Lab::new();
    let one = lab.another_host(1);
    let far = far(&one);
    let (web, free) = (lab.attach("web", &with(VXLAN, LIMITED)), lab.attach("free", VXLAN));
    both_are_limited(&web.net, &far.net, web.address(true));
    let fast = both_ways(&free.net, &far.net, free.address(true));
    assert!(fast.iter().all(|rate| *rate > 100.0 * MBIT), "without a limit: {fast:?}");
}

/// One limit alone is one direction's, whatever the other does.
#[test]
#[ignore = "needs root"]
fn a_limit_of_one_direction_leaves_the_other_alone() {
    let lab = Lab::new();
    for asked in [BRIDGE, VETH] {
        let receives = lab.attach("receives", &with(asked, &[("net.rate-in", "20mbit")]));
        let at = receives.address(false);
        within_a_tenth(20.0 * MBIT, || iperf(&receives.net, &lab.host, at, SECONDS, false));
        let fast = iperf(&receives.net, &lab.host, at, SECONDS, true);
        assert!(fast > 200.0 * MBIT, "{fast}");
        let sends = lab.attach("sends", &with(asked, &[("net.rate-out", "20mbit")]));
        let at = sends.address(false);
        within_a_tenth(20.0 * MBIT, || iperf(&sends.net, &lab.host, at, SECONDS, true));
        let fast = iperf(&sends.net, &lab.host, at, SECONDS, false);
        assert!(fast > 200.0 * MBIT, "{fast}");
        lab.detach(receives);
        lab.detach(sends);
    }
}

/// What is sent through a published port is limited as any other, and so is what leaves with another address.
#[test]
#[ignore = "needs root"]
fn rates_hold_for_published_ports_and_with_a_small_mtu() {
    let lab = Lab::new();
    let more: Asked = &[("net.ports", "5201:5201"), ("net.mtu", "1280"), ("net.snat", "198.51.100.12")];
    let web = lab.attach("web", &[BRIDGE, LIMITED, more].concat());
    both_are_limited(&web.net, &lab.peer, lab.address(false));
    // Asked for by the container: the peer serves.
    within_a_tenth(40.0 * MBIT, || iperf(&lab.peer, &web.net, PEER6, SECONDS, false));
}

/// `ocinet reload` puts filters back that are missing, and none that leads around the queue.
#[test]
#[ignore = "needs root"]
fn a_rate_is_kept_after_a_reload() {
    let lab = Lab::new();
    for asked in [BRIDGE, VXLAN] {
        let sends = lab.attach("sends", &with(asked, &[("net.rate-out", "20mbit")]));
        assert_eq!(lab.run(&["reload"], "").code, 0);
        within_a_tenth(20.0 * MBIT, || iperf(&lab.peer, &sends.net, PEER6, SECONDS, false));
        lab.detach(sends);
    }
}

fn has_shaper(lab: &Lab) -> bool {
    !lab.host.links_of_kind("ifb").is_empty()
}

#[test]
#[ignore = "needs root"]
fn the_shaper_goes_with_its_container() {
    for asked in ROUTED {
        let lab = Lab::new();
        used(&lab);
        let before = Snapshot::of(&lab);
        let web = lab.attach("web", &with(asked, LIMITED));
        assert!(has_shaper(&lab));
        lab.detach(web);
        before.assert_is_back(&lab, "a stop");
        let web = lab.attach("web", &with(asked, LIMITED));
        let pinned = web.net.pin();
        lab.detach(web);
        before.assert_is_back(&lab, "a stop with a pinned namespace");
        drop(pinned);
        // One that ended without a poststop hook is swept by the next start.
        let mut dead = lab.attach("dead", &with(asked, LIMITED));
        drop(dead.net);
        dead.sandbox.end();
        let next = lab.attach("next", asked);
        assert!(!has_shaper(&lab), "{asked:?}");
        lab.detach(next);
        before.assert_is_back(&lab, "a sweep");
    }
}

/// With every option that the host keeps something for.
const MANY: Asked =
    &[("net.mtu", "1300"), ("net.snat", "198.51.100.12"), ("net.sysctl", "net.core.somaxconn=9")];

#[test]
#[ignore = "needs root"]
fn a_start_with_rates_killed_at_every_step() {
    every_point_of_a_start("signal=SIGKILL", true, &[BRIDGE, LIMITED, MANY].concat());
}

#[test]
#[ignore = "needs root"]
fn a_stop_with_rates_killed_at_every_step() {
    every_point_of_a_stop(true, &[BRIDGE, LIMITED, MANY].concat());
}

#[test]
#[ignore = "needs root"]
fn a_start_with_rates_that_fails_at_every_step() {
    every_point_of_a_start("error=ENOBUFS", true, &with(VETH, LIMITED));
}

/// A slow link and a large packet, a fast one and a small packet: packets pass, and no limit is refused by the kernel.
#[test]
#[ignore = "needs root"]
fn the_extremes_of_a_rate() {
    let lab = Lab::new();
    for asked in [BRIDGE, VETH] {
        let ipv4: Asked = &[("net.network", "n"), ("net.subnet", "10.95.0.0/24")];
        let asked = [&asked[..1], ipv4].concat();
        for rate in ["16kbit", "400gbit", "16000", "1gbit"] {
            for mtu in ["68", "576", "65535"] {
                let web = [("net.rate-in", rate), ("net.rate-out", rate), ("net.mtu", mtu)];
                let web = lab.attach("web", &[&asked[..], &web].concat());
                let gateway = "10.95.0.1".parse().unwrap();
                // 68 bytes: the least MTU. The first question for the gateway may be lost.
                assert!(until(|| full_size_ping(&web.net, gateway, 40)), "{rate}, {mtu}");
                lab.detach(web);
            }
        }
    }
    assert!(until(|| lab.host.links_named("oc-").is_empty()));
    for rate in ["15999", "401gbit", "20Mbit", "-1mbit", "1.5mbit", "20 mbit", "mbit", "99999999999999999999"]
    {
        for key in ["net.rate-in", "net.rate-out"] {
            refused(
                &lab,
                &[BRIDGE[0], (key, rate)],
                3,
                &format!("{key}: \"{rate}\" is not a rate from 16kbit to 400gbit"),
            );
        }
    }
    let macvlan = [("net.driver", "macvlan"), ("net.ip", "198.51.100.60"), ("net.rate-in", "1mbit")];
    refused(&lab, &macvlan, 3, "net.rate-in: the driver macvlan does not support it");
}

/// Two limited containers of one network: no shaper is another's.
#[test]
#[ignore = "needs root"]
fn shapers_of_several_containers_are_apart() {
    let lab = Lab::new();
    let annotations = with(BRIDGE, LIMITED);
    let first = lab.attach("first", &annotations);
    let second = lab.attach("second", &annotations);
    assert_eq!(lab.host.links_of_kind("ifb").len(), 2);
    lab.detach(first);
    within_a_tenth(40.0 * MBIT, || iperf(&second.net, &lab.host, second.address(false), SECONDS, true));
    let again = Sandbox::new("first");
    assert!(until(|| lab.create(&again, &annotations).code == 0));
    let _server = Server::tcp(&second.net, 80, "second");
    reaches(&again.net(), second.address(true), 80, "second");
    assert_eq!(lab.host.links_of_kind("ifb").len(), 2);
}
