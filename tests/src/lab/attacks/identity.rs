//! What containers and neighbours say about who they are.

use std::net::IpAddr;

use super::super::frame::{Endpoint, Frame};
use super::{Attacks, Role, Stage, Target, datagram, marked, to_port};

impl Stage {
    /// Datagrams under an address that is not the sender's. Neither a neighbour nor the router must receive them.
    pub(super) fn by_lie(&self, ipv6: bool, attacks: &mut Attacks) {
        let class = "a container under another's IP or Ethernet address";
        let text = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let (stranger, internet) = if ipv6 {
            (text("2001:db8::66"), text("2001:db8:cafe::1"))
        } else {
            (text("192.0.2.66"), text("203.0.113.1"))
        };
        let (Some(me), Some(other)) = (self.mate.end(ipv6, 1), self.third.end(ipv6, 1)) else { return };
        let Some(gateway) = self.mate.gateway_end(ipv6, 1) else { return };
        let lies = [
            ("another's IP address", Endpoint { ip: other.ip, ..me }),
            ("another's Ethernet address", Endpoint { mac: other.mac, ..me }),
            ("both of another", other),
            ("a stranger's IP address", Endpoint { ip: stranger, ..me }),
            ("the gateway's IP address", Endpoint { ip: gateway.ip, ..me }),
            ("the gateway's Ethernet address", Endpoint { mac: gateway.mac, ..me }),
            ("the host's IP address", Endpoint { ip: self.host(ipv6), ..me }),
        ];
        for (name, lie) in lies {
            let port = attacks.port();
            let Some(to) = self.victim.end(ipv6, port) else { continue };
            let frame = Frame::new(lie, to).udp(b"lie");
            attacks.add(class, name, vec![(Role::Mate, frame)], to_port(Target::Victim, port));
        }
        for (name, ip) in [("another's IP address, outside", other.ip), ("a stranger's, outside", stranger)] {
            let port = attacks.port();
            let to = Endpoint::new(self.mate.gateway, internet, port);
            let frame = Frame::new(Endpoint { ip, ..me }, to).udp(b"lie");
            attacks.add(class, name, vec![(Role::Mate, frame)], to_port(Target::Wan, port));
        }
    }

    /// What a neighbour sends as the victim, to itself, and then as the answer to that: to the victim, and to where the
    /// host may have translated the victim's address to. The victim must not receive the answer.
    pub(super) fn by_impersonation(&self, ipv6: bool, attacks: &mut Attacks) {
        let class = "a LAN neighbour, to a container that it has sent as";
        self.by_two(ipv6, attacks, (class, Role::Peer));
    }

    /// The same where another network's container sends as the victim. The victim must not receive the neighbour's answer.
    pub(super) fn by_poisoned_tracking(&self, ipv6: bool, attacks: &mut Attacks) {
        let class = "a LAN neighbour, to a container that another container has sent as";
        self.by_two(ipv6, attacks, (class, Role::Stranger));
        self.by_two(ipv6, attacks, (class, Role::Mate));
    }

    /// One sends as the victim to the LAN neighbour, who answers.
    fn by_two(&self, ipv6: bool, attacks: &mut Attacks, (class, liar): (&'static str, Role)) {
        let (own, mark) = (attacks.port(), attacks.mark());
        let (Some(me), Some(victim)) = (self.peer.end(ipv6, own), self.victim.end(ipv6, own)) else { return };
        let sender = self.station(liar);
        let Some(mac) = sender.end(ipv6, own).map(|end| end.mac) else { return };
        let lie = datagram(Endpoint { mac, ..victim }, sender.by_gateway(me), b"lie");
        let mut shots = vec![(liar, lie)];
        for to in [self.host(ipv6), victim.ip] {
            shots.push((Role::Peer, datagram(me, Endpoint::new(self.peer.gateway, to, own), &mark)));
        }
        attacks.add(class, format!("{liar:?}"), shots, marked(Target::Victim, mark));
    }
}
