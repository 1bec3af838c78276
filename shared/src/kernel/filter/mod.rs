//! Filters on links of the host (tc-bpf(8)), which are there whatever becomes of the rules: they go with their link, and
//! with nothing else.
//!
//! On the host's end of a container's link, one filter holds the container to its own addresses, another lets in what
//! the host forwards only where the rules have marked it as let in. Without rules there are no marks.

mod assembler;
mod programs;

use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use nix::errno::Errno;

use super::{Change, KernelError};
use crate::cidr::Cidr;
use crate::mac::Mac;

/// The mark by which the rules tell the filters what they let in; `base.nft` sets it.
pub const MARK: u32 = 0x2000_0000;

/// The queueing discipline that filters hang on: it has no queue (tc(8), clsact).
const CLSACT: &str = "clsact";
/// Its handle, which is fixed (`clsact_init` of the kernel).
pub(super) const HANDLE: TcHandle = TcHandle { major: u16::MAX, minor: 0 };
/// `TC_H_MIN_INGRESS` of linux/pkt_sched.h: what the link receives.
pub(super) const INCOMING: TcHandle = TcHandle { major: u16::MAX, minor: 0xfff2 };
/// `TC_H_MIN_EGRESS`: what it transmits.
const OUTGOING: TcHandle = TcHandle { major: u16::MAX, minor: 0xfff3 };
/// Filters are asked in the order of their priorities: this is before whatever else is done with a frame.
const PRIORITY: u16 = 1;
/// `ETH_P_ALL` of linux/if_ether.h: frames of every protocol.
pub(super) const ETH_P_ALL: u16 = 3;

// Attributes of a BPF filter, from linux/pkt_cls.h.
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

/// What a container may send.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its addresses; with an IPv6 one, it also has the link-local one that its Ethernet address gives.
    pub addresses: &'a [IpAddr],
    /// The ranges that it may send to besides its own link; everywhere without.
    pub confined_to: &'a [Cidr],
}

/// The messages that hold a container to its addresses, on the host's end of its link.
///
/// # Errors
/// None in practice: a program that would not fit.
pub fn hold_sender(index: u32, sender: &Sender<'_>) -> Result<Vec<Change>, KernelError> {
    let program = programs::sender(sender).ok_or_else(too_long)?;
    Ok(vec![discipline(index), filter(index, INCOMING, "ocinet-sender", program)])
}

/// The message that lets a container have only what the rules let in of what the host forwards; `gateway` is the
/// Ethernet address that the host sends from on a bridge, where others send as well.
///
/// # Errors
/// As [`hold_sender`].
pub fn hold_receiver(index: u32, gateway: Option<Mac>) -> Result<Change, KernelError> {
    let program = programs::receiver(gateway).ok_or_else(too_long)?;
    Ok(filter(index, OUTGOING, "ocinet-receiver", program))
}

/// The messages that keep what comes out of a tunnel from being or reaching the gateway.
///
/// # Errors
/// As [`hold_sender`].
pub fn hold_tunnel(index: u32, gateway: Mac, addresses: &[IpAddr]) -> Result<Vec<Change>, KernelError> {
    let program = programs::tunnel(gateway, addresses).ok_or_else(too_long)?;
    Ok(vec![discipline(index), filter(index, INCOMING, "ocinet-tunnel", program)])
}

/// Whether a refusal says that the kernel has no such filters.
#[must_use]
pub fn is_missing(error: &KernelError) -> bool {
    matches!(error.errno, Errno::ENOENT | Errno::EOPNOTSUPP)
}

/// The message that makes the discipline that a link's filters hang on.
pub(super) fn discipline(index: u32) -> Change {
    let mut queue = TcMessage::with_index(index.cast_signed());
    queue.header.parent = TcHandle::CLSACT;
    queue.header.handle = HANDLE;
    queue.attributes.push(TcAttribute::Kind(CLSACT.to_owned()));
    // One that is there stays, with its filters.
    (RouteNetlinkMessage::NewQueueDiscipline(queue), NLM_F_CREATE)
}

/// The header of a filter's message; the protocol is in network byte order (rtnetlink(7), `tcm_info`).
pub(super) fn header(index: u32, parent: TcHandle, priority: u16) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = parent;
    message.header.info = u32::from(priority) << 16 | u32::from(ETH_P_ALL.to_be());
    message
}

fn filter(index: u32, parent: TcHandle, name: &str, program: Vec<u8>) -> Change {
    let mut message = header(index, parent, PRIORITY);
    message.header.handle = TcHandle { major: 0, minor: 1 };
    message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
    let option = |kind, bytes| TcOption::Other(DefaultNla::new(kind, bytes));
    let length = u16::try_from(program.len() / 8).unwrap_or(u16::MAX);
    message.attributes.push(TcAttribute::Options(vec![
        option(TCA_BPF_OPS_LEN, length.to_ne_bytes().to_vec()),
        option(TCA_BPF_OPS, program),
        option(TCA_BPF_NAME, [name.as_bytes(), b"\0"].concat()),
        option(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes().to_vec()),
    ]));
    (RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE | NLM_F_REPLACE)
}

fn too_long() -> KernelError {
    KernelError::new("write a filter", Errno::E2BIG)
}
