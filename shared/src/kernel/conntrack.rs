//! Connection tracking: which connections are open, and the end of those whose container is another's or nobody's now.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use nix::errno::Errno;

use super::KernelError;
use super::channel::Channel;
use super::raw::{Attributes, NESTED, Request};
use crate::cidr::Family;
use crate::port::Protocol;

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
const CTA_FILTER: u16 = 25;
const CTA_STATUS_MASK: u16 = 26;
/// `IPS_NAT_MASK`, of nf_conntrack_common.h: the source or the destination is translated.
const IPS_NAT_MASK: u32 = IPS_SRC_NAT | 1 << 5;
/// The source is.
const IPS_SRC_NAT: u32 = 1 << 4;
/// An answer was seen.
const IPS_SEEN_REPLY: u32 = 1 << 1;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
/// `CTA_IP_V4_SRC` to `CTA_IP_V6_DST`.
const CTA_IP: std::ops::RangeInclusive<u16> = 1..=4;
const CTA_IP_SRC: [u16; 2] = [1, 3];
const CTA_IP_DST: [u16; 2] = [2, 4];
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
// What a filter compares, from the kernel's net/netfilter/nf_conntrack_netlink.c.
const CTA_FILTER_F_CTA_IP_SRC: u32 = 1;
const CTA_FILTER_F_CTA_IP_DST: u32 = 1 << 1;
const CTA_FILTER_F_CTA_PROTO_NUM: u32 = 1 << 3;
const CTA_FILTER_F_CTA_PROTO_DST_PORT: u32 = 1 << 5;

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
    let directions = [(CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS), (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS)];
    let family = Family::of(address);
    let is_meant = |payload: &[u8]| {
        directions.iter().any(|(direction, _)| ends(payload, *direction).first() == Some(&address))
    };
    if family == Family::Ipv6 {
        return end_some(channel, &of_family(CT_GET, family), family, is_meant);
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

/// Which connections are to end: by the kernel's filter, and by what a kernel that does not know it is asked.
struct Question<'a> {
    family: Family,
    filter: Filter<'a>,
    is_meant: IsMeant<'a>,
}

type Filter<'a> = Box<dyn Fn(Request) -> Request + 'a>;
type IsMeant<'a> = Box<dyn Fn(&[u8]) -> bool + 'a>;

/// A UDP port of the host that is published now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NowPublished {
    /// The family.
    pub family: Family,
    /// The one host address that it is published on.
    pub bound: Option<IpAddr>,
    /// Its number.
    pub port: u16,
}

/// What was sent to a UDP port before anybody published it, untranslated, on one host address or on any: such a
/// connection would never be led to the container, as long as its sender goes on. Untranslated connections to that
/// port elsewhere are begun anew by their next packet, and do not differ.
fn unpublished(NowPublished { family, bound, port }: NowPublished) -> Question<'static> {
    let flags = CTA_FILTER_F_CTA_PROTO_NUM | CTA_FILTER_F_CTA_PROTO_DST_PORT;
    // By an IPv6 address, the kernel's filter would find the others (see `end_all_of`).
    let bound = bound.filter(IpAddr::is_ipv4);
    let flags = flags | if bound.is_some() { CTA_FILTER_F_CTA_IP_DST } else { 0 };
    let filter = move |request: Request| {
        request
            .with_nested(CTA_TUPLE_ORIG, |tuple| {
                let tuple = match bound {
                    Some(bound) => tuple.with_nested(CTA_TUPLE_IP, |ip| with_address(ip, CTA_IP_DST, bound)),
                    None => tuple,
                };
                with_udp_port(tuple, port)
            })
            .with_nested(CTA_FILTER, |filter| filter.with(CTA_FILTER_ORIG_FLAGS, &flags.to_ne_bytes()))
            .with(CTA_STATUS, &0_u32.to_be_bytes())
            .with(CTA_STATUS_MASK, &IPS_NAT_MASK.to_be_bytes())
    };
    let is_meant = move |payload: &[u8]| is_unpublished(payload, bound, port);
    Question { family, filter: Box::new(filter), is_meant: Box::new(is_meant) }
}

/// The UDP connections of containers that leave by a port which is published now: what is sent to the port would be
/// taken for their answers. They go on by another port with their next packet.
fn leaving_by(NowPublished { family, port, .. }: NowPublished) -> Question<'static> {
    let flags = CTA_FILTER_F_CTA_PROTO_NUM | CTA_FILTER_F_CTA_PROTO_DST_PORT;
    let filter = move |request: Request| {
        request
            .with_nested(CTA_TUPLE_REPLY, |tuple| with_udp_port(tuple, port))
            .with_nested(CTA_FILTER, |filter| filter.with(CTA_FILTER_REPLY_FLAGS, &flags.to_ne_bytes()))
            .with(CTA_STATUS, &IPS_SRC_NAT.to_be_bytes())
            .with(CTA_STATUS_MASK, &IPS_NAT_MASK.to_be_bytes())
    };
    Question { family, filter: Box::new(filter), is_meant: Box::new(move |payload| leaves_by(payload, port)) }
}

fn with_udp_port(tuple: Request, port: u16) -> Request {
    tuple.with_nested(CTA_TUPLE_PROTO, |of| {
        of.with(CTA_PROTO_NUM, &[Protocol::Udp.number()]).with(CTA_PROTO_DST_PORT, &port.to_be_bytes())
    })
}

/// Ends what was sent to the UDP ports of a container before anybody published them, and what leaves by them. The kernel is asked
/// once. Each question of it looks through all connections: where there are many ports, the connections are listed once.
///
/// # Errors
/// As [`end_all_of`].
pub fn end_all_unpublished(channel: &mut Channel, ports: &[NowPublished]) -> Result<(), KernelError> {
    const FEW: usize = 16;
    if ports.len() <= FEW {
        let leaving = ports.iter().filter(|of| of.bound.is_none()).copied().map(leaving_by);
        let questions: Vec<Question<'_>> = ports.iter().copied().map(unpublished).chain(leaving).collect();
        return end_by(channel, &questions);
    }
    Family::ALL.into_iter().try_for_each(|family| {
        let of_family: Vec<_> = ports.iter().filter(|of| of.family == family).collect();
        if of_family.is_empty() { Ok(()) } else { end_listed(channel, family, &of_family) }
    })
}

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
            end_some(channel, &request, family, |payload| {
                status(payload) & (IPS_NAT_MASK | IPS_SEEN_REPLY) == 0
                    && ends(payload, CTA_TUPLE_ORIG).first().is_some_and(|source| of.contains(source))
            })?;
        }
    }
    Ok(())
}

fn end_listed(channel: &mut Channel, family: Family, ports: &[&NowPublished]) -> Result<(), KernelError> {
    let mut by_port: HashMap<u16, Vec<Option<IpAddr>>> = HashMap::new();
    for of in ports {
        by_port.entry(of.port).or_default().push(of.bound);
    }
    let bounds = |direction, payload: &[u8]| by_port.get_key_value(&sent_to(payload, direction)?);
    end_some(channel, &of_family(CT_GET, family), family, |payload| {
        let unpublished = bounds(CTA_TUPLE_ORIG, payload)
            .is_some_and(|(port, bounds)| bounds.iter().any(|bound| is_unpublished(payload, *bound, *port)));
        unpublished
            || bounds(CTA_TUPLE_REPLY, payload)
                .is_some_and(|(port, bounds)| bounds.contains(&None) && leaves_by(payload, *port))
    })
}

/// The port that a connection's packets of one direction are sent to.
fn sent_to(payload: &[u8], direction: u16) -> Option<u16> {
    let tuple = Attributes::behind(payload, NFGENMSG_LENGTH).find(direction)?;
    let of = Attributes::new(Attributes::new(tuple).find(CTA_TUPLE_PROTO)?);
    of.clone().find(CTA_PROTO_DST_PORT)?.try_into().ok().map(u16::from_be_bytes)
}

fn leaves_by(payload: &[u8], port: u16) -> bool {
    status(payload) & IPS_NAT_MASK == IPS_SRC_NAT && is_udp_to(payload, CTA_TUPLE_REPLY, port)
}

/// `IPS_…` of an entry.
fn status(payload: &[u8]) -> u32 {
    let status = Attributes::behind(payload, NFGENMSG_LENGTH).find(CTA_STATUS);
    status.and_then(|bytes| bytes.first_chunk().copied()).map_or(0, u32::from_be_bytes)
}

/// Whether packets of one direction are UDP's to that port.
fn is_udp_to(payload: &[u8], direction: u16, port: u16) -> bool {
    let tuple = Attributes::behind(payload, NFGENMSG_LENGTH).find(direction).unwrap_or_default();
    let of = Attributes::new(Attributes::new(tuple).find(CTA_TUPLE_PROTO).unwrap_or_default());
    of.clone().find(CTA_PROTO_NUM) == Some(&[Protocol::Udp.number()])
        && of.clone().find(CTA_PROTO_DST_PORT) == Some(&port.to_be_bytes())
}

fn is_unpublished(payload: &[u8], bound: Option<IpAddr>, port: u16) -> bool {
    let is_port = is_udp_to(payload, CTA_TUPLE_ORIG, port);
    let sent = ends(payload, CTA_TUPLE_ORIG);
    let mut answered = ends(payload, CTA_TUPLE_REPLY);
    answered.reverse();
    is_port && sent == answered && bound.is_none_or(|bound| sent.get(1) == Some(&bound))
}

/// Ends the connections that questions find, which are asked together. Kernels before 6.10 do not delete by a filter:
/// there, the connections are listed by it.
fn end_by(channel: &mut Channel, questions: &[Question<'_>]) -> Result<(), KernelError> {
    let request = |kind, of: &Question<'_>| (of.filter)(of_family(kind, of.family));
    let requests: Vec<Request> = questions.iter().map(|of| request(CT_DELETE, of)).collect();
    match refused(channel, &requests)? {
        None => Ok(()),
        Some(Errno::EINVAL | Errno::EOPNOTSUPP) => questions
            .iter()
            .try_for_each(|of| end_some(channel, &request(CT_GET, of), of.family, &of.is_meant)),
        Some(errno) => Err(KernelError::new("end connections", errno)),
    }
}

fn with_address(request: Request, kinds: [u16; 2], address: IpAddr) -> Request {
    let kind = kinds[usize::from(address.is_ipv6())];
    match address {
        IpAddr::V4(address) => request.with(kind, &address.octets()),
        IpAddr::V6(address) => request.with(kind, &address.octets()),
    }
}

/// Ends those of the connections that a filter finds which are meant. A kernel that does not know filters finds all.
fn end_some(
    channel: &mut Channel,
    request: &Request,
    family: Family,
    is_meant: impl Fn(&[u8]) -> bool,
) -> Result<(), KernelError> {
    let mut found = Vec::new();
    let listed = channel.stream(request, "list the open connections", &mut |payload| {
        if is_meant(payload) {
            found.push(payload.to_vec());
        }
    });
    match listed {
        // nf_conntrack is not loaded: there is no connection to end.
        Err(KernelError { errno: Errno::EINVAL | Errno::EOPNOTSUPP, .. }) => return Ok(()),
        other => other?,
    }
    let deletions: Vec<Request> = found.iter().filter_map(|payload| deletion(payload, family)).collect();
    match refused(channel, &deletions)? {
        None | Some(Errno::ENOENT) => Ok(()),
        Some(errno) => Err(KernelError::new("end a connection", errno)),
    }
}

/// The message that ends one connection, by how it was begun and by its number, lest it is a newer one.
fn deletion(payload: &[u8], family: Family) -> Option<Request> {
    let tuple = Attributes::behind(payload, NFGENMSG_LENGTH).find(CTA_TUPLE_ORIG)?;
    let id = Attributes::behind(payload, NFGENMSG_LENGTH).find(CTA_ID)?;
    Some(of_family(CT_DELETE, family).with(CTA_TUPLE_ORIG | NESTED, tuple).with(CTA_ID, id))
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
