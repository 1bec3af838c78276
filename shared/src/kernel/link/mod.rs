//! Links: what there is, and small changes. `make.rs` makes them, `ipv4.rs` has their settings, `watch.rs` is told when any changes.

mod ipv4;
mod make;
mod message;
mod watch;

pub use ipv4::{Ipv4Setting, ipv4_settings};
pub use make::{Child, ChildKind, Veth, VxlanPlace, make_bridge, make_child, make_veth, make_vxlan};
pub use watch::LinkWatch;

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage};
use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;

use self::message::{indexed, named, set};
use super::netlink::{NetlinkSocket, Question};
use super::raw::{Attributes, word};
use super::{Change, KernelError};
use crate::model::ifname::IfName;
use crate::model::mac::Mac;
use crate::model::network::Network;

/// Up, with a carrier, and neither running nor dormant.
const SETTLING: u32 = LinkFlags::Up.bits() | LinkFlags::LowerUp.bits();
const SETTLING_MASK: u32 = SETTLING | LinkFlags::Running.bits() | LinkFlags::Dormant.bits();

/// What ocinet needs to know of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The interface index.
    pub index: u32,
    /// The name.
    pub name: String,
    /// The kernel's word for what it is, as in `ip link … type`; empty for a physical one.
    pub kind: String,
    /// The Ethernet address, where it has one.
    pub mac: Option<Mac>,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Whether it can carry frames now: it is up, and so is what is at the other end of its cable.
    pub has_carrier: bool,
    /// Whether the kernel's worker has yet to take note of that (`linkwatch`): before, it drops what the link is to send. Such
    /// a link is not `IFF_RUNNING` (netdevice(7)), and does not wait for a log-in to the LAN (`IFF_DORMANT`, as with 802.1X).
    pub is_settling: bool,
    /// Whether it is a loopback.
    pub is_loopback: bool,
    /// Whether its frames are Ethernet's.
    pub is_ethernet: bool,
    /// The MTU in bytes.
    pub mtu: u32,
    /// The group that rules know it by (`ip link … group`); 0 is the one that every link begins in.
    pub group: u32,
    /// The index of the bridge or bond that it is a port of.
    pub controller: Option<u32>,
    /// A text for people.
    pub alias: String,
    /// The index of its peer, in the peer's namespace.
    pub peer: Option<u32>,
    /// The id, in the namespace it is seen from, of the namespace that its peer is in.
    pub peer_namespace: Option<i32>,
    /// What a VXLAN link is one end of.
    pub vxlan: Option<Vxlan>,
}

/// What a VXLAN link is one end of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// The network identifier.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The multicast group, or the one other end.
    pub remote: Option<IpAddr>,
}

impl Link {
    /// Whether the host routes to a network's containers by this link: one of the network's own, or one of its group.
    #[must_use]
    pub fn routes_for(&self, network: &Network) -> bool {
        self.is_in_group_of(network) || self.has_name_of(network)
    }

    /// Whether this link has the name of one that the network has on the host.
    #[must_use]
    pub fn has_name_of(&self, network: &Network) -> bool {
        network.links.iter().any(|own| own.name.as_str() == self.name)
    }

    /// Whether this link is in a network's group, where the network has one.
    #[must_use]
    pub fn is_in_group_of(&self, network: &Network) -> bool {
        network.group != 0 && self.group == network.group
    }

    /// Reads `struct ifinfomsg` and the attributes behind it (rtnetlink(7), linux/if_link.h).
    fn from_answer(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..IFINFOMSG_LENGTH)?;
        let found = Attributes::behind(bytes, IFINFOMSG_LENGTH).by_type::<IFLA_TYPES>();
        let attribute = |kind: u16| found[usize::from(kind)];
        let number = |kind| attribute(kind).and_then(|bytes| word(bytes, 0));
        let info = Attributes::new(attribute(IFLA_LINKINFO).unwrap_or_default());
        let kind = info.find(IFLA_INFO_KIND).map(text).unwrap_or_default();
        let flags = word(header, 8)?;
        let hardware = u16::from_ne_bytes(header.get(2..4)?.try_into().ok()?);
        Some(Self {
            index: word(header, 4)?,
            name: text(attribute(IFLA_IFNAME)?),
            mac: attribute(IFLA_ADDRESS).and_then(|bytes| bytes.try_into().ok()).map(Mac),
            is_up: flags & LinkFlags::Up.bits() != 0,
            has_carrier: flags & LinkFlags::LowerUp.bits() != 0,
            is_settling: flags & SETTLING_MASK == SETTLING,
            is_loopback: flags & LinkFlags::Loopback.bits() != 0,
            is_ethernet: hardware == libc::ARPHRD_ETHER,
            mtu: number(IFLA_MTU).unwrap_or_default(),
            group: number(IFLA_GROUP).unwrap_or_default(),
            controller: number(IFLA_MASTER),
            alias: attribute(IFLA_IFALIAS).map(text).unwrap_or_default(),
            peer: number(IFLA_LINK),
            peer_namespace: number(IFLA_LINK_NETNSID).map(u32::cast_signed),
            vxlan: if kind == "vxlan" { vxlan(&info) } else { None },
            kind,
        })
    }
}

fn vxlan(info: &Attributes<'_>) -> Option<Vxlan> {
    let data = Attributes::new(info.find(IFLA_INFO_DATA)?);
    let ipv4 = data.find(IFLA_VXLAN_GROUP).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let ipv6 = data.find(IFLA_VXLAN_GROUP6).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    Some(Vxlan {
        vni: word(data.find(IFLA_VXLAN_ID)?, 0)?,
        port: u16::from_be_bytes(data.find(IFLA_VXLAN_PORT)?.try_into().ok()?),
        remote: ipv4.map(IpAddr::from).or(ipv6.map(IpAddr::from)),
    })
}

/// `struct ifinfomsg` of linux/rtnetlink.h: family, type at 2, index at 4, flags at 8, change mask.
const IFINFOMSG_LENGTH: usize = 16;
// Attributes of a link, from linux/if_link.h.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_GROUP: u16 = 27;
const IFLA_LINK_NETNSID: u16 = 37;
/// One more than the last of them that is looked for.
const IFLA_TYPES: usize = IFLA_LINK_NETNSID as usize + 1;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_GROUP: u16 = 2;
const IFLA_VXLAN_GROUP6: u16 = 16;
const IFLA_VXLAN_PORT: u16 = 15;
/// The loopback's index in every network namespace (`LOOPBACK_IFINDEX` of include/net/flow.h).
pub const LOOPBACK: u32 = 1;

/// What the alias of a container's interface begins with; the container's id follows.
pub const OF_CONTAINER: &str = "ocinet container ";

/// What the alias of a network's link begins with; the network's name follows.
pub const OF_NETWORK: &str = "ocinet network ";

/// Whether ocinet made a link of the host, for a container or for a network. Names that it draws are never used again.
#[must_use]
pub fn is_ours(link: &Link) -> bool {
    let is_drawn = link.name.len() == 15 && link.name.starts_with("oc-");
    is_drawn && matches!(link.kind.as_str(), "veth" | "ifb") || link.alias.starts_with(OF_NETWORK)
}

/// The host's ends of containers' links, each with the link by which the host routes to the container: the end's bridge,
/// or the end itself.
pub fn routed_ends(links: &[Link]) -> impl Iterator<Item = (&Link, &Link)> {
    let ends = links.iter().filter(|link| link.kind == "veth" && is_ours(link));
    ends.map(|end| (end, links.iter().find(|link| Some(link.index) == end.controller).unwrap_or(end)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn ask(
    socket: &mut NetlinkSocket,
    mut message: LinkMessage,
    doing: &str,
) -> Result<Option<Link>, KernelError> {
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let answer = socket.get(Question::Ask(RouteNetlinkMessage::GetLink(message)), doing)?;
    Ok(answer.and_then(|answer| Link::from_answer(answer.bytes())))
}

/// Looks a link up by name in the socket's namespace.
///
/// # Errors
/// Any refusal but "no such link", which is `None`.
pub fn find(socket: &mut NetlinkSocket, name: &IfName) -> Result<Option<Link>, KernelError> {
    ask(socket, named(name), &format!("look up the link {name}"))
}

/// The index of a link in the namespace of this thread. Unlike [`find`], it does not wait for whoever changes links.
///
/// # Errors
/// `ENODEV` where there is no such link (netdevice(7), `SIOCGIFINDEX`).
pub fn index_of(name: &IfName) -> Result<u32, KernelError> {
    if_nametoindex(name.as_str()).map_err(|errno| KernelError::new(format!("find the link {name}"), errno))
}

/// Looks a link up by index in the socket's namespace.
///
/// # Errors
/// Any refusal but "no such link", which is `None`.
pub fn find_by_index(socket: &mut NetlinkSocket, index: u32) -> Result<Option<Link>, KernelError> {
    ask(socket, indexed(index), &format!("look up the link with index {index}"))
}

/// Looks a link up by name in the namespace that the socket's namespace knows by a number; `None` also where that
/// namespace has no user any more.
///
/// # Errors
/// Any other refusal.
pub fn find_inside(
    socket: &mut NetlinkSocket,
    number: i32,
    name: &IfName,
) -> Result<Option<Link>, KernelError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::IfNetnsId(number));
    match ask(socket, message, &format!("look up {name} in a container")) {
        Err(KernelError { errno: Errno::EINVAL, .. }) => Ok(None),
        other => other,
    }
}

/// All links of the socket's namespace.
///
/// # Errors
/// A refusal of the dump.
pub fn list(socket: &mut NetlinkSocket) -> Result<Vec<Link>, KernelError> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let question = Question::Ask(RouteNetlinkMessage::GetLink(message));
    let answers = socket.dump(&question, "list the links")?;
    Ok(answers.iter().filter_map(|answer| Link::from_answer(answer.bytes())).collect())
}

/// Whether the network namespace at the other end of a link still has a user.
///
/// The kernel resolves a namespace id only while something holds the namespace; a dying one, whose links
/// the kernel is about to remove by itself, is refused.
///
/// # Errors
/// The error of the socket itself.
pub fn peer_namespace_lives(socket: &mut NetlinkSocket, link: &Link) -> Result<bool, KernelError> {
    let Some(namespace) = link.peer_namespace else { return Ok(false) };
    let mut message = indexed(LOOPBACK);
    message.attributes.push(LinkAttribute::IfNetnsId(namespace));
    let asked = socket.exchange(vec![(Question::Ask(RouteNetlinkMessage::GetLink(message)), 0)]);
    let (refusals, answers) =
        asked.map_err(|error| KernelError::from_io("look up a namespace by its id", &error))?;
    Ok(refusals.is_empty() && !answers.is_empty())
}

/// Deletes a link; one that is gone already counts as deleted.
///
/// # Errors
/// Any other refusal.
pub fn delete(socket: &mut NetlinkSocket, name: &IfName) -> Result<(), KernelError> {
    delete_message(socket, named(name), &format!("the link {name}"))
}

/// Deletes a link of the namespace that the socket's namespace knows by a number. In a namespace that has no user any
/// more, which the kernel calls an invalid argument, it goes by itself.
///
/// # Errors
/// Any other refusal.
pub fn delete_inside(socket: &mut NetlinkSocket, number: i32, name: &IfName) -> Result<(), KernelError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::IfNetnsId(number));
    match delete_message(socket, message, &format!("the link {name}")) {
        Err(KernelError { errno: Errno::EINVAL, .. }) => Ok(()),
        other => other,
    }
}

/// Deletes the link with an index, which no other ever has.
///
/// # Errors
/// Any refusal but "no such link".
pub fn delete_by_index(socket: &mut NetlinkSocket, index: u32) -> Result<(), KernelError> {
    delete_message(socket, indexed(index), &format!("the link with index {index}"))
}

fn delete_message(socket: &mut NetlinkSocket, message: LinkMessage, what: &str) -> Result<(), KernelError> {
    match socket.change(vec![(RouteNetlinkMessage::DelLink(message), 0)], |_| format!("delete {what}")) {
        Err(KernelError { errno: Errno::ENODEV, .. }) => Ok(()),
        other => other,
    }
}

/// The message that brings a link up.
#[must_use]
pub fn up(index: u32) -> Change {
    let mut message = indexed(index);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    (RouteNetlinkMessage::SetLink(message), 0)
}

/// The message that gives a link a text for people, which `ip link` shows.
#[must_use]
pub fn alias(index: u32, text: &str) -> Change {
    set(index, LinkAttribute::IfAlias(text.to_owned()))
}

/// The messages that fix a bridge's MTU in bytes. Until it has been changed, a bridge takes the least of its ports':
/// what one container asks for would be all the others', and below 1280 would take IPv6 from them.
#[must_use]
pub fn fixed_mtu(index: u32, mtu: u32) -> [Change; 2] {
    [mtu ^ 1, mtu].map(|mtu| set(index, LinkAttribute::Mtu(mtu)))
}

/// The message that gives a link its Ethernet address anew. Where the namespace has `arp_notify` and `ndisc_notify` on
/// for the link, the kernel tells the neighbours, even if the address is the one that it had (`NETDEV_CHANGEADDR`).
#[must_use]
pub fn address(index: u32, mac: Mac) -> Change {
    set(index, LinkAttribute::Address(mac.0.to_vec()))
}
