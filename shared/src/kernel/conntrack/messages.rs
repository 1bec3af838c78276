//! Messages about connections: what is asked of the kernel, and what it answers.

use std::net::IpAddr;

use nix::errno::Errno;
use nix::libc;

use crate::kernel::KernelError;
use crate::kernel::netlink::NetlinkSocket;
use crate::kernel::raw::{Attributes, NetlinkRequest};
use crate::model::cidr::Family;

/// `NFNL_SUBSYS_CTNETLINK` (linux/netfilter/nfnetlink.h) with `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`
/// (nfnetlink_conntrack.h).
pub(super) const CT_GET: u16 = (libc::NFNL_SUBSYS_CTNETLINK << 8) as u16 | 1;
pub(super) const CT_DELETE: u16 = (libc::NFNL_SUBSYS_CTNETLINK << 8) as u16 | 2;
/// `struct nfgenmsg` of linux/netfilter/nfnetlink.h; all zero, it asks for both families.
pub(super) const NFGENMSG_LENGTH: usize = 4;
// Attributes of an entry, from linux/netfilter/nfnetlink_conntrack.h.
pub(super) const CTA_TUPLE_ORIG: u16 = 1;
pub(super) const CTA_TUPLE_REPLY: u16 = 2;
pub(super) const CTA_STATUS: u16 = 3;
pub(super) const CTA_ID: u16 = 12;
pub(super) const CTA_ZONE: u16 = 18;
pub(super) const CTA_FILTER: u16 = 25;
pub(super) const CTA_STATUS_MASK: u16 = 26;
/// `IPS_NAT_MASK`, of nf_conntrack_common.h: the source or the destination is translated.
pub(super) const IPS_NAT_MASK: u32 = IPS_SRC_NAT | IPS_DST_NAT;
/// The source is.
pub(super) const IPS_SRC_NAT: u32 = 1 << 4;
/// The destination is: the bit of `ct status dnat`.
pub const IPS_DST_NAT: u32 = 1 << 5;
/// An answer was seen.
pub(super) const IPS_SEEN_REPLY: u32 = 1 << 1;
pub(super) const CTA_TUPLE_IP: u16 = 1;
pub(super) const CTA_TUPLE_PROTO: u16 = 2;
/// `CTA_IP_V4_SRC` to `CTA_IP_V6_DST`.
pub(super) const CTA_IP: std::ops::RangeInclusive<u16> = 1..=4;
pub(super) const CTA_IP_SRC: [u16; 2] = [1, 3];
pub(super) const CTA_PROTO_NUM: u16 = 1;
pub(super) const CTA_PROTO_DST_PORT: u16 = 3;
pub(super) const CTA_FILTER_ORIG_FLAGS: u16 = 1;
pub(super) const CTA_FILTER_REPLY_FLAGS: u16 = 2;
// What a filter compares, from the kernel's net/netfilter/nf_conntrack_netlink.c.
pub(super) const CTA_FILTER_F_CTA_IP_SRC: u32 = 1;
pub(super) const CTA_FILTER_F_CTA_PROTO_NUM: u32 = 1 << 3;

/// `IPS_…` of an entry.
pub(super) fn status(payload: &[u8]) -> u32 {
    let status = Attributes::behind(payload, NFGENMSG_LENGTH).find(CTA_STATUS);
    status.and_then(|bytes| bytes.first_chunk().copied()).map_or(0, u32::from_be_bytes)
}

pub(super) fn with_address(request: NetlinkRequest, kinds: [u16; 2], address: IpAddr) -> NetlinkRequest {
    request.with_address(kinds[usize::from(address.is_ipv6())], address)
}

/// Hands over the connections that a filter finds.
pub(super) fn list(
    socket: &mut NetlinkSocket,
    request: &NetlinkRequest,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), KernelError> {
    match socket.stream(request, "list the open connections", take) {
        // nf_conntrack is not loaded: there is no connection.
        Err(KernelError { errno: Errno::EINVAL | Errno::EOPNOTSUPP, .. }) => Ok(()),
        listed => listed,
    }
}

pub(super) fn of_family(kind: u16, family: Family) -> NetlinkRequest {
    let mut header = [0; NFGENMSG_LENGTH];
    header[0] = family.number();
    NetlinkRequest::new(kind, &header)
}

/// Source and destination of one direction.
pub(super) fn ends(payload: &[u8], direction: u16) -> Vec<IpAddr> {
    let tuple = Attributes::behind(payload, NFGENMSG_LENGTH).find(direction).unwrap_or_default();
    let ends = Attributes::new(Attributes::new(tuple).find(CTA_TUPLE_IP).unwrap_or_default());
    ends.filter(|(kind, _)| CTA_IP.contains(kind)).filter_map(|(_, end)| address(end)).collect()
}

pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let ipv4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    ipv4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
