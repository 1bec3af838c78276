//! Routing policy: which table a packet's route is looked up in (ip-rule(8)).

use std::net::IpAddr;

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteHeader;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

use super::Change;
use super::addr::netlink_family;
use crate::cidr::Family;

/// The message that makes a packet from an address look into a table.
#[must_use]
pub fn from_address(address: IpAddr, table: u8, priority: u32) -> Change {
    let mut message = lookup(Family::of(address), table, priority);
    message.header.src_len = Family::of(address).bits();
    message.attributes.push(RuleAttribute::Source(address));
    (RouteNetlinkMessage::NewRule(message), NLM_F_CREATE)
}

/// The message that makes every packet of a family look into the main table first, but for its default route.
#[must_use]
pub fn main_without_default(family: Family, priority: u32) -> Change {
    let mut message = lookup(family, RouteHeader::RT_TABLE_MAIN, priority);
    message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
    (RouteNetlinkMessage::NewRule(message), NLM_F_CREATE)
}

/// Without `NLM_F_EXCL` the kernel refuses a rule that is there only where it is in the way.
fn lookup(family: Family, table: u8, priority: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = netlink_family(family);
    message.header.table = table;
    message.header.action = RuleAction::ToTable;
    message.attributes.push(RuleAttribute::Priority(priority));
    message
}
