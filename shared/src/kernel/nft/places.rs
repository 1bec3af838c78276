//! Whose the elements of maps are, by what they lead to.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::batch::state;
use super::messages::{Verb, about_element};
use crate::kernel::KernelError;
use crate::kernel::netlink::NetlinkSocket;
use crate::kernel::raw::NetlinkRequest;
use crate::model::element::{Element, Set};

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
    socket: &mut NetlinkSocket,
    elements: &[Element],
) -> Result<BTreeMap<(Set, Vec<u8>), Place>, KernelError> {
    let of_maps: Vec<&Element> = elements.iter().filter(|element| !element.value.is_empty()).collect();
    let requests: Vec<NetlinkRequest> =
        of_maps.iter().map(|element| about_element(Verb::Get, element)).collect();
    let (mut places, mut refused) = (BTreeMap::new(), Ok(()));
    let asked = socket.ask_each(&requests, &mut |index, answer| {
        let Some(element) = of_maps.get(index) else { return };
        let place = match answer.map(state) {
            Ok(Some(found)) if found.value == element.value_bytes() => Place::Own,
            Ok(Some(_)) => Place::Others,
            Err(Errno::ENOENT) => Place::Empty,
            unknown => {
                refused = Err(unknown.err().unwrap_or(Errno::EBADMSG));
                return;
            }
        };
        places.insert((element.set, element.key_bytes()), place);
    });
    asked.and(refused).map_err(|errno| KernelError::new("look up nftables elements", errno))?;
    Ok(places)
}
