//! Neighbour discovery behind extension headers or in fragments, and other frames whose headers are not where they are
//! looked for. Rules and filters each hold them alone.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use ocinet_tests::lab::{
    Attached, Capture, DUAL, Disguise, Endpoint, Frame, Lab, Netns, PEER6, Seen, disguises, fragments,
    link_address, ping_of, send_frame, until, with_options,
};

use crate::PATIENCE;

/// What stands between containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guards {
    Both,
    Rules,
    Filters,
}

impl Guards {
    pub(crate) const ALL: [Self; 3] = [Self::Both, Self::Rules, Self::Filters];

    /// Takes the other guard away.
    pub(crate) fn alone(self, lab: &Lab, links: &[String]) {
        match self {
            Self::Both => {}
            Self::Rules => links.iter().for_each(|link| {
                lab.host.ok(&["tc", "qdisc", "del", "dev", link, "clsact"]);
            }),
            Self::Filters => {
                lab.host.ok(&["nft", "flush", "ruleset"]);
            }
        }
    }
}

pub(crate) fn host_end(attached: &Attached) -> String {
    attached.record["attachments"][0]["host_interface"].as_str().unwrap().to_owned()
}

fn own6(attached: &Attached) -> Ipv6Addr {
    match attached.address(true) {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => unreachable!(),
    }
}

fn end(container: &Attached, ipv6: bool, port: u16) -> Endpoint {
    Endpoint::new(link_address(&container.net, "eth0"), container.address(ipv6), port)
}

/// `target` is at `mac`.
fn advertisement(target: Ipv6Addr, mac: [u8; 6]) -> Vec<u8> {
    [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &target.octets(), &[2, 1], &mac].concat()
}

/// Every message of neighbour discovery that a lie can be told by (RFC 4861).
pub(crate) fn messages(target: Ipv6Addr, mac: [u8; 6]) -> Vec<Vec<u8>> {
    let option = [&[1, 1][..], &mac].concat();
    let [solicits, asks_routers] =
        [[&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat(), vec![133, 0, 0, 0, 0, 0, 0, 0]];
    let router = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let redirect = [&[137, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &target.octets()].concat();
    let others = [solicits, asks_routers, router, redirect].map(|message| [message, option.clone()].concat());
    [vec![advertisement(target, mac)], others.to_vec()].concat()
}

/// What no container sends in the open either: router advertisements, redirects, and what others' addresses are at.
fn undisguised(frame: &Frame, message: &[u8]) -> Option<Disguise> {
    let is_a_lie = (134..=137).contains(&message[0]) && message[0] != 135;
    is_a_lie.then(|| ("no disguise".to_owned(), vec![frame.ipv6(58, &frame.icmp6(message.to_vec()))]))
}

/// Whether neighbour discovery is in the frame that nobody should have let through.
pub(crate) fn is_hidden(seen: &Seen) -> bool {
    seen.hidden_icmp6().is_some_and(|kind| kind.is_none_or(|kind| (133..=137).contains(&kind)))
}

/// The disguises that arrived, of those that an attacker sends, with what is seen at the victim's.
pub(crate) fn arrived(
    from: &Netns,
    to: &Capture,
    disguises: &[Disguise],
    hits: impl Fn(&Seen) -> bool,
) -> Vec<String> {
    let mut arrived = Vec::new();
    for (name, frames) in disguises {
        frames.iter().for_each(|frame| send_frame(from, "eth0", frame));
        sleep(Duration::from_millis(2));
        if to.drain().iter().any(&hits) {
            arrived.push(name.clone());
        }
    }
    arrived
}

fn bridge_driver(driver: &str) -> Vec<(&'static str, &'static str)> {
    match driver {
        "vxlan" => vec![
            ("net.driver", "vxlan"),
            ("net.vni", "7"),
            ("net.subnet", "10.97.0.0/24,fd00:97::/64"),
            ("net.ip-range", "10.97.0.128/25,fd00:97::100/120"),
        ],
        _ => vec![("net.driver", "bridge"), ("net.subnet", DUAL)],
    }
}

/// Runs a check on three containers of one bridge, with every guard, with and without br_netfilter's hand on IPv6.
fn on_bridges(check: impl Fn(&str, [&Attached; 3])) {
    for driver in ["bridge", "vxlan"] {
        for guards in Guards::ALL {
            for calls in ["1", "0"] {
                let lab = Lab::new();
                lab.host.sysctl("bridge/bridge-nf-call-ip6tables", calls);
                let three = ["attacker", "victim", "third"].map(|id| lab.attach(id, &bridge_driver(driver)));
                guards.alone(&lab, &three.each_ref().map(host_end));
                let [attacker, victim, third] = &three;
                check(&format!("{driver}, {guards:?}, call-ip6tables {calls}"), [attacker, victim, third]);
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn neighbour_discovery_in_disguise_does_not_leave_a_container() {
    on_bridges(|what, [attacker, victim, third]| {
        let me = end(attacker, true, 0);
        let frame = Frame::new(me, end(victim, true, 0));
        let decoy = own6(attacker).octets();
        let capture = Capture::new(&victim.net);
        let mut through = Vec::new();
        for message in messages(own6(third), me.mac) {
            let kind = message[0];
            let hits = |seen: &Seen| {
                let plain = seen.is_icmp6(kind) && seen.source_mac() == Some(me.mac);
                plain || is_hidden(seen)
            };
            let mut all = disguises(&frame, &message, decoy);
            all.extend(undisguised(&frame, &message));
            through.extend(arrived(&attacker.net, &capture, &all, hits).into_iter().map(|name| (kind, name)));
        }
        assert!(through.is_empty(), "{what}: (type, disguise) {through:#?}");
        // The twin: its own address it advertises as everybody does.
        send_frame(&attacker.net, "eth0", &frame.neighbour_advertisement(own6(attacker), me.mac));
        capture.wait_for("an honest advertisement", |seen| seen.advertised() == Some(me.ip));
        // The victim's datagrams go where they are meant to.
        let server = third.net.bind(|| UdpSocket::bind("[::]:9"));
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let client = victim.net.bind(|| UdpSocket::bind("[::]:0"));
        client.send_to(b"for the third", SocketAddr::new(third.address(true), 9)).unwrap();
        assert!(server.recv_from(&mut [0; 64]).is_ok(), "{what}: the third container is reached");
    });
}

#[test]
#[ignore = "needs root"]
fn what_is_no_neighbour_discovery_passes_in_fragments_and_behind_headers() {
    on_bridges(|what, [attacker, victim, _]| {
        let (me, to) = (end(attacker, true, 40000), end(victim, true, 9));
        for size in [3000, 8000] {
            assert!(ping_of(&attacker.net, to.ip, size), "{what}: an echo of {size} bytes");
        }
        let server = victim.net.bind(|| UdpSocket::bind("[::]:9"));
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let client = attacker.net.bind(|| UdpSocket::bind("[::]:0"));
        client.send_to(&[7; 5000], SocketAddr::new(to.ip, 9)).unwrap();
        let mut buffer = [0; 8192];
        assert_eq!(server.recv(&mut buffer).ok(), Some(5000), "{what}: a datagram of 5,000 bytes");
        let frame = Frame::new(me, to);
        let capture = Capture::new(&victim.net);
        // A datagram and an echo request behind options; a report of a listener with a router alert (RFC 3810).
        let datagram = frame.udp(b"behind options")[54..].to_vec();
        let options = [60, 0, 1, 4, 0, 0, 0, 0];
        let last = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
        send_frame(&attacker.net, "eth0", &frame.ipv6(60, &[&last(17)[..], &datagram].concat()));
        assert_eq!(server.recv(&mut buffer).ok(), Some(14), "{what}: a datagram behind options");
        send_frame(&attacker.net, "eth0", &frame.ipv6(60, &[&options[..], &last(17), &datagram].concat()));
        assert_eq!(server.recv(&mut buffer).ok(), Some(14), "{what}: a datagram behind more options");
        let echo = frame.icmp6(vec![128, 0, 0, 0, 0, 1, 0, 1]);
        send_frame(&attacker.net, "eth0", &frame.ipv6(60, &[&last(58)[..], &echo].concat()));
        capture.wait_for("an echo request behind options", |seen| seen.hidden_icmp6() == Some(Some(128)));
        let report = frame.icmp6([&[143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0][..], &[0xff; 16]].concat());
        send_frame(
            &attacker.net,
            "eth0",
            &frame.ipv6(0, &[&[58, 0, 5, 2, 0, 0, 1, 0][..], &report].concat()),
        );
        let mine = |seen: &Seen| seen.hidden_icmp6() == Some(Some(143)) && seen.source() == Some(me.ip);
        capture.wait_for("a listener's report", mine);
        let authentication = [&[17, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1][..], &[0; 12], &datagram].concat();
        send_frame(&attacker.net, "eth0", &frame.ipv6(51, &authentication));
        let own = |seen: &Seen| seen.source() == Some(me.ip) && seen.ends_with(b"behind options");
        capture.wait_for("a datagram behind authentication", own);
        // A later fragment may begin with any byte.
        let echo = frame.icmp6([&[128, 0, 0, 0, 0, 2, 0, 1][..], &[136; 40]].concat());
        let answers = Capture::new(&attacker.net);
        for fragment in fragments(&frame, 58, &echo, 16, 78) {
            send_frame(&attacker.net, "eth0", &fragment);
        }
        let answer = |seen: &Seen| seen.is_icmp6(129) && seen.ends_with(&[136; 40]);
        answers.wait_for("the answer to an echo in fragments", answer);
        for fragment in fragments(&frame, 17, &datagram, 8, 77) {
            send_frame(&attacker.net, "eth0", &fragment);
        }
        assert_eq!(server.recv(&mut buffer).ok(), Some(14), "{what}: a datagram in two fragments");
    });
}

/// A filter looks behind three extension headers, and only where the hop limit is that of neighbour discovery.
#[test]
#[ignore = "needs root"]
fn what_may_hide_neighbour_discovery_is_dropped() {
    const HOP_LIMIT: usize = 14 + 7;
    let lab = Lab::new();
    let [attacker, victim] = ["attacker", "victim"].map(|id| lab.attach(id, &bridge_driver("bridge")));
    let (me, to) = (end(&attacker, true, 40000), end(&victim, true, 9));
    let frame = Frame::new(me, to);
    let datagram = frame.udp(b"behind options")[54..].to_vec();
    let behind = |headers: usize, hop_limit: u8| {
        let options = [60, 0, 1, 4, 0, 0, 0, 0].repeat(headers - 1);
        let mut frame = frame.ipv6(60, &[&options[..], &[17, 0, 1, 4, 0, 0, 0, 0], &datagram].concat());
        frame[HOP_LIMIT] = hop_limit;
        frame
    };
    let capture = Capture::new(&victim.net);
    let echo = frame.icmp6([&[128, 0, 0, 0, 0, 1, 0, 1][..], b"behind options"].concat());
    let authentication = [&[58, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1][..], &[0; 12], &echo].concat();
    for (what, sent, passes) in [
        ("three headers", behind(3, 255), true),
        ("four headers", behind(4, 255), false),
        ("four headers and another hop limit", behind(4, 64), true),
        ("eight headers and another hop limit", behind(8, 254), true),
        ("an echo behind authentication", frame.ipv6(51, &authentication), false),
        ("an echo", frame.ipv6(58, &echo), true),
    ] {
        send_frame(&attacker.net, "eth0", &sent);
        send_frame(&attacker.net, "eth0", &behind(1, 64));
        let mine = |seen: &Seen| seen.source() == Some(me.ip) && seen.ends_with(b"behind options");
        let is_last = |seen: &Seen| mine(seen) && seen.length() == behind(1, 64).len();
        let seen = capture.wait_for("the frame behind it", is_last).iter().filter(|seen| mine(seen)).count();
        assert_eq!(seen, 1 + usize::from(passes), "{what}");
    }
}

/// How many ICMPv6 messages of a type the host has taken from a link.
fn taken(lab: &Lab, link: &str, kind: u8) -> u64 {
    let text = lab.host.ok(&["cat", &format!("/proc/net/dev_snmp6/{link}")]);
    let name = format!("Icmp6InType{kind}");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.trim().parse().unwrap())
}

#[test]
#[ignore = "needs root"]
fn neighbour_discovery_in_disguise_does_not_leave_a_routed_container() {
    for guards in Guards::ALL {
        let lab = Lab::new();
        let [attacker, third] = ["attacker", "third"]
            .map(|id| lab.attach(id, &[("net.driver", "veth"), ("net.subnet", "10.97.0.0/24,fd00:97::/64")]));
        let links = [&attacker, &third].map(host_end);
        guards.alone(&lab, &links);
        let [link, _] = &links;
        let me = end(&attacker, true, 0);
        let gateway = "fd00:97::1".parse().unwrap();
        let frame = Frame::new(me, Endpoint::new(link_address(&lab.host, link), gateway, 0));
        // A connection of a stranger, so that the host puts fragments together also without ocinet's rules.
        lab.host.ok(&[
            "nft",
            "add table inet other; add chain inet other tracks { type filter hook prerouting \
                       priority 0; }; add rule inet other tracks ct state new accept",
        ]);
        let mut through = Vec::new();
        for message in messages(own6(&third), me.mac) {
            let kind = message[0];
            let all = disguises(&frame, &message, own6(&attacker).octets());
            // The host has its own routes to others, so that an advertisement of theirs on this link leads nobody astray.
            let open = undisguised(&frame, &message).filter(|_| kind != 136);
            for (name, frames) in all.into_iter().chain(open) {
                let before = taken(&lab, link, kind);
                frames.iter().for_each(|frame| send_frame(&attacker.net, "eth0", frame));
                if taken(&lab, link, kind) != before {
                    through.push((kind, name));
                }
            }
        }
        assert!(through.is_empty(), "{guards:?}: {through:#?}");
        let before = taken(&lab, link, 136);
        send_frame(&attacker.net, "eth0", &frame.neighbour_advertisement(own6(&attacker), me.mac));
        assert!(until(|| taken(&lab, link, 136) > before), "{guards:?}: an honest advertisement arrives");
        // Without rules, nothing lets the host's answer in.
        let is_answered = ping_of(&attacker.net, gateway, 3000);
        assert_eq!(is_answered, guards != Guards::Filters, "{guards:?}: an echo of 3,000 bytes");
    }
}

/// The twins of what does not: each by a rule of its own, where the rules are alone.
#[test]
#[ignore = "needs root"]
fn what_is_no_neighbour_discovery_leaves_a_routed_container() {
    let lab = Lab::new();
    let app = lab.attach("app", &[("net.driver", "veth"), ("net.subnet", "10.97.0.0/24,fd00:97::/64")]);
    let link = host_end(&app);
    Guards::Rules.alone(&lab, std::slice::from_ref(&link));
    let (me, mac) = (end(&app, true, 40000), link_address(&lab.host, &link));
    let gateway: IpAddr = "fd00:97::1".parse().unwrap();
    let to_gateway = Frame::new(me, Endpoint::new(mac, gateway, 9));
    assert!(ping_of(&app.net, gateway, 3000), "an echo in fragments");
    let server = lab.host.bind(|| UdpSocket::bind("[::]:9"));
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let datagram = to_gateway.udp(b"behind options")[54..].to_vec();
    let behind_options = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &datagram].concat();
    send_frame(&app.net, "eth0", &to_gateway.ipv6(60, &behind_options));
    assert_eq!(server.recv(&mut [0; 64]).ok(), Some(14), "a datagram behind options");
    let before = taken(&lab, &link, 143);
    let report = to_gateway.icmp6([&[143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0][..], &[0xff; 16]].concat());
    let behind_alert = [&[58, 0, 5, 2, 0, 0, 1, 0][..], &report].concat();
    send_frame(&app.net, "eth0", &to_gateway.ipv6(0, &behind_alert));
    assert!(until(|| taken(&lab, &link, 143) > before), "a listener's report");
    // Nobody on the host takes an authentication header off: the LAN sees it.
    let to_peer = Frame::new(me, Endpoint::new(mac, PEER6, 9));
    let datagram = to_peer.udp(b"behind options")[54..].to_vec();
    let authenticated = [&[17, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1][..], &[0; 12], &datagram].concat();
    let heard = Capture::new(&lab.peer);
    send_frame(&app.net, "eth0", &to_peer.ipv6(51, &authenticated));
    heard.wait_for("a datagram behind authentication", |seen| {
        seen.destination() == Some(PEER6) && seen.ends_with(b"behind options")
    });
}

/// What an Ethernet frame can hide: a VLAN tag, another length of addresses in ARP, the frame's end.
#[test]
#[ignore = "needs root"]
fn frames_with_odd_headers_do_not_leave_a_container() {
    for guards in Guards::ALL {
        let lab = Lab::new();
        let three = ["attacker", "victim", "third"].map(|id| lab.attach(id, &bridge_driver("bridge")));
        guards.alone(&lab, &three.each_ref().map(host_end));
        let [attacker, victim, third] = &three;
        let (me, to) = (end(attacker, false, 40000), end(victim, false, 9));
        let honest = Frame::new(me, to).udp(b"odd frame");
        let claim = Frame::new(Endpoint { ip: third.address(false), ..me }, to).arp(2, me.mac);
        let own = Frame::new(me, to).arp(2, me.mac);
        let capture = Capture::new(&victim.net);
        for tag in [[0x81, 0, 0, 0], [0x81, 0, 0, 5], [0x88, 0xa8, 0, 0]] {
            for frame in [&honest, &claim, &own] {
                send_frame(&attacker.net, "eth0", &[&frame[..12], &tag, &frame[12..]].concat());
            }
        }
        let odd = |at: usize, value: u8| {
            let mut frame = own.clone();
            frame[at] = value;
            frame
        };
        // The kind of link, the protocol, the two lengths; then a frame that ends before the sender's address does.
        for (at, value) in [(15, 6), (17, 1), (18, 8), (19, 16)] {
            send_frame(&attacker.net, "eth0", &odd(at, value));
        }
        send_frame(&attacker.net, "eth0", &own[..30]);
        // Its own claim in another's frame: the bridge would learn that the other is here.
        let stolen = link_address(&third.net, "eth0");
        send_frame(&attacker.net, "eth0", &[&own[..6], &stolen, &own[12..]].concat());
        sleep(Duration::from_millis(20));
        // What its kernel says of groups is honest, and IPv6.
        let of_mine = |seen: &Seen| {
            let is_stolen = seen.source_mac() == Some(stolen) && seen.arp_claim() == Some((me.mac, me.ip));
            let is_own = seen.source_mac() == Some(me.mac);
            is_stolen || is_own && seen.source().is_none_or(|source| source.is_ipv4())
        };
        let seen: Vec<_> = capture.drain().into_iter().filter(of_mine).collect();
        assert!(seen.is_empty(), "{guards:?}: {seen:?}");
        // The twins. Options in front of a datagram shift nothing that is looked at.
        send_frame(&attacker.net, "eth0", &own);
        capture.wait_for("its own ARP", |seen| seen.arp_claim() == Some((me.mac, me.ip)));
        send_frame(&attacker.net, "eth0", &honest);
        capture.wait_for("an untagged datagram", |seen| seen.is_udp_to(9));
        for (from, arrives) in [(third.address(false), false), (me.ip, true)] {
            send_frame(&attacker.net, "eth0", &alerting(&Frame::new(Endpoint { ip: from, ..me }, to)));
            sleep(Duration::from_millis(20));
            let seen = capture.drain().iter().any(|seen| seen.source() == Some(from));
            assert_eq!(seen, arrives, "{guards:?}: with IPv4 options, from {from}");
        }
    }
}

/// A datagram with 8 bytes of IPv4 options, of which the router alert is honest.
fn alerting(frame: &Frame) -> Vec<u8> {
    with_options(&frame.udp(b"options"), &[0x94, 4, 0, 0, 1, 1, 1, 0])
}
