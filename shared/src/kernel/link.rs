//! Links: bridges and veth pairs.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth,
    LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};

use super::KernelError;
use super::channel::{Channel, Question, attribute};
use crate::ifname::IfName;
use crate::mac::Mac;

/// What ocinet needs to know of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The interface index.
    pub index: u32,
    /// The name.
    pub name: String,
    /// Whether it is a bridge.
    pub is_bridge: bool,
    /// The Ethernet address, where it has one.
    pub mac: Option<Mac>,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// The index of its peer, in the peer's namespace.
    pub peer: Option<u32>,
    /// The id, in the namespace it is seen from, of the namespace that its peer is in.
    pub peer_namespace: Option<i32>,
}

impl Link {
    /// Reads `struct ifinfomsg` and the attributes behind it (rtnetlink(7), linux/if_link.h).
    fn from_answer(bytes: &[u8]) -> Option<Self> {
        let (header, attributes) = bytes.split_at_checked(IFINFOMSG_LENGTH)?;
        let number = |at: usize| Some(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let word = |kind| attribute(attributes, kind)?.try_into().ok().map(u32::from_ne_bytes);
        let kind = attribute(attributes, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_KIND));
        Some(Self {
            index: number(4)?,
            name: text(attribute(attributes, IFLA_IFNAME)?),
            is_bridge: kind.is_some_and(|kind| text(kind) == "bridge"),
            mac: attribute(attributes, IFLA_ADDRESS).and_then(|bytes| bytes.try_into().ok()).map(Mac),
            is_up: number(8)? & LinkFlags::Up.bits() != 0,
            peer: word(IFLA_LINK),
            peer_namespace: word(IFLA_LINK_NETNSID).map(u32::cast_signed),
        })
    }
}

/// `struct ifinfomsg` of linux/rtnetlink.h: family, type, index at 4, flags at 8, change mask.
const IFINFOMSG_LENGTH: usize = 16;
// Attributes of a link, from linux/if_link.h.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

/// Looks a link up by name in the channel's namespace.
///
/// # Errors
/// Any refusal but "no such link", which is `None`.
pub fn find(channel: &mut Channel, name: &IfName) -> Result<Option<Link>, KernelError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let doing = format!("look up the link {name}");
    let answer = channel.get(Question::Ask(RouteNetlinkMessage::GetLink(message)), &doing)?;
    Ok(answer.and_then(|answer| Link::from_answer(answer.bytes())))
}

/// Whether the network namespace at the other end of a link still has a user.
///
/// The kernel resolves a namespace id only while something holds the namespace; a dying one, whose links
/// the kernel is about to remove by itself, is refused.
///
/// # Errors
/// The error of the socket itself.
pub fn peer_namespace_lives(channel: &mut Channel, link: &Link) -> Result<bool, KernelError> {
    let Some(namespace) = link.peer_namespace else { return Ok(false) };
    let mut message = LinkMessage::default();
    // Index 1 is the loopback link, which every network namespace has.
    message.header.index = 1;
    message.attributes.push(LinkAttribute::IfNetnsId(namespace));
    let asked = channel.exchange(vec![(Question::Ask(RouteNetlinkMessage::GetLink(message)), 0)]);
    let (refusals, answers) =
        asked.map_err(|error| KernelError::from_io("look up a namespace by its id", &error))?;
    Ok(refusals.is_empty() && !answers.is_empty())
}

/// Makes a bridge with a fixed address, without spanning tree and without multicast snooping; it is down.
///
/// # Errors
/// `EEXIST` where the name is taken.
pub fn make_bridge(
    channel: &mut Channel,
    name: &IfName,
    mac: Mac,
    mtu: Option<u32>,
) -> Result<(), KernelError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![
            InfoBridge::ForwardDelay(0),
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::MulticastSnooping(false),
        ])),
    ]));
    channel.change(vec![(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)], |_| {
        format!("make the bridge {name}")
    })
}

/// A veth pair as it is to be born.
#[derive(Debug)]
pub struct Veth<'a> {
    /// The name of the end on the host.
    pub host_name: &'a IfName,
    /// The index of the bridge that the host's end joins.
    pub bridge: u32,
    /// The name of the end in the container.
    pub container_name: &'a IfName,
    /// The Ethernet address of the end in the container.
    pub mac: Mac,
    /// The MTU of both ends in bytes; the kernel's default without.
    pub mtu: Option<u32>,
    /// Whether the bridge sends frames back out of the port that they came in by.
    pub hairpin: bool,
}

/// Makes a veth pair in one message: the host's end up and on its bridge, the container's end born with its
/// name in the container's namespace, because moving it there would wait for every processor (`rcu_barrier`).
///
/// # Errors
/// `EEXIST` where either name is taken.
pub fn make_veth(
    channel: &mut Channel,
    veth: &Veth<'_>,
    namespace: BorrowedFd<'_>,
) -> Result<(), KernelError> {
    let mut peer = named(veth.container_name);
    peer.attributes.push(LinkAttribute::Address(veth.mac.0.to_vec()));
    peer.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
    peer.attributes.push(LinkAttribute::NumTxQueues(1));
    peer.attributes.push(LinkAttribute::NumRxQueues(1));
    peer.attributes.extend(veth.mtu.map(LinkAttribute::Mtu));
    let mut message = named(veth.host_name);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes.push(LinkAttribute::Controller(veth.bridge));
    message.attributes.push(LinkAttribute::NumTxQueues(1));
    message.attributes.push(LinkAttribute::NumRxQueues(1));
    message.attributes.extend(veth.mtu.map(LinkAttribute::Mtu));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    let mut messages = vec![(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)];
    if veth.hairpin {
        let mut port = named(veth.host_name);
        port.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
        ]));
        messages.push((RouteNetlinkMessage::NewLink(port), 0));
    }
    channel.change(messages, |_| {
        format!("make the link {} with {} in the container", veth.host_name, veth.container_name)
    })
}

/// Deletes a link; one that is gone already counts as deleted.
///
/// # Errors
/// Any other refusal.
pub fn delete(channel: &mut Channel, name: &IfName) -> Result<(), KernelError> {
    let doing = || format!("delete the link {name}");
    let message = (RouteNetlinkMessage::DelLink(named(name)), 0);
    match channel.change(vec![message], |_| doing()) {
        Err(KernelError { errno: nix::errno::Errno::ENODEV, .. }) => Ok(()),
        other => other,
    }
}

/// The message that brings a link up.
#[must_use]
pub fn up(index: u32) -> (RouteNetlinkMessage, u16) {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    (RouteNetlinkMessage::SetLink(message), 0)
}

/// The message that gives a link a text for people, which `ip link` shows.
#[must_use]
pub fn alias(index: u32, text: &str) -> (RouteNetlinkMessage, u16) {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::IfAlias(text.to_owned()));
    (RouteNetlinkMessage::SetLink(message), 0)
}

fn named(name: &IfName) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_string()));
    message
}
