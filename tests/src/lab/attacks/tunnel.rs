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
            let (Some(gateway), Some(to)) = (self.victim.gateway_end(ipv6, 1), self.victim.end(ipv6, 1))
            else {
                continue;
            };
            for (name, from) in [
                ("its Ethernet address", Endpoint { port: 2, ..gateway }),
                ("its IP address", Endpoint { mac: NOBODY, ..gateway }),
            ] {
                let mark = attacks.mark();
                let Some(shot) = self.tunnelled(vni, &datagram(from, to, &mark)) else { continue };
                let name = format!("{name}, IPv6 {ipv6}");
                attacks.add(class, name, vec![(Role::Peer, shot)], marked(Target::Victim, mark));
            }
            for (name, claim, hit) in claims(gateway, to) {
                let Some(shot) = self.tunnelled(vni, &claim) else { continue };
                attacks.add(class, name, vec![(Role::Peer, shot)], Success::Seen(Target::Victim, hit));
            }
        }
    }

    /// A frame in a packet (RFC 7348) of the LAN neighbour's to the host's end of the tunnel.
    fn tunnelled(&self, vni: u8, frame: &[u8]) -> Option<Vec<u8>> {
        let (from, to) = (self.peer.end(false, 40_000)?, self.peer.gateway_end(false, VXLAN_PORT)?);
        Some(datagram(from, to, &[&[8, 0, 0, 0, 0, 0, vni, 0][..], frame].concat()))
    }
}

type Claim = (&'static str, Vec<u8>, Box<dyn Fn(&Seen) -> bool>);

/// That nobody's Ethernet address is the gateway's.
fn claims(gateway: Endpoint, to: Endpoint) -> Vec<Claim> {
    let IpAddr::V6(target) = gateway.ip else {
        let claim = Frame::new(Endpoint { mac: NOBODY, ..gateway }, to).arp(2, NOBODY);
        let hit = move |seen: &Seen| seen.arp_claim() == Some((NOBODY, gateway.ip));
        return vec![("ARP", claim, Box::new(hit))];
    };
    let frame = Frame::new(Endpoint::new(NOBODY, "fd00::66".parse().expect("an address"), 0), to);
    let of_nobody = |seen: &Seen| seen.source_mac() == Some(NOBODY);
    vec![
        (
            "a neighbour advertisement",
            frame.neighbour_advertisement(target, NOBODY),
            Box::new(move |seen| seen.advertised() == Some(gateway.ip) && of_nobody(seen)),
        ),
        (
            "a router advertisement",
            frame.router_advertisement(target),
            Box::new(move |seen| seen.is_icmp6(134) && of_nobody(seen)),
        ),
    ]
}
