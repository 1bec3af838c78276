//! A container that moves from one host to another is reached again at once.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use ocinet_tests::lab::{Attached, Capture, Seen, Server, ask_tcp, link_address};

use super::{Overlay, Underlay};

/// A connection whose first packet is lost is tried again only after a second (RFC 6298): it must not be.
const AT_ONCE: Duration = Duration::from_millis(900);

#[track_caller]
fn talks(from: &Attached, to: &Attached, who: &str) {
    for ipv6 in [false, true] {
        let answer = ask_tcp(&from.net, to.at(ipv6, 80), AT_ONCE);
        assert_eq!(answer.map(|answer| answer.from).as_deref(), Some(who), "{} by IPv6 {ipv6}", from.id());
    }
}

/// The container moves from host to host and back, each time with another Ethernet address where there are several;
/// others on its old host, on its new host and on a third have just talked to it.
fn moves(underlay: Underlay, macs: &[&str]) {
    let overlay = Overlay::new(underlay);
    let watchers = [0, 1, 2].map(|host| overlay.attach(host, 20 + u8::try_from(host).unwrap(), &[]));
    let start = |round: usize| {
        let mac = macs[round % macs.len()];
        overlay.attach(round % 2, 10, &[("net.mac", mac)])
    };
    let mut container = start(0);
    let mut server = Server::tcp(&container.net, 80, "round 0");
    for watcher in &watchers {
        talks(watcher, &container, "round 0");
    }
    for round in 1..7 {
        drop(server);
        overlay.hosts()[(round - 1) % 2].detach(container);
        container = start(round);
        let begun = Instant::now();
        let here = format!("round {round}");
        server = Server::tcp(&container.net, 80, &here);
        // The third host's first, which has no part in the move.
        for watcher in [&watchers[2], &watchers[0], &watchers[1]] {
            talks(watcher, &container, &here);
        }
        println!("{underlay:?}, {} addresses: reached by all after {:?}", macs.len(), begun.elapsed());
    }
}

#[test]
#[ignore = "needs root"]
fn a_container_that_moves_is_reached_at_once() {
    for underlay in Underlay::ALL {
        moves(underlay, &[""]);
    }
}

#[test]
#[ignore = "needs root"]
fn a_container_that_moves_with_another_mac_is_reached_at_once() {
    for underlay in Underlay::ALL {
        moves(underlay, &["02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"]);
    }
}

/// Nobody need ask: what the container says of itself goes to every host, by both families.
#[test]
#[ignore = "needs root"]
fn a_new_container_announces_itself_to_every_host() {
    for underlay in Underlay::ALL {
        let overlay = Overlay::new(underlay);
        let watchers = [1, 2].map(|host| overlay.attach(host, 20 + u8::try_from(host).unwrap(), &[]));
        let arrivals = watchers.each_ref().map(|watcher| Capture::new(&watcher.net));
        let moved = overlay.attach(0, 10, &[]);
        let (ipv4, ipv6) = (moved.address(false), moved.address(true));
        let mac = link_address(&moved.net, "eth0");
        for arrivals in &arrivals {
            let claims = |seen: &Seen| seen.arp_claim() == Some((mac, ipv4));
            let earlier = arrivals.wait_for("a gratuitous ARP message", claims);
            let is_told = |seen: &Seen| seen.advertised() == Some(ipv6);
            if !earlier.iter().any(is_told) {
                arrivals.wait_for("an unsolicited neighbour advertisement", is_told);
            }
        }
    }
}

/// What is sent to a container of one family while it moves is lost, and nothing after, although its new host has only
/// just joined the network.
#[test]
#[ignore = "needs root"]
fn a_stream_of_datagrams_follows_a_move() {
    for (underlay, ipv6) in
        Underlay::ALL.into_iter().flat_map(|underlay| [(underlay, false), (underlay, true)])
    {
        let overlay = Overlay::new(underlay);
        let own = ("net.ip", if ipv6 { "fd00:99::10" } else { "10.99.0.10" });
        let watcher = overlay.attach(2, 22, &[]);
        let container = overlay.attach(0, 10, &[own]);
        let any = if ipv6 { "[::]:0" } else { "0.0.0.0:0" };
        let socket = watcher.net.within(|| UdpSocket::bind(any)).unwrap();
        let arrivals = Capture::new(&container.net);
        socket.send_to(b"before", container.at(ipv6, 9)).unwrap();
        arrivals.wait_for("a datagram before the move", |seen| seen.is_udp_to(9));
        drop(arrivals);
        overlay.lab.detach(container);
        let container = overlay.attach(1, 10, &[own]);
        let arrivals = Capture::new(&container.net);
        for number in 0..10_u8 {
            socket.send_to(&[number], container.at(ipv6, 9)).unwrap();
        }
        let is_last = |seen: &Seen| seen.is_udp_to(9) && seen.ends_with(&[9]);
        let seen = arrivals.wait_for("the last datagram after the move", is_last);
        let count = seen.iter().filter(|seen| seen.is_udp_to(9)).count();
        assert_eq!(count, 10, "{underlay:?}, IPv6 {ipv6}");
    }
}
