//! The base tables and everything that belongs into them, put back where somebody flushed them.

pub mod link_filters;

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::nft;
use ocinet_shared::kernel::nft::{ChangeError, Flaw, InstallError, Nft, listing};
use ocinet_shared::kernel::{conntrack, link, route};
use ocinet_shared::model::element::{Element, Field, Set, Table};
use ocinet_shared::model::network::Network;
use ocinet_shared::model::record::{Phase, Record};
use ocinet_shared::state::{Locked, StateDir, StateError};

use crate::error::{Class, Error};
use crate::host::uplinks::Links;
use crate::host::{boot, forwarding};
use crate::lifecycle::connections;
use crate::lifecycle::forwarding::delete_uplinks;
use crate::plan::elements;
use crate::state::forwarding::turned;
use crate::state::networks::Networks;
use crate::state::pod_members;

/// Makes the base tables with the elements of every network and of every container that lives, in one transaction: what
/// a packet meets is all of the rules or none, and no connection is tracked that they would have translated. Returns the
/// records of the living.
///
/// Nobody deletes elements meanwhile. What is being detached has perhaps lost its elements already, and is left out.
///
/// This is the one path whose cost grows with the number of containers: it runs at the first start after a boot, and
/// after somebody flushed the rule set.
///
/// # Errors
/// nft's or the kernel's; a record that cannot be read does not keep the rest from coming back.
pub fn restore(state: &StateDir, nft: &mut Nft) -> Result<Vec<Record>, Error> {
    let _alone = state.lock_elements_to_restore()?;
    restore_alone(state, nft, &[])
}

/// Adds elements to tables that were missing: of many starts that find them so at once, the first puts all back.
///
/// # Errors
/// As [`restore`]. What the kernel says of these elements is the inner result.
pub fn add_restored(
    state: &StateDir,
    nft: &mut Nft,
    elements: &[Element],
) -> Result<Result<(), ChangeError>, Error> {
    let _alone = state.lock_elements_to_restore()?;
    match nft.add(elements) {
        Err(ChangeError::NoTable) => {
            restore_alone(state, nft, elements)?;
            Ok(nft.add(elements))
        }
        Ok(()) => {
            restore_lost(state, nft);
            Ok(Ok(()))
        }
        refused => Ok(refused),
    }
}

/// Another state folder may have made the tables that were missing. It knows nothing of this one's elements. They belong to
/// other containers than the one that starts: where they cannot be put back, that is told, and the timer tries again.
fn restore_lost(state: &StateDir, nft: &mut Nft) {
    let restored = is_incomplete(state, nft).and_then(|is_incomplete| match is_incomplete {
        true => restore_alone(state, nft, &[]).map(drop),
        false => Ok(()),
    });
    if let Err(error) = restored {
        crate::log::warn(error);
    }
}

/// `new` are elements that are to be added next: the parts of the tables that they need are made as well.
fn restore_alone(state: &StateDir, nft: &mut Nft, new: &[Element]) -> Result<Vec<Record>, Error> {
    let boot_id = boot::id()?;
    let staying_networks = staying_networks(state, Networks::read_and_warn(state)?.readable)?;
    let mut common: Vec<Element> = staying_networks.iter().flat_map(elements::network_elements).collect();
    if let Err(fault) = turned(state)? {
        crate::log::warn(fault);
    }
    let uplinks = wanted_of_host(state, nft)?;
    common.extend_from_slice(&uplinks);
    let mut live = staying_containers(state, live_records(state, &boot_id)?)?;
    let all: Vec<Element> = common.iter().chain(live.iter().flat_map(Record::elements)).cloned().collect();
    wake(nft)?;
    let mut parts = nft::parts_there(nft.socket())?;
    parts.extend(all.iter().chain(new).filter_map(|element| nft::Part::of(element.set)));
    let mut installed = nft::install(&all, &parts);
    // Another state folder's start may have made a part meanwhile, whose rules were flushed just now.
    let there = nft::parts_there(nft.socket())?;
    if !there.is_subset(&parts) {
        parts.extend(there);
        installed = nft::install(&all, &parts);
    }
    if let Err(error) = installed {
        // One record that makes no sense to nft does not keep the rest from coming back.
        nft::install(&[], &parts).map_err(|_| refused(nft, error))?;
        put_back(nft, &common)?;
        for record in &live {
            put_back(nft, &record.elements().cloned().collect::<Vec<_>>())?;
        }
    }
    // Where this folder keeps no uplinks apart, another one may.
    if !uplinks.is_empty() {
        delete_uplinks(nft, &uplinks)?;
    }
    // The elements of what became complete meanwhile were perhaps flushed, and nobody else puts them back.
    for network in self::staying_networks(state, Networks::read(state)?.readable)?
        .iter()
        .filter(|network| !staying_networks.contains(network))
    {
        put_back(nft, &elements::network_elements(network))?;
    }
    let new = state.ids()?.into_iter().filter(|id| live.iter().all(|record| record.id != *id));
    let read = new.filter_map(|id| state.read_record(&id).ok().flatten());
    let late = staying_containers(state, read.filter(|record| is_attached(state, record, &boot_id)))?;
    for record in &late {
        put_back(nft, &record.elements().cloned().collect::<Vec<_>>())?;
    }
    live.extend(late);
    end_untranslated(nft, &live.iter().flat_map(Record::elements).cloned().collect::<Vec<_>>())?;
    Ok(live)
}

/// Tables that somebody put to sleep are asked again.
fn wake(nft: &mut Nft) -> Result<(), Error> {
    let mut dormant = Vec::new();
    for table in [Table::Inet, Table::Bridge] {
        if listing::is_dormant(nft.socket(), table)? {
            dormant.push(table);
        }
    }
    if dormant.is_empty() { Ok(()) } else { Ok(nft::wake(&dormant)?) }
}

/// Where a table is there and lacks what nft does not add to it, something in it has another form.
fn refused(nft: &mut Nft, error: InstallError) -> Error {
    let socket = nft.socket();
    let mut is_odd = |table: &Table| {
        listing::table(socket, *table).is_ok_and(|there| there.is_some())
            && nft::flaws(socket, *table).is_ok_and(|flaws| !flaws.is_empty())
    };
    let odd: Vec<Table> = [Table::Inet, Table::Bridge].into_iter().filter(|table| is_odd(table)).collect();
    if odd.is_empty() || !matches!(error, InstallError::Refused(_)) {
        return error.into();
    }
    let commands = anew(&odd).join("; ");
    let hint = format!("a set or a chain is there in another form than ocinet's: run `{commands}`");
    Error::new(Class::Nftables, "make the table inet ocinet", error, hint)
}

/// The commands that make tables anew.
#[must_use]
pub fn anew(tables: &[Table]) -> Vec<String> {
    let deletions = tables.iter().map(|table| format!("nft delete table {} ocinet", table.family()));
    deletions.chain(["ocinet reload".to_owned()]).collect()
}

/// What was sent while there were no rules was not translated, and would not be as long as its sender goes on.
fn end_untranslated(nft: &mut Nft, elements: &[Element]) -> Result<(), Error> {
    let mut route = NetlinkSocket::open(NETLINK_ROUTE)?;
    connections::end_in_the_way(nft, &mut route, &elements::udp_ports(elements.iter()))?;
    let leaves_translated =
        |of: &&Element| matches!(of.set, Set::Masquerade4 | Set::Masquerade6 | Set::Snat4 | Set::Snat6);
    let source = |of: &Element| match of.key.first() {
        Some(Field::Address(address)) => Some(*address),
        _ => None,
    };
    let sources = elements.iter().filter(leaves_translated).filter_map(source).collect();
    Ok(conntrack::end_all_untranslated(nft.socket(), &sources)?)
}

/// Puts a container's elements back that has become ready, where they were flushed while it was not: whoever put the rest
/// back left them out.
///
/// # Errors
/// As [`restore`]. What the kernel says of these elements is the inner result: another container may have taken one.
pub fn keep(state: &StateDir, nft: &mut Nft, ready: &[Element]) -> Result<Result<(), ChangeError>, Error> {
    let Some(first) = ready.first() else { return Ok(Ok(())) };
    if nft.get(first)?.is_some_and(|found| found.value == first.value_bytes()) {
        return Ok(Ok(()));
    }
    let _alone = state.lock_elements_to_restore()?;
    let mut kept = nft.restore(ready);
    match kept {
        Err(ChangeError::NoTable) => {
            restore_alone(state, nft, ready)?;
            // It passes over an element in whose place is another container's. This call says which one that is.
            kept = nft.restore(ready);
        }
        Ok(()) => {
            restore_lost(state, nft);
            end_untranslated(nft, ready)?;
        }
        Err(_) => {}
    }
    Ok(kept)
}

/// Whether a table, a rule or an element of this folder's is missing. What is coming or going is not asked for, and neither
/// is a record of which nothing is put back.
///
/// # Errors
/// Those of reading the folder, and a refusal of the kernel's.
pub fn is_incomplete(state: &StateDir, nft: &mut Nft) -> Result<bool, Error> {
    for table in [Table::Inet, Table::Bridge] {
        if listing::table(nft.socket(), table)?.is_none()
            || nft::flaws(nft.socket(), table)?.iter().any(Flaw::is_fixed_by_reload)
        {
            return Ok(true);
        }
    }
    let boot_id = boot::id()?;
    let records = state.records()?.into_iter().flatten();
    let live: Vec<Record> = records.filter(|record| is_attached(state, record, &boot_id)).collect();
    let networks = Networks::read(state)?.readable;
    let of_host = wanted_of_host(state, nft)?;
    let there = listing::all_keys(nft.socket())?;
    let is_lost = |element: &Element| !there.contains(&(element.set, element.key_bytes()));
    let makes_sense = |element: &Element| Element::from_key(element.set, &element.key_bytes()).is_some();
    let is_used = |network: &&Network| {
        live.iter().flat_map(|record| &record.attachments).any(|of| of.network == network.name)
    };
    let networks = networks.iter().filter(is_used);
    let networks =
        networks.filter(|network| elements::network_elements(network).iter().any(is_lost)).cloned();
    let containers = live.iter().filter(|record| record.elements().all(makes_sense));
    let containers = containers.filter(|record| record.elements().any(is_lost)).cloned();
    Ok(of_host.iter().any(is_lost)
        || !staying_networks(state, networks)?.is_empty()
        || !staying_containers(state, containers)?.is_empty())
}

/// Those of these networks that are not being removed.
fn staying_networks(
    state: &StateDir,
    networks: impl IntoIterator<Item = Network>,
) -> Result<Vec<Network>, Error> {
    let mut staying = Vec::new();
    for network in networks {
        let now = || state.read_network(&network.name);
        if is_staying(state, Locked::EndingNetwork(&network.name), &network, now)? {
            staying.push(network);
        }
    }
    Ok(staying)
}

/// Those of these containers that are not being detached.
fn staying_containers(
    state: &StateDir,
    live: impl IntoIterator<Item = Record>,
) -> Result<Vec<Record>, Error> {
    let mut staying = Vec::new();
    for record in live {
        let now = || state.read_record(&record.id);
        if is_staying(state, Locked::EndingContainer(&record.id), &record, now)? {
            staying.push(record);
        }
    }
    Ok(staying)
}

/// Whether nobody is detaching the container or removing the network. Whoever does holds the lock from before it deletes the elements until
/// the file is gone: a file that is as it was after the lock was asked for was not on its way out.
fn is_staying<T: PartialEq>(
    state: &StateDir,
    ending: Locked<'_>,
    before: &T,
    now: impl FnOnce() -> Result<Option<T>, StateError>,
) -> Result<bool, StateError> {
    Ok(!state.is_ending(ending)? && now().is_ok_and(|now| now.as_ref() == Some(before)))
}

/// The elements that belong to no network, but to the host's forwarding.
///
/// # Errors
/// Those of reading the folder, and a refusal of a dump.
pub fn wanted_of_host(state: &StateDir, nft: &mut Nft) -> Result<Vec<Element>, Error> {
    let turned = forwarding::kept_apart(state, |element| Ok(nft.get(element)?.is_some()))?;
    if turned.is_empty() {
        return Ok(Vec::new());
    }
    let mut socket = NetlinkSocket::open(NETLINK_ROUTE)?;
    let (links, routes) = (link::list(&mut socket)?, route::list_all(&mut socket)?);
    Ok(forwarding::elements(&turned, &Links { links: &links, routes: &routes }))
}

/// The records of the containers that are attached and live. One that cannot be read is warned of.
///
/// # Errors
/// Those of reading the folder.
pub fn live_records(state: &StateDir, boot_id: &str) -> Result<Vec<Record>, StateError> {
    let mut live = Vec::new();
    for record in state.records()? {
        match record {
            Ok(record) if is_attached(state, &record, boot_id) => live.push(record),
            Ok(_) => {}
            Err(error) => crate::log::warn(error),
        }
    }
    Ok(live)
}

/// Whether a container's set-up is complete, and it lives.
#[must_use]
pub fn is_attached(state: &StateDir, record: &Record, boot_id: &str) -> bool {
    record.phase == Phase::Ready && pod_members::is_live(state, record, boot_id)
}

/// An element that another one has the place of does not keep the rest away. Of a record that makes no sense to the kernel,
/// nothing is put back.
fn put_back(nft: &mut Nft, elements: &[Element]) -> Result<(), Error> {
    let mut elements = elements.to_vec();
    loop {
        match nft.restore(&elements) {
            Err(ChangeError::Exists(index)) if index < elements.len() => {
                let element = elements.remove(index);
                crate::log::warn(format_args!("the element {element} leads elsewhere, and is left as it is"));
            }
            Err(ChangeError::Kernel(error)) if error.errno == Errno::EINVAL => {
                crate::log::warn(format_args!("an element of a record is none: {error}"));
                return Ok(());
            }
            other => return other.map_err(change_error),
        }
    }
}

/// A change that failed for no reason of the container's.
#[must_use]
pub fn change_error(error: ChangeError) -> Error {
    let refused = |cause: String| {
        Error::new(
            Class::Nftables,
            "change the elements of table inet ocinet",
            cause,
            "see whether something removes the table at this moment, and start the container again",
        )
    };
    match error {
        ChangeError::NoTable => refused("the table is not there".to_owned()),
        ChangeError::Exists(_) => refused("an element is there already".to_owned()),
        ChangeError::Kernel(error) => refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
