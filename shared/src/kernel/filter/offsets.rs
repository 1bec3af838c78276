//! Where the headers of an Ethernet frame without a VLAN tag have what filters look at, in bytes from its beginning.

pub(super) const DESTINATION_MAC: u32 = 0;
pub(super) const SOURCE_MAC: u32 = 6;
pub(super) const PROTOCOL: u32 = 12;
/// The IP header.
pub(super) const IP: u32 = 14;
pub(super) const SOURCE4: u32 = IP + 12;
pub(super) const DESTINATION4: u32 = IP + 16;
pub(super) const NEXT_HEADER6: u32 = IP + 6;
pub(super) const HOP_LIMIT6: u32 = IP + 7;
pub(super) const SOURCE6: u32 = IP + 8;
pub(super) const DESTINATION6: u32 = IP + 24;
pub(super) const BEHIND_IP6: u32 = IP + 40;
pub(super) const ARP_SENDER_MAC: u32 = IP + 8;
pub(super) const ARP_SENDER: u32 = IP + 14;
