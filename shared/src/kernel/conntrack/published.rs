//! What is in the way of a UDP port that is published now, and whose it may be: the kernel filters, and whoever asks judges.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{
    CT_GET, CTA_FILTER, CTA_FILTER_F_CTA_PROTO_DST_PORT, CTA_FILTER_F_CTA_PROTO_NUM, CTA_FILTER_ORIG_FLAGS,
    CTA_FILTER_REPLY_FLAGS, CTA_PROTO_DST_PORT, CTA_PROTO_NUM, CTA_STATUS, CTA_STATUS_MASK, CTA_TUPLE_ORIG,
    CTA_TUPLE_PROTO, CTA_TUPLE_REPLY, CTA_ZONE, IPS_NAT_MASK, IPS_SRC_NAT, NFGENMSG_LENGTH, ends, list,
    of_family, status,
};
use crate::cidr::Family;
use crate::kernel::KernelError;
use crate::kernel::channel::Channel;
use crate::kernel::raw::{Attributes, Request};
use crate::kernel::sysctl;
use crate::port::Protocol;

/// How many connections there are in this network namespace.
const COUNT: &str = "net/netfilter/nf_conntrack_count";
/// From how many ports of a family on the UDP connections are listed once. Below, each port is two questions, with
/// which the kernel looks through all connections and answers with few.
const MANY: usize = 8;

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

/// Why a connection is in the way of a published port, and on what that hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InTheWay {
    /// It was sent to that port of this address, untranslated, before anybody published it. If the address is the
    /// host's, the connection would never be led to the container as long as its sender goes on.
    SentTo(IpAddr),
    /// It was begun by this address, and leaves by the port. If the address is a container's, what is sent to the port
    /// would be taken for an answer to that container, which goes on by another port with its next packet.
    BegunBy(IpAddr),
}

/// A connection that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Why it is in the way.
    pub why: InTheWay,
    entry: Vec<u8>,
}

impl Found {
    pub(super) fn entry(&self) -> &[u8] {
        &self.entry
    }
}

/// Finds the connections that are in the way of these ports unless they are others' ([`InTheWay`]).
///
/// # Errors
/// What the kernel says besides that there is no connection tracking.
pub fn in_the_way(channel: &mut Channel, ports: &[NowPublished]) -> Result<Vec<Found>, KernelError> {
    let mut found = Vec::new();
    // To list a table, the kernel walks all of its buckets, which takes milliseconds also where it is empty.
    if ports.is_empty() || sysctl::read(COUNT).as_deref() == Some("0") {
        return Ok(found);
    }
    for family in Family::ALL {
        let bounds = bounds(ports.iter().filter(|of| of.family == family));
        for question in questions(family, &bounds) {
            list(channel, &question, &mut |payload| {
                let why = why(payload, &bounds);
                found.extend(why.map(|why| Found { why, entry: payload.to_vec() }));
            })?;
        }
    }
    Ok(found)
}

/// The published ports of a family, and the addresses that each is published on.
pub(super) type Bounds = BTreeMap<u16, BTreeSet<Option<IpAddr>>>;

pub(super) fn bounds<'a>(ports: impl Iterator<Item = &'a NowPublished>) -> Bounds {
    let mut bounds = Bounds::new();
    for of in ports {
        bounds.entry(of.port).or_default().insert(of.bound);
    }
    bounds
}

fn questions(family: Family, bounds: &Bounds) -> Vec<Request> {
    if bounds.len() >= MANY {
        return vec![of_udp(family, CTA_TUPLE_ORIG, None)];
    }
    let sent_to = bounds.keys().map(|port| (CTA_TUPLE_ORIG, port, 0));
    let on_all = bounds.iter().filter(|(_, bounds)| bounds.contains(&None));
    let left_by = on_all.map(|(port, _)| (CTA_TUPLE_REPLY, port, IPS_SRC_NAT));
    let question = |(direction, port, nat): (u16, &u16, u32)| {
        of_udp(family, direction, Some(*port))
            .with(CTA_STATUS, &nat.to_be_bytes())
            .with(CTA_STATUS_MASK, &IPS_NAT_MASK.to_be_bytes())
    };
    sent_to.chain(left_by).map(question).collect()
}

/// Asks for what one direction sends by UDP, to one port or to any.
fn of_udp(family: Family, direction: u16, port: Option<u16>) -> Request {
    let flags_of = if direction == CTA_TUPLE_ORIG { CTA_FILTER_ORIG_FLAGS } else { CTA_FILTER_REPLY_FLAGS };
    let of_port = if port.is_some() { CTA_FILTER_F_CTA_PROTO_DST_PORT } else { 0 };
    let flags = CTA_FILTER_F_CTA_PROTO_NUM | of_port;
    of_family(CT_GET, family)
        .with_nested(direction, |tuple| {
            tuple.with_nested(CTA_TUPLE_PROTO, |of| {
                let of = of.with(CTA_PROTO_NUM, &[Protocol::Udp.number()]);
                match port {
                    Some(port) => of.with(CTA_PROTO_DST_PORT, &port.to_be_bytes()),
                    None => of,
                }
            })
        })
        .with_nested(CTA_FILTER, |filter| filter.with(flags_of, &flags.to_ne_bytes()))
}

/// Why a connection is in the way of one of these ports, all of its family; `None` where it is not.
pub(super) fn why(payload: &[u8], bounds: &Bounds) -> Option<InTheWay> {
    // What another program tracks in a zone of its own, the rules never see.
    let zone = Attributes::behind(payload, NFGENMSG_LENGTH).find(CTA_ZONE);
    if zone.is_some_and(|zone| zone.iter().any(|byte| *byte != 0)) {
        return None;
    }
    let published = |direction| bounds.get(&udp_port(payload, direction)?);
    match status(payload) & IPS_NAT_MASK {
        0 => {
            let bounds = published(CTA_TUPLE_ORIG)?;
            let to = *ends(payload, CTA_TUPLE_ORIG).get(1)?;
            let is_published = bounds.contains(&None) || bounds.contains(&Some(to));
            (is_published && is_publishable(to)).then_some(InTheWay::SentTo(to))
        }
        IPS_SRC_NAT => {
            let by = *ends(payload, CTA_TUPLE_ORIG).first()?;
            published(CTA_TUPLE_REPLY)?.contains(&None).then_some(InTheWay::BegunBy(by))
        }
        _ => None,
    }
}

/// Whether the rules publish ports on an address: as `chain publish`.
fn is_publishable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}

/// The UDP port that a connection's packets of one direction are sent to.
fn udp_port(payload: &[u8], direction: u16) -> Option<u16> {
    let tuple = Attributes::behind(payload, NFGENMSG_LENGTH).find(direction)?;
    let of = Attributes::new(Attributes::new(tuple).find(CTA_TUPLE_PROTO)?);
    if of.clone().find(CTA_PROTO_NUM)? != [Protocol::Udp.number()] {
        return None;
    }
    of.clone().find(CTA_PROTO_DST_PORT)?.try_into().ok().map(u16::from_be_bytes)
}
