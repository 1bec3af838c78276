//! What is forged for another's connection.

use std::net::IpAddr;

use super::super::frame::{Endpoint, Frame};
use super::{Attacks, Role, Stage, Target, datagram, marked};

/// Datagrams, and segments of TCP with their flags.
const ANSWERS: [(&str, Option<u8>); 4] = [
    ("UDP", None),
    ("data", Some(0x18)),
    ("a reset", Some(0x14)),
    ("the answer to the first segment", Some(0x12)),
];

impl Stage {
    /// An answer from the internet to what the victim has sent there, by a container that guesses its ports. The victim must
    /// not receive it, by its own address or by the host's.
    pub(super) fn by_forged_answer(&self, ipv6: bool, attacks: &mut Attacks) {
        let class = "a container, as the far side of another's connection";
        let internet: IpAddr =
            if ipv6 { "2001:db8:cafe::1" } else { "203.0.113.1" }.parse().expect("an address");
        for liar in [Role::Stranger, Role::Mate] {
            let mac = self.station(liar).end(ipv6, 0).map_or([0; 6], |end| end.mac);
            for (name, flags) in ANSWERS {
                let (port, mark) = (attacks.port(), attacks.mark());
                let Some(victim) = self.victim.end(ipv6, port) else { continue };
                let far = Endpoint::new(self.victim.gateway, internet, 53);
                let asked = Frame::new(victim, far);
                let asked = if flags.is_some() { asked.tcp_syn() } else { asked.udp(b"asked") };
                let mut shots = vec![(Role::Victim, asked)];
                for to in [self.host(ipv6), victim.ip] {
                    let to = Endpoint::new(self.station(liar).gateway, to, port);
                    let answer = Frame::new(Endpoint { mac, ..far }, to);
                    let answer = flags.map_or_else(|| answer.udp(&mark), |flags| answer.tcp(flags, &mark));
                    shots.push((liar, answer));
                }
                attacks.add(class, format!("{name}, by {liar:?}"), shots, marked(Target::Victim, mark));
            }
        }
    }

    /// An error about what the victim has sent to the LAN, by another network's container. The victim must not receive it.
    pub(super) fn by_error(&self, ipv6: bool, attacks: &mut Attacks) {
        type Say = fn(&Frame, &[u8]) -> Vec<u8>;
        let class = "a container, an ICMP error about another network's connection";
        let unreachable: Say = Frame::port_unreachable;
        let too_big: Say = |frame, packet| frame.too_big(packet, 1300);
        for (name, say) in [("unreachable", unreachable), ("too big", too_big)] {
            let (port, mark) = (attacks.port(), attacks.mark());
            let (Some(victim), Some(peer), Some(me)) =
                (self.victim.end(ipv6, port), self.peer.end(ipv6, 9), self.stranger.end(ipv6, 0))
            else {
                continue;
            };
            let mut shots = vec![(Role::Victim, datagram(victim, self.victim.by_gateway(peer), b"asked"))];
            // As the host may have translated it, and as the victim sent it.
            for about in [self.host(ipv6), victim.ip] {
                let about = Endpoint::new(self.stranger.gateway, about, port);
                let quoted = datagram(about, peer, &mark);
                shots.push((Role::Stranger, say(&Frame::new(me, about), &quoted[14..])));
            }
            attacks.add(class, name, shots, marked(Target::Victim, mark));
        }
    }
}
