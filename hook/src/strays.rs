//! What no container owns any more: what a poststop that never ran, a kill or a lost state folder left.
//!
//! What is looked at is listed before the records are read. A start writes its record before it makes anything, so that
//! whatever is listed and has no record then belongs to nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::cidr::Family;
use ocinet_shared::container_id::ContainerId;
use ocinet_shared::element::{Element, Field, Set};
use ocinet_shared::ifname::IfName;
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::link::{self, Link};
use ocinet_shared::kernel::netns::NamespaceId;
use ocinet_shared::kernel::nft::{Nft, counted};
use ocinet_shared::kernel::route::{self, Route};
use ocinet_shared::kernel::sysctl;
use ocinet_shared::network::Network;
use ocinet_shared::port::{Protocol, PublishedPort};
use ocinet_shared::record::{Labels, Phase, Record, Undo, VERSION};
use ocinet_shared::record_dir::{StateDir, StateError, to_json};

use crate::error::Error;
use crate::forwarding::Links;
use crate::ipam::files;
use crate::take_back::TakeBack;
use crate::{forwarding, holder, members, nat, sweep, tables};

/// A write that is under way has its temporary file for less.
const UNDER_WAY: Duration = Duration::from_secs(60);
/// Who holds an address while its elements are deleted, so that no container takes it meanwhile.
const COLLECTOR: &str = "ocinet-gc";

/// Something that no container owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stray {
    /// A container that has ended without a poststop hook.
    Ended(ContainerId),
    /// What the files say that a container has which has no record.
    Held {
        /// The container.
        by: ContainerId,
        /// What takes it back.
        undo: Vec<Undo>,
    },
    /// A network without a container.
    Network(ContainerId),
    /// A link of ocinet's.
    Link(IfName),
    /// An element.
    Element(Element),
    /// Forwarding of a family, which ocinet turned on.
    Forwarding(Family),
    /// A file that an interrupted write left.
    Temporary(PathBuf),
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(id) => write!(f, "container {id} has ended, and was never taken back"),
            Self::Held { by, undo } => {
                let held: Vec<String> = undo.iter().filter_map(held).collect();
                write!(f, "container {by} has no record, but {}", held.join(", "))
            }
            Self::Network(name) => write!(f, "network {name} has no container"),
            Self::Link(name) => write!(f, "the link {name} belongs to no container and no network"),
            Self::Element(element) => {
                write!(f, "the element {element} belongs to no container and no network")
            }
            Self::Forwarding(family) => {
                write!(f, "{family} forwarding, which ocinet turned on, was not given back")
            }
            Self::Temporary(path) => write!(f, "the file {} is left of an interrupted write", path.display()),
        }
    }
}

fn held(undo: &Undo) -> Option<String> {
    match undo {
        Undo::ReleaseLease { network, address } => {
            Some(format!("the address {address} of network {network}"))
        }
        Undo::ReleasePort(port) => Some(format!("the port {port}")),
        Undo::Unshare { owner } => Some(format!("a share in container {owner}")),
        _ => None,
    }
}

/// What there is, before the records are read.
struct Listed {
    held: BTreeMap<ContainerId, Vec<Undo>>,
    links: Vec<Link>,
    routes: Vec<Route>,
    elements: Vec<Element>,
    temporary: Vec<PathBuf>,
}

impl Listed {
    fn around(&self) -> Links<'_> {
        Links { links: &self.links, routes: &self.routes }
    }
}

/// Finds everything that no container owns, in the order in which it is to be removed.
///
/// # Errors
/// A folder or a dump that cannot be read. An unreadable record is logged; what it may own is not known to be a stray.
pub fn find(state: &StateDir, boot_id: &str) -> Result<Vec<Stray>, Error> {
    let listed = list(state)?;
    let networks = tables::networks(state)?;
    let mut records = Vec::new();
    let mut all_known = true;
    for record in state.records()? {
        match record {
            Ok(record) => records.push(record),
            Err(error) => {
                all_known = false;
                crate::log::warn(error);
            }
        }
    }
    let ids = state.ids()?;
    let ended = records.iter().filter(|record| !members::is_live(state, record, boot_id));
    let mut strays: Vec<Stray> = ended.map(|record| Stray::Ended(record.id.clone())).collect();
    let is_known = |id: &ContainerId| ids.binary_search(id).is_ok();
    let orphans = listed.held.iter().filter(|(by, _)| !is_known(by));
    strays.extend(orphans.map(|(by, undo)| Stray::Held { by: by.clone(), undo: undo.clone() }));
    let is_empty = |network: &&Network| {
        fs::read_dir(files::lease_folder(state, &network.name))
            .map_or(true, |mut leases| leases.next().is_none())
    };
    strays.extend(networks.iter().filter(is_empty).map(|network| Stray::Network(network.name.clone())));
    // What an unreadable record owns is not known.
    if all_known {
        strays.extend(stray_links(&listed.links, &networks, &records).map(Stray::Link));
        strays.extend(stray_elements(state, &listed, &networks, &records)?.into_iter().map(Stray::Element));
    }
    strays.extend(idle_forwarding(state, &listed)?.into_iter().map(Stray::Forwarding));
    strays.extend(listed.temporary.into_iter().map(Stray::Temporary));
    Ok(strays)
}

fn list(state: &StateDir) -> Result<Listed, Error> {
    let mut held: BTreeMap<ContainerId, Vec<Undo>> = BTreeMap::new();
    for (network, address, path) in
        entries(&state.path("leases"), |name| name.parse().ok(), |name| name.parse::<IpAddr>().ok())?
    {
        let Some(by) = files::holder(state, &path)? else { continue };
        let undo = held.entry(by).or_default();
        undo.push(Undo::LeaveNetwork { network: ContainerId::clone(&network) });
        undo.push(Undo::ReleaseLease { network, address });
    }
    for (of, address, path) in entries(&state.path("ports"), claimed, |name| name.parse::<IpAddr>().ok())? {
        let Some(by) = files::holder(state, &path)? else { continue };
        let (protocol, host_port) = of;
        let port = PublishedPort { host_address: Some(address), protocol, host_port, container_port: 0 };
        held.entry(by).or_default().push(Undo::ReleasePort(port));
    }
    for (owner, member, _) in entries(
        &state.path("members"),
        |name| name.parse::<ContainerId>().ok(),
        |name| name.parse::<ContainerId>().ok(),
    )? {
        held.entry(member).or_default().push(Undo::Unshare { owner });
    }
    let mut channel = Channel::open(NETLINK_ROUTE)?;
    let (links, routes) = (link::list(&mut channel)?, route::list_all(&mut channel)?);
    let mut nft = Nft::open()?;
    let elements = counted::all_keys(nft.channel())?;
    let elements = elements.into_iter().filter_map(|(set, key)| Element::from_key(set, &key)).collect();
    Ok(Listed { held, links, routes, elements, temporary: temporary(state)? })
}

/// `tcp-8080`, as the folder of a port's claims is named.
fn claimed(name: &str) -> Option<(Protocol, u16)> {
    let (protocol, port) = name.split_once('-')?;
    let protocol = Protocol::ALL.into_iter().find(|known| known.name() == protocol)?;
    Some((protocol, port.parse().ok()?))
}

/// The files of the folders of a folder, by what their names say.
fn entries<A: Clone, B>(
    folder: &Path,
    outer: impl Fn(&str) -> Option<A>,
    inner: impl Fn(&str) -> Option<B>,
) -> Result<Vec<(A, B, PathBuf)>, StateError> {
    let mut all = Vec::new();
    for entry in read(folder)? {
        let Some(of) = entry.file_name().to_str().and_then(&outer) else { continue };
        for file in read(&entry.path())? {
            if let Some(name) = file.file_name().to_str().and_then(&inner) {
                all.push((of.clone(), name, file.path()));
            }
        }
    }
    Ok(all)
}

fn read(folder: &Path) -> Result<Vec<fs::DirEntry>, StateError> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.filter_map(Result::ok).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StateError::io("read", folder, error)),
    }
}

/// Files with a dot before their name that nothing has touched for a while.
fn temporary(state: &StateDir) -> Result<Vec<PathBuf>, StateError> {
    let mut found = Vec::new();
    for folder in ["containers", "networks"] {
        for entry in read(&state.path(folder))? {
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix('.')) else { continue };
            let of = name.strip_suffix(".claim").map_or_else(|| name.to_owned(), |id| format!("{id}.json"));
            let age =
                entry.metadata().and_then(|data| data.modified()).map(|at| at.elapsed().unwrap_or_default());
            if age.is_ok_and(|age| age > UNDER_WAY) && !state.path(folder).join(of).exists() {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// A link that ocinet made and that no record and no network has is nobody's.
fn stray_links(links: &[Link], networks: &[Network], records: &[Record]) -> impl Iterator<Item = IfName> {
    let of_networks = networks.iter().flat_map(|network| network.links.iter().map(|link| link.name.as_str()));
    let of_records = records.iter().flat_map(|record| &record.undo).filter_map(|undo| match undo {
        Undo::DeleteLink { name } | Undo::DeleteShaper { name } => Some(name.as_str()),
        _ => None,
    });
    let known: BTreeSet<&str> = of_networks.chain(of_records).collect();
    let strays = links.iter().filter(|link| link::is_ours(link) && !known.contains(link.name.as_str()));
    strays.filter_map(|link| link.name.parse().ok()).collect::<Vec<_>>().into_iter()
}

fn stray_elements(
    state: &StateDir,
    listed: &Listed,
    networks: &[Network],
    records: &[Record],
) -> Result<Vec<Element>, Error> {
    let mut known: BTreeSet<(Set, Vec<u8>)> = BTreeSet::new();
    let of_networks = networks.iter().flat_map(nat::network_elements);
    let turned = forwarding::turned(state)?;
    let of_host = forwarding::elements(&turned, &listed.around());
    known.extend(of_networks.chain(of_host).map(|element| (element.set, element.key_bytes())));
    known.extend(records.iter().flat_map(Record::elements).map(|element| (element.set, element.key_bytes())));
    let is_known = move |element: &&Element| known.contains(&(element.set, element.key_bytes()));
    Ok(listed.elements.iter().filter(move |element| !is_known(element)).cloned().collect())
}

/// Under the lock, no start is about to need it and no stop about to turn it off.
fn idle_forwarding(state: &StateDir, listed: &Listed) -> Result<Vec<Family>, Error> {
    if forwarding::turned(state)?.is_empty() || !state.path("networks").exists() {
        return Ok(Vec::new());
    }
    let _alone = state.lock_networks()?;
    Ok(forwarding::idle(&forwarding::turned(state)?, &tables::networks(state)?, &listed.around()))
}

/// Removes a stray; false where it turned out to be somebody's.
///
/// # Errors
/// Those of taking back.
pub fn remove(state: &StateDir, stray: &Stray, boot_id: &str) -> Result<bool, Error> {
    match stray {
        Stray::Ended(id) => sweep::if_dead(state, id, boot_id),
        Stray::Held { by, undo } => take_back(state, by, undo.clone(), boot_id),
        Stray::Network(network) => {
            let undo = vec![Undo::LeaveNetwork { network: network.clone() }];
            take_back(state, &collector()?, undo, boot_id)
        }
        Stray::Link(name) => {
            link::delete(&mut Channel::open(NETLINK_ROUTE)?, name)?;
            Ok(true)
        }
        Stray::Element(element) => remove_element(state, element),
        Stray::Forwarding(family) => {
            let mut nft = Nft::open()?;
            forwarding::give_back_alone(state, &mut Channel::open(NETLINK_ROUTE)?, &mut nft)?;
            nft.close();
            Ok(!sysctl::forwards(*family).unwrap_or_default())
        }
        Stray::Temporary(path) => Ok(fs::remove_file(path).is_ok()),
    }
}

fn collector() -> Result<ContainerId, Error> {
    crate::input::parse_id(COLLECTOR)
}

/// A record of its own keeps a start of the same id away meanwhile, and makes a kill the next one's business.
fn take_back(state: &StateDir, id: &ContainerId, undo: Vec<Undo>, boot_id: &str) -> Result<bool, Error> {
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
        created: 0,
        attachments: Vec::new(),
        undo,
        setup_us: 0,
    };
    let path = state.record_path(id);
    let Some(lock) = state.create(&path, &to_json(&record, &path)?)? else { return Ok(false) };
    let mut take_back = TakeBack::new(state)?;
    let result = take_back.container(&record);
    drop(lock);
    take_back.close();
    result.map(|()| true)
}

/// A start that turns forwarding on adds such elements under the lock.
fn remove_of_host(state: &StateDir, nft: &mut Nft, element: &Element) -> Result<bool, Error> {
    state.make_parent(&state.path("networks/lock"))?;
    let _alone = state.lock_networks()?;
    if tables::wanted_of_host(state)?.contains(element) {
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
        if let Some(network) = tables::networks(state)?.into_iter().find(of) {
            let path = files::lease_path(state, &network.name, address);
            if !files::take(state, &path, &id)? {
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
        && holder::of_element(state, element, &found.value).by.is_some()
    {
        return Ok(false);
    }
    let deleted = nft.delete(std::slice::from_ref(element));
    if let Some(path) = lease {
        files::release(state, &path, &id)?;
        files::forget_source(state, &id)?;
    }
    nft.close();
    Ok(deleted.map(|()| true)?)
}
