//! Turning forwarding on, and giving it back.

use std::io;

use ocinet_shared::kernel::forwarding;
use ocinet_shared::kernel::forwarding::Before;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::nft::{Nft, listing};
use ocinet_shared::kernel::{KernelError, link, route, sysctl};
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::element::Element;
use ocinet_shared::state::StateDir;

use crate::error::Error;
use crate::host::elsewhere;
use crate::host::forwarding::{UPLINKS, elements, is_needed, no_transit};
use crate::host::uplinks::Links;
use crate::state::forwarding::{Turned, is_there, turned, write};
use crate::state::networks::Networks;

/// Writes down that ocinet is about to turn forwarding on for a family. Returns the elements that keep the host's uplinks
/// apart from then on. The caller holds the lock on the networks.
///
/// # Errors
/// Those of the file system, and a refusal of a dump.
pub fn remember(state: &StateDir, socket: &mut NetlinkSocket, family: Family) -> Result<Vec<Element>, Error> {
    let mut families = match turned(state)? {
        Ok(families) => families,
        // What it said has been given back.
        Err(_) if !Family::ALL.into_iter().any(|family| sysctl::forwards(family).unwrap_or_default()) => {
            Vec::new()
        }
        Err(fault) => return Err(fault.into()),
    };
    let before = Before::read(family)
        .map_err(|error| KernelError::from_io("read how links forward".to_owned(), &error))?;
    // An earlier start that was killed half-way wrote down what was before.
    match families.iter_mut().find(|turned| turned.family == family) {
        Some(turned) => turned.left_on = false,
        None => families.push(Turned { family, before, left_on: false }),
    }
    write(state, &families)?;
    let (links, routes) = (link::list(socket)?, route::list_all(socket)?);
    Ok(elements(&families, &Links { links: &links, routes: &routes }))
}

/// Turns forwarding off as it was, in each family in which ocinet turned it on and no network needs it any more. Where
/// another program's network is there, or a container of another state folder lives, it is left on for that one, and the
/// uplinks stay apart. The caller holds the lock on the networks, so that no network is made meanwhile.
///
/// # Errors
/// Those of the file system, and the kernel's refusals; what is left is for the next try.
pub fn give_back(state: &StateDir, socket: &mut NetlinkSocket, nft: &mut Nft) -> Result<(), Error> {
    let _not_restored = state.lock_elements_to_delete()?;
    let networks = Networks::read(state)?;
    if let Some(fault) = networks.unreadable() {
        // It may need forwarding.
        crate::log::info(format_args!("forwarding stays as it is: {fault}"));
        return Ok(());
    }
    let networks = networks.readable;
    let all = match turned(state)? {
        Ok(all) => all,
        Err(fault) => {
            crate::log::info(format_args!("forwarding stays as it is: {fault}"));
            return Ok(());
        }
    };
    let (mut kept, ended): (Vec<Turned>, Vec<Turned>) =
        all.into_iter().partition(|turned| is_needed(&networks, turned.family));
    if ended.is_empty() {
        // With it goes what a start left that was killed while it wrote the file.
        return if kept.is_empty() { Ok(write(state, &[])?) } else { Ok(()) };
    }
    let (links, routes) = (link::list(socket)?, route::list_all(socket)?);
    let all = Links { links: &links, routes: &routes };
    for turned in ended {
        // A kernel that lost the family has nothing to turn off.
        let is_on = match sysctl::forwards(turned.family) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            read => read.map_err(|error| KernelError::from_io("read whether the host forwards", &error))?,
        };
        if is_on && let Some(theirs) = elsewhere::find(socket, &all, &networks, turned.family)? {
            let (family, name) = (turned.family, &theirs.name);
            crate::log::info(format_args!(
                "{family} forwarding is left on for a container on {name}, whose network is not of this state folder"
            ));
            kept.push(turned);
            continue;
        }
        match all.others(turned.family).filter(|_| is_on) {
            Some(theirs) => {
                if !turned.left_on {
                    let (family, name) = (turned.family, &theirs.name);
                    crate::log::info(format_args!(
                        "{family} forwarding is left on for {name}, which is not ocinet's"
                    ));
                }
                kept.push(Turned { left_on: true, ..turned });
                continue;
            }
            None if is_on => forwarding::turn_off(turned.family, &turned.before)?,
            None => {}
        }
        nft.delete(&[no_transit(turned.family)])?;
    }
    // Another state folder may keep the uplinks apart in the other family.
    let mut keeps_apart = false;
    for family in Family::ALL {
        keeps_apart |= nft.get(&no_transit(family))?.is_some();
    }
    if !keeps_apart {
        delete_uplinks(nft, &[])?;
    }
    write(state, &kept)
}

/// The same for whoever does not hold the lock on the networks.
///
/// # Errors
/// As [`give_back`], and those of the lock.
pub fn give_back_alone(state: &StateDir, socket: &mut NetlinkSocket, nft: &mut Nft) -> Result<(), Error> {
    if !is_there(state) {
        return Ok(());
    }
    state.wait_for_restore()?;
    let _alone = state.lock_networks()?;
    give_back(state, socket, nft)
}

/// Deletes the elements of uplinks but for those that are wanted.
///
/// # Errors
/// The kernel's refusals.
pub fn delete_uplinks(nft: &mut Nft, wanted: &[Element]) -> Result<(), KernelError> {
    let mut stale = Vec::new();
    for set in UPLINKS {
        stale.extend(listing::of_set(nft.socket(), set)?);
    }
    stale.retain(|element| !wanted.contains(element));
    nft.delete(&stale)
}
