//! Whose the elements of maps are, by what they lead to.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::super::KernelError;
use super::super::channel::Channel;
use super::super::raw::Request;
use super::batch::{NFTA_DATA_VALUE, NFTA_LIST_ELEM, NFTA_SET_ELEM_LIST_ELEMENTS, state};
use super::counted::{NFTA_SET_ELEM_KEY, elements_request};
use crate::element::{Element, Set};

/// What a map has where an element would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The element.
    Own,
    /// An element with this key that leads elsewhere.
    Others,
    /// Nothing, or there is no such map.
    Empty,
}

/// Looks where elements of maps would be, by set and key; those of sets, which have no value, are left out.
///
/// # Errors
/// Any refusal but that an element or its map is not there.
pub fn places(
    channel: &mut Channel,
    elements: &[Element],
) -> Result<BTreeMap<(Set, Vec<u8>), Place>, KernelError> {
    let of_maps: Vec<&Element> = elements.iter().filter(|element| !element.value.is_empty()).collect();
    let request = |element: &&Element| {
        let key = element.key_bytes();
        elements_request(element.set).with_nested(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
            list.with_nested(NFTA_LIST_ELEM, |of| {
                of.with_nested(NFTA_SET_ELEM_KEY, |of| of.with(NFTA_DATA_VALUE, &key))
            })
        })
    };
    let requests: Vec<Request> = of_maps.iter().map(request).collect();
    let (mut places, mut refused) = (BTreeMap::new(), Ok(()));
    let asked = channel.ask_each(&requests, &mut |index, answer| {
        let Some(element) = of_maps.get(index) else { return };
        let place = match answer.map(state) {
            Ok(Some(found)) if found.value == element.value_bytes() => Place::Own,
            Ok(_) => Place::Others,
            Err(Errno::ENOENT) => Place::Empty,
            Err(errno) => {
                refused = Err(errno);
                return;
            }
        };
        places.insert((element.set, element.key_bytes()), place);
    });
    asked.and(refused).map_err(|errno| KernelError::new("look up nftables elements", errno))?;
    Ok(places)
}
