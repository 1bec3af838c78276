//! Connection tracking: which connections are open, and the end of those whose container is another's or nobody's now.
//! `published.rs` finds what is in the way of a published port; `text.rs` looks whether there is anything to ask for.

mod messages;
mod published;
mod text;

use std::collections::HashSet;
use std::net::IpAddr;

use nix::errno::Errno;

use super::KernelError;
use super::netlink::NetlinkSocket;
use super::raw::{Attributes, NESTED, NetlinkRequest};
use crate::model::cidr::Family;

use self::messages::{
    CT_DELETE, CT_GET, CTA_FILTER, CTA_FILTER_F_CTA_IP_SRC, CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS,
    CTA_ID, CTA_IP, CTA_IP_SRC, CTA_STATUS, CTA_STATUS_MASK, CTA_TUPLE_IP, CTA_TUPLE_ORIG, CTA_TUPLE_REPLY,
    CTA_ZONE, IPS_NAT_MASK, IPS_SEEN_REPLY, NFGENMSG_LENGTH, address, ends, list, of_family, status,
    with_address,
};
pub use messages::IPS_DST_NAT;
pub use published::{InTheWay, NowPublished, TrackedConnection, in_the_way};

/// Hands over the addresses of every open connection: source and destination as they were sent, and as they are
/// answered. One may come several times.
///
/// # Errors
/// A refusal of the dump.
pub fn entries(socket: &mut NetlinkSocket, mut take: impl FnMut(&[IpAddr])) -> Result<(), KernelError> {
    let request = NetlinkRequest::new(CT_GET, &[0; NFGENMSG_LENGTH]);
    let mut addresses = Vec::with_capacity(4);
    socket.stream(&request, "list the open connections", &mut |payload| {
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
pub fn end_all_of(socket: &mut NetlinkSocket, address: IpAddr) -> Result<(), KernelError> {
    if !text::may_have(is_sent_by(address)) {
        return Ok(());
    }
    let directions = [(CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS), (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS)];
    let family = Family::of(address);
    let is_meant = |payload: &[u8]| {
        directions.iter().any(|(direction, _)| ends(payload, *direction).first() == Some(&address))
    };
    if family == Family::Ipv6 {
        return end_some(socket, &of_family(CT_GET, family), is_meant);
    }
    let question = |(direction, flags)| {
        let filter = move |request: NetlinkRequest| {
            request
                .with_nested(direction, |tuple| {
                    tuple.with_nested(CTA_TUPLE_IP, |ip| with_address(ip, CTA_IP_SRC, address))
                })
                .with_nested(CTA_FILTER, |filter| filter.with(flags, &CTA_FILTER_F_CTA_IP_SRC.to_ne_bytes()))
        };
        Question { family, filter: Box::new(filter), is_meant: Box::new(is_meant) }
    };
    end_by(socket, &directions.map(question))
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

type Filter<'a> = Box<dyn Fn(NetlinkRequest) -> NetlinkRequest + 'a>;
type IsMeant<'a> = Box<dyn Fn(&[u8]) -> bool + 'a>;

/// Ends what these addresses began and nobody answered, untranslated: without rules, it left as it was sent, and would
/// go on so as long as its sender does. Its next packet begins it anew.
///
/// # Errors
/// As [`end_all_of`].
pub fn end_all_untranslated(socket: &mut NetlinkSocket, of: &HashSet<IpAddr>) -> Result<(), KernelError> {
    for family in Family::ALL {
        if of.iter().any(|address| Family::of(*address) == family) {
            let request = of_family(CT_GET, family)
                .with(CTA_STATUS, &0_u32.to_be_bytes())
                .with(CTA_STATUS_MASK, &(IPS_NAT_MASK | IPS_SEEN_REPLY).to_be_bytes());
            end_some(socket, &request, |payload| {
                status(payload) & (IPS_NAT_MASK | IPS_SEEN_REPLY) == 0
                    && ends(payload, CTA_TUPLE_ORIG).first().is_some_and(|source| of.contains(source))
            })?;
        }
    }
    Ok(())
}

/// Ends the connections that questions find, which are asked together. Kernels before 6.10 do not delete by a filter:
/// there, the connections are listed by it.
fn end_by(socket: &mut NetlinkSocket, questions: &[Question<'_>]) -> Result<(), KernelError> {
    let request = |kind, of: &Question<'_>| (of.filter)(of_family(kind, of.family));
    let requests: Vec<NetlinkRequest> = questions.iter().map(|of| request(CT_DELETE, of)).collect();
    match refused(socket, &requests)? {
        None => Ok(()),
        Some(Errno::EINVAL | Errno::EOPNOTSUPP) => {
            questions.iter().try_for_each(|of| end_some(socket, &request(CT_GET, of), &of.is_meant))
        }
        Some(errno) => Err(KernelError::new("end connections", errno)),
    }
}

/// Ends those of the connections that a filter finds which are meant. A kernel that does not know filters finds all.
fn end_some(
    socket: &mut NetlinkSocket,
    request: &NetlinkRequest,
    is_meant: impl Fn(&[u8]) -> bool,
) -> Result<(), KernelError> {
    let mut found = Vec::new();
    list(socket, request, &mut |payload| {
        if is_meant(payload) {
            found.push(payload.to_vec());
        }
    })?;
    end_listed(socket, found.iter().map(Vec::as_slice))
}

/// Ends connections that were found.
///
/// # Errors
/// What the kernel says besides that a connection has ended already.
pub fn end_found(socket: &mut NetlinkSocket, found: &[TrackedConnection]) -> Result<(), KernelError> {
    end_listed(socket, found.iter().map(TrackedConnection::entry))
}

fn end_listed<'a>(
    socket: &mut NetlinkSocket,
    found: impl Iterator<Item = &'a [u8]>,
) -> Result<(), KernelError> {
    let deletions: Vec<NetlinkRequest> = found.filter_map(deletion).collect();
    match refused(socket, &deletions)? {
        None | Some(Errno::ENOENT) => Ok(()),
        Some(errno) => Err(KernelError::new("end a connection", errno)),
    }
}

/// The message that ends one connection, by how it was begun and by its number, lest it is a newer one.
fn deletion(payload: &[u8]) -> Option<NetlinkRequest> {
    let attributes = || Attributes::behind(payload, NFGENMSG_LENGTH);
    let tuple = attributes().find(CTA_TUPLE_ORIG)?;
    let id = attributes().find(CTA_ID)?;
    let request = NetlinkRequest::new(CT_DELETE, &[*payload.first()?, 0, 0, 0]);
    let request = request.with(CTA_TUPLE_ORIG | NESTED, tuple).with(CTA_ID, id);
    Some(match attributes().find(CTA_ZONE) {
        Some(zone) => request.with(CTA_ZONE, zone),
        None => request,
    })
}

/// The last refusal of several messages.
fn refused(socket: &mut NetlinkSocket, requests: &[NetlinkRequest]) -> Result<Option<Errno>, KernelError> {
    let mut refused = None;
    let asked = socket.ask_each(requests, &mut |_, answer| refused = answer.err().or(refused));
    asked.map_err(|errno| KernelError::new("end connections", errno))?;
    Ok(refused)
}

#[cfg(all(test, target_endian = "little"))]
mod tests;
