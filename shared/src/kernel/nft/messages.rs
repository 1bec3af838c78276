//! Messages about elements: `struct nfgenmsg` of linux/netfilter/nfnetlink.h, then attributes as linux/netfilter/nf_tables.h
//! nests them.

use nix::libc;

use crate::kernel::raw::NetlinkRequest;
use crate::model::element::{Element, Set, Table};

/// The subsystem that a message is for, in its type (linux/netfilter/nfnetlink.h).
pub(super) const NFTABLES: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;
/// The length of `struct nfgenmsg`: family, version, and two bytes for the subsystem of a batch, in network order.
pub(super) const NFGENMSG_LENGTH: usize = 4;
// Attributes of a list of elements, and of an element.
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
pub(super) const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
pub(super) const NFTA_LIST_ELEM: u16 = 1;
pub(super) const NFTA_SET_ELEM_KEY: u16 = 1;
pub(super) const NFTA_SET_ELEM_DATA: u16 = 2;
pub(super) const NFTA_SET_ELEM_EXPR: u16 = 7;
pub(super) const NFTA_SET_ELEM_EXPRESSIONS: u16 = 11;
pub(super) const NFTA_DATA_VALUE: u16 = 1;
/// The name of both tables.
pub(super) const TABLE: &str = "ocinet";

/// What a message does with elements (`enum nf_tables_msg_types`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    New = libc::NFT_MSG_NEWSETELEM as isize,
    Get = libc::NFT_MSG_GETSETELEM as isize,
    Delete = libc::NFT_MSG_DELSETELEM as isize,
}

/// Where a batch begins and ends (`NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Begin = libc::NFNL_MSG_BATCH_BEGIN as isize,
    End = libc::NFNL_MSG_BATCH_END as isize,
}

/// `NFPROTO_INET` and `NFPROTO_BRIDGE` of linux/netfilter.h, in `struct nfgenmsg`.
pub(super) fn header(table: Table) -> [u8; NFGENMSG_LENGTH] {
    let family = match table {
        Table::Inet => libc::NFPROTO_INET as u8,
        Table::Bridge => libc::NFPROTO_BRIDGE as u8,
    };
    [family, 0, 0, 0]
}

/// A message about a set.
pub(super) fn about_set(verb: Verb, set: Set) -> NetlinkRequest {
    let (table, name) = set.place();
    NetlinkRequest::new(NFTABLES | verb as u16, &header(table))
        .with_text(NFTA_SET_ELEM_LIST_TABLE, TABLE)
        .with_text(NFTA_SET_ELEM_LIST_SET, name)
}

/// A message about an element, by its key. A new one has its value, too, where it is a map's.
pub(super) fn about_element(verb: Verb, element: &Element) -> NetlinkRequest {
    let key = element.key_bytes();
    let value = if verb == Verb::New { element.value_bytes() } else { Vec::new() };
    about_set(verb, element.set).with_nested(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
        list.with_nested(NFTA_LIST_ELEM, |of| {
            let of = of.with_nested(NFTA_SET_ELEM_KEY, |of| of.with(NFTA_DATA_VALUE, &key));
            if value.is_empty() {
                return of;
            }
            of.with_nested(NFTA_SET_ELEM_DATA, |of| of.with(NFTA_DATA_VALUE, &value))
        })
    })
}

/// A bound of a batch of this subsystem's.
pub(super) fn bound(bound: Bound) -> NetlinkRequest {
    let [high, low] = (NFTABLES >> 8).to_be_bytes();
    NetlinkRequest::new(bound as u16, &[0, 0, high, low])
}
