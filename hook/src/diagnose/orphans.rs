//! What no container owns any more: what a poststop that never ran, a kill or a lost state folder left.
//!
//! What is looked at is listed before the records are read. A start writes its record before it makes anything, so that
//! whatever is listed and has no record then belongs to nobody.

mod listed;
mod temporary;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::nft::Nft;
use ocinet_shared::kernel::sysctl;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::element::{Element, Field, Set};
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::names::Told;
use ocinet_shared::model::namespace_id::NamespaceId;
use ocinet_shared::model::network::Network;
use ocinet_shared::model::record::{Labels, Owned, Phase, Record, VERSION};
use ocinet_shared::state::{Folder, Locked, StateDir, StateError, to_json};

use self::listed::{Listed, list};
pub use self::temporary::Temporary;
use crate::error::Error;
use crate::host::living::Inhabitants;
use crate::host::{conflict, forwarding};
use crate::input::oci_state;
use crate::input::oci_state::COLLECTOR;
use crate::lifecycle;
use crate::lifecycle::teardown::Teardown;
use crate::lifecycle::{restore, sweep};
use crate::plan::elements;
use crate::state::forwarding::{Turned, is_file, turned};
use crate::state::leases;
use crate::state::networks::Networks;
use crate::state::{networks, pod_members};

/// Something that no container owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Orphan {
    /// A container that has ended without a poststop hook.
    Ended(ContainerId),
    /// What the files say that a container has which has no record.
    Held {
        /// The container.
        by: ContainerId,
        /// What that is.
        owned: Vec<Owned>,
    },
    /// A network without a container.
    Network(Box<Network>),
    /// A link of ocinet's.
    Link(IfName),
    /// An element.
    Element(Element),
    /// Forwarding of a family, which ocinet turned on.
    Forwarding(Family),
    /// A file that an interrupted write left.
    Temporary(Temporary),
    /// What ocinet cannot have written, where a lease or a claim would be.
    Foreign {
        /// What is there.
        path: PathBuf,
        /// Why ocinet cannot have written it.
        reason: String,
    },
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(id) => write!(f, "container {id} has ended, and was never detached"),
            Self::Held { by, owned } => {
                let held: Vec<String> = owned.iter().filter_map(held).collect();
                write!(f, "container {by} has no record, but {}", held.join(", "))
            }
            Self::Network(network) => write!(f, "network {} has no container", network.name),
            Self::Link(name) => write!(f, "the link {name} belongs to no container and no network"),
            Self::Element(element) => {
                write!(f, "the element {element} belongs to no container and no network")
            }
            Self::Forwarding(family) => {
                write!(f, "{family} forwarding, which ocinet turned on, was not given back")
            }
            Self::Temporary(Temporary { path, .. }) => {
                write!(f, "the file {} is left of an interrupted write", path.display())
            }
            Self::Foreign { path, reason } => write!(f, "{} claims nothing: {reason}", path.display()),
        }
    }
}

fn held(owned: &Owned) -> Option<String> {
    match owned {
        Owned::Lease { network, address } => Some(format!("the address {address} of network {network}")),
        Owned::PortClaim(port) => Some(format!("the port {port}")),
        Owned::MacClaim { on, mac } => Some(format!("the Ethernet address {mac} on {on}")),
        Owned::Share { owner } => Some(format!("a share in container {owner}")),
        _ => None,
    }
}

fn leased(owned: &Owned) -> Option<IpAddr> {
    if let Owned::Lease { address, .. } = owned { Some(*address) } else { None }
}

/// What no record owns.
#[derive(Debug, Default)]
pub struct Orphans {
    /// Everything that no container owns, in the order in which it is to be removed.
    pub orphans: Vec<Orphan>,
    /// A line for each container that lives without a record here: what is its is no orphan.
    pub living: Vec<String>,
    /// What is said of each file that cannot be believed.
    pub faults: Vec<String>,
}

/// Finds everything that no container owns.
///
/// # Errors
/// A folder or a dump that cannot be read. What an unreadable record may own is not known to be an orphan.
pub fn find(state: &StateDir, boot_id: &str) -> Result<Orphans, Error> {
    let listed = list(state)?;
    let networks = Networks::read(state)?;
    let mut faults: Vec<String> = networks.faults().map(ToString::to_string).collect();
    faults.extend(turned(state)?.err().map(|fault| fault.to_string()));
    let mut records = Vec::new();
    let mut all_known = networks.unreadable().is_none();
    let networks = networks.readable;
    for record in state.records()? {
        match record {
            Ok(record) => records.push(record),
            Err(error) => {
                // What ocinet did not write owns nothing; whose record it took the place of is found by what lives.
                all_known &= matches!(error, StateError::Foreign { .. });
                faults.push(error.to_string());
            }
        }
    }
    let ids = state.ids()?;
    let ended = records.iter().filter(|record| !pod_members::is_live(state, record, boot_id));
    let mut orphans: Vec<Orphan> = ended.map(|record| Orphan::Ended(record.id.clone())).collect();
    let foreign = listed.foreign.iter().cloned();
    orphans.extend(foreign.map(|(path, reason)| Orphan::Foreign { path, reason }));
    let is_known = |id: &ContainerId| ids.binary_search(id).is_ok();
    let held = listed.held.iter().filter(|(by, _)| !is_known(by));
    orphans.extend(held.map(|(by, owned)| Orphan::Held { by: by.clone(), owned: owned.clone() }));
    let live = records.iter().filter(|record| pod_members::is_live(state, record, boot_id));
    let used: BTreeSet<&ContainerId> =
        live.flat_map(|record| &record.attachments).map(|attachment| &attachment.network).collect();
    let is_empty = |network: &&Network| {
        // Its containers live, and somebody deleted their leases.
        !used.contains(&network.name)
            && fs::read_dir(state.lease_folder(&network.name))
                .map_or(true, |mut leases| leases.next().is_none())
    };
    let empty = networks.iter().filter(is_empty).cloned();
    orphans.extend(empty.map(|network| Orphan::Network(Box::new(network))));
    // What an unreadable record or network owns is not known.
    if all_known {
        orphans.extend(orphan_links(&listed.links, &networks, &records).map(Orphan::Link));
        let elements = orphan_elements(state, &listed, &networks, &records)?;
        orphans.extend(elements.into_iter().map(Orphan::Element));
    }
    orphans.extend(idle_forwarding(state, &listed)?.into_iter().map(Orphan::Forwarding));
    orphans.extend(listed.temporary.iter().cloned().map(Orphan::Temporary));
    Ok(Orphans { faults, ..without_the_living(state, orphans, &listed, &records)? })
}

/// Takes out what belongs to containers that live, whether they have a record here or not. They are looked for only where
/// something has none.
fn without_the_living(
    state: &StateDir,
    orphans: Vec<Orphan>,
    listed: &Listed,
    records: &[Record],
) -> Result<Orphans, Error> {
    if !orphans
        .iter()
        .any(|orphan| !matches!(orphan, Orphan::Ended(_) | Orphan::Temporary(_) | Orphan::Foreign { .. }))
    {
        return Ok(Orphans { orphans, ..Orphans::default() });
    }
    let known = links_of(records);
    let has_record = |id: &ContainerId| records.iter().any(|record| record.id == *id);
    let is_known = |link: &Link| known.contains(link.name.as_str());
    let inhabitants = Inhabitants::find(&listed.links, &listed.elements, is_known, has_record)?;
    let by_name = |name: &str| listed.links.iter().find(|link| link.name == name);
    // Where nothing says any more what ocinet turned on, or another state folder does, what keeps the uplinks apart stays as
    // long as anything lives or the host forwards.
    let is_elsewhere = turned(state)?.map_or(true, |turned| turned.is_empty());
    let forwards = || Family::ALL.into_iter().any(|family| sysctl::forwards(family).unwrap_or_default());
    let keeps_apart =
        inhabitants.has_unrecorded() || (is_elsewhere && (!inhabitants.is_empty() || forwards()));
    let is_of_host = |orphan: &Orphan| match orphan {
        Orphan::Forwarding(_) => true,
        Orphan::Element(element) => forwarding::is_of_host(element.set),
        _ => false,
    };
    let mut left = Vec::new();
    for orphan in orphans {
        let is_kept = match &orphan {
            of_host if is_of_host(of_host) => keeps_apart,
            Orphan::Link(name) => by_name(name.as_str()).is_some_and(|link| inhabitants.has_link(link)),
            Orphan::Network(network) => inhabitants.has_network(network, by_name),
            Orphan::Element(element) => inhabitants.has_element(element)?,
            Orphan::Held { by, owned } => inhabitants.has_unrecorded_id(by, owned.iter().filter_map(leased)),
            Orphan::Ended(_) | Orphan::Temporary(_) | Orphan::Foreign { .. } | Orphan::Forwarding(_) => false,
        };
        if !is_kept {
            left.push(orphan);
        }
    }
    Ok(Orphans { orphans: left, living: inhabitants.lines(&listed.links), ..Orphans::default() })
}

fn links_of(records: &[Record]) -> BTreeSet<&str> {
    let name = |owned| match owned {
        &Owned::Link { ref name } | &Owned::Shaper { ref name } => Some(name.as_str()),
        _ => None,
    };
    records.iter().flat_map(|record| &record.owned).filter_map(name).collect()
}

/// A link that ocinet made and that no record and no network has is nobody's.
fn orphan_links(links: &[Link], networks: &[Network], records: &[Record]) -> impl Iterator<Item = IfName> {
    let of_networks = networks.iter().flat_map(|network| network.links.iter().map(|link| link.name.as_str()));
    let known: BTreeSet<&str> = of_networks.chain(links_of(records)).collect();
    let orphans = links.iter().filter(|link| link::is_ours(link) && !known.contains(link.name.as_str()));
    orphans.filter_map(|link| link.name.parse().ok()).collect::<Vec<_>>().into_iter()
}

fn orphan_elements(
    state: &StateDir,
    listed: &Listed,
    networks: &[Network],
    records: &[Record],
) -> Result<Vec<Element>, Error> {
    let mut known: BTreeSet<(Set, Vec<u8>)> = BTreeSet::new();
    let of_networks = networks.iter().flat_map(elements::network_elements);
    let turned = forwarding::kept_apart(state, |element| Ok(listed.elements.contains(element)))?;
    let of_host = forwarding::elements(&turned, &listed.links_and_routes());
    known.extend(of_networks.chain(of_host).map(|element| (element.set, element.key_bytes())));
    known.extend(records.iter().flat_map(Record::elements).map(|element| (element.set, element.key_bytes())));
    let is_known = move |element: &&Element| known.contains(&(element.set, element.key_bytes()));
    Ok(listed.elements.iter().filter(move |element| !is_known(element)).cloned().collect())
}

/// Under the lock, no start is about to need it and no stop about to turn it off.
fn idle_forwarding(state: &StateDir, listed: &Listed) -> Result<Vec<Family>, Error> {
    let turned = || -> Result<Vec<Turned>, Error> { Ok(turned(state)?.unwrap_or_default()) };
    if turned()?.is_empty() || !state.folder(Folder::Networks).exists() {
        return Ok(Vec::new());
    }
    let _alone = state.lock_networks_to_look()?;
    Ok(forwarding::idle(&turned()?, &Networks::read(state)?, &listed.links_and_routes())?)
}

/// Removes an orphan; false where it turned out to be somebody's.
///
/// # Errors
/// Those of the teardown.
pub fn remove(state: &StateDir, orphan: &Orphan, boot_id: &str) -> Result<bool, Error> {
    match orphan {
        Orphan::Ended(id) => sweep::if_dead(state, id, boot_id),
        Orphan::Held { by, owned } => teardown(state, by, owned.clone(), boot_id),
        Orphan::Network(network) => {
            let owned = vec![Owned::Membership { network: network.name.clone() }];
            teardown(state, &collector()?, owned, boot_id)
        }
        Orphan::Link(name) => {
            // A network of its name may have been made meanwhile. None is while its lock is held.
            let _alone = state.lock_networks()?;
            if networks::all(state)?.iter().any(|network| network.links.iter().any(|of| of.name == *name)) {
                return Ok(false);
            }
            link::delete(&mut NetlinkSocket::open(NETLINK_ROUTE)?, name)?;
            Ok(true)
        }
        Orphan::Element(element) => remove_element(state, element),
        Orphan::Forwarding(family) => {
            let mut nft = Nft::open()?;
            lifecycle::forwarding::give_back_alone(
                state,
                &mut NetlinkSocket::open(NETLINK_ROUTE)?,
                &mut nft,
            )?;
            nft.close();
            Ok(!sysctl::forwards(*family).unwrap_or_default())
        }
        Orphan::Temporary(temporary) => Ok(temporary::remove(state, temporary)?),
        Orphan::Foreign { path, .. } => {
            let _alone = is_file(state, path).then(|| state.lock_networks()).transpose()?;
            Ok(state.remove_foreign(path)?)
        }
    }
}

fn collector() -> Result<ContainerId, Error> {
    oci_state::parse_id(COLLECTOR)
}

/// A record of its own keeps a start of the same id away meanwhile, and makes a kill the next one's business.
fn teardown(state: &StateDir, id: &ContainerId, owned: Vec<Owned>, boot_id: &str) -> Result<bool, Error> {
    let record = Record {
        version: VERSION,
        id: id.clone(),
        boot_id: boot_id.to_owned(),
        phase: Phase::Pending,
        pid: 0,
        pid_start: 0,
        netns: NamespaceId { device: 0, inode: 0 },
        netns_number: None,
        shares: None,
        bundle: String::new(),
        labels: Labels::default(),
        told: Told::default(),
        created: 0,
        attachments: Vec::new(),
        owned,
        setup_us: 0,
    };
    let path = state.record_path(id);
    let lock = state.lock(Locked::Container(id))?;
    if !state.create(&path, &to_json(&record, &path)?)? {
        return Ok(false);
    }
    let mut teardown = Teardown::new(state)?;
    let result = teardown.container(&record);
    drop(lock);
    teardown.close();
    result.map(|()| true)
}

/// A start that turns forwarding on adds such elements under the lock.
fn remove_of_host(state: &StateDir, nft: &mut Nft, element: &Element) -> Result<bool, Error> {
    let _alone = state.lock_networks()?;
    if restore::wanted_of_host(state, nft)?.contains(element) {
        return Ok(false);
    }
    Ok(nft.delete(std::slice::from_ref(element)).map(|()| true)?)
}

/// Whoever took the address since has made the element his own: it is deleted only while nobody can.
fn remove_element(state: &StateDir, element: &Element) -> Result<bool, Error> {
    let id = collector()?;
    let address = element.key.iter().find_map(|field| match field {
        Field::Address(address) => Some(*address),
        _ => None,
    });
    let is_publish =
        matches!(element.set, Set::Publish4 | Set::Publish6 | Set::Publish4Bound | Set::Publish6Bound);
    let mut lease = None;
    if let Some(address) = address.filter(|_| !is_publish) {
        let of = |network: &Network| network.subnets().any(|subnet| subnet.contains(address));
        if let Some(network) = networks::all(state)?.into_iter().find(of) {
            let path = state.lease_path(&network.name, address);
            if !leases::take(state, &path, &id)? {
                return Ok(false);
            }
            lease = Some(path);
        }
    }
    let mut nft = Nft::open()?;
    if forwarding::is_of_host(element.set) {
        return remove_of_host(state, &mut nft, element);
    }
    // A published port may be another container's by now: its address is leased then.
    if is_publish
        && let Some(found) = nft.get(element)?
        && conflict::of_element(state, element, Some(&found.value)).by.is_some()
    {
        return Ok(false);
    }
    if let Some(publishing) = elements::publish_of_taken(element)
        && nft.get(&publishing)?.is_some()
    {
        return Ok(false);
    }
    let alone = state.lock_networks()?;
    let is_wanted =
        networks::all(state)?.iter().flat_map(elements::network_elements).any(|of| of == *element);
    let deleted = if is_wanted { Ok(()) } else { nft.delete(std::slice::from_ref(element)) };
    drop(alone);
    if let Some(path) = lease {
        leases::release(state, &path, &id)?;
        leases::remove_source(state, &id)?;
    }
    nft.close();
    Ok(deleted.map(|()| !is_wanted)?)
}
