//! What is in the way of a UDP port that is published now, and whose it may be: the kernel lists the connections by UDP whose
//! destination is not translated, and whoever asks judges.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::messages::{
    CT_GET, CTA_FILTER, CTA_FILTER_F_CTA_PROTO_NUM, CTA_FILTER_ORIG_FLAGS, CTA_PROTO_DST_PORT, CTA_PROTO_NUM,
    CTA_STATUS, CTA_STATUS_MASK, CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_TUPLE_REPLY, CTA_ZONE, IPS_DST_NAT,
    IPS_NAT_MASK, IPS_SRC_NAT, NFGENMSG_LENGTH, ends, list, of_family, status,
};
use super::text;
use crate::kernel::KernelError;
use crate::kernel::netlink::NetlinkSocket;
use crate::kernel::raw::{Attributes, NetlinkRequest};
use crate::model::cidr::Family;
use crate::model::port::Protocol;

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
pub struct TrackedConnection {
    /// Why it is in the way.
    pub why: InTheWay,
    entry: Vec<u8>,
}

impl TrackedConnection {
    pub(super) fn entry(&self) -> &[u8] {
        &self.entry
    }
}

/// Finds the connections that are in the way of these ports unless they are others' ([`InTheWay`]).
///
/// # Errors
/// What the kernel says besides that there is no connection tracking.
pub fn in_the_way(
    socket: &mut NetlinkSocket,
    ports: &[NowPublished],
) -> Result<Vec<TrackedConnection>, KernelError> {
    let mut found = Vec::new();
    if ports.is_empty() || !text::may_have(names(ports)) {
        return Ok(found);
    }
    for family in Family::ALL {
        let bounds = bounds(ports.iter().filter(|of| of.family == family));
        if bounds.is_empty() {
            continue;
        }
        list(socket, &of_udp(family), &mut |payload| {
            let why = why(payload, &bounds);
            found.extend(why.map(|why| TrackedConnection { why, entry: payload.to_vec() }));
        })?;
    }
    Ok(found)
}

/// Whether a connection by UDP is sent to one of the ports, in any direction: by its line of text.
pub(super) fn names(ports: &[NowPublished]) -> impl Fn(&str) -> bool + use<> {
    let ports: BTreeSet<u16> = ports.iter().map(|of| of.port).collect();
    move |line| {
        text::protocol(line) == Some(Protocol::Udp.number())
            && text::values(line, "dport")
                .any(|port| port.parse().is_ok_and(|port: u16| ports.contains(&port)))
    }
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

/// Asks for the UDP connections of a family whose destination is not translated.
fn of_udp(family: Family) -> NetlinkRequest {
    of_family(CT_GET, family)
        .with_nested(CTA_TUPLE_ORIG, |tuple| {
            tuple.with_nested(CTA_TUPLE_PROTO, |of| of.with(CTA_PROTO_NUM, &[Protocol::Udp.number()]))
        })
        .with_nested(CTA_FILTER, |filter| {
            filter.with(CTA_FILTER_ORIG_FLAGS, &CTA_FILTER_F_CTA_PROTO_NUM.to_ne_bytes())
        })
        .with(CTA_STATUS, &0_u32.to_be_bytes())
        .with(CTA_STATUS_MASK, &IPS_DST_NAT.to_be_bytes())
}

/// Why a connection is in the way of one of these ports, all of its family; `None` where it is not.
pub(super) fn why(payload: &[u8], bounds: &Bounds) -> Option<InTheWay> {
    let published = |direction| bounds.get(&udp_port(payload, direction)?);
    match status(payload) & IPS_NAT_MASK {
        0 => {
            let bounds = published(CTA_TUPLE_ORIG)?;
            let to = *ends(payload, CTA_TUPLE_ORIG).get(1)?;
            let is_published = bounds.contains(&None) || bounds.contains(&Some(to));
            (is_published && is_publishable(to)).then_some(InTheWay::SentTo(to))
        }
        // In a zone, as Open vSwitch has many, a container's address may be another program's machine's as well.
        IPS_SRC_NAT if !has_zone(payload) => {
            let by = *ends(payload, CTA_TUPLE_ORIG).first()?;
            published(CTA_TUPLE_REPLY)?.contains(&None).then_some(InTheWay::BegunBy(by))
        }
        _ => None,
    }
}

fn has_zone(payload: &[u8]) -> bool {
    let zone = Attributes::behind(payload, NFGENMSG_LENGTH).find(CTA_ZONE);
    zone.is_some_and(|zone| zone.iter().any(|byte| *byte != 0))
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
