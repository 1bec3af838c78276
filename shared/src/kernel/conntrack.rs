//! Connection tracking: which connections are open, and the end of those whose container is another's or nobody's now.
//! `published.rs` finds what is in the way of a published port; `text.rs` looks whether there is anything to ask for.

mod published;
mod text;

use std::collections::HashSet;
use std::net::IpAddr;

use nix::errno::Errno;

use super::KernelError;
use super::channel::Channel;
use super::raw::{Attributes, NESTED, Request};
use crate::cidr::Family;

pub use published::{Found, InTheWay, NowPublished, in_the_way};

/// `NFNL_SUBSYS_CTNETLINK` (linux/netfilter/nfnetlink.h) with `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`
/// (nfnetlink_conntrack.h).
const CT_GET: u16 = 1 << 8 | 1;
const CT_DELETE: u16 = 1 << 8 | 2;
/// `struct nfgenmsg` of linux/netfilter/nfnetlink.h; all zero, it asks for both families.
const NFGENMSG_LENGTH: usize = 4;
// Attributes of an entry, from linux/netfilter/nfnetlink_conntrack.h.
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_STATUS_MASK: u16 = 26;
/// `IPS_NAT_MASK`, of nf_conntrack_common.h: the source or the destination is translated.
const IPS_NAT_MASK: u32 = IPS_SRC_NAT | IPS_DST_NAT;
/// The source is.
const IPS_SRC_NAT: u32 = 1 << 4;
/// The destination is: the bit of `ct status dnat`.
pub const IPS_DST_NAT: u32 = 1 << 5;
/// An answer was seen.
const IPS_SEEN_REPLY: u32 = 1 << 1;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
/// `CTA_IP_V4_SRC` to `CTA_IP_V6_DST`.
const CTA_IP: std::ops::RangeInclusive<u16> = 1..=4;
const CTA_IP_SRC: [u16; 2] = [1, 3];
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
// What a filter compares, from the kernel's net/netfilter/nf_conntrack_netlink.c.
const CTA_FILTER_F_CTA_IP_SRC: u32 = 1;
const CTA_FILTER_F_CTA_PROTO_NUM: u32 = 1 << 3;

/// Hands over the addresses of every open connection: source and destination as they were sent, and as they are
/// answered. One may come several times.
///
/// # Errors
/// A refusal of the dump.
pub fn entries(channel: &mut Channel, mut take: impl FnMut(&[IpAddr])) -> Result<(), KernelError> {
    let request = Request::new(CT_GET, &[0; NFGENMSG_LENGTH]);
    let mut addresses = Vec::with_capacity(4);
    channel.stream(&request, "list the open connections", &mut |payload| {
        answer(payload, &mut addresses);
        take(&addresses);
    })
}

/// Puts the addresses of one entry of the dump into `addresses`, in place of what was there.
pub fn answer(payload: &[u8], addresses: &mut Vec<IpAddr>) {
    addresses.clear();
    for (kind, tuple) in Attributes::behind(payload, NFGENMSG_LENGTH) {
        if !matches!(kind, CTA_TUPLE_ORIG | CTA_TUPLE_REPLY) {
            continue;
        }
        let ends = Attributes::new(Attributes::new(tuple).find(CTA_TUPLE_IP).unwrap_or_default());
        addresses.extend(ends.filter(|(kind, _)| CTA_IP.contains(kind)).filter_map(|(_, end)| address(end)));
    }
}

/// Ends every connection that an address began, or that was led to it: whoever gets the address next is not to get what
/// was meant for the one before.
///
/// For IPv6, the connections are listed, which takes milliseconds: the kernel's filter by an IPv6 address finds every
/// connection but that address's (`ctnetlink_filter_match_tuple` takes `!ipv6_addr_cmp` for "differs").
///
/// # Errors
/// What the kernel says besides that there is no connection tracking.
pub fn end_all_of(channel: &mut Channel, address: IpAddr) -> Result<(), KernelError> {
    if !text::may_have(is_sent_by(address)) {
        return Ok(());
    }
    let directions = [(CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS), (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS)];
    let family = Family::of(address);
    let is_meant = |payload: &[u8]| {
        directions.iter().any(|(direction, _)| ends(payload, *direction).first() == Some(&address))
    };
    if family == Family::Ipv6 {
        return end_some(channel, &of_family(CT_GET, family), is_meant);
    }
    let question = |(direction, flags)| {
        let filter = move |request: Request| {
            request
                .with_nested(direction, |tuple| {
                    tuple.with_nested(CTA_TUPLE_IP, |ip| with_address(ip, CTA_IP_SRC, address))
                })
                .with_nested(CTA_FILTER, |filter| filter.with(flags, &CTA_FILTER_F_CTA_IP_SRC.to_ne_bytes()))
        };
        Question { family, filter: Box::new(filter), is_meant: Box::new(is_meant) }
    };
    end_by(channel, &directions.map(question))
}

/// Whether an address began a connection or answers on it: by its line of text.
fn is_sent_by(address: IpAddr) -> impl Fn(&str) -> bool {
    move |line| text::values(line, "src").any(|source| source.parse() == Ok(address))
}

/// Which connections are to end: by the kernel's filter, and by what a kernel that does not know it is asked.
struct Question<'a> {
    family: Family,
    filter: Filter<'a>,
    is_meant: IsMeant<'a>,
}

type Filter<'a> = Box<dyn Fn(Request) -> Request + 'a>;
type IsMeant<'a> = Box<dyn Fn(&[u8]) -> bool + 'a>;

/// Ends what these addresses began and nobody answered, untranslated: without rules, it left as it was sent, and would
/// go on so as long as its sender does. Its next packet begins it anew.
///
/// # Errors
/// As [`end_all_of`].
pub fn end_all_untranslated(channel: &mut Channel, of: &HashSet<IpAddr>) -> Result<(), KernelError> {
    for family in Family::ALL {
        if of.iter().any(|address| Family::of(*address) == family) {
            let request = of_family(CT_GET, family)
                .with(CTA_STATUS, &0_u32.to_be_bytes())
                .with(CTA_STATUS_MASK, &(IPS_NAT_MASK | IPS_SEEN_REPLY).to_be_bytes());
            end_some(channel, &request, |payload| {
                status(payload) & (IPS_NAT_MASK | IPS_SEEN_REPLY) == 0
                    && ends(payload, CTA_TUPLE_ORIG).first().is_some_and(|source| of.contains(source))
            })?;
        }
    }
    Ok(())
}

/// `IPS_…` of an entry.
fn status(payload: &[u8]) -> u32 {
    let status = Attributes::behind(payload, NFGENMSG_LENGTH).find(CTA_STATUS);
    status.and_then(|bytes| bytes.first_chunk().copied()).map_or(0, u32::from_be_bytes)
}

/// Ends the connections that questions find, which are asked together. Kernels before 6.10 do not delete by a filter:
/// there, the connections are listed by it.
fn end_by(channel: &mut Channel, questions: &[Question<'_>]) -> Result<(), KernelError> {
    let request = |kind, of: &Question<'_>| (of.filter)(of_family(kind, of.family));
    let requests: Vec<Request> = questions.iter().map(|of| request(CT_DELETE, of)).collect();
    match refused(channel, &requests)? {
        None => Ok(()),
        Some(Errno::EINVAL | Errno::EOPNOTSUPP) => {
            questions.iter().try_for_each(|of| end_some(channel, &request(CT_GET, of), &of.is_meant))
        }
        Some(errno) => Err(KernelError::new("end connections", errno)),
    }
}

fn with_address(request: Request, kinds: [u16; 2], address: IpAddr) -> Request {
    request.with_address(kinds[usize::from(address.is_ipv6())], address)
}

/// Ends those of the connections that a filter finds which are meant. A kernel that does not know filters finds all.
fn end_some(
    channel: &mut Channel,
    request: &Request,
    is_meant: impl Fn(&[u8]) -> bool,
) -> Result<(), KernelError> {
    let mut found = Vec::new();
    list(channel, request, &mut |payload| {
        if is_meant(payload) {
            found.push(payload.to_vec());
        }
    })?;
    end_listed(channel, found.iter().map(Vec::as_slice))
}

/// Hands over the connections that a filter finds.
fn list(channel: &mut Channel, request: &Request, take: &mut dyn FnMut(&[u8])) -> Result<(), KernelError> {
    match channel.stream(request, "list the open connections", take) {
        // nf_conntrack is not loaded: there is no connection.
        Err(KernelError { errno: Errno::EINVAL | Errno::EOPNOTSUPP, .. }) => Ok(()),
        listed => listed,
    }
}

/// Ends connections that were found.
///
/// # Errors
/// What the kernel says besides that a connection has ended already.
pub fn end_found(channel: &mut Channel, found: &[Found]) -> Result<(), KernelError> {
    end_listed(channel, found.iter().map(Found::entry))
}

fn end_listed<'a>(channel: &mut Channel, found: impl Iterator<Item = &'a [u8]>) -> Result<(), KernelError> {
    let deletions: Vec<Request> = found.filter_map(deletion).collect();
    match refused(channel, &deletions)? {
        None | Some(Errno::ENOENT) => Ok(()),
        Some(errno) => Err(KernelError::new("end a connection", errno)),
    }
}

/// The message that ends one connection, by how it was begun and by its number, lest it is a newer one.
fn deletion(payload: &[u8]) -> Option<Request> {
    let attributes = || Attributes::behind(payload, NFGENMSG_LENGTH);
    let tuple = attributes().find(CTA_TUPLE_ORIG)?;
    let id = attributes().find(CTA_ID)?;
    let request = Request::new(CT_DELETE, &[*payload.first()?, 0, 0, 0]);
    let request = request.with(CTA_TUPLE_ORIG | NESTED, tuple).with(CTA_ID, id);
    Some(match attributes().find(CTA_ZONE) {
        Some(zone) => request.with(CTA_ZONE, zone),
        None => request,
    })
}

fn of_family(kind: u16, family: Family) -> Request {
    let mut header = [0; NFGENMSG_LENGTH];
    header[0] = family.number();
    Request::new(kind, &header)
}

/// The last refusal of several messages.
fn refused(channel: &mut Channel, requests: &[Request]) -> Result<Option<Errno>, KernelError> {
    let mut refused = None;
    let asked = channel.ask_each(requests, &mut |_, answer| refused = answer.err().or(refused));
    asked.map_err(|errno| KernelError::new("end connections", errno))?;
    Ok(refused)
}

/// Source and destination of one direction.
fn ends(payload: &[u8], direction: u16) -> Vec<IpAddr> {
    let tuple = Attributes::behind(payload, NFGENMSG_LENGTH).find(direction).unwrap_or_default();
    let ends = Attributes::new(Attributes::new(tuple).find(CTA_TUPLE_IP).unwrap_or_default());
    ends.filter(|(kind, _)| CTA_IP.contains(kind)).filter_map(|(_, end)| address(end)).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let ipv4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    ipv4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(all(test, target_endian = "little"))]
mod tests;
