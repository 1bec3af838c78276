//! Where everything is in the state folder. No other file spells a name in it.
//!
//! ```text
//! containers/ID.json                          a container's record
//! containers/.ID.claim                        what the container's leases and claims are links to
//! leases/NETWORK/ADDRESS                      who has an address
//! networks/NETWORK.json                       what a network was made with
//! ports/PROTOCOL-PORT/ADDRESS                 who publishes a port on one host address
//! macs/networks/NETWORK/MAC                   who has an Ethernet address on a bridge
//! macs/parents/LINK/MAC                       who has it on a link that macvlans are on
//! members/OWNER/MEMBER                        who shares a container's attachments
//! last-error/ID.json                          why the last start of a container failed
//! forwarding.json stats.json sweep lock       one file each
//! .NAME                                       a file that is being written
//! ```

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::model::container_id::ContainerId;
use crate::model::mac::Mac;
use crate::model::port::{Protocol, PublishedPort};
use crate::model::record::SharedLink;

/// The file whose bytes are the locks.
pub(super) const LOCK_FILE: &str = "lock";
const FORWARDING: &str = "forwarding.json";
const HOOK_STATS: &str = "stats.json";
const SWEEP: &str = "sweep";

/// The folders that hold the state, each with how many levels of folders it has of its own.
pub(super) const FOLDERS: [(&str, usize); 7] = [
    ("containers", 0),
    ("leases", 1),
    ("networks", 0),
    ("ports", 1),
    ("macs", 2),
    ("members", 1),
    ("last-error", 0),
];
/// The files beside them.
pub(super) const FILES: [&str; 4] = [LOCK_FILE, SWEEP, HOOK_STATS, FORWARDING];

/// A folder whose files or folders are listed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// Records.
    Containers,
    /// Networks.
    Networks,
    /// A folder for each network, of its leases.
    Leases,
    /// A folder for each port, of its claims.
    PortClaims,
    /// All claims of Ethernet addresses.
    MacClaims,
    /// A folder for each network with a bridge, of the claims of Ethernet addresses on it.
    NetworkMacClaims,
    /// A folder for each parent, of the claims of Ethernet addresses on it.
    ParentMacClaims,
    /// A folder for each container whose attachments others share.
    Members,
    /// Why starts failed.
    LastErrors,
}

impl Folder {
    const fn name(self) -> &'static str {
        match self {
            Self::Containers => "containers",
            Self::Networks => "networks",
            Self::Leases => "leases",
            Self::PortClaims => "ports",
            Self::MacClaims => "macs",
            Self::NetworkMacClaims => "macs/networks",
            Self::ParentMacClaims => "macs/parents",
            Self::Members => "members",
            Self::LastErrors => "last-error",
        }
    }
}

/// The paths of one state folder.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the folder at a path.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The state folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder in the state folder.
    #[must_use]
    pub fn folder(&self, folder: Folder) -> PathBuf {
        self.root.join(folder.name())
    }

    /// A path in such a folder. A start makes a dozen of them.
    fn inside(&self, folder: Folder, name: fmt::Arguments<'_>) -> PathBuf {
        const USUAL: usize = 128;
        let mut path = PathBuf::with_capacity(self.root.as_os_str().len() + USUAL);
        path.push(&self.root);
        path.push(folder.name());
        let mut path = path.into_os_string();
        // A name in memory can be written.
        let _ = write!(path, "/{name}");
        path.into()
    }

    /// A container's record.
    #[must_use]
    pub fn record_path(&self, id: &ContainerId) -> PathBuf {
        self.inside(Folder::Containers, format_args!("{id}.json"))
    }

    /// The file that a container's leases and claims are links to.
    #[must_use]
    pub fn claim_source_path(&self, id: &ContainerId) -> PathBuf {
        self.inside(Folder::Containers, format_args!(".{id}{CLAIM_SOURCE}"))
    }

    /// A network's file.
    #[must_use]
    pub fn network_path(&self, name: &ContainerId) -> PathBuf {
        self.inside(Folder::Networks, format_args!("{name}.json"))
    }

    /// The leases of a network.
    #[must_use]
    pub fn lease_folder(&self, network: &ContainerId) -> PathBuf {
        self.inside(Folder::Leases, format_args!("{network}"))
    }

    /// The lease of an address.
    #[must_use]
    pub fn lease_path(&self, network: &ContainerId, address: IpAddr) -> PathBuf {
        self.inside(Folder::Leases, format_args!("{network}/{address}"))
    }

    /// The claims of a port, one file for each host address.
    #[must_use]
    pub fn port_claim_folder(&self, port: &PublishedPort) -> PathBuf {
        self.inside(Folder::PortClaims, format_args!("{}-{}", port.protocol, port.host_port))
    }

    /// The claim of a port that is published on one host address; `None` of one that is published on all.
    #[must_use]
    pub fn port_claim_path(&self, port: &PublishedPort) -> Option<PathBuf> {
        let PublishedPort { protocol, host_port, .. } = port;
        let address = port.bound_address()?;
        Some(self.inside(Folder::PortClaims, format_args!("{protocol}-{host_port}/{address}")))
    }

    /// The claims of Ethernet addresses on a link that containers share.
    #[must_use]
    pub fn mac_claim_folder(&self, on: &SharedLink) -> PathBuf {
        match on {
            SharedLink::Network(network) => self.inside(Folder::NetworkMacClaims, format_args!("{network}")),
            SharedLink::Parent(parent) => self.inside(Folder::ParentMacClaims, format_args!("{parent}")),
        }
    }

    /// The claim of an Ethernet address.
    #[must_use]
    pub fn mac_claim_path(&self, on: &SharedLink, mac: Mac) -> PathBuf {
        match on {
            SharedLink::Network(network) => {
                self.inside(Folder::NetworkMacClaims, format_args!("{network}/{mac}"))
            }
            SharedLink::Parent(parent) => {
                self.inside(Folder::ParentMacClaims, format_args!("{parent}/{mac}"))
            }
        }
    }

    /// Those who share a container's attachments.
    #[must_use]
    pub fn member_folder(&self, owner: &ContainerId) -> PathBuf {
        self.inside(Folder::Members, format_args!("{owner}"))
    }

    /// The file by which a container shares another's attachments.
    #[must_use]
    pub fn member_path(&self, owner: &ContainerId, member: &ContainerId) -> PathBuf {
        self.member_folder(owner).join(member.as_str())
    }

    /// Why the last start of a container failed.
    #[must_use]
    pub fn last_error_path(&self, id: &ContainerId) -> PathBuf {
        self.inside(Folder::LastErrors, format_args!("{id}.json"))
    }

    /// The families whose forwarding ocinet turned on.
    #[must_use]
    pub fn forwarding_path(&self) -> PathBuf {
        self.root().join(FORWARDING)
    }

    /// The hooks' runs by result and duration.
    #[must_use]
    pub fn hook_stats_path(&self) -> PathBuf {
        self.root().join(HOOK_STATS)
    }

    /// The ids that later starts have yet to look at.
    #[must_use]
    pub fn sweep_path(&self) -> PathBuf {
        self.root().join(SWEEP)
    }
}

/// What ends the name of the file that a container's leases and claims are links to.
const CLAIM_SOURCE: &str = ".claim";

/// The id or the name that a file of the folders of records and networks belongs to.
#[must_use]
pub fn id_of(file_name: &str) -> Option<ContainerId> {
    file_name.strip_suffix(".json")?.parse().ok()
}

/// The same of a file that is being written, or of what a container's leases and claims are links to.
#[must_use]
pub fn id_of_temporary(file_name: &str) -> Option<ContainerId> {
    let name = file_name.strip_prefix('.')?;
    match name.strip_suffix(CLAIM_SOURCE) {
        Some(id) => id.parse().ok(),
        None => id_of(name),
    }
}

/// A file while it is written, and what an interrupted write leaves.
#[must_use]
pub fn temporary_path(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

/// The port of a folder of claims, by the folder's name: `tcp-8080`.
#[must_use]
pub fn port_of_claim_folder(name: &str) -> Option<(Protocol, u16)> {
    let (protocol, port) = name.split_once('-')?;
    let protocol = Protocol::ALL.into_iter().find(|known| known.name() == protocol)?;
    Some((protocol, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::port::parse_published;

    /// The paths in the table of the file, with words in capitals where a path has a name.
    fn table() -> Vec<&'static str> {
        let table = include_str!("layout.rs").split("```").nth(1).unwrap();
        let lines = table.lines().filter_map(|line| line.strip_prefix("//! "));
        // Two spaces are between the paths and what is said of them.
        lines.flat_map(|line| line.split("  ").next().unwrap().split_whitespace()).collect()
    }

    /// What the words in capitals stand for in this test.
    const NAMES: [(&str, &[&str]); 10] = [
        ("ID", &["web"]),
        ("NETWORK", &["web", "blue"]),
        ("ADDRESS", &["10.0.0.2", "fd00::2", "127.0.0.1"]),
        ("PROTOCOL", &["udp"]),
        ("PORT", &["53"]),
        ("MAC", &["02:6f:0a:5a:00:05"]),
        ("LINK", &["eth0"]),
        ("OWNER", &["db"]),
        ("MEMBER", &["web"]),
        ("NAME", &["sweep"]),
    ];

    /// Whether a path is as a row of the table shows it.
    fn has_shape(path: &str, row: &str) -> bool {
        let is_capital = |letter: char| letter.is_ascii_uppercase();
        let (literal, rest) = row.split_at(row.find(is_capital).unwrap_or(row.len()));
        let Some(path) = path.strip_prefix(literal) else { return false };
        if rest.is_empty() {
            return path.is_empty();
        }
        let (word, rest) = rest.split_at(rest.find(|letter| !is_capital(letter)).unwrap_or(rest.len()));
        let (_, names) = NAMES.iter().find(|(known, _)| *known == word).unwrap();
        names.iter().filter_map(|name| path.strip_prefix(name)).any(|path| has_shape(path, rest))
    }

    #[test]
    fn everything_is_where_the_table_of_the_file_says() {
        let layout = Layout::new("/s");
        let (web, db): (ContainerId, ContainerId) = ("web".parse().unwrap(), "db".parse().unwrap());
        let port = |text: &str| parse_published(text).unwrap()[0];
        let mac = "02:6f:0a:5a:00:05".parse().unwrap();
        let on_network = SharedLink::Network("blue".parse().unwrap());
        let on_parent = SharedLink::Parent("eth0".parse().unwrap());
        let (rows, mut shown) = (table(), Vec::new());
        for (path, expected) in [
            (layout.record_path(&web), "containers/web.json"),
            (layout.claim_source_path(&web), "containers/.web.claim"),
            (layout.network_path(&web), "networks/web.json"),
            (layout.lease_path(&web, "10.0.0.2".parse().unwrap()), "leases/web/10.0.0.2"),
            (layout.lease_path(&web, "fd00::2".parse().unwrap()), "leases/web/fd00::2"),
            (layout.port_claim_path(&port("127.0.0.1:53:53/udp")).unwrap(), "ports/udp-53/127.0.0.1"),
            (layout.mac_claim_path(&on_network, mac), "macs/networks/blue/02:6f:0a:5a:00:05"),
            (layout.mac_claim_path(&on_parent, mac), "macs/parents/eth0/02:6f:0a:5a:00:05"),
            (layout.member_path(&db, &web), "members/db/web"),
            (layout.last_error_path(&web), "last-error/web.json"),
            (layout.forwarding_path(), "forwarding.json"),
            (layout.hook_stats_path(), "stats.json"),
            (layout.sweep_path(), "sweep"),
            (layout.root().join(LOCK_FILE), "lock"),
            (temporary_path(&layout.sweep_path()), ".sweep"),
        ] {
            assert_eq!(path, Path::new("/s").join(expected));
            let row: Vec<&str> = rows.iter().copied().filter(|row| has_shape(expected, row)).collect();
            assert_eq!(row.len(), 1, "{expected} is like {row:?} of {rows:?}");
            shown.extend(row);
            let folder = expected.split('/').next().unwrap();
            let is_known = FOLDERS.iter().any(|(name, _)| *name == folder) || FILES.contains(&folder);
            assert!(is_known || folder.starts_with('.'), "{folder} is not checked");
        }
        let never: Vec<_> = rows.iter().filter(|row| !shown.contains(row)).collect();
        assert!(never.is_empty(), "no path is like {never:?}");
        assert_eq!(layout.port_claim_path(&port("8080:80")), None);
    }

    #[test]
    fn a_folder_has_as_many_levels_as_its_paths() {
        let layout = Layout::new("/s");
        let web: ContainerId = "web".parse().unwrap();
        let on = SharedLink::Network(web.clone());
        for path in [
            layout.record_path(&web),
            layout.network_path(&web),
            layout.lease_path(&web, "10.0.0.2".parse().unwrap()),
            layout.mac_claim_path(&on, "02:6f:0a:5a:00:05".parse().unwrap()),
            layout.member_path(&web, &web),
            layout.last_error_path(&web),
        ] {
            let inside: Vec<_> = path.strip_prefix("/s").unwrap().iter().collect();
            let (_, levels) = FOLDERS.iter().find(|(name, _)| inside[0] == *name).unwrap();
            assert_eq!(inside.len() - 2, *levels, "{}", path.display());
        }
    }

    #[test]
    fn a_temporary_file_belongs_to_what_it_is_to_become() {
        let layout = Layout::new("/s");
        let web: ContainerId = "web".parse().unwrap();
        for path in [temporary_path(&layout.record_path(&web)), layout.claim_source_path(&web)] {
            assert_eq!(id_of_temporary(path.file_name().unwrap().to_str().unwrap()), Some(web.clone()));
        }
        for other in ["web.json", ".web", ".web.jsonx", "..json"] {
            assert_eq!(id_of_temporary(other), None, "{other}");
        }
    }
}
