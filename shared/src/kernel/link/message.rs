//! Messages about one link.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};

use crate::kernel::Change;
use crate::model::ifname::IfName;

pub(super) fn set(index: u32, attribute: LinkAttribute) -> Change {
    let mut message = indexed(index);
    message.attributes.push(attribute);
    (RouteNetlinkMessage::SetLink(message), 0)
}

pub(super) fn indexed(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

pub(super) fn named(name: &IfName) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_string()));
    message
}
