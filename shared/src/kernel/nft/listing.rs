//! Which tables and elements there are, and what they counted.

use std::collections::BTreeSet;

use nix::errno::Errno;
use nix::libc;

use super::chains::number;
use super::messages::{
    NFGENMSG_LENGTH, NFTA_DATA_VALUE, NFTA_LIST_ELEM, NFTA_SET_ELEM_EXPR, NFTA_SET_ELEM_EXPRESSIONS,
    NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_LIST_ELEMENTS, NFTABLES, TABLE, Verb, about_set, header,
};
use crate::kernel::KernelError;
use crate::kernel::netlink::NetlinkSocket;
use crate::kernel::raw::{Attributes, NetlinkRequest, long_be};
use crate::model::element::{Element, Set, Table};

/// A message, from linux/netfilter/nf_tables.h.
const NFT_MSG_GETTABLE: u16 = libc::NFT_MSG_GETTABLE as u16;
// Attributes, from linux/netfilter/nf_tables.h.
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_TABLE_HANDLE: u16 = 4;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;
/// A flag of a table, from the same file.
const NFT_TABLE_F_DORMANT: u32 = 1;

/// What an element counted since it was added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    /// Bytes of IP packets.
    pub bytes: u64,
    /// Packets; for a NAT map's element, connections.
    pub packets: u64,
}

/// Hands over the key, as nf_tables holds it, and the counter of every element of a set, perhaps several times: the last
/// are the newest. False where the set or its table is not there.
///
/// # Errors
/// Any other refusal.
pub fn elements(
    socket: &mut NetlinkSocket,
    set: Set,
    mut take: impl FnMut(&[u8], Counter),
) -> Result<bool, KernelError> {
    let dumped =
        socket.stream(&elements_request(set), "read the counters of nftables elements", &mut |payload| {
            for (key, counter) in elements_answer(payload) {
                take(key, counter);
            }
        });
    found(dumped)
}

/// Hands over the key of every element of a set, whether it counts or not, perhaps several times. False where the set or
/// its table is not there.
///
/// # Errors
/// Any other refusal.
fn keys(socket: &mut NetlinkSocket, set: Set, mut take: impl FnMut(&[u8])) -> Result<bool, KernelError> {
    let dumped = socket.stream(&elements_request(set), "list nftables elements", &mut |payload| {
        keys_answer(payload).for_each(&mut take);
    });
    found(dumped)
}

/// The keys of all elements of all sets, as nf_tables holds them.
///
/// # Errors
/// Any refusal but that a set is not there.
pub fn all_keys(socket: &mut NetlinkSocket) -> Result<BTreeSet<(Set, Vec<u8>)>, KernelError> {
    let mut all = BTreeSet::new();
    for set in Set::ALL {
        keys(socket, *set, |key| {
            all.insert((*set, key.to_vec()));
        })?;
    }
    Ok(all)
}

/// The elements of a set, without their values; none where the set is not there.
///
/// # Errors
/// Any other refusal.
pub fn of_set(socket: &mut NetlinkSocket, set: Set) -> Result<Vec<Element>, KernelError> {
    let mut there = BTreeSet::new();
    keys(socket, set, |key| {
        there.insert(key.to_vec());
    })?;
    Ok(there.iter().filter_map(|key| Element::from_key(set, key)).collect())
}

/// The request of [`elements`].
#[must_use]
pub fn elements_request(set: Set) -> NetlinkRequest {
    about_set(Verb::Get, set)
}

/// What a message of the answer to [`elements_request`] says: keys, and what their elements counted.
pub fn elements_answer(payload: &[u8]) -> impl Iterator<Item = (&[u8], Counter)> {
    listed(payload).filter_map(element_of)
}

fn keys_answer(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let key =
        |element| Attributes::new(Attributes::new(element).find(NFTA_SET_ELEM_KEY)?).find(NFTA_DATA_VALUE);
    listed(payload).filter_map(key)
}

fn listed(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let list = Attributes::behind(payload, NFGENMSG_LENGTH).find(NFTA_SET_ELEM_LIST_ELEMENTS);
    let elements = Attributes::new(list.unwrap_or_default()).filter(|(kind, _)| *kind == NFTA_LIST_ELEM);
    elements.map(|(_, element)| element)
}

/// An element without a counter, as of a set that does not count, is none.
fn element_of(element: &[u8]) -> Option<(&[u8], Counter)> {
    let (mut key, mut expression) = (None, None);
    for (kind, payload) in Attributes::new(element) {
        match kind {
            NFTA_SET_ELEM_KEY => key = Attributes::new(payload).find(NFTA_DATA_VALUE),
            NFTA_SET_ELEM_EXPR => expression = Some(payload),
            // The first of several.
            NFTA_SET_ELEM_EXPRESSIONS => expression = Attributes::new(payload).find(NFTA_LIST_ELEM),
            _ => {}
        }
    }
    Some((key?, counter(expression?)?))
}

/// What an element's counter expression says.
pub(super) fn counter(expression: &[u8]) -> Option<Counter> {
    let (mut bytes, mut packets) = (None, None);
    for (kind, payload) in Attributes::new(Attributes::new(expression).find(NFTA_EXPR_DATA)?) {
        match kind {
            NFTA_COUNTER_BYTES => bytes = long_be(payload),
            NFTA_COUNTER_PACKETS => packets = long_be(payload),
            _ => {}
        }
    }
    Some(Counter { bytes: bytes?, packets: packets? })
}

/// The number that the kernel gave a table when it was made; another table of the same name has another. `None` where
/// there is none.
///
/// # Errors
/// Any other refusal.
pub fn table(socket: &mut NetlinkSocket, table: Table) -> Result<Option<u64>, KernelError> {
    ask_of_table(socket, table, table_answer)
}

/// Whether a table is there and is not asked (`flags dormant`).
///
/// # Errors
/// Any other refusal.
pub fn is_dormant(socket: &mut NetlinkSocket, table: Table) -> Result<bool, KernelError> {
    let flags = ask_of_table(socket, table, |payload| {
        number(Attributes::behind(payload, NFGENMSG_LENGTH).find(NFTA_TABLE_FLAGS)?)
    })?;
    Ok(flags.unwrap_or_default() & NFT_TABLE_F_DORMANT != 0)
}

fn ask_of_table<T>(
    socket: &mut NetlinkSocket,
    table: Table,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, KernelError> {
    let request =
        NetlinkRequest::new(NFTABLES | NFT_MSG_GETTABLE, &header(table)).with_text(NFTA_TABLE_NAME, TABLE);
    let mut found = Ok(None);
    let asked = socket.ask_each(&[request], &mut |_, answer| match answer {
        Ok(payload) => found = Ok(read(payload)),
        Err(Errno::ENOENT) => {}
        Err(errno) => found = Err(errno),
    });
    asked.and(found).map_err(|errno| KernelError::new("look for the nftables tables", errno))
}

/// The table's number in the answer about it.
#[must_use]
pub fn table_answer(payload: &[u8]) -> Option<u64> {
    long_be(Attributes::behind(payload, NFGENMSG_LENGTH).find(NFTA_TABLE_HANDLE)?)
}

fn found(dumped: Result<(), KernelError>) -> Result<bool, KernelError> {
    match dumped {
        Ok(()) => Ok(true),
        Err(KernelError { errno: Errno::ENOENT, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;
    use crate::kernel::raw::{captured, every_beginning};
    use crate::model::element::{Element, Field};
    use crate::model::port::Protocol;

    fn read(payload: &[u8]) -> Vec<(Vec<u8>, Counter)> {
        elements_answer(payload).map(|(key, counter)| (key.to_vec(), counter)).collect()
    }

    fn check(text: &str, expected: &[(Element, Counter)]) {
        let answers = captured(text);
        let expected: Vec<_> =
            expected.iter().map(|(element, counter)| (element.key_bytes(), *counter)).collect();
        assert_eq!(read(&answers[0]), expected);
        every_beginning(&answers[0], |part| assert!(expected.starts_with(&read(part))));
    }

    #[test]
    fn reads_what_the_elements_of_a_set_counted() {
        let of = |address: [u8; 4]| Element::new(Set::Sent4, vec![Field::Address(address.into())]);
        let counted = Counter { bytes: 450, packets: 8 };
        check(
            include_str!("../captured/elements-sent4.hex"),
            &[(of([10, 90, 42, 85]), Counter::default()), (of([10, 90, 30, 241]), counted)],
        );
    }

    #[test]
    fn reads_what_the_elements_of_a_map_counted() {
        let key =
            vec![Field::Address([198, 51, 100, 12].into()), Field::Protocol(Protocol::Udp), Field::Port(53)];
        check(
            include_str!("../captured/elements-publish4_bound.hex"),
            &[(Element::new(Set::Publish4Bound, key), Counter::default())],
        );
    }

    #[test]
    fn a_set_that_does_not_count_has_keys_alone() {
        check(include_str!("../captured/elements-links.hex"), &[]);
        let answers = captured(include_str!("../captured/elements-links.hex"));
        let keys: Vec<&[u8]> = keys_answer(&answers[0]).collect();
        assert!(!keys.is_empty() && keys.iter().all(|key| key.starts_with(b"oc-") && key.len() == 16));
    }

    #[test]
    fn reads_a_tables_number() {
        let answers = captured(include_str!("../captured/table.hex"));
        let number = table_answer(&answers[0]);
        assert!(number.is_some_and(|number| number > 0));
        every_beginning(&answers[0], |part| assert!([None, number].contains(&table_answer(part))));
    }

    #[test]
    fn requests_name_the_set_and_the_table() {
        let mut bytes = Vec::new();
        elements_request(Set::Publish4Bound).write(0x301, 1, &mut bytes);
        assert_eq!(bytes[4..6], [13, 10]);
        assert_eq!(bytes[16..20], [1, 0, 0, 0]);
        assert_eq!(&bytes[20..32], b"\x0b\0\x01\0ocinet\0\0");
        assert_eq!(&bytes[36..51], b"publish4_bound\0");
    }
}
