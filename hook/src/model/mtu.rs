//! The MTUs that links have by themselves or must have, in bytes.

/// The MTU that a link has when nothing gives it another (`ETH_DATA_LEN` of linux/if_ether.h).
pub const DEFAULT_MTU: u32 = 1500;
/// The least MTU of a link that has IPv6 (RFC 8200, section 5).
pub const IPV6_MTU: u32 = 1280;
