//! Filters on links of the host (tc-bpf(8)), which are there whatever becomes of the rules: they go with their link, and
//! with nothing else.
//!
//! On the host's end of a container's link, one filter holds the container to its own addresses, another lets in what
//! the host forwards only where the rules have marked it as let in. Without rules there are no marks. On a bridge, a third hands what
//! is for the gateway to the bridge itself ([`Filter::Shortcut`]).

mod assembler;
mod discovery;
#[cfg(test)]
mod interpreter;
mod offsets;
mod programs;
mod sender;
#[cfg(test)]
mod tests;

pub use sender::{MARK, Sender};

use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption, TcActionType,
    TcAttribute, TcHandle, TcMessage, TcMirror, TcMirrorActionType, TcOption,
};
use nix::errno::Errno;
use nix::libc;

use super::netlink::NetlinkSocket;
use super::raw::{Attributes, NetlinkRequest};
use super::{Change, KernelError};
use crate::model::mac::Mac;

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
/// The handle of the filter that judges a frame, among the filters of that priority.
const JUDGE: u16 = 1;
/// That of the shortcut. A start adds it behind the judge, so that it is asked first ([`put`]), and what takes it is judged once. A judge
/// that a reload puts back comes first again, which costs time only.
const SHORTCUT: u16 = 2;

/// The length of `struct tcmsg` of linux/rtnetlink.h.
const TCMSG_LENGTH: usize = 20;

// Attributes of an action: what its kind is told, from linux/pkt_cls.h, and what of that a redirection is, from
// linux/tc_act/tc_mirred.h.
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;

// Attributes of a BPF filter, from linux/pkt_cls.h.
const TCA_BPF_ACT: u16 = 1;
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

/// A filter on a link of the host.
#[derive(Debug, Clone, Copy)]
pub enum Filter<'a> {
    /// Holds a container to its addresses, on the host's end of its link.
    Sender(Sender<'a>),
    /// Lets a container have only what the rules let in of what the host sends and forwards.
    Receiver {
        /// The Ethernet address that the host sends from on a bridge, where others send as well.
        gateway: Option<Mac>,
    },
    /// Hands IP packets that a container sends to its gateway to the bridge itself, past the bridge's look-ups and hooks (act_mirred,
    /// tc-mirred(8)). No later filter sees such a packet, so that a container with `net.rate-out` ([`super::rate`]) has no shortcut. The
    /// link must have the bridge's Ethernet address: by that alone the host takes the frame for its own.
    Shortcut {
        /// What the container may send.
        sender: Sender<'a>,
        /// The gateway's Ethernet address.
        gateway: Mac,
        /// The index of the bridge.
        bridge: u32,
    },
    /// Keeps what comes out of a tunnel from being or reaching the gateway.
    Tunnel {
        /// The gateway's Ethernet address.
        gateway: Mac,
        /// Its addresses.
        addresses: &'a [IpAddr],
    },
}

impl Filter<'_> {
    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sender(_) => "what it sends",
            Self::Receiver { .. } => "what it receives",
            Self::Shortcut { .. } => "its shortcut to the gateway",
            Self::Tunnel { .. } => "what comes out of its tunnel",
        }
    }

    fn program(&self) -> Result<Vec<u8>, KernelError> {
        let program = match self {
            Self::Sender(sender) => programs::sender(sender),
            Self::Receiver { gateway } => programs::receiver(*gateway),
            Self::Shortcut { sender, gateway, .. } => programs::shortcut(sender, *gateway),
            Self::Tunnel { gateway, addresses } => programs::tunnel(*gateway, addresses),
        };
        program.ok_or_else(|| KernelError::new("write a filter", Errno::E2BIG))
    }

    fn parent(&self) -> TcHandle {
        if matches!(self, Self::Receiver { .. }) { OUTGOING } else { INCOMING }
    }

    /// The index of the link that it redirects to, where it does.
    fn target(&self) -> Option<u32> {
        if let Self::Shortcut { bridge, .. } = self { Some(*bridge) } else { None }
    }

    /// Whether just this filter is on a link.
    ///
    /// # Errors
    /// A refusal of the dump.
    pub fn is_on(&self, socket: &mut NetlinkSocket, index: u32) -> Result<bool, KernelError> {
        let program = self.program()?;
        let mut header = [0; TCMSG_LENGTH];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        header[12..16].copy_from_slice(&u32::from(self.parent()).to_ne_bytes());
        let mut is_on = false;
        let request = NetlinkRequest::new(libc::RTM_GETTFILTER, &header);
        let listed = socket.stream(&request, "list the filters of a link", &mut |payload| {
            let options =
                Attributes::behind(payload, TCMSG_LENGTH).find(libc::TCA_OPTIONS).unwrap_or_default();
            is_on |= Attributes::new(options).find(TCA_BPF_OPS) == Some(&program)
                && self.target().is_none_or(|target| redirects_to(options) == Some(target));
        });
        match listed {
            // There is no discipline that a filter could hang on.
            Err(KernelError { errno: Errno::EINVAL | Errno::ENOENT, .. }) => Ok(false),
            other => other.map(|()| is_on),
        }
    }
}

/// The index of the link that a filter's first action redirects to; 0 where that link is gone. `struct tc_mirred` of
/// linux/tc_act/tc_mirred.h ends with it.
fn redirects_to(options: &[u8]) -> Option<u32> {
    let actions = Attributes::new(options).find(TCA_BPF_ACT)?;
    let (_, action) = Attributes::new(actions).next()?;
    let of_kind = Attributes::new(action).find(TCA_ACT_OPTIONS)?;
    let parameters = Attributes::new(of_kind).find(TCA_MIRRED_PARMS)?;
    Some(u32::from_ne_bytes(*parameters.last_chunk()?))
}

/// The messages that put filters on a link, in the place of those that are there. Of two new ones, the kernel asks the later first
/// (`cls_bpf_change`).
///
/// # Errors
/// None in practice: a program that would not fit.
pub fn put(index: u32, filters: &[Filter<'_>]) -> Result<Vec<Change>, KernelError> {
    let mut changes = vec![discipline(index)];
    for filter in filters {
        changes.push(message(index, filter)?);
    }
    Ok(changes)
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
    message.header.info = u32::from(priority) << 16 | u32::from((libc::ETH_P_ALL as u16).to_be());
    message
}

fn message(index: u32, filter: &Filter<'_>) -> Result<Change, KernelError> {
    let option = |kind, bytes| TcOption::Other(DefaultNla::new(kind, bytes));
    let program = filter.program()?;
    let length = u16::try_from(program.len() / 8).unwrap_or(u16::MAX);
    let mut options =
        vec![option(TCA_BPF_OPS_LEN, length.to_ne_bytes().to_vec()), option(TCA_BPF_OPS, program)];
    let minor = match filter {
        Filter::Shortcut { bridge, .. } => {
            let redirection = redirection(TcMirrorActionType::IngressRedir, *bridge);
            let mut bytes = vec![0; redirection.buffer_len()];
            redirection.emit(&mut bytes);
            options.push(option(TCA_BPF_ACT, bytes));
            SHORTCUT
        }
        _ => {
            options.push(option(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes().to_vec()));
            JUDGE
        }
    };
    let mut message = header(index, filter.parent(), PRIORITY);
    message.header.handle = TcHandle { major: 0, minor };
    message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
    message.attributes.push(TcAttribute::Options(options));
    Ok((RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE | NLM_F_REPLACE))
}

/// The action that takes a frame to another link: to be received there, or to be sent.
pub(super) fn redirection(how: TcMirrorActionType, to: u32) -> TcAction {
    let mut mirror = TcMirror::default();
    mirror.generic.action = TcActionType::Stolen;
    mirror.eaction = how;
    mirror.ifindex = to;
    let mut action = TcAction::default();
    action.attributes.push(TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()));
    action
        .attributes
        .push(TcActionAttribute::Options(vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror))]));
    action
}
