//! Addresses that somebody on the LAN has already: they are asked for before a container says that they are its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ocinet_tests::lab::{
    Capture, Endpoint, Frame, Lab, Netns, PEER4, PEER6, Server, Wire, ask_tcp, link_address, until,
};

use crate::PATIENCE;
use crate::conflict::refused_as_it_is as refused;
use crate::ipvlan::kernel_has_ipvlan;
use crate::life::used;
use crate::macvlan::faults::thirty_in_a_row;
use crate::macvlan::{IP, RANGE, on_lan, second_link, text, with};
use crate::reach::reaches;

/// The peer still gets what is for it, and nobody has learned another Ethernet address for it.
#[track_caller]
fn peer_is_reached(lab: &Lab) {
    let server = Server::tcp(&lab.peer, 80, "peer");
    for peer in [PEER4, PEER6] {
        assert_eq!(
            ask_tcp(&lab.wan, SocketAddr::new(peer, 80), PATIENCE).map(|one| one.from).as_deref(),
            Some("peer")
        );
        reaches(&lab.host, peer, 80, "peer");
    }
    assert_eq!(server.clients().len(), 4);
}

#[test]
#[ignore = "needs root"]
fn a_living_machines_address_is_not_taken() {
    let lab = Lab::new();
    used(&lab);
    second_link(&lab, &["198.51.100.13/24", "2001:db8:1::13/64"]);
    let peer = text(link_address(&lab.peer, "eth0"));
    peer_is_reached(&lab);
    for (ip, taken) in [
        (PEER4.to_string(), PEER4),
        (PEER6.to_string(), PEER6),
        (format!("198.51.100.50,{PEER6}"), PEER6),
        (format!("{PEER4},2001:db8:1::50"), PEER4),
    ] {
        for (parent, mode) in
            [("eth0", "bridge"), ("eth0", "private"), ("eth0", "vepa"), ("eth1", "passthru")]
        {
            let asked = with(&[("net.parent", parent), ("net.mode", mode), ("net.ip", &ip)]);
            let says = format!(
                "cannot use {taken} on {parent}: a machine of its LAN with the Ethernet address {peer} has it"
            );
            refused(&lab, &asked, 4, &says);
        }
    }
    // By an Ethernet address of the container's own choice it is no less taken.
    let ip = PEER4.to_string();
    refused(&lab, &with(&[("net.ip", &ip), ("net.mac", "02:00:5e:10:00:07")]), 4, "has it");
    peer_is_reached(&lab);
    let _web = on_lan(&lab, "web", &[("net.ip", IP)]);
}

/// With `net.host-access` the host is to have an address of the range, too: the last.
#[test]
#[ignore = "needs root"]
fn a_living_machines_address_is_not_taken_for_the_host() {
    const RANGES: &str = "198.51.100.64/27,2001:db8:1::6400/120";
    let (last4, last6) = ("198.51.100.95", "2001:db8:1::64ff");
    let (here, there) = (Lab::new(), Lab::new());
    for (lab, ranges, own) in [(&here, "198.51.100.64/27", last4), (&there, RANGES, last6)] {
        used(lab);
        let (length, nodad) = if own.contains(':') { (64, "nodad") } else { (24, "") };
        let change = |verb: &str| lab.peer.batch(&format!("addr {verb} {own}/{length} dev eth0 {nodad}\n"));
        change("add");
        let own: IpAddr = own.parse().unwrap();
        let server = Server::tcp(&lab.peer, 80, "peer");
        reaches(&lab.host, own, 80, "peer");
        let peer = text(link_address(&lab.peer, "eth0"));
        let says = format!(
            "cannot use {own} on eth0 for the host: a machine of its LAN with the Ethernet address {peer} has it"
        );
        let asked = with(&[("net.ip-range", ranges), ("net.host-access", "true")]);
        refused(lab, &asked, 4, &says);
        reaches(&lab.host, own, 80, "peer");
        assert_eq!(server.clients().len(), 2);
        // Without the host, nobody asks for that address; and a machine that has gone has none.
        lab.detach(on_lan(lab, "alone", &[("net.ip-range", ranges)]));
        lab.peer.batch(&format!("addr del {own}/{length} dev eth0\n"));
        let web = lab.attach("web", &asked);
        let _server = Server::tcp(&web.net, 80, "web");
        let answer = ask_tcp(&lab.host, web.at(own.is_ipv6(), 80), PATIENCE).expect("an answer");
        assert_eq!((answer.from.as_str(), answer.seen_as), ("web", own));
        // The host has its address already: a second container is none of that machine's business.
        change("add");
        let _next = lab.attach("next", &asked);
    }
}

/// The question leaves nobody's neighbour cache changed, and a free address is announced as ever.
#[test]
#[ignore = "needs root"]
fn the_question_claims_nothing() {
    let lab = Lab::new();
    let heard = Capture::new(&lab.peer);
    let web = on_lan(&lab, "web", &[("net.ip", IP)]);
    for ipv6 in [false, true] {
        let own = web.address(ipv6);
        let _ = heard.wait_for("the container's announcement", |seen| {
            seen.arp_claim().is_some_and(|(_, address)| address == own) || seen.advertised() == Some(own)
        });
    }
    let host = text(link_address(&lab.host, "eth0"));
    for net in [&lab.peer, &lab.wan] {
        let known = net.ok(&["ip", "neighbour"]);
        let wrong = known.lines().any(|line| line.starts_with("198.51.100.50 ") && line.contains(&host));
        assert!(!wrong, "{known}");
    }
}

/// Whoever goes on talking on the LAN, rightly or not, does not keep a start waiting.
#[test]
#[ignore = "needs root"]
fn a_start_does_not_wait_for_a_lan_that_is_never_silent() {
    let lab = Lab::new();
    let peer = link_address(&lab.peer, "eth0");
    // An announcement of ARP, and one whose lengths are no Ethernet's.
    let claim = Frame::new(Endpoint::new(peer, PEER4, 0), Endpoint::new([0xff; 6], PEER4, 0)).arp(1, peer);
    let mut odd = claim.clone();
    odd[18] = 0;
    for (what, frame) in [("announcements", &claim), ("odd frames", &odd)] {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            // Two, so that the link is not silent where one of them has to wait for a processor.
            for _ in 0..2 {
                scope.spawn(|| {
                    let wire = Wire::of(&lab.peer, "eth0");
                    while !over.load(Ordering::Relaxed) {
                        wire.send(frame);
                        thread::sleep(Duration::from_micros(100));
                    }
                });
            }
            let began = Instant::now();
            let web = on_lan(&lab, "web", &[("net.ip", IP)]);
            let took = began.elapsed();
            over.store(true, Ordering::Relaxed);
            assert!(took < PATIENCE, "{what}: {took:?}");
            lab.detach(web);
        });
    }
}

/// An ipvlan, and a macvlan in mode passthru, has the Ethernet address of its parent, and that of a container that has ended
/// is there until the kernel removes it.
#[test]
#[ignore = "needs root"]
fn a_link_of_this_host_that_goes_has_no_address() {
    const STAYS: Duration = Duration::from_millis(500);
    let kinds = ["macvlan mode passthru", "ipvlan mode l2"];
    for kind in kinds.into_iter().filter(|kind| !kind.starts_with("ipvlan") || kernel_has_ipvlan()) {
        let lab = Lab::new();
        used(&lab);
        second_link(&lab, &["198.51.100.13/24", "2001:db8:1::13/64"]);
        let ended = Netns::new();
        lab.host.batch(&format!("link add link eth1 name last netns {} type {kind}\n", ended.path()));
        ended.sysctl("ipv6/conf/last/accept_dad", "0");
        ended.batch(
            "addr add 198.51.100.50/24 dev last\naddr add 2001:db8:1::50/64 dev last\nlink set last up\n",
        );
        for own in [IP, "198.51.100.50,2001:db8:1::51", "198.51.100.51,2001:db8:1::50"] {
            refused(&lab, &with(&[("net.ip", own)]), 4, "something on this host's link eth1 has it");
        }
        // What a machine of the LAN answers meanwhile counts.
        let going = ended.again();
        let goes = thread::spawn(move || {
            thread::sleep(STAYS);
            going.batch("addr del 198.51.100.50/24 dev last\n");
        });
        let asked = format!("198.51.100.50,{PEER6}");
        refused(&lab, &with(&[("net.ip", &asked)]), 4, "a machine of its LAN with the Ethernet address");
        goes.join().unwrap();
        ended.batch("addr add 198.51.100.50/24 dev last\n");
        let going = ended.again();
        let began = Instant::now();
        let goes = thread::spawn(move || {
            thread::sleep(STAYS);
            going.batch("link del last\n");
        });
        let web = on_lan(&lab, "web", &[("net.ip", IP)]);
        assert!(began.elapsed() >= STAYS, "{kind}: the start has not waited");
        goes.join().unwrap();
        let _server = Server::tcp(&web.net, 80, "web");
        for ipv6 in [false, true] {
            reaches(&lab.peer, web.address(ipv6), 80, "web");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn the_hosts_own_address_is_not_taken() {
    for own in ["198.51.100.50", "2001:db8:1::50"] {
        let lab = Lab::new();
        used(&lab);
        let _friend = on_lan(&lab, "friend", &[("net.ip-range", RANGE)]);
        let (length, nodad) = if own.contains(':') { (64, "nodad") } else { (24, "") };
        lab.host.batch(&format!("addr add {own}/{length} dev eth0 {nodad}\n"));
        let is_there = || lab.host.route_to(own.parse().unwrap()).is_some_and(|route| route.is_local);
        assert!(until(is_there));
        let says = format!("cannot use {own} on eth0: it is this host's own");
        refused(&lab, &with(&[("net.ip", IP)]), 4, &says);
    }
}

#[test]
#[ignore = "needs root"]
fn an_address_moves_between_hosts_once_its_container_has_ended() {
    let lab = Lab::new();
    used(&lab);
    let other = lab.another_host(1);
    let web = other.attach("web", &with(&[("net.ip", IP)]));
    let mac = web.record["attachments"][0]["mac"].as_str().unwrap().to_owned();
    refused(&lab, &with(&[("net.ip", IP)]), 4, &format!("with the Ethernet address {mac} has it"));
    other.detach(web);
    let web = on_lan(&lab, "web", &[("net.ip", IP)]);
    let _server = Server::tcp(&web.net, 80, "web");
    for ipv6 in [false, true] {
        reaches(&lab.peer, web.address(ipv6), 80, "web");
    }
}

/// Where nothing can answer, nothing is asked: a cable without a carrier is no reason not to start.
#[test]
#[ignore = "needs root"]
fn a_parent_without_a_carrier_is_not_asked() {
    let lab = Lab::new();
    second_link(&lab, &["198.51.100.13/24", "2001:db8:1::13/64"]);
    lab.switch.batch("link set second down\n");
    assert!(until(|| lab.host.link("eth1").lacks_carrier));
    let web = on_lan(&lab, "web", &[("net.parent", "eth1"), ("net.ip", IP)]);
    lab.switch.batch("link set second up\n");
    let _server = Server::tcp(&web.net, 80, "web");
    assert!(until(|| ask_tcp(&lab.peer, web.at(false, 80), PATIENCE).is_some()));
}

/// A switch that sends a frame back to where it came from lets a container that is just ending hear the question.
#[test]
#[ignore = "needs root"]
fn a_container_that_is_just_ending_is_no_machine_of_the_lan() {
    let reflects =
        |lab: &Lab| drop(lab.switch.ok(&["bridge", "link", "set", "dev", "host", "hairpin", "on"]));
    thirty_in_a_row(&with(&[("net.ip", IP)]), reflects);
    thirty_in_a_row(&with(&[("net.ip", IP), ("net.mac", "02:00:5e:10:00:07")]), reflects);
}

/// The address of a machine that is not on the LAN at all.
#[test]
#[ignore = "needs root"]
fn an_address_that_has_gone_is_free() {
    let lab = Lab::new();
    used(&lab);
    let gone: IpAddr = PEER4;
    lab.peer.batch(&format!("addr del {gone}/24 dev eth0\n"));
    let web = on_lan(&lab, "web", &[("net.ip", &gone.to_string())]);
    let _server = Server::tcp(&web.net, 80, "web");
    reaches(&lab.wan, gone, 80, "web");
}
