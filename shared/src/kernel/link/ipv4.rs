//! A link's settings of IPv4, which rtnetlink takes all at once. To open the file of one under /proc/sys is a walk through what all
//! network namespaces of the machine left there: beside 900 containers it takes milliseconds.

use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::LinkAttribute;
use nix::libc;

use super::message::set;
use crate::kernel::Change;
use crate::kernel::raw::NetlinkRequest;

// Attributes of a link, from linux/if_link.h.
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET_CONF: u16 = 1;

/// A setting, by its number in linux/ip.h (`IPV4_DEVCONF_FORWARDING` …) and with its name in ip-sysctl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv4Setting {
    /// Whether packets that come in by the link are forwarded.
    Forwarding = 1,
    /// Whether a sender is told of a shorter way.
    SendRedirects = 6,
    /// Whether a packet must come in by the link that leads to its sender.
    RpFilter = 8,
    /// Whether packets may say by whom they are to be sent on.
    AcceptSourceRoute = 9,
    /// Which questions for addresses are answered.
    ArpIgnore = 19,
    /// Whether the neighbours are told of a new Ethernet address.
    ArpNotify = 22,
    /// Whether 127.0.0.0/8 is routed.
    RouteLocalnet = 26,
}

impl Ipv4Setting {
    /// The name of its sysctl.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Forwarding => "forwarding",
            Self::SendRedirects => "send_redirects",
            Self::RpFilter => "rp_filter",
            Self::AcceptSourceRoute => "accept_source_route",
            Self::ArpIgnore => "arp_ignore",
            Self::ArpNotify => "arp_notify",
            Self::RouteLocalnet => "route_localnet",
        }
    }
}

/// The message that changes settings of a link.
#[must_use]
pub fn ipv4_settings(index: u32, settings: &[(Ipv4Setting, u32)]) -> Change {
    let families = NetlinkRequest::new(0, &[]).with_nested(libc::AF_INET as u16, |of| {
        of.with_nested(IFLA_INET_CONF, |of| {
            settings.iter().fold(of, |of, (setting, value)| of.with(*setting as u16, &value.to_ne_bytes()))
        })
    });
    set(index, LinkAttribute::Other(DefaultNla::new(IFLA_AF_SPEC, families.body().to_vec())))
}
