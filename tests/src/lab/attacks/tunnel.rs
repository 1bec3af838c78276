//! What a LAN neighbour puts into an overlay. VXLAN does not say who sends, so that the neighbour is in the network; it must not
//! be its gateway.

use std::net::IpAddr;

use super::super::capture::Seen;
use super::super::frame::{Endpoint, Frame};
use super::{Attacks, Role, Stage, Success, Target, datagram, marked};

const VXLAN_PORT: u16 = 4789;
/// An Ethernet address that no container has.
const NOBODY: [u8; 6] = [2, 0x6f, 10, 99, 0, 66];

impl Stage {
    /// Frames under the gateway's Ethernet or IP address, and claims of that. The victim must not receive them.
    pub(super) fn by_tunnel(&self, attacks: &mut Attacks) {
        let class = "a LAN neighbour, by an overlay's tunnel as the gateway";
        let Some(vni) = self.vni else { return };
        for ipv6 in [false, true] {
            let (Some(gateway), Some(_)) = (self.victim.gateway_end(ipv6, 1), self.victim.end(ipv6, 1))
            else {
                continue;
            };
            for (name, from) in [
                ("its Ethernet address", Endpoint { port: 2, ..gateway }),
                ("its IP address", Endpoint { mac: NOBODY, ..gateway }),
            ] {
                let mark = attacks.mark();
                let Some(to) = self.victim.end(ipv6, 1) else { continue };
                let Some(shot) = self.tunnelled(vni, &datagram(from, to, &mark)) else { continue };
                attacks.add(
                    class,
                    format!("{name}, IPv6 {ipv6}"),
                    vec![(Role::Peer, shot)],
                    marked(Target::Victim, mark),
                );
            }
        }
        let (Some(gateway), Some(to)) = (self.victim.gateway_end(false, 0), self.victim.end(false, 0)) else {
            return;
        };
        let claim = Frame::new(Endpoint { mac: NOBODY, ..gateway }, to).arp(2, NOBODY);
        let hit = move |seen: &Seen| seen.arp_claim() == Some((NOBODY, gateway.ip));
        self.claim_by_tunnel(attacks, ("ARP", vni), &claim, Box::new(hit));
        let (Some(gateway), Some(to)) = (self.victim.gateway_end(true, 0), self.victim.end(true, 0)) else {
            return;
        };
        let IpAddr::V6(target) = gateway.ip else { return };
        let frame = Frame::new(Endpoint::new(NOBODY, "fd00::66".parse().expect("an address"), 0), to);
        let hit =
            move |seen: &Seen| seen.advertised() == Some(gateway.ip) && seen.source_mac() == Some(NOBODY);
        self.claim_by_tunnel(
            attacks,
            ("NA", vni),
            &frame.neighbour_advertisement(target, NOBODY),
            Box::new(hit),
        );
        let hit = |seen: &Seen| seen.is_icmp6(134) && seen.source_mac() == Some(NOBODY);
        self.claim_by_tunnel(attacks, ("RA", vni), &frame.router_advertisement(target), Box::new(hit));
    }

    fn claim_by_tunnel(
        &self,
        attacks: &mut Attacks,
        (name, vni): (&str, u8),
        frame: &[u8],
        hit: Box<dyn Fn(&Seen) -> bool>,
    ) {
        let class = "a LAN neighbour, by an overlay's tunnel as the gateway";
        let Some(shot) = self.tunnelled(vni, frame) else { return };
        attacks.add(class, name, vec![(Role::Peer, shot)], Success::Seen(Target::Victim, hit));
    }

    /// A frame in a packet (RFC 7348) of the LAN neighbour's to the host's end of the tunnel.
    fn tunnelled(&self, vni: u8, frame: &[u8]) -> Option<Vec<u8>> {
        let (from, to) = (self.peer.end(false, 40_000)?, self.peer.gateway_end(false, VXLAN_PORT)?);
        Some(datagram(from, to, &[&[8, 0, 0, 0, 0, 0, vni, 0][..], frame].concat()))
    }
}
