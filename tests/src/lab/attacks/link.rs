//! Frames that are no IP and no ARP, or hide them, and what bridges learn from frames.

use super::super::frame::{Endpoint, Frame};
use super::{Attacks, Role, Stage, Success, Target, datagram, marked};

pub(super) const OTHERS: &str = "a container, frames of other protocols (STP, LLDP, RARP, EAPOL, …)";
pub(super) const ENCAPSULATED: &str = "a container, lies in a VLAN tag, SNAP, MPLS or PPPoE";
pub(super) const STOLEN: &str = "a container, to get what is sent to another's Ethernet address";
pub(super) const MANY: &str = "a container, many Ethernet addresses into the bridge's table";

const BROADCAST: [u8; 6] = [0xff; 6];
/// The group of spanning trees, which a bridge without one floods.
const BRIDGES: [u8; 6] = [1, 0x80, 0xc2, 0, 0, 0];
/// How many Ethernet addresses a container claims at once.
const CLAIMED: u8 = 16;

impl Stage {
    /// Frames of other protocols than IP and ARP. No neighbour must receive them.
    pub(super) fn by_ethertype(&self, attacks: &mut Attacks) {
        let class = OTHERS;
        let (Some(me), Some(victim)) = (self.mate.end(false, 0), self.victim.end(false, 0)) else { return };
        for (name, mac, ethertype) in [
            ("LLDP", BRIDGES, 0x88cc),
            ("LLDP to one", victim.mac, 0x88cc),
            ("RARP", BROADCAST, 0x8035),
            ("EAPOL", victim.mac, 0x888e),
            ("PPPoE discovery", BROADCAST, 0x8863),
            ("MACsec", victim.mac, 0x88e5),
            ("TIPC", BROADCAST, 0x88ca),
            ("batman", BROADCAST, 0x4305),
            ("ATA", BROADCAST, 0x88a2),
            ("IPX", victim.mac, 0x8137),
            ("experimental", victim.mac, 0x88b5),
        ] {
            let mark = attacks.mark();
            let header = Frame::new(me, Endpoint { mac, ..victim }).ethernet(ethertype);
            let frame = [&header[..], &[0; 46], &mark].concat();
            attacks.add(class, name, vec![(Role::Mate, frame)], marked(Target::Victim, mark));
        }
        // These have a length there, and a header of logical link control behind it (IEEE 802.2).
        for (name, mac, control) in
            [("STP", BRIDGES, [0x42, 0x42, 3]), ("IPX by 802.2", BROADCAST, [0xe0, 0xe0, 3])]
        {
            let mark = attacks.mark();
            let behind = [&control[..], &[0; 40], &mark].concat();
            let frame = of_length(&Frame::new(me, Endpoint { mac, ..victim }), &behind);
            attacks.add(class, name, vec![(Role::Mate, frame)], marked(Target::Victim, mark));
        }
    }

    /// Another's datagrams and ARP claims in a further header. No neighbour must receive them.
    pub(super) fn by_encapsulation(&self, attacks: &mut Attacks) {
        let class = ENCAPSULATED;
        let (Some(me), Some(victim)) = (self.mate.end(false, 1), self.victim.end(false, 1)) else { return };
        let Some(third) = self.third.end(false, 1) else { return };
        let frame = Frame::new(Endpoint { ip: third.ip, ..me }, victim);
        for (name, header) in [
            ("VLAN 0", &[0x81, 0, 0, 0][..]),
            ("VLAN 5", &[0x81, 0, 0, 5]),
            ("802.1ad", &[0x88, 0xa8, 0, 5]),
            ("two tags", &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 5]),
            ("0x9100", &[0x91, 0, 0, 5]),
        ] {
            for is_arp in [false, true] {
                let mark = attacks.mark();
                let lie = if is_arp { claim(&frame, &mark) } else { frame.udp(&mark) };
                let tagged = [&lie[..12], header, &lie[12..]].concat();
                let name = format!("{name}, ARP {is_arp}");
                attacks.add(class, name, vec![(Role::Mate, tagged)], marked(Target::Victim, mark));
            }
        }
        for is_arp in [false, true] {
            let mark = attacks.mark();
            let lie = if is_arp { claim(&frame, &mark) } else { frame.udp(&mark) };
            let behind = [&[0xaa, 0xaa, 3, 0, 0, 0][..], &lie[12..]].concat();
            let name = format!("SNAP, ARP {is_arp}");
            let snap = of_length(&frame, &behind);
            attacks.add(class, name, vec![(Role::Mate, snap)], marked(Target::Victim, mark));
        }
        for (name, ethertype, header) in [
            ("MPLS", 0x8847, &[0, 1, 1, 64][..]),
            ("MPLS to many", 0x8848, &[0, 1, 1, 64]),
            ("PPPoE", 0x8864, &[0x11, 0, 0, 1, 0, 64, 0, 0x21]),
        ] {
            let mark = attacks.mark();
            let lie = frame.udp(&mark);
            let shot = [&frame.ethernet(ethertype)[..], header, &lie[14..]].concat();
            attacks.add(class, name, vec![(Role::Mate, shot)], marked(Target::Victim, mark));
        }
    }

    /// A frame from another's Ethernet address, so that the bridge sends that one's frames here. The container must not
    /// receive what the victim sends to the other.
    pub(super) fn by_stolen_address(&self, attacks: &mut Attacks) {
        let class = STOLEN;
        let (Some(me), Some(victim), Some(third)) =
            (self.mate.end(false, 1), self.victim.end(false, 1), self.third.end(false, 1))
        else {
            return;
        };
        let stolen = Endpoint { mac: third.mac, ..me };
        for (name, theft) in [
            ("IPv4", datagram(stolen, victim, b"theft")),
            ("IPv4 to all", datagram(stolen, Endpoint { mac: BROADCAST, ..victim }, b"theft")),
            ("ARP", Frame::new(stolen, victim).arp(1, me.mac)),
            ("ARP of another", Frame::new(third, victim).arp(1, third.mac)),
            ("experimental", [&Frame::new(stolen, victim).ethernet(0x88b5)[..], &[0; 46]].concat()),
        ] {
            let mark = attacks.mark();
            let shots = vec![
                // The bridge knows where the other is.
                (Role::Third, datagram(third, victim, b"here")),
                (Role::Mate, theft),
                (Role::Victim, datagram(victim, third, &mark)),
                (Role::Third, datagram(third, victim, b"here")),
            ];
            attacks.add(class, name, shots, marked(Target::Mate, mark));
        }
    }

    /// Frames from many Ethernet addresses. The bridge must not learn any of them: its table would fill up.
    pub(super) fn by_many_addresses(&self, attacks: &mut Attacks) {
        let class = MANY;
        let (Some(me), Some(victim)) = (self.mate.end(false, 1), self.victim.end(false, 1)) else { return };
        for number in 0..CLAIMED {
            let mac = [2, 0xba, 0xd0, 0, 0, number];
            let frame = datagram(Endpoint { mac, ..me }, victim, b"flood");
            let learned = format!("02:ba:d0:00:00:{number:02x}");
            let success = Success::Printed(["bridge", "fdb", "show"].map(str::to_owned).to_vec(), learned);
            attacks.add(class, format!("address {number}"), vec![(Role::Mate, frame)], success);
        }
    }
}

/// An Ethernet frame that has its length where others have their protocol.
fn of_length(frame: &Frame, behind: &[u8]) -> Vec<u8> {
    let length = u16::try_from(behind.len()).expect("a short frame");
    [&frame.ethernet(length)[..], behind].concat()
}

/// An ARP answer, padded with a mark.
fn claim(frame: &Frame, mark: &[u8]) -> Vec<u8> {
    [&frame.arp(2, frame.from.mac)[..42], mark].concat()
}
