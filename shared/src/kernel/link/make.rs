//! Making links: bridges, veth pairs, tunnels, and links on top of a parent.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoPortData,
    InfoPortKind, InfoVeth, InfoVxlan, IpVlanMode, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    MacVlanMode,
};
use nix::errno::Errno;

use super::message::named;
use crate::kernel::netlink::NetlinkSocket;
use crate::kernel::{Change, KernelError, random};
use crate::model::cidr::Family;
use crate::model::ifname::IfName;
use crate::model::link_mode::{IpvlanMode, MacvlanMode};
use crate::model::mac::Mac;
use crate::model::network::{HostLink, Tunnel};

/// A message that makes a new link, and none but a new one.
fn new(message: LinkMessage) -> Change {
    (RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

fn info(kind: InfoKind, data: InfoData) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)])
}

/// Makes a bridge with a fixed address and link group, without spanning tree and without multicast snooping; it is
/// down.
///
/// # Errors
/// `EEXIST` where the name is taken.
pub fn make_bridge(socket: &mut NetlinkSocket, link: &HostLink, group: u32) -> Result<(), KernelError> {
    let mut message = named(&link.name);
    message.attributes.push(LinkAttribute::Address(link.mac.0.to_vec()));
    message.attributes.push(LinkAttribute::Group(group));
    let data = vec![
        InfoBridge::ForwardDelay(0),
        InfoBridge::StpState(BridgeStpState::Disabled),
        InfoBridge::MulticastSnooping(false),
    ];
    message.attributes.push(info(InfoKind::Bridge, InfoData::Bridge(data)));
    socket.change(vec![new(message)], |_| format!("make the bridge {}", link.name))
}

/// Makes one end of tunnels as a port of a bridge; it is down.
///
/// # Errors
/// `EEXIST` where the name is taken, or another link of the host has the network identifier on that UDP port.
pub fn make_vxlan(
    socket: &mut NetlinkSocket,
    link: &HostLink,
    tunnel: &Tunnel,
    on: VxlanPlace,
) -> Result<(), KernelError> {
    let mut data = vec![InfoVxlan::Id(tunnel.vni), InfoVxlan::Port(tunnel.port), InfoVxlan::Learning(true)];
    // The link's packets are of one family: without an end of its own or a group, its peers tell which.
    let any = || tunnel.peers.first().map(|peer| Family::of(*peer).unspecified());
    match tunnel.local.or_else(any) {
        Some(IpAddr::V4(address)) => data.push(InfoVxlan::Local(address)),
        Some(IpAddr::V6(address)) => data.push(InfoVxlan::Local6(address)),
        None => {}
    }
    match tunnel.group {
        Some(IpAddr::V4(address)) => data.push(InfoVxlan::Group(address)),
        Some(IpAddr::V6(address)) => data.push(InfoVxlan::Group6(address)),
        None => {}
    }
    data.extend(on.parent.map(InfoVxlan::Link));
    let mut message = named(&link.name);
    message.attributes.push(LinkAttribute::Address(link.mac.0.to_vec()));
    message.attributes.push(LinkAttribute::Controller(on.bridge));
    message.attributes.extend(on.mtu.map(LinkAttribute::Mtu));
    message.attributes.push(info(InfoKind::Vxlan, InfoData::Vxlan(data)));
    socket.change(vec![new(message)], |_| format!("make the VXLAN link {}", link.name))
}

/// Where a tunnel's end is put.
#[derive(Debug, Clone, Copy)]
pub struct VxlanPlace {
    /// The index of its bridge.
    pub bridge: u32,
    /// The index of the link that it is bound to.
    pub parent: Option<u32>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
}

/// A veth pair as it is to be born.
#[derive(Debug)]
pub struct Veth<'a> {
    /// The name of the end on the host.
    pub host_name: &'a IfName,
    /// The index of the bridge that the host's end joins, if it joins one.
    pub bridge: Option<u32>,
    /// The Ethernet address of the host's end.
    pub host_mac: Mac,
    /// The link group of the host's end.
    pub group: u32,
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
    socket: &mut NetlinkSocket,
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
    message.attributes.push(LinkAttribute::Address(veth.host_mac.0.to_vec()));
    message.attributes.extend(veth.bridge.map(LinkAttribute::Controller));
    if veth.group != 0 {
        message.attributes.push(LinkAttribute::Group(veth.group));
    }
    message.attributes.push(LinkAttribute::NumTxQueues(1));
    message.attributes.push(LinkAttribute::NumRxQueues(1));
    message.attributes.extend(veth.mtu.map(LinkAttribute::Mtu));
    message.attributes.push(info(InfoKind::Veth, InfoData::Veth(InfoVeth::Peer(peer))));
    let mut messages = vec![new(message)];
    if veth.hairpin {
        let mut port = named(veth.host_name);
        port.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
        ]));
        messages.push((RouteNetlinkMessage::NewLink(port), 0));
    }
    socket.change(messages, |_| {
        format!("make the link {} with {} in the container", veth.host_name, veth.container_name)
    })
}

/// What a link on top of a parent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildKind {
    /// A link with an Ethernet address of its own.
    Macvlan(MacvlanMode),
    /// A link with its parent's Ethernet address.
    Ipvlan(IpvlanMode),
}

impl ChildKind {
    /// The word for its mode.
    #[must_use]
    pub fn mode(self) -> String {
        match self {
            Self::Macvlan(mode) => mode.to_string(),
            Self::Ipvlan(mode) => mode.to_string(),
        }
    }
}

impl fmt::Display for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Macvlan(_) => "macvlan",
            Self::Ipvlan(_) => "ipvlan",
        })
    }
}

/// A link on top of a parent as it is to be born.
#[derive(Debug)]
pub struct Child<'a> {
    /// Its name.
    pub name: &'a IfName,
    /// The parent's index, in the socket's namespace.
    pub parent: u32,
    /// What it is.
    pub kind: ChildKind,
    /// Its Ethernet address, where it has one of its own.
    pub mac: Option<Mac>,
    /// The MTU in bytes; the parent's without.
    pub mtu: Option<u32>,
    /// The group that rules know it by.
    pub group: Option<u32>,
}

/// Makes a link on top of a parent, born in the container's namespace, or in the socket's without one. It is down.
///
/// Before Linux 6.15, `rtnl_newlink` looks the new name up in the namespace of the socket, wherever the link is to be
/// born: a host with an `eth0` could make no container's `eth0`. A message that names the new link's index is looked up
/// by that index alone. The other ways (a name that nobody has, a message from inside) rename or move the link
/// afterwards, which waits for RCU.
///
/// # Errors
/// `EEXIST` where the name is taken, `EBUSY` where the parent serves something else, `EOPNOTSUPP` where the kernel
/// lacks the kind.
pub fn make_child(
    socket: &mut NetlinkSocket,
    child: &Child<'_>,
    namespace: Option<BorrowedFd<'_>>,
) -> Result<(), KernelError> {
    let mut message = named(child.name);
    message.attributes.push(LinkAttribute::Link(child.parent));
    message.attributes.extend(namespace.map(|namespace| LinkAttribute::NetNsFd(namespace.as_raw_fd())));
    message.attributes.extend(child.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    message.attributes.extend(child.mtu.map(LinkAttribute::Mtu));
    message.attributes.extend(child.group.map(LinkAttribute::Group));
    message.attributes.push(match child.kind {
        ChildKind::Macvlan(mode) => {
            let mode = match mode {
                MacvlanMode::Bridge => MacVlanMode::Bridge,
                MacvlanMode::Private => MacVlanMode::Private,
                MacvlanMode::Vepa => MacVlanMode::Vepa,
                MacvlanMode::Passthru => MacVlanMode::Passthrough,
            };
            info(InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]))
        }
        ChildKind::Ipvlan(mode) => {
            let mode = match mode {
                IpvlanMode::L2 => IpVlanMode::L2,
                IpvlanMode::L3 => IpVlanMode::L3,
                IpvlanMode::L3s => IpVlanMode::L3S,
            };
            info(InfoKind::IpVlan, InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)]))
        }
    });
    let doing = |_| format!("make the {} link {}", child.kind, child.name);
    match socket.change(vec![new(message.clone())], doing) {
        Err(KernelError { errno: Errno::EEXIST, .. }) if namespace.is_some() => {
            message.header.index = free_index();
            socket.change(vec![new(message)], doing)
        }
        made => made,
    }
}

/// An index that no link of any namespace has: 30 bits are drawn for it, above those that the kernel counts up.
fn free_index() -> u32 {
    1 << 30 | (random::draw() as u32 >> 2)
}
