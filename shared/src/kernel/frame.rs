//! Numbers in frames, and in what the kernel knows beside a frame, as classic BPF compares them: whole words.

use nix::libc;

// Protocols (linux/if_ether.h).
pub(super) const ETH_P_IP: u32 = libc::ETH_P_IP.cast_unsigned();
pub(super) const ETH_P_ARP: u32 = libc::ETH_P_ARP.cast_unsigned();
pub(super) const ETH_P_IPV6: u32 = libc::ETH_P_IPV6.cast_unsigned();

/// The next header of ICMPv6 (RFC 4443).
pub(super) const ICMPV6: u32 = libc::IPPROTO_ICMPV6.cast_unsigned();
// Types of ICMPv6 (RFC 4861).
pub(super) const NEIGHBOUR_SOLICITATION: u32 = 135;
pub(super) const NEIGHBOUR_ADVERTISEMENT: u32 = 136;

// Places outside the frame (linux/filter.h): its mark, where it came from, and whether a VLAN tag was on it.
pub(super) const SKF_AD_MARK: u32 = outside(libc::SKF_AD_MARK);
pub(super) const SKF_AD_PKTTYPE: u32 = outside(libc::SKF_AD_PKTTYPE);
pub(super) const SKF_AD_VLAN_TAG_PRESENT: u32 = outside(libc::SKF_AD_VLAN_TAG_PRESENT);

const fn outside(place: i32) -> u32 {
    (libc::SKF_AD_OFF + place).cast_unsigned()
}
