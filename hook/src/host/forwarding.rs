//! What keeps the host's own uplinks apart while it forwards because of ocinet, and whether anything still needs that.

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::{KernelError, sysctl};
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::element::{Element, Field, Set};
use ocinet_shared::model::network::Network;
use ocinet_shared::state::StateDir;

use crate::error::Error;
use crate::host::elsewhere;
use crate::host::observed::ObservedHost;
use crate::host::uplinks::Links;
use crate::state::forwarding::{Turned, turned};
use crate::state::networks::Networks;

/// The sets whose elements are the host's uplinks.
pub const UPLINKS: [Set; 2] = [Set::Uplinks, Set::Bridged];

/// The families in which the host's uplinks are to be kept apart: those that `forwarding.json` names. Where the file cannot be
/// believed, the elements that are there tell. Where none is, as after a flush, it is each family that the host forwards and a
/// network needs: the file is there because ocinet turned one of them on.
///
/// # Errors
/// As [`turned`], and those of asking the kernel.
pub fn kept_apart(
    state: &StateDir,
    mut is_there: impl FnMut(&Element) -> Result<bool, KernelError>,
) -> Result<Vec<Turned>, Error> {
    if let Ok(turned) = turned(state)? {
        return Ok(turned);
    }
    let mut families = Vec::new();
    for family in Family::ALL {
        if is_there(&no_transit(family))? {
            families.push(family);
        }
    }
    if families.is_empty() {
        let networks = Networks::read(state)?;
        let may_need = |family| networks.unreadable().is_some() || is_needed(&networks.readable, family);
        families.extend(
            Family::ALL
                .into_iter()
                .filter(|family| may_need(*family) && sysctl::forwards(*family).unwrap_or_default()),
        );
    }
    Ok(families.into_iter().map(Turned::new).collect())
}

/// The elements that keep the host's uplinks apart, in each family in which ocinet made the host a router.
#[must_use]
pub fn elements(turned: &[Turned], links: &Links<'_>) -> Vec<Element> {
    let mut elements: Vec<Element> = turned.iter().map(|turned| no_transit(turned.family)).collect();
    if !elements.is_empty() {
        elements.extend(links.elements());
    }
    elements
}

/// The element that keeps the host's uplinks apart in a family.
#[must_use]
pub fn no_transit(family: Family) -> Element {
    Element::new(Set::NoTransit, vec![Field::Family(family)])
}

/// The elements that keep the host's uplinks apart and are not there. Where some seem to be missing, the kernel is asked again
/// under the lock on the networks, while no start and no stop changes them.
///
/// # Errors
/// A file that cannot be read, those of the lock, and a refusal of a dump.
pub fn missing(state: &StateDir, found: &ObservedHost) -> Result<Vec<Element>, Error> {
    let missing_in = |found: &ObservedHost| -> Result<Vec<Element>, Error> {
        let is_there = |element: &Element| Ok(found.missing(std::iter::once(element)).next().is_none());
        let wanted = elements(&kept_apart(state, is_there)?, &found.links_and_routes());
        Ok(found.missing(wanted.iter()).cloned().collect())
    };
    if missing_in(found)?.is_empty() {
        return Ok(Vec::new());
    }
    let _alone = state.lock_networks_to_look()?;
    missing_in(&ObservedHost::ask()?)
}

/// Whether a set's elements are the host's, and no network's.
pub fn is_of_host(set: Set) -> bool {
    set == Set::NoTransit || UPLINKS.contains(&set)
}

/// Whether a network needs forwarding.
pub fn is_needed(networks: &[Network], family: Family) -> bool {
    networks.iter().any(|network| network.is_forwarded(family))
}

/// The families in which ocinet turned forwarding on that nothing needs any more. A network whose file cannot be read may need
/// it.
///
/// # Errors
/// Those of asking the kernel which containers live.
pub fn idle(turned: &[Turned], networks: &Networks, links: &Links<'_>) -> Result<Vec<Family>, KernelError> {
    if networks.unreadable().is_some() {
        return Ok(Vec::new());
    }
    let networks = &networks.readable;
    let mut families = Vec::new();
    for family in turned.iter().map(|turned| turned.family) {
        if is_needed(networks, family) {
            continue;
        }
        let is_on = sysctl::forwards(family).unwrap_or_default();
        let is_used = is_on
            && (links.others(family).is_some()
                || elsewhere::find(&mut NetlinkSocket::open(NETLINK_ROUTE)?, links, networks, family)?
                    .is_some());
        if !is_used {
            families.push(family);
        }
    }
    Ok(families)
}
