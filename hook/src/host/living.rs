//! Containers that live on this host, whether they have a record here or not: another state folder's have none, and somebody
//! may have deleted those of others. They are found in the kernel alone, by the network namespaces that processes are in or
//! that are mounted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::netns::Namespace;
use ocinet_shared::kernel::nft::{Nft, listing};
use ocinet_shared::kernel::{KernelError, addr};
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::element::{Element, Field, Set};
use ocinet_shared::model::namespace_id::NamespaceId;
use ocinet_shared::model::network::Network;

use crate::error::Error;
use crate::plan::elements;

/// What keeps a network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
enum KeptBy {
    /// A process that is in it.
    Process(u32),
    /// A file that it is mounted on.
    Mount(PathBuf),
    /// Something that is not seen from here: an open descriptor, or a mount of another mount namespace.
    Unseen,
}

impl fmt::Display for KeptBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(pid) => write!(f, "process {pid} is in its network namespace"),
            Self::Mount(path) => write!(f, "its network namespace is mounted on {}", path.display()),
            Self::Unseen => f.write_str("something keeps its network namespace"),
        }
    }
}

/// One attachment that lives.
#[derive(Debug)]
struct Living {
    /// Whether a record here is about it.
    is_recorded: bool,
    /// The container, where its interface bears an id.
    id: Option<ContainerId>,
    /// The host's end of its link, or the link that its interface is on.
    on: u32,
    /// Whether that is a link of its own.
    has_host_end: bool,
    addresses: Vec<IpAddr>,
    kept_by: KeptBy,
}

/// What lives on this host, and what of ocinet's belongs to it whatever the records say.
#[derive(Debug, Default)]
pub struct Inhabitants {
    living: Vec<Living>,
    /// The links that are theirs or their networks'.
    links: BTreeSet<u32>,
    names: BTreeSet<String>,
    groups: BTreeSet<u32>,
    overlays: BTreeSet<(u16, u32)>,
    /// The addresses of those without a record: what is a recorded one's, the record says.
    addresses: BTreeSet<IpAddr>,
}

impl Inhabitants {
    /// Looks at all links that lead into a namespace which lives. `is_known` tells the links of the records' containers,
    /// `has_record` their ids; `elements` tell the addresses of a link whose namespace cannot be entered.
    ///
    /// # Errors
    /// What the kernel refuses to tell of the host itself.
    pub fn find(
        links: &[Link],
        elements: &[Element],
        is_known: impl Fn(&Link) -> bool,
        has_record: impl Fn(&ContainerId) -> bool,
    ) -> Result<Self, Error> {
        let mut living = Vec::new();
        for (namespace, kept_by) in namespaces()? {
            // A namespace may end while it is looked at.
            let found = attachments(&namespace, &kept_by).unwrap_or_default();
            living.extend(found);
        }
        let link = |index: u32| links.iter().find(|link| link.index == index);
        for one in &mut living {
            one.is_recorded = one.id.as_ref().is_some_and(&has_record)
                || (one.has_host_end && link(one.on).is_some_and(&is_known));
        }
        let mut socket = NetlinkSocket::open(NETLINK_ROUTE)?;
        for link in links.iter().filter(|link| link.kind == "veth" && link.name.starts_with("oc-")) {
            let is_seen = living.iter().any(|one| one.has_host_end && one.on == link.index);
            if !is_seen && link::peer_namespace_lives(&mut socket, link)? {
                living.push(Living {
                    is_recorded: is_known(link),
                    id: None,
                    on: link.index,
                    has_host_end: true,
                    addresses: Vec::new(),
                    kept_by: KeptBy::Unseen,
                });
            }
        }
        let mut all = Self { living, ..Self::default() };
        all.collect(links, elements);
        Ok(all)
    }

    fn collect(&mut self, links: &[Link], elements: &[Element]) {
        let ends: BTreeSet<u32> =
            self.living.iter().filter(|one| one.has_host_end).map(|one| one.on).collect();
        let bridges: BTreeSet<u32> = links
            .iter()
            .filter(|link| ends.contains(&link.index))
            .filter_map(|link| link.controller)
            .collect();
        let parents: BTreeSet<u32> =
            self.living.iter().filter(|one| !one.has_host_end).map(|one| one.on).collect();
        let has_unrecorded = self.has_unrecorded();
        for link in links {
            let is_theirs = ends.contains(&link.index)
                || bridges.contains(&link.index)
                || link.controller.is_some_and(|bridge| bridges.contains(&bridge) && link.kind == "vxlan")
                || (link.kind == "macvlan" && link.peer.is_some_and(|parent| parents.contains(&parent)))
                // Whose shaper it is, its name does not tell.
                || (link.kind == "ifb" && has_unrecorded);
            if is_theirs {
                self.links.insert(link.index);
                self.names.insert(link.name.clone());
                self.groups.extend((link.group != 0).then_some(link.group));
                self.overlays.extend(link.vxlan.as_ref().map(|vxlan| (vxlan.port, vxlan.vni)));
            }
        }
        let unrecorded = || self.living.iter().filter(|one| !one.is_recorded);
        self.addresses = unrecorded().flat_map(|one| one.addresses.iter().copied()).collect();
        let ends: BTreeSet<u32> = unrecorded().filter(|one| one.has_host_end).map(|one| one.on).collect();
        let names: BTreeSet<&str> =
            links.iter().filter(|link| ends.contains(&link.index)).map(|link| link.name.as_str()).collect();
        let is_source =
            |set| matches!(set, Set::Source4 | Set::Source6 | Set::RoutedSource4 | Set::RoutedSource6);
        for element in elements.iter().filter(|element| is_source(element.set)) {
            let is_theirs =
                |field: &Field| matches!(field, Field::Interface(name) if names.contains(name.as_str()));
            if element.key.iter().any(is_theirs) {
                self.addresses.extend(element.key.iter().filter_map(address));
            }
        }
    }

    /// Whether nothing lives.
    pub fn is_empty(&self) -> bool {
        self.living.is_empty()
    }

    /// Whether anything lives without a record here.
    pub fn has_unrecorded(&self) -> bool {
        self.living.iter().any(|one| !one.is_recorded)
    }

    /// Whether a link is theirs, or the kernel's to remove: it does so with each link into a namespace that has ended.
    #[must_use]
    pub fn has_link(&self, link: &Link) -> bool {
        self.links.contains(&link.index) || link.peer_namespace.is_some()
    }

    /// Whether a network is theirs. `by_name` finds a link of the host.
    pub fn has_network<'a>(&self, network: &Network, by_name: impl Fn(&str) -> Option<&'a Link>) -> bool {
        let is_theirs = |name: &str| by_name(name).is_some_and(|link| self.links.contains(&link.index));
        !self.is_empty()
            && (self.groups.contains(&network.group)
                || network.links.iter().any(|link| is_theirs(link.name.as_str())))
    }

    /// Whether a container that has no record here lives, or has one of these addresses.
    pub fn has_unrecorded_id(&self, id: &ContainerId, mut addresses: impl Iterator<Item = IpAddr>) -> bool {
        self.living.iter().any(|one| !one.is_recorded && one.id.as_ref() == Some(id))
            || addresses.any(|address| self.addresses.contains(&address))
    }

    /// Whether an element that no record here has is theirs.
    ///
    /// # Errors
    /// What the kernel refuses to tell of a published port.
    pub fn has_element(&self, element: &Element) -> Result<bool, Error> {
        if self.is_empty() {
            return Ok(false);
        }
        if let (Set::Overlays, [Field::Port(port), Field::Vni(vni)]) = (element.set, element.key.as_slice()) {
            return Ok(self.overlays.contains(&(*port, *vni)));
        }
        let publishing = elements::publish_of_taken(element);
        let element = publishing.as_ref().unwrap_or(element);
        if matches!(element.set, Set::Publish4 | Set::Publish6 | Set::Publish4Bound | Set::Publish6Bound) {
            let value = Nft::open()?.get(element)?.map(|found| found.value).unwrap_or_default();
            return Ok(elements::address_of(&value).is_some_and(|to| self.addresses.contains(&to)));
        }
        // A link's name says more than an address, and an address more than the group of its network.
        let by_link = element.key.iter().find_map(|field| match field {
            Field::Interface(name) => Some(self.names.contains(name)),
            _ => None,
        });
        let by_address = element.key.iter().find_map(address).map(|of| self.addresses.contains(&of));
        let is_group = |field: &Field| matches!(field, Field::Group(group) if self.groups.contains(group));
        Ok(by_link.or(by_address).unwrap_or_else(|| element.key.iter().any(is_group)))
    }

    /// A line for each that has no record here.
    pub fn lines(&self, links: &[Link]) -> Vec<String> {
        let name = |index: u32| links.iter().find(|link| link.index == index).map_or("?", |link| &link.name);
        let line = |one: &Living| match &one.id {
            Some(id) => format!("container {id} lives and has no record here: {}", one.kept_by),
            None => format!(
                "the link {} leads to a container without a record here: {}",
                name(one.on),
                one.kept_by
            ),
        };
        let unrecorded = self.living.iter().filter(|one| !one.is_recorded);
        unrecorded.map(line).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// The addresses of all containers that live on this host, whichever state folder knows them, each with its container where
/// the interface bears an id.
///
/// # Errors
/// What the kernel refuses to tell of the host itself.
pub fn living_addresses() -> Result<BTreeMap<IpAddr, Option<ContainerId>>, Error> {
    let links = link::list(&mut NetlinkSocket::open(NETLINK_ROUTE)?)?;
    let keys = listing::all_keys(Nft::open()?.socket())?;
    let elements: Vec<Element> =
        keys.into_iter().filter_map(|(set, key)| Element::from_key(set, &key)).collect();
    let all = Inhabitants::find(&links, &elements, |_| false, |_| false)?;
    let by = |address: &IpAddr| all.living.iter().find(|one| one.addresses.contains(address))?.id.clone();
    Ok(all.addresses.iter().map(|address| (*address, by(address))).collect())
}

fn address(field: &Field) -> Option<IpAddr> {
    if let Field::Address(address) = field { Some(*address) } else { None }
}

/// The network namespaces besides this process's own, each once.
fn namespaces() -> Result<Vec<(Namespace, KeptBy)>, KernelError> {
    let own = home()?.id();
    let mut all: BTreeMap<(u64, u64), (Namespace, KeptBy)> = BTreeMap::new();
    let mut add = |namespace: Namespace, kept_by: KeptBy| {
        let NamespaceId { device, inode } = namespace.id();
        if namespace.id() != own {
            all.entry((device, inode)).or_insert((namespace, kept_by));
        }
    };
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Ok(namespace) = Namespace::of_process(pid) {
            add(namespace, KeptBy::Process(pid));
        }
    }
    for path in mounted(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()) {
        if let Ok(namespace) = Namespace::at(&path) {
            add(namespace, KeptBy::Mount(path));
        }
    }
    Ok(all.into_values().collect())
}

/// The mount points of network namespaces (proc_pid_mountinfo(5): the root is field 4, the mount point field 5).
fn mounted(mounts: &str) -> Vec<PathBuf> {
    let point = |line: &str| {
        let mut fields = line.split(' ').skip(3);
        let is_namespace = fields.next()?.starts_with("net:[");
        is_namespace.then_some(Path::new(fields.next()?).to_owned())
    };
    mounts.lines().filter_map(point).collect()
}

fn home() -> Result<Namespace, KernelError> {
    Namespace::own().map_err(|error| KernelError::from_io("find this process's network namespace", &error))
}

/// What in a namespace is attached to this host by ocinet.
fn attachments(namespace: &Namespace, kept_by: &KeptBy) -> Result<Vec<Living>, KernelError> {
    let home = home()?;
    let mut socket = namespace.enter(&home, || NetlinkSocket::open(NETLINK_ROUTE))??;
    let links = link::list(&mut socket)?;
    // The other end of a link may be in a third namespace.
    let Some(here) = home.known_number(&mut socket)? else { return Ok(Vec::new()) };
    let ours: Vec<&Link> = links
        .iter()
        .filter(|link| link.alias.starts_with(link::OF_CONTAINER) && link.peer_namespace == Some(here))
        .collect();
    if ours.is_empty() {
        return Ok(Vec::new());
    }
    let addresses = addr::list(&mut socket)?;
    let living = |link: &Link| {
        Some(Living {
            is_recorded: false,
            id: link.alias.strip_prefix(link::OF_CONTAINER).and_then(|id| id.parse().ok()),
            on: link.peer?,
            has_host_end: link.kind == "veth",
            addresses: addresses
                .iter()
                .filter(|(on, _)| *on == link.index)
                .map(|(_, cidr)| cidr.address())
                .collect(),
            kept_by: kept_by.clone(),
        })
    };
    Ok(ours.into_iter().filter_map(living).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounted_namespaces_are_told_from_other_mounts() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      85 24 0:4 net:[4026532177] /run/netns/blue rw shared:7 - nsfs nsfs rw\n\
                      86 24 0:4 mnt:[4026532178] /run/snapd/ns/x.mnt rw - nsfs nsfs rw\n";
        assert_eq!(mounted(mounts), [PathBuf::from("/run/netns/blue")]);
        assert!(mounted("").is_empty());
    }
}
