//! What there is of ocinet's: files, links, routes, elements.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::nft::{Nft, listing};
use ocinet_shared::kernel::route;
use ocinet_shared::kernel::route::Route;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::element::Element;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::port::PublishedPort;
use ocinet_shared::model::record::{Owned, SharedLink};
use ocinet_shared::state::{Folder, StateDir, StateError, port_of_claim_folder};

use super::temporary;
use super::temporary::Temporary;
use crate::error::Error;
use crate::host::uplinks::Links;
use crate::state::folder::read;
use crate::state::leases;

/// What there is, before the records are read.
pub struct Listed {
    /// What the files say that each container has.
    pub held: BTreeMap<ContainerId, Vec<Owned>>,
    /// The host's links.
    pub links: Vec<Link>,
    /// The host's routes.
    pub routes: Vec<Route>,
    /// The elements of ocinet's sets.
    pub elements: Vec<Element>,
    /// Files that an interrupted write left.
    pub temporary: Vec<Temporary>,
    /// What ocinet cannot have written among the leases and claims, and why not.
    pub foreign: Vec<(PathBuf, String)>,
}

impl Listed {
    /// The host's links as forwarding looks at them.
    pub fn links_and_routes(&self) -> Links<'_> {
        Links { links: &self.links, routes: &self.routes }
    }
}

/// Lists it.
///
/// # Errors
/// A folder or a dump that cannot be read.
pub fn list(state: &StateDir) -> Result<Listed, Error> {
    let mut held: BTreeMap<ContainerId, Vec<Owned>> = BTreeMap::new();
    for (network, address, path) in
        entries(&state.folder(Folder::Leases), |name| name.parse().ok(), |name| name.parse::<IpAddr>().ok())?
    {
        let Some(by) = leases::holder(state, &path)? else { continue };
        let owned = held.entry(by).or_default();
        owned.push(Owned::Membership { network: ContainerId::clone(&network) });
        owned.push(Owned::Lease { network, address });
    }
    for (of, address, path) in
        entries(&state.folder(Folder::PortClaims), port_of_claim_folder, |name| name.parse::<IpAddr>().ok())?
    {
        let Some(by) = leases::holder(state, &path)? else { continue };
        let (protocol, host_port) = of;
        let port = PublishedPort { host_address: Some(address), protocol, host_port, container_port: 0 };
        held.entry(by).or_default().push(Owned::PortClaim(port));
    }
    for (owner, member, path) in entries(
        &state.folder(Folder::Members),
        |name| name.parse::<ContainerId>().ok(),
        |name| name.parse::<ContainerId>().ok(),
    )? {
        if !state.is_foreign(&path) {
            held.entry(member).or_default().push(Owned::Share { owner });
        }
    }
    for (on, mac, path) in claimed_macs(state)? {
        let Some(by) = leases::holder(state, &path)? else { continue };
        held.entry(by).or_default().push(Owned::MacClaim { on, mac });
    }
    let mut socket = NetlinkSocket::open(NETLINK_ROUTE)?;
    let (links, routes) = (link::list(&mut socket)?, route::list_all(&mut socket)?);
    let mut nft = Nft::open()?;
    let elements = listing::all_keys(nft.socket())?;
    let elements = elements.into_iter().filter_map(|(set, key)| Element::from_key(set, &key)).collect();
    Ok(Listed { held, links, routes, elements, temporary: temporary::list(state)?, foreign: foreign(state)? })
}

fn claimed_macs(state: &StateDir) -> Result<Vec<(SharedLink, Mac, PathBuf)>, StateError> {
    let network = |name: &str| name.parse().ok().map(SharedLink::Network);
    let parent = |name: &str| name.parse().ok().map(SharedLink::Parent);
    let mac = |name: &str| name.parse::<Mac>().ok();
    let mut all = entries(&state.folder(Folder::NetworkMacClaims), network, mac)?;
    all.extend(entries(&state.folder(Folder::ParentMacClaims), parent, mac)?);
    Ok(all)
}

/// The files of the folders of a folder, by what their names say.
fn entries<A: Clone, B>(
    folder: &Path,
    outer: impl Fn(&str) -> Option<A>,
    inner: impl Fn(&str) -> Option<B>,
) -> Result<Vec<(A, B, PathBuf)>, StateError> {
    let mut all = Vec::new();
    for entry in read(folder)?.into_iter().filter(is_folder) {
        let Some(of) = entry.file_name().to_str().and_then(&outer) else { continue };
        for file in read(&entry.path())? {
            if let Some(name) = file.file_name().to_str().and_then(&inner) {
                all.push((of.clone(), name, file.path()));
            }
        }
    }
    Ok(all)
}

/// The folders that have a folder for each network, port, container or link.
const NESTED: [Folder; 5] =
    [Folder::Leases, Folder::PortClaims, Folder::Members, Folder::NetworkMacClaims, Folder::ParentMacClaims];

/// What ocinet cannot have written: in the place of a file of the state folder itself, in the folders whose names decide who
/// has what, and in the place of one.
fn foreign(state: &StateDir) -> Result<Vec<(PathBuf, String)>, StateError> {
    let mut found = Vec::new();
    let folder = |path: PathBuf| Some((path.clone(), state.why_foreign_folder(&path)?));
    let file = |path: PathBuf| Some((path.clone(), state.why_foreign(&path)?));
    found.extend(
        [state.forwarding_path(), state.sweep_path(), state.hook_stats_path()].into_iter().filter_map(file),
    );
    // A link is not gc's to remove: it is refused until root has looked at it.
    let folder = |path: PathBuf| folder(path).filter(|(path, _)| !path.is_symlink());
    found.extend(
        [Folder::Containers, Folder::Networks, Folder::MacClaims, Folder::LastErrors]
            .map(|top| state.folder(top))
            .into_iter()
            .filter_map(folder),
    );
    for top in NESTED.map(|top| state.folder(top)) {
        found.extend(folder(top.clone()));
        for entry in read(&top)? {
            if is_folder(&entry) {
                let files = read(&entry.path())?.into_iter().filter(|entry| !is_folder(entry));
                found.extend(files.filter_map(|entry| file(entry.path())));
            } else {
                found.extend(folder(entry.path()));
            }
        }
    }
    Ok(found)
}

fn is_folder(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}
