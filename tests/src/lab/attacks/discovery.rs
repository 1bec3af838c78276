//! ARP, neighbour discovery and what else tells a link who is where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::capture::Seen;
use super::super::frame::{Endpoint, Frame};
use super::super::hidden::disguises;
use super::{Attacks, Role, Stage, Success, Target, datagram, marked_from};

pub(super) const CACHES: &str = "a container, into others' neighbour caches and routes";
pub(super) const HIDDEN: &str = "a container, neighbour discovery behind extension headers or in fragments";
pub(super) const HOST_TABLE: &str = "a container, into the host's table of neighbours";
pub(super) const GROUPS: &str = "a container, DHCP and mDNS answers as another";

impl Stage {
    /// ARP, neighbour and router advertisements and redirects for others. The victim must not receive them.
    pub(super) fn by_neighbour_discovery(&self, attacks: &mut Attacks) {
        let class = CACHES;
        for others in [self.third.end(false, 0), self.mate.gateway_end(false, 0)] {
            let (Some(me), Some(to), Some(other)) =
                (self.mate.end(false, 0), self.victim.end(false, 0), others)
            else {
                continue;
            };
            for operation in [1, 2] {
                let lie = Frame::new(Endpoint { ip: other.ip, ..me }, to).arp(operation, me.mac);
                let hit = move |seen: &Seen| {
                    seen.arp_operation() == Some(operation) && seen.arp_claim() == Some((me.mac, other.ip))
                };
                let success = Success::Seen(Target::Victim, Box::new(hit));
                attacks.add(
                    class,
                    format!("ARP {operation} for {}", other.ip),
                    vec![(Role::Mate, lie)],
                    success,
                );
            }
        }
        let (Some(me), Some(to)) = (self.mate.end(true, 0), self.victim.end(true, 0)) else { return };
        let frame = Frame::new(me, to);
        for other in [self.third.end(true, 0), self.mate.gateway_end(true, 0)].into_iter().flatten() {
            let IpAddr::V6(target) = other.ip else { continue };
            let hit =
                move |seen: &Seen| seen.advertised() == Some(other.ip) && seen.source_mac() == Some(me.mac);
            let shots = vec![(Role::Mate, frame.neighbour_advertisement(target, me.mac))];
            let success = Success::Seen(Target::Victim, Box::new(hit));
            attacks.add(class, format!("an advertisement of {target}"), shots, success);
        }
        let prefix = "2001:db8:bad::".parse().expect("an address");
        let routers = [
            ("a router advertisement", 134, frame.router_advertisement(prefix)),
            ("a redirect", 137, redirect(&frame, prefix)),
        ];
        for (name, kind, lie) in routers {
            let hit = move |seen: &Seen| seen.is_icmp6(kind) && seen.source_mac() == Some(me.mac);
            attacks.add(class, name, vec![(Role::Mate, lie)], Success::Seen(Target::Victim, Box::new(hit)));
        }
    }

    /// The same behind extension headers, in fragments and in packets of one fragment. The victim must not receive what
    /// shows a message of neighbour discovery there, nor the message when a bridge has put it together.
    pub(super) fn by_hidden_discovery(&self, attacks: &mut Attacks) {
        let class = HIDDEN;
        let (Some(me), Some(to), Some(third)) =
            (self.mate.end(true, 0), self.victim.end(true, 0), self.third.end(true, 0))
        else {
            return;
        };
        let (IpAddr::V6(own), IpAddr::V6(target)) = (me.ip, third.ip) else { return };
        let frame = Frame::new(me, to);
        let message = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &target.octets(), &[2, 1], &me.mac].concat();
        for (name, frames) in disguises(&frame, &message, own.octets()) {
            let hit = move |seen: &Seen| seen.source_mac() == Some(me.mac) && shows_discovery(seen);
            let shots = frames.into_iter().map(|frame| (Role::Mate, frame)).collect();
            attacks.add(class, name, shots, Success::Seen(Target::Victim, Box::new(hit)));
        }
    }

    /// ARP and neighbour solicitations to the host as from another. The host's table of neighbours must not say that the other
    /// is here.
    pub(super) fn by_host_neighbours(&self, ipv6: bool, attacks: &mut Attacks) {
        let class = HOST_TABLE;
        let (Some(me), Some(third)) = (self.mate.end(ipv6, 0), self.third.end(ipv6, 0)) else { return };
        let Some(gateway) = self.mate.gateway_end(ipv6, 0) else { return };
        let frame = Frame::new(Endpoint { ip: third.ip, ..me }, gateway);
        let shots = match (third.ip, gateway.ip) {
            (IpAddr::V6(_), IpAddr::V6(at)) => vec![(Role::Mate, solicitation(&frame, at))],
            _ => [1, 2].map(|operation| (Role::Mate, frame.arp(operation, me.mac))).to_vec(),
        };
        // On the link that leads there: what the host believes of another link is of no use to anybody.
        let on_way = format!(
            "ip neigh show {to} dev $(ip -o route get {to} | sed 's/.* dev \\([^ ]*\\).*/\\1/')",
            to = third.ip
        );
        let command = vec!["sh".to_owned(), "-c".to_owned(), on_way];
        let [a, b, c, d, e, f] = me.mac;
        let claimed = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        attacks.add(class, format!("IPv6 {ipv6}"), shots, Success::Printed(command, claimed));
    }

    /// DHCP offers and names by mDNS and LLMNR as from the gateway, from another and from nobody. The victim must not receive
    /// them. Under its own address, a container may tell its neighbours what it likes.
    pub(super) fn by_group(&self, ipv6: bool, attacks: &mut Attacks) {
        let class = GROUPS;
        let (Some(me), Some(third)) = (self.mate.end(ipv6, 0), self.third.end(ipv6, 0)) else { return };
        let Some(gateway) = self.mate.gateway_end(ipv6, 0) else { return };
        let nobody: IpAddr = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let groups = if ipv6 {
            [
                ("DHCP", [547, 546], "ff02::1:2"),
                ("mDNS", [5353; 2], "ff02::fb"),
                ("LLMNR", [5355; 2], "ff02::1:3"),
            ]
        } else {
            [
                ("DHCP", [67, 68], "255.255.255.255"),
                ("mDNS", [5353; 2], "224.0.0.251"),
                ("LLMNR", [5355; 2], "224.0.0.252"),
            ]
        };
        for (name, [from_port, to_port], group) in groups {
            for (who, ip) in [("the gateway", gateway.ip), ("another", third.ip), ("nobody", nobody)] {
                let mark = attacks.mark();
                let group: IpAddr = group.parse().expect("an address");
                let to = Endpoint::new(group_mac(group), group, to_port);
                let lie = datagram(Endpoint { ip, port: from_port, ..me }, to, &mark);
                let name = format!("{name} as {who}, IPv6 {ipv6}");
                attacks.add(class, name, vec![(Role::Mate, lie)], marked_from(Target::Victim, mark, ip));
            }
        }
    }
}

/// Whether a message of neighbour discovery is to be seen, in the open or not.
fn shows_discovery(seen: &Seen) -> bool {
    let hidden = seen.hidden_icmp6();
    seen.is_icmp6(136) || hidden.is_some_and(|kind| kind.is_none_or(|kind| (133..=137).contains(&kind)))
}

/// That a target is reached by the sender.
fn redirect(frame: &Frame, target: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![137, 0, 0, 0, 0, 0, 0, 0];
    message.extend([target.octets(), target.octets()].concat());
    message.extend([2, 1]);
    message.extend(frame.from.mac);
    frame.ipv6(58, &frame.icmp6(message))
}

/// A question for a target, in which the sender says where it is itself.
fn solicitation(frame: &Frame, target: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![0; 8];
    message[0] = 135;
    message.extend(target.octets());
    message.extend([1, 1]);
    message.extend(frame.from.mac);
    frame.ipv6(58, &frame.icmp6(message))
}

/// The Ethernet address of a group (RFC 1112, RFC 2464), or of everybody.
fn group_mac(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(Ipv4Addr::BROADCAST) => [0xff; 6],
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            [1, 0, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}
