//! Several machines on one LAN, and what the lab measures between them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ocinet_tests::lab::{
    Attached, Capture, DUAL, Host, INTERNET4, Lab, Seen, Snapshot, full_size_ping, iperf, ping, transfer,
};

use crate::{PATIENCE, SILENCE};

/// Of an Ethernet header and a packet of the LAN's MTU.
const LONGEST: usize = 1514;

const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 99));

fn web(host: &Host, id: &str) -> Attached {
    host.attach(id, &[("net.subnet", DUAL), ("net.ports", "8080:8080")])
}

#[test]
#[ignore = "needs root"]
fn each_with_its_own_state_on_one_lan() {
    let lab = Lab::new();
    let (one, two) = (lab.another_host(1), lab.another_host(2));
    // The same id, and so the same addresses: what is one host's is not known to another.
    let web0 = web(&lab, "web");
    let before = Snapshot::of(&lab);
    let webs = [web0, web(&one, "web"), web(&two, "web")];
    assert_eq!(webs[0].address(false), webs[2].address(false));
    for ipv6 in [false, true] {
        for (web, to) in [(&webs[0], &one), (&webs[1], &two), (&webs[2], &*lab)] {
            assert!(ping(&web.net, to.address(ipv6), PATIENCE));
            assert!(ping(&to.net, lab.address(ipv6), PATIENCE));
        }
    }
    assert!(ping(&webs[1].net, INTERNET4, PATIENCE));
    assert!(!ping(&webs[1].net, NOBODY, SILENCE));
    let [web0, web1, web2] = webs;
    for (host, web) in [(&one, web1), (&two, web2)] {
        assert!(host.record("web").is_some());
        host.detach(web);
        assert!(host.record("web").is_none());
    }
    before.assert_is_back(&lab, "containers on other hosts");
    lab.detach(web0);
}

#[test]
#[ignore = "needs root"]
fn full_size_packets_and_nothing_larger() {
    let lab = Lab::new();
    let (one, two) = (lab.another_host(1), lab.another_host(2));
    let web = web(&two, "web");
    for (ipv6, headers) in [(false, 28), (true, 48)] {
        let to = two.address(ipv6);
        assert!(full_size_ping(&one.net, to, 1500 - headers));
        assert!(!full_size_ping(&one.net, to, 1501 - headers), "more than the link's MTU");
        let arrivals = Capture::new(&web.net);
        let took = transfer(&web.net, &one.net, SocketAddr::new(to, 8080), 300_000);
        assert!(took.is_some(), "{to}");
        let longest = arrivals.drain().iter().map(Seen::length).max();
        assert_eq!(longest, Some(LONGEST), "whole segments, one by one");
    }
}

#[test]
#[ignore = "needs root"]
fn a_wire_that_swallows_full_size_packets() {
    let lab = Lab::new();
    let (one, two) = (lab.another_host(1), lab.another_host(2));
    lab.switch.batch("link set host2 mtu 1400\n");
    for (ipv6, headers) in [(false, 28), (true, 48)] {
        let to = two.address(ipv6);
        assert!(full_size_ping(&one.net, to, 1400 - headers));
        assert!(!full_size_ping(&one.net, to, 1500 - headers));
        assert!(transfer(&two.net, &one.net, SocketAddr::new(to, 8080), 1_000).is_some());
        assert_eq!(transfer(&two.net, &one.net, SocketAddr::new(to, 8080), 100_000), None);
    }
}

#[test]
#[ignore = "needs root"]
fn throughput_both_ways() {
    let lab = Lab::new();
    let two = lab.another_host(2);
    for (ipv6, reverse) in [(false, false), (true, true)] {
        let rate = iperf(&two.net, &lab.host, two.address(ipv6), 1, reverse);
        assert!(rate > 1e7, "{rate}");
    }
}
