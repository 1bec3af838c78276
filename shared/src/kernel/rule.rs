//! Routing policy: which table a packet's route is looked up in (ip-rule(8)).

use std::net::IpAddr;

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

use super::Change;
use super::addr::netlink_family;
use crate::cidr::Family;

/// The message that makes a packet from an address look into a table, before those of a higher priority number.
#[must_use]
pub fn from_address(address: IpAddr, table: u8, priority: u32) -> Change {
    let mut message = RuleMessage::default();
    message.header.family = netlink_family(Family::of(address));
    message.header.src_len = Family::of(address).bits();
    message.header.table = table;
    message.header.action = RuleAction::ToTable;
    message.attributes.push(RuleAttribute::Priority(priority));
    message.attributes.push(RuleAttribute::Source(address));
    (RouteNetlinkMessage::NewRule(message), NLM_F_CREATE)
}
