//! A container that lies about who it is.

use std::net::{IpAddr, Ipv6Addr};

use ocinet_tests::lab::{Attached, Capture, DUAL, Endpoint, Frame, Lab, link_address, send_frame};

fn container(lab: &Lab, id: &str) -> Attached {
    lab.attach(id, &[("net.driver", "bridge"), ("net.subnet", DUAL)])
}

fn end(container: &Attached, ipv6: bool, port: u16) -> Endpoint {
    Endpoint::new(link_address(&container.net, "eth0"), container.address(ipv6), port)
}

/// Sends frames from `attacker`, an honest one last, and says which of the UDP ports arrived at `victim`.
fn arrived(attacker: &Attached, victim: &Attached, frames: &[Vec<u8>], honest: &[u8]) -> Vec<u16> {
    let capture = Capture::new(&victim.net);
    for frame in frames {
        send_frame(&attacker.net, "eth0", frame);
    }
    send_frame(&attacker.net, "eth0", honest);
    let seen = capture.wait_for("the honest datagram", |seen| seen.is_udp_to(9));
    (1..=9).filter(|port| seen.iter().any(|seen| seen.is_udp_to(*port))).collect()
}

#[test]
#[ignore = "needs root"]
fn another_address_or_mac_is_dropped() {
    let lab = Lab::new();
    let (attacker, victim, third) =
        (container(&lab, "attacker"), container(&lab, "victim"), container(&lab, "third"));
    for ipv6 in [false, true] {
        let (me, other) = (end(&attacker, ipv6, 40000), end(&third, ipv6, 40000));
        let to = |port| end(&victim, ipv6, port);
        let foreign: IpAddr = if ipv6 { "2001:db8::66" } else { "192.0.2.66" }.parse().unwrap();
        let lies = [
            Frame::new(Endpoint::new(me.mac, other.ip, 40000), to(1)).udp(b"another's address"),
            Frame::new(Endpoint::new(other.mac, me.ip, 40000), to(2)).udp(b"another's MAC"),
            Frame::new(other, to(3)).udp(b"both"),
            Frame::new(Endpoint::new(me.mac, foreign, 40000), to(4)).udp(b"a stranger's address"),
        ];
        let honest = Frame::new(me, to(9)).udp(b"honest");
        assert_eq!(arrived(&attacker, &victim, &lies, &honest), [9], "IPv6 {ipv6}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_spoofed_packet_does_not_leave_the_host() {
    let lab = Lab::new();
    let attacker = container(&lab, "attacker");
    let third = container(&lab, "third");
    let bridge = link_address(&lab.host, "ocinet0");
    let internet = |port| Endpoint::new(bridge, ocinet_tests::lab::INTERNET4, port);
    let me = end(&attacker, false, 40000);
    let capture = Capture::new(&lab.wan);
    send_frame(
        &attacker.net,
        "eth0",
        &Frame::new(Endpoint::new(me.mac, third.address(false), 1), internet(1)).udp(b"lie"),
    );
    send_frame(&attacker.net, "eth0", &Frame::new(me, internet(9)).udp(b"honest"));
    let seen = capture.wait_for("the honest datagram", |seen| seen.is_udp_to(9));
    assert!(!seen.iter().any(|seen| seen.is_udp_to(1)), "a spoofed packet left");
}

#[test]
#[ignore = "needs root"]
fn arp_and_neighbour_advertisements_for_another_do_not_arrive() {
    let lab = Lab::new();
    let (attacker, victim, third) =
        (container(&lab, "attacker"), container(&lab, "victim"), container(&lab, "third"));
    let mac = link_address(&attacker.net, "eth0");
    let capture = Capture::new(&victim.net);
    let gateway4: IpAddr = "10.90.0.1".parse().unwrap();
    let gateway6: Ipv6Addr = "fd00:90::1".parse().unwrap();
    for claimed in [third.address(false), gateway4] {
        let lie = Frame::new(Endpoint::new(mac, claimed, 0), end(&victim, false, 0));
        for operation in [1, 2] {
            send_frame(&attacker.net, "eth0", &lie.arp(operation, mac));
        }
    }
    let own = Frame::new(end(&attacker, false, 0), end(&victim, false, 0));
    send_frame(&attacker.net, "eth0", &own.arp(2, link_address(&third.net, "eth0")));
    send_frame(&attacker.net, "eth0", &own.arp(2, mac));
    let me6 = Frame::new(end(&attacker, true, 0), end(&victim, true, 0));
    let IpAddr::V6(third6) = third.address(true) else { panic!("an IPv6 address") };
    let IpAddr::V6(own6) = attacker.address(true) else { panic!("an IPv6 address") };
    for target in [third6, gateway6] {
        send_frame(&attacker.net, "eth0", &me6.neighbour_advertisement(target, mac));
    }
    send_frame(&attacker.net, "eth0", &me6.router_advertisement("2001:db8:bad::".parse().unwrap()));
    send_frame(&attacker.net, "eth0", &me6.neighbour_advertisement(own6, mac));
    let seen = capture.wait_for("the honest advertisement", |seen| seen.advertised() == Some(own6.into()));
    let claims: Vec<_> = seen
        .iter()
        .filter(|seen| seen.source_mac() == Some(mac))
        .filter_map(|seen| seen.arp_claim())
        .collect();
    assert!(claims.iter().all(|claim| *claim == (mac, attacker.address(false))), "{claims:?}");
    assert!(!claims.is_empty(), "the honest ARP answer arrived");
    let advertised: Vec<_> = seen.iter().filter_map(|seen| seen.advertised()).collect();
    assert!(advertised.iter().all(|target| *target == IpAddr::V6(own6)), "{advertised:?}");
    assert!(!seen.iter().any(|seen| seen.is_icmp6(134)), "a router advertisement arrived");
}

#[test]
#[ignore = "needs root"]
fn an_advertisement_on_the_bridge_does_not_reach_a_container() {
    let lab = Lab::new();
    let app = container(&lab, "app");
    let before = app.net.ok(&["ip", "-6", "route"]);
    // The host's bridge speaks as a router, which it is; the container has its routes from ocinet, and accept_ra off.
    let bridge = link_address(&lab.host, "ocinet0");
    let router = Endpoint::new(bridge, IpAddr::V6("fe80::1".parse().unwrap()), 0);
    let frame = Frame::new(router, end(&app, true, 0));
    let capture = Capture::new(&app.net);
    send_frame(&lab.host, "ocinet0", &frame.router_advertisement("2001:db8:bad::".parse().unwrap()));
    let gateway: Ipv6Addr = "fd00:90::1".parse().unwrap();
    send_frame(&lab.host, "ocinet0", &frame.neighbour_advertisement(gateway, bridge));
    let seen = capture.wait_for("what the bridge may say", |seen| seen.advertised() == Some(gateway.into()));
    assert!(!seen.iter().any(|seen| seen.is_icmp6(134)), "a router advertisement arrived");
    assert_eq!(app.net.ok(&["ip", "-6", "route"]), before);
    assert_eq!(app.net.ok(&["cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra"]).trim(), "0");
}
