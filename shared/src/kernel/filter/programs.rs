//! What the filters on a host's end let pass.

use std::net::IpAddr;

use super::assembler::{Is, JumpTarget, Program, Size, with_verdicts};
use super::discovery::UNROUTED;
use super::offsets::{
    ARP_SENDER, ARP_SENDER_MAC, BEHIND_IP6, DESTINATION_MAC, DESTINATION4, DESTINATION6, HOP_LIMIT6, IP,
    NEXT_HEADER6, PROTOCOL, SOURCE_MAC, SOURCE4, SOURCE6,
};
use super::sender::{MARK, Sender};
use crate::kernel::frame::{
    ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ICMPV6, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, SKF_AD_MARK,
    SKF_AD_VLAN_TAG_PRESENT,
};
use crate::model::cidr::{Cidr, Family};
use crate::model::mac::Mac;

/// Drops the frame (`TC_ACT_SHOT` of linux/pkt_cls.h).
const DROP: u32 = 2;
/// Leaves the frame to the next filter, or lets it pass (`TC_ACT_UNSPEC`).
const PASS: u32 = u32::MAX;
/// What a filter with an action answers (tc-bpf(8)): the action is not for this frame, or it is.
const NO_MATCH: u32 = 0;
const MATCH: u32 = u32::MAX;

/// The target address of a neighbour advertisement that is right behind the IPv6 header (RFC 4861, section 4.4).
const ADVERTISED: u32 = BEHIND_IP6 + 8;

/// What a container sends: from its own addresses, as nobody else.
pub(super) fn sender(sender: &Sender<'_>) -> Option<Vec<u8>> {
    let mut program = Program::default();
    program.load(Size::Word, SKF_AD_VLAN_TAG_PRESENT);
    program.drop_unless(Is::Equal, 0);
    program.drop_unless_mac(SOURCE_MAC, sender.mac);
    let mut ipv4 = Vec::new();
    let mut ipv6 = Vec::new();
    for address in sender.addresses {
        match address {
            IpAddr::V4(address) => ipv4.push(vec![u32::from(*address)]),
            IpAddr::V6(address) => ipv6.push(words(address.octets())),
        }
    }
    if !ipv6.is_empty() {
        ipv6.push(words(sender.mac.link_local().octets()));
    }
    program.load(Size::Half, PROTOCOL);
    let (arp, ip6) = (program.jump_target(), program.jump_target());
    if !ipv4.is_empty() {
        let next = program.jump_target();
        program.ask(Is::Equal, ETH_P_ARP, Some(arp), None);
        program.ask(Is::Equal, ETH_P_IP, None, Some(next));
        program.sends_ipv4(&ipv4, sender.confined_to);
        program.here(next);
    }
    if !ipv6.is_empty() {
        program.ask(Is::Equal, ETH_P_IPV6, Some(ip6), None);
    }
    program.end(DROP);
    if !ipv4.is_empty() {
        program.here(arp);
        program.sends_arp(sender.mac, &ipv4);
    }
    if !ipv6.is_empty() {
        program.here(ip6);
        program.sends_ipv6(&ipv6, sender.confined_to);
    }
    program.bytes()
}

/// What a container receives of the host: what the rules let in, by the mark that they leave on it, and the questions
/// for its Ethernet address. `gateway` is the address that the host sends from; without one, nobody else is on the link.
pub(super) fn receiver(gateway: Option<Mac>) -> Option<Vec<u8>> {
    let mut program = Program::default();
    let pass = program.jump_target();
    if let Some(gateway) = gateway {
        // From a neighbour on the bridge, whose own filter has judged it.
        program.go_unless_mac(SOURCE_MAC, gateway, pass);
    }
    program.load(Size::Word, SKF_AD_MARK);
    program.ask(Is::Set, MARK, Some(pass), None);
    program.load(Size::Half, PROTOCOL);
    program.ask(Is::Equal, ETH_P_ARP, Some(pass), None);
    program.drop_unless(Is::Equal, ETH_P_IPV6);
    program.load(Size::Byte, NEXT_HEADER6);
    program.drop_unless(Is::Equal, ICMPV6);
    // What was routed has another hop limit (RFC 4861, section 7.1.1).
    program.load(Size::Byte, HOP_LIMIT6);
    program.drop_unless(Is::Equal, UNROUTED);
    program.load(Size::Byte, BEHIND_IP6);
    program.ask(Is::Equal, NEIGHBOUR_SOLICITATION, Some(pass), None);
    program.drop_unless(Is::Equal, NEIGHBOUR_ADVERTISEMENT);
    program.here(pass);
    program.end(PASS);
    program.bytes()
}

/// The IP packets that a container sends to the gateway and may send: those alone are matched. It asks all that [`sender`] does, so
/// that the shortcut is nobody's way around it.
pub(super) fn shortcut(own: &Sender<'_>, gateway: Mac) -> Option<Vec<u8>> {
    let mut program = Program::default();
    let (other, ip) = (program.jump_target(), program.jump_target());
    program.go_unless_mac(DESTINATION_MAC, gateway, other);
    program.load(Size::Half, PROTOCOL);
    program.ask(Is::Equal, ETH_P_IP, Some(ip), None);
    program.ask(Is::Equal, ETH_P_IPV6, Some(ip), None);
    program.here(other);
    program.end(NO_MATCH);
    program.here(ip);
    let mut bytes = program.bytes()?;
    bytes.extend(with_verdicts(&sender(own)?, |verdict| if verdict == DROP { NO_MATCH } else { MATCH }));
    Some(bytes)
}

/// What comes out of a tunnel: nothing of or for the gateway, which every host of the overlay has for itself, and
/// nothing for the host's own loopback.
pub(super) fn tunnel(gateway: Mac, addresses: &[IpAddr]) -> Option<Vec<u8>> {
    let mut program = Program::default();
    program.load(Size::Word, SKF_AD_VLAN_TAG_PRESENT);
    program.drop_unless(Is::Equal, 0);
    for at in [SOURCE_MAC, DESTINATION_MAC] {
        let other = program.jump_target();
        program.go_unless_mac(at, gateway, other);
        program.end(DROP);
        program.here(other);
    }
    program.load(Size::Half, PROTOCOL);
    let (arp, ip, ip6) = (program.jump_target(), program.jump_target(), program.jump_target());
    program.ask(Is::Equal, ETH_P_ARP, Some(arp), None);
    program.ask(Is::Equal, ETH_P_IP, Some(ip), None);
    program.ask(Is::Equal, ETH_P_IPV6, Some(ip6), None);
    program.end(PASS);
    let of = |family| {
        let wanted = addresses.iter().filter(move |address| Family::of(**address) == family);
        wanted.map(|address| match address {
            IpAddr::V4(address) => vec![u32::from(*address)],
            IpAddr::V6(address) => words(address.octets()),
        })
    };
    let (ipv4, ipv6): (Vec<_>, Vec<_>) = (of(Family::Ipv4).collect(), of(Family::Ipv6).collect());
    program.here(arp);
    program.drop_if_one_of(&ipv4, |program, word| program.load(Size::Word, ARP_SENDER + word));
    program.end(PASS);
    program.here(ip);
    program.drop_if_one_of(&ipv4, |program, word| program.load(Size::Word, SOURCE4 + word));
    program.drop_loopback(SOURCE4);
    program.drop_loopback(DESTINATION4);
    program.end(PASS);
    program.here(ip6);
    program.drop_if_one_of(&ipv6, |program, word| program.load(Size::Word, SOURCE6 + word));
    let advertises = program.judge_discovery();
    program.end(PASS);
    program.here(advertises);
    program.drop_shorter_by_length(ADVERTISED + 16);
    program.drop_if_one_of(&ipv6, |program, word| program.load(Size::Word, ADVERTISED + word));
    program.end(PASS);
    program.bytes()
}

impl Program {
    fn sends_ipv4(&mut self, own: &[Vec<u32>], confined_to: &[Cidr]) {
        self.drop_shorter_by_length(IP + 20);
        self.drop_unless_one_of(own, |program, word| program.load(Size::Word, SOURCE4 + word));
        if confined_to.is_empty() {
            self.drop_loopback(DESTINATION4);
        } else {
            let inside = self.jump_target();
            self.pass_into(confined_to, Family::Ipv4, inside);
            self.load(Size::Word, DESTINATION4);
            self.ask(Is::Equal, u32::MAX, Some(inside), None);
            self.and(0xf000_0000);
            self.drop_unless(Is::Equal, 0xe000_0000);
            self.here(inside);
        }
        self.end(PASS);
    }

    fn sends_arp(&mut self, mac: Mac, own: &[Vec<u32>]) {
        self.drop_shorter_by_length(IP + 28);
        // Ethernet, IPv4, and the lengths of their addresses (RFC 826).
        self.load(Size::Word, IP);
        self.drop_unless(Is::Equal, 1 << 16 | ETH_P_IP);
        self.load(Size::Half, IP + 4);
        self.drop_unless(Is::Equal, 6 << 8 | 4);
        self.drop_unless_mac(ARP_SENDER_MAC, mac);
        self.drop_unless_one_of(own, |program, word| program.load(Size::Word, ARP_SENDER + word));
        self.end(PASS);
    }

    fn sends_ipv6(&mut self, own: &[Vec<u32>], confined_to: &[Cidr]) {
        self.drop_shorter_by_length(BEHIND_IP6);
        self.drop_unless_one_of(own, |program, word| program.load(Size::Word, SOURCE6 + word));
        if !confined_to.is_empty() {
            let inside = self.jump_target();
            self.pass_into(confined_to, Family::Ipv6, inside);
            // Groups (ff00::/8), and the link itself (fe80::/10).
            self.load(Size::Word, DESTINATION6);
            self.ask(Is::AtLeast, 0xff00_0000, Some(inside), None);
            self.and(0xffc0_0000);
            self.drop_unless(Is::Equal, 0xfe80_0000);
            self.here(inside);
        }
        let advertises = self.judge_discovery();
        self.end(PASS);
        self.here(advertises);
        self.drop_shorter_by_length(ADVERTISED + 16);
        self.drop_unless_one_of(own, |program, word| program.load(Size::Word, ADVERTISED + word));
        self.end(PASS);
    }

    /// Goes to a label where the destination is in one of the ranges of a family.
    fn pass_into(&mut self, ranges: &[Cidr], family: Family, inside: JumpTarget) {
        for range in ranges.iter().filter(|range| range.family() == family) {
            let other = self.jump_target();
            let (at, network) = match range.network().address() {
                IpAddr::V4(address) => (DESTINATION4, vec![u32::from(address)]),
                IpAddr::V6(address) => (DESTINATION6, words(address.octets())),
            };
            let mut bits = u32::from(range.prefix());
            for (word, at) in network.into_iter().zip((at..).step_by(4)) {
                let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or_default();
                if bits > 0 {
                    self.load(Size::Word, at);
                    if mask != u32::MAX {
                        self.and(mask);
                    }
                    self.ask(Is::Equal, word, None, Some(other));
                }
                bits = bits.saturating_sub(32);
            }
            self.go(inside);
            self.here(other);
        }
    }

    pub(super) fn drop_unless(&mut self, is: Is, number: u32) {
        let good = self.jump_target();
        self.ask(is, number, Some(good), None);
        self.end(DROP);
        self.here(good);
    }

    pub(super) fn drop_if(&mut self, is: Is, number: u32) {
        let good = self.jump_target();
        self.ask(is, number, None, Some(good));
        self.end(DROP);
        self.here(good);
    }

    /// A load from behind the frame's end would end the program with "pass".
    pub(super) fn drop_shorter_by_length(&mut self, length: u32) {
        self.load_length();
        self.drop_unless(Is::AtLeast, length);
    }

    /// Drops a frame that has fewer bytes than this from the index register on, also where that is past the frame's end.
    pub(super) fn drop_shorter_than(&mut self, bytes: u32) {
        self.load_length();
        self.subtract_index();
        self.add(bytes.wrapping_neg());
        self.drop_if(Is::Set, 1 << 31);
    }

    fn go_unless_mac(&mut self, at: u32, mac: Mac, other: JumpTarget) {
        let [high, low] = halves(mac);
        self.load(Size::Word, at);
        self.ask(Is::Equal, high, None, Some(other));
        self.load(Size::Half, at + 4);
        self.ask(Is::Equal, low, None, Some(other));
    }

    fn drop_unless_mac(&mut self, at: u32, mac: Mac) {
        let [high, low] = halves(mac);
        self.load(Size::Word, at);
        self.drop_unless(Is::Equal, high);
        self.load(Size::Half, at + 4);
        self.drop_unless(Is::Equal, low);
    }

    fn drop_loopback(&mut self, at: u32) {
        self.load(Size::Word, at);
        self.and(0xff00_0000);
        self.drop_if(Is::Equal, 127 << 24);
    }

    fn drop_unless_one_of(&mut self, addresses: &[Vec<u32>], load: impl Fn(&mut Self, u32)) {
        let good = self.jump_target();
        self.go_if_one_of(addresses, load, good);
        self.end(DROP);
        self.here(good);
    }

    fn drop_if_one_of(&mut self, addresses: &[Vec<u32>], load: impl Fn(&mut Self, u32)) {
        let (bad, good) = (self.jump_target(), self.jump_target());
        self.go_if_one_of(addresses, load, bad);
        self.go(good);
        self.here(bad);
        self.end(DROP);
        self.here(good);
    }

    fn go_if_one_of(&mut self, addresses: &[Vec<u32>], load: impl Fn(&mut Self, u32), to: JumpTarget) {
        for address in addresses {
            let other = self.jump_target();
            for (word, at) in address.iter().zip((0..).step_by(4)) {
                load(self, at);
                self.ask(Is::Equal, *word, None, Some(other));
            }
            self.go(to);
            self.here(other);
        }
    }
}

fn words(octets: [u8; 16]) -> Vec<u32> {
    octets
        .chunks_exact(4)
        .map(|word| word.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
        .collect()
}

fn halves(Mac([a, b, c, d, e, f]): Mac) -> [u32; 2] {
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([0, 0, e, f])]
}
