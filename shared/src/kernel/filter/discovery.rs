//! IPv6's neighbour discovery (RFC 4861), wherever in a packet it is.

use super::assembler::{Is, JumpTarget, Program, Size};
use super::offsets::{BEHIND_IP6, HOP_LIMIT6, NEXT_HEADER6};
use crate::kernel::frame::{ICMPV6, NEIGHBOUR_ADVERTISEMENT};

/// The next headers of a fragment (RFC 8200) and of an authentication header (RFC 4302).
const FRAGMENT: u32 = 44;
const AUTHENTICATION: u32 = 51;
/// The extension headers; besides those two, hop-by-hop options, routing and destination options, which say their length in
/// one way.
const EXTENSIONS: [u32; 5] = [0, 43, 60, FRAGMENT, AUTHENTICATION];
/// How many extension headers are looked behind. A frame with more, and with the hop limit of neighbour discovery, is
/// dropped. Each costs 33 instructions, which the kernel compiles at every start.
const EXTENSIONS_AT_MOST: usize = 3;
/// The hop limit without which nobody believes neighbour discovery: no router has decreased it (RFC 4861, section 7.1).
pub(super) const UNROUTED: u32 = 255;

// What the program keeps of an extension header.
const KIND: u32 = 0;
const NEXT_HEADER: u32 = 1;

// The first and the last type of neighbour discovery, and one between.
const ROUTER_SOLICITATION: u32 = 133;
const ROUTER_ADVERTISEMENT: u32 = 134;
const REDIRECT: u32 = 137;

impl Program {
    /// Judges neighbour discovery: right behind the IPv6 header, router advertisements and redirects are dropped, a
    /// neighbour advertisement goes on at the label that is returned. Behind extension headers and in fragments, all of it is
    /// dropped (RFC 6980) that has a hop limit by which anybody believes it.
    /// Everything else goes on here.
    pub(super) fn judge_discovery(&mut self) -> JumpTarget {
        let (behind, found, advertises, other) =
            (self.jump_target(), self.jump_target(), self.jump_target(), self.jump_target());
        self.load(Size::Byte, NEXT_HEADER6);
        self.ask(Is::Equal, ICMPV6, None, Some(behind));
        self.drop_shorter_by_length(BEHIND_IP6 + 1);
        self.load(Size::Byte, BEHIND_IP6);
        self.drop_if(Is::Equal, ROUTER_ADVERTISEMENT);
        self.drop_if(Is::Equal, REDIRECT);
        self.go_if(Is::Equal, NEIGHBOUR_ADVERTISEMENT, advertises);
        self.go(other);
        self.here(behind);
        self.load(Size::Byte, HOP_LIMIT6);
        self.ask(Is::Equal, UNROUTED, None, Some(other));
        self.index(BEHIND_IP6);
        self.load(Size::Byte, NEXT_HEADER6);
        for _ in 0..EXTENSIONS_AT_MOST {
            self.skip_extension(found, other);
        }
        for kind in EXTENSIONS {
            self.drop_if(Is::Equal, kind);
        }
        self.here(found);
        self.ask(Is::Equal, ICMPV6, None, Some(other));
        // A first fragment shows what the packet carries (RFC 7112).
        self.drop_shorter_than(1);
        self.load_behind(Size::Byte, 0);
        self.ask(Is::AtLeast, ROUTER_SOLICITATION, None, Some(other));
        self.drop_unless(Is::AtLeast, REDIRECT + 1);
        self.here(other);
        advertises
    }

    /// Moves the index register, which is at a header of the accumulator's kind, behind that header, and loads the next
    /// one's kind. Goes to `found` where it is no extension header, and to `other` where it is that of a later fragment,
    /// which is nothing without the first.
    fn skip_extension(&mut self, found: JumpTarget, other: JumpTarget) {
        let (extension, fragment, authentication) =
            (self.jump_target(), self.jump_target(), self.jump_target());
        let next = self.jump_target();
        for kind in EXTENSIONS {
            self.ask(Is::Equal, kind, Some(extension), None);
        }
        self.go(found);
        self.here(extension);
        self.keep(KIND);
        self.drop_shorter_than(8);
        self.load_behind(Size::Byte, 0);
        self.keep(NEXT_HEADER);
        self.recall(KIND);
        self.ask(Is::Equal, FRAGMENT, Some(fragment), None);
        self.ask(Is::Equal, AUTHENTICATION, Some(authentication), None);
        // The length is in units of 8 bytes, without the first (RFC 8200, section 4).
        self.load_behind(Size::Byte, 1);
        self.add(1);
        self.shift_left(3);
        self.go(next);
        self.here(fragment);
        self.load_behind(Size::Half, 2);
        self.and(0xfff8);
        let first = self.jump_target();
        self.ask(Is::Equal, 0, Some(first), None);
        self.go(other);
        self.here(first);
        self.add(8);
        self.go(next);
        // The length is in units of 4 bytes, without the first two (RFC 4302, section 2.2).
        self.here(authentication);
        self.load_behind(Size::Byte, 1);
        self.add(2);
        self.shift_left(2);
        self.here(next);
        self.add_index();
        self.copy_to_index();
        self.recall(NEXT_HEADER);
    }

    /// Goes on at a label that may be far away.
    fn go_if(&mut self, is: Is, number: u32, to: JumpTarget) {
        let stay = self.jump_target();
        self.ask(is, number, None, Some(stay));
        self.go(to);
        self.here(stay);
    }
}
