//! Forwarding that ocinet itself turned on: it is written down, keeps the host's own uplinks apart, and ends with the last
//! network. `uplinks.rs` tells uplinks from other programs' networks, `elsewhere.rs` finds containers of other state folders,
//! `switch.rs` turns it on and off.

mod elsewhere;
mod switch;
mod uplinks;

pub(crate) use switch::{delete_uplinks, give_back, give_back_alone, remember};
pub(crate) use uplinks::{Links, of_default_routes};

use std::path::Path;

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::cidr::Family;
use ocinet_shared::element::{Element, Field, Set};
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::forwarding::Before;
use ocinet_shared::kernel::{KernelError, process, sysctl};
use ocinet_shared::network::Network;
use ocinet_shared::record_dir::{StateDir, StateError};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::found::Found;
use crate::networks::Networks;

/// Which families' forwarding ocinet turned on.
const FILE: &str = "forwarding.json";

/// The sets whose elements are the host's uplinks.
pub(crate) const UPLINKS: [Set; 2] = [Set::Uplinks, Set::Bridged];

/// A family whose forwarding ocinet turned on, and what is to be given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Turned {
    /// The family.
    pub(crate) family: Family,
    /// What turning it on overwrote.
    #[serde(default)]
    pub(crate) before: Before,
    /// Whether no network of ocinet's needs it any more, and it is left on because another program's may. The uplinks stay
    /// apart.
    #[serde(default)]
    pub(crate) left_on: bool,
}

/// The file, in its form of today and in its first one, which held families alone.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Now { boot_id: String, families: Vec<Turned> },
    Earlier(Vec<Family>),
}

/// The families whose forwarding ocinet turned on since the boot. A file that ocinet cannot have written says nothing: who can
/// put it there can delete ocinet's own as well. The inner error is of a damaged file, or of one that others can write to:
/// which families they are is not known then, and forwarding stays as it is.
///
/// # Errors
/// A file that the file system does not let ocinet read, or a boot that cannot be told from others.
pub(crate) fn turned(state: &StateDir) -> Result<Result<Vec<Turned>, StateError>, Error> {
    let written = match state.read_json(&state.path(FILE)) {
        Err(StateError::Foreign { .. }) => None,
        Err(fault @ (StateError::Malformed { .. } | StateError::Writable { .. })) => return Ok(Err(fault)),
        read => read?,
    };
    Ok(Ok(match written {
        Some(Written::Now { boot_id, families }) if process::boot_id()? == boot_id => families,
        Some(Written::Earlier(families)) => families.into_iter().map(Turned::new).collect(),
        Some(Written::Now { .. }) | None => Vec::new(),
    }))
}

/// The same for whoever keeps the uplinks apart. Where the file cannot be believed, the elements that are there tell. Where
/// none is, as after a flush, it is each family that the host forwards and a network needs: the file is there because ocinet
/// turned one of them on.
///
/// # Errors
/// As [`turned`], and those of asking the kernel.
pub(crate) fn kept_apart(
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

impl Turned {
    fn new(family: Family) -> Self {
        Self { family, before: Before::default(), left_on: false }
    }
}

/// The elements that keep the host's uplinks apart, in each family in which ocinet made the host a router.
#[must_use]
pub(crate) fn elements(turned: &[Turned], links: &Links<'_>) -> Vec<Element> {
    let mut elements: Vec<Element> = turned.iter().map(|turned| no_transit(turned.family)).collect();
    if !elements.is_empty() {
        elements.extend(links.elements());
    }
    elements
}

/// The element that keeps the host's uplinks apart in a family.
fn no_transit(family: Family) -> Element {
    Element::new(Set::NoTransit, vec![Field::Family(family)])
}

/// The elements that keep the host's uplinks apart and are not there. Where some seem to be missing, the kernel is asked again
/// under the lock on the networks, while no start and no stop changes them.
///
/// # Errors
/// A file that cannot be read, those of the lock, and a refusal of a dump.
pub(crate) fn missing(state: &StateDir, found: &Found) -> Result<Vec<Element>, Error> {
    let missing_in = |found: &Found| -> Result<Vec<Element>, Error> {
        let is_there = |element: &Element| Ok(found.missing(std::iter::once(element)).next().is_none());
        let wanted = elements(&kept_apart(state, is_there)?, &found.around());
        Ok(found.missing(wanted.iter()).cloned().collect())
    };
    if missing_in(found)?.is_empty() {
        return Ok(Vec::new());
    }
    let _alone = state.lock_networks_to_look()?;
    missing_in(&Found::ask()?)
}

/// Whether a path is that of the file. Whoever replaces or removes it holds the lock on the networks.
pub(crate) fn is_file(state: &StateDir, path: &Path) -> bool {
    path == state.path(FILE)
}

/// Whether a set's elements are the host's, and no network's.
pub(crate) fn is_of_host(set: Set) -> bool {
    set == Set::NoTransit || UPLINKS.contains(&set)
}

/// Whether a network needs forwarding.
pub(crate) fn is_needed(networks: &[Network], family: Family) -> bool {
    networks.iter().any(|network| network.is_forwarded(family))
}

/// The families in which ocinet turned forwarding on that nothing needs any more. A network whose file cannot be read may need
/// it.
///
/// # Errors
/// Those of asking the kernel which containers live.
pub(crate) fn idle(
    turned: &[Turned],
    networks: &Networks,
    links: &Links<'_>,
) -> Result<Vec<Family>, KernelError> {
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
                || elsewhere::find(&mut Channel::open(NETLINK_ROUTE)?, links, networks, family)?.is_some());
        if !is_used {
            families.push(family);
        }
    }
    Ok(families)
}
