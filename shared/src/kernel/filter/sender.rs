//! What the filters are told of a container, and of the rules.

use std::net::IpAddr;

use crate::model::cidr::Cidr;
use crate::model::mac::Mac;

/// The mark by which the rules tell the filters what they let in; `base.nft` sets it.
pub const MARK: u32 = 0x2000_0000;

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
