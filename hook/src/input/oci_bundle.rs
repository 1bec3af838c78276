//! What ocinet reads in a bundle's config.json (OCI runtime specification, "Configuration"), besides the annotations.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use ocinet_shared::kernel::root_files::Mounted;
use ocinet_shared::small_file;
use serde::Deserialize;

use crate::error::{Class, Error};
use crate::input::request::is_name;

/// The largest config.json that is read: one with a thousand mounts and a seccomp profile has some 300 KiB.
const MAX_CONFIG: u64 = 16 << 20;
/// The capability to change links, routes and rules (capabilities(7)).
const NET_ADMIN: &str = "CAP_NET_ADMIN";
/// How many hexadecimal digits the ids have that engines draw.
const DRAWN_ID: usize = 64;

/// A bundle: what its config.json says about the container's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciBundle {
    /// The container's root.
    pub root: PathBuf,
    is_read_only: bool,
    hostname: Option<String>,
    folder: PathBuf,
    mounts: Vec<Mount>,
    /// Whether the container has CAP_NET_ADMIN over the host: no user namespace of its own confines it (user_namespaces(7)).
    pub has_net_admin_over_host: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Mount {
    destination: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    source: PathBuf,
    #[serde(default)]
    options: Vec<String>,
}

#[derive(Deserialize)]
struct Root {
    path: PathBuf,
    #[serde(default)]
    readonly: bool,
}

#[derive(Deserialize)]
struct Config {
    root: Root,
    hostname: Option<String>,
    #[serde(default)]
    mounts: Vec<Mount>,
    process: Option<Process>,
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Process {
    /// The lists of capabilities, as `bounding`.
    capabilities: Option<BTreeMap<String, Option<Vec<String>>>>,
}

impl Config {
    fn has_net_admin_over_host(&self) -> bool {
        let sets = self.process.iter().filter_map(|process| process.capabilities.as_ref());
        let mut capabilities = sets.flat_map(BTreeMap::values).flatten().flatten();
        let namespaces = self.linux.iter().filter_map(|linux| linux.namespaces.as_ref()).flatten();
        let is_own = |path: &PathBuf| path.exists() && !is_same_file(path, Path::new("/proc/self/ns/user"));
        let mut of_users = namespaces.filter(|namespace| namespace.kind == "user");
        let is_confined = of_users.any(|namespace| namespace.named_path().is_none_or(is_own));
        !is_confined && capabilities.any(|capability| capability.eq_ignore_ascii_case(NET_ADMIN))
    }
}

impl OciBundle {
    /// Reads what a folder holds.
    ///
    /// # Errors
    /// A bundle without a config.json that names a root.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("config.json");
        let refuse = |error: io::Error| {
            let hint =
                "leave net.dns, net.dns-search and net.hosts out, or give the hook a bundle with a root";
            Error::new(Class::Usage, format!("find the container's root in {}", path.display()), error, hint)
        };
        let bytes = read_config(&path).map_err(refuse)?;
        Self::parse(folder, &bytes).map_err(|error| refuse(error.into()))
    }

    fn parse(folder: &Path, bytes: &[u8]) -> serde_json::Result<Self> {
        let config: Config = serde_json::from_slice(bytes)?;
        let has_net_admin_over_host = config.has_net_admin_over_host();
        let Config { root, hostname, mounts, .. } = config;
        Ok(Self {
            root: folder.join(root.path),
            is_read_only: root.readonly,
            hostname: hostname.filter(|name| is_name(name)),
            folder: folder.to_owned(),
            mounts,
            has_net_admin_over_host,
        })
    }

    /// The name that the container is to find its own address by. A root that is read-only may be that of several
    /// containers, and is told none unless `etc/hosts` is the container's own.
    #[must_use]
    pub fn own_name(&self) -> Option<&str> {
        let is_own = |mounted: Mounted| mounted.folder_is_tmpfs || mounted.file.is_some();
        let may_write = !self.is_read_only || self.mounted("etc/hosts").is_ok_and(is_own);
        self.hostname.as_deref().filter(|name| may_write && !is_loopbacks(name))
    }

    /// What is mounted where a file of the root is wanted, of which `path` is `FOLDER/NAME`.
    ///
    /// # Errors
    /// A mount of something that is not the container's own.
    pub fn mounted(&self, path: &str) -> io::Result<Mounted> {
        let (folder, _) = path.split_once('/').unwrap_or_default();
        let mut mounted = Mounted::default();
        // The mount that comes last is the one that is seen.
        for mount in &self.mounts {
            let at = mount.destination.trim_matches('/');
            if at == folder {
                mounted = Mounted { folder_is_tmpfs: mount.is_tmpfs(), file: None };
            } else if at == path {
                mounted.file = Some(mount.made_by_engine(&self.folder)?);
            }
        }
        Ok(mounted)
    }
}

/// Names that are the loopback's on every machine (RFC 6761, section 6.3), and those that distributions give it.
fn is_loopbacks(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_below =
        |top: &str| name.strip_suffix(top).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    is_below("localhost")
        || is_below("localhost.localdomain")
        || matches!(&*name, "ip6-localhost" | "ip6-loopback")
}

impl Mount {
    fn is_tmpfs(&self) -> bool {
        self.kind == "tmpfs" && !self.options.iter().any(|option| option == "bind" || option == "rbind")
    }

    /// The file that is mounted, where an engine made it for the container: in the bundle, or in the folder that it keeps
    /// under a container's id, as podman's `…/ID/userdata/hosts`, Docker's, nerdctl's and containerd's `…/ID/hosts`.
    /// The id may be that of a pod.
    fn made_by_engine(&self, bundle: &Path) -> io::Result<PathBuf> {
        let source = bundle.join(&self.source).canonicalize()?;
        let folder = source.parent().unwrap_or(Path::new("/"));
        let of_id = if folder.ends_with("userdata") { folder.parent() } else { Some(folder) };
        let is_drawn = |id: &str| id.len() == DRAWN_ID && id.bytes().all(|digit| digit.is_ascii_hexdigit());
        let is_of_id = of_id.and_then(Path::file_name).and_then(|id| id.to_str()).is_some_and(is_drawn);
        let bundle = bundle.canonicalize()?;
        // Everything of the host's is below its root.
        let is_in_bundle = bundle.parent().is_some() && source.starts_with(bundle);
        if is_of_id || is_in_bundle {
            return Ok(source);
        }
        let cause = format!("{} is mounted there, which is not the container's own", source.display());
        Err(io::Error::other(cause))
    }
}

#[derive(Deserialize)]
struct ConfigWithNamespaces {
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Linux {
    namespaces: Option<Vec<Namespace>>,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: Option<PathBuf>,
}

/// The network namespace that a config.json asks for, if it does, and the path that it names.
fn network_namespace(config: &[u8]) -> serde_json::Result<Option<Option<PathBuf>>> {
    let ConfigWithNamespaces { linux } = serde_json::from_slice(config)?;
    let namespaces = linux.and_then(|linux| linux.namespaces).unwrap_or_default();
    let network = namespaces.into_iter().find(|namespace| namespace.kind == "network");
    Ok(network.map(|network| network.named_path().cloned()))
}

impl Namespace {
    /// The path of a namespace that is joined; `None` where a new one is made.
    fn named_path(&self) -> Option<&PathBuf> {
        self.path.as_ref().filter(|path| !path.as_os_str().is_empty())
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// Whether a container of a config.json would be in the host's network namespace: it names none, or the host's.
///
/// # Errors
/// What is not of the specification's form.
pub fn shares_host_network(config: &[u8]) -> serde_json::Result<bool> {
    let Some(named) = network_namespace(config)? else { return Ok(true) };
    Ok(named.is_some_and(|path| is_same_file(&path, Path::new("/proc/self/ns/net"))))
}

/// What to do about a path that [`check_network_path`] refuses.
pub const NETWORK_PATH_HINT: &str =
    "give linux.namespaces in config.json the absolute path of a network namespace, or no path";

/// Checks the path of the network namespace that a config.json names. One that is not there may be made before the start.
///
/// # Errors
/// A path that is not absolute (OCI runtime specification, "Namespaces"), or leads to something else.
pub fn check_network_path(config: &[u8]) -> io::Result<()> {
    let Some(path) = network_namespace(config)?.flatten() else { return Ok(()) };
    let refuse = |what: &str| {
        Err(io::Error::other(format!("the path of its network namespace, {}, {what}", path.display())))
    };
    if !path.is_absolute() {
        return refuse("is not absolute");
    }
    match statfs(&path) {
        Ok(found) if found.filesystem_type() == NSFS_MAGIC => Ok(()),
        Ok(_) => refuse("is no namespace"),
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => refuse(&format!("cannot be looked at: {}", errno.desc())),
    }
}

/// Reads a bundle's config.json.
///
/// # Errors
/// Those of [`small_file::read`].
pub fn read_config(path: &Path) -> io::Result<Vec<u8>> {
    small_file::read(path, MAX_CONFIG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_namespace_of_its_own_is_one_that_is_not_the_hosts() {
        for (linux, shares) in [
            ("{}", true),
            (r#"{"linux":null}"#, true),
            (r#"{"linux":{}}"#, true),
            (r#"{"linux":{"namespaces":[]}}"#, true),
            (r#"{"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}}"#, true),
            (r#"{"linux":{"namespaces":[{"type":"network","path":"/proc/self/ns/net"}]}}"#, true),
            (r#"{"linux":{"namespaces":[{"type":"mount"},{"type":"network"}]}}"#, false),
            (r#"{"linux":{"namespaces":[{"type":"network","path":""}]}}"#, false),
            (r#"{"linux":{"namespaces":[{"type":"network","path":"/run/netns/later"}]}}"#, false),
        ] {
            assert_eq!(shares_host_network(linux.as_bytes()).unwrap(), shares, "{linux}");
        }
    }

    #[test]
    fn the_path_of_a_network_namespace_leads_to_one() {
        let check = |path: &str| {
            let namespace = format!(r#"{{"type":"network","path":"{path}"}}"#);
            check_network_path(format!(r#"{{"linux":{{"namespaces":[{namespace}]}}}}"#).as_bytes())
        };
        for good in ["", "/proc/self/ns/net", "/run/netns/later"] {
            assert!(check(good).is_ok(), "{good}");
        }
        assert!(check_network_path(br#"{"linux":{"namespaces":[{"type":"network"}]}}"#).is_ok());
        for bad in ["/etc/passwd", "/etc", "relative", "./run/netns/web", "/etc/passwd/net"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn net_admin_is_the_hosts_without_a_user_namespace() {
        let of = |process: &str, namespaces: &str| {
            let config = format!(
                r#"{{"root":{{"path":"r"}},"process":{process},"linux":{{"namespaces":{namespaces}}}}}"#
            );
            OciBundle::parse(Path::new("/"), config.as_bytes()).unwrap().has_net_admin_over_host
        };
        let (without, with) = (r#"[{"type":"network"}]"#, r#"[{"type":"network"},{"type":"user"}]"#);
        for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            let process = format!(r#"{{"capabilities":{{"{set}":["CAP_KILL","CAP_NET_ADMIN"]}}}}"#);
            assert!(of(&process, without) && of(&process, "null"), "{set}");
            assert!(!of(&process, with), "{set}");
            let joined = |path: &str| format!(r#"[{{"type":"user","path":"{path}"}}]"#);
            assert!(of(&process, &joined("/proc/self/ns/user")), "{set}: the host's own");
            assert!(of(&process, &joined("/run/userns/later")), "{set}: none that is there");
            assert!(!of(&process, &joined("/proc/self/ns/net")), "{set}: another file");
        }
        assert!(of(r#"{"capabilities":{"bounding":["cap_net_admin"]}}"#, without));
        for process in [
            "null",
            "{}",
            r#"{"capabilities":null}"#,
            r#"{"capabilities":{"bounding":["CAP_NET_RAW"],"effective":null}}"#,
        ] {
            assert!(!of(process, without), "{process}");
        }
        assert!(
            !OciBundle::parse(Path::new("/"), br#"{"root":{"path":"r"}}"#).unwrap().has_net_admin_over_host
        );
    }

    #[test]
    fn a_name_is_told_where_it_is_one_and_has_a_place() {
        let name = |config: &str| {
            let bundle = OciBundle::parse(Path::new("/"), config.as_bytes()).unwrap();
            bundle.own_name().map(str::to_owned)
        };
        assert_eq!(name(r#"{"root":{"path":"r"},"hostname":"web-1"}"#).as_deref(), Some("web-1"));
        assert_eq!(
            name(r#"{"root":{"path":"r"},"hostname":"notlocalhost"}"#).as_deref(),
            Some("notlocalhost")
        );
        let tmpfs = r#""mounts":[{"destination":"/etc","type":"tmpfs"}]"#;
        let read_only = r#"{"root":{"path":"r","readonly":true},"hostname":"web-1","#;
        assert_eq!(name(&format!("{read_only}{tmpfs}}}")).as_deref(), Some("web-1"));
        assert_eq!(name(&format!(r#"{read_only}"mounts":[]}}"#)), None);
        for bad in
            ["", "a b", "a\\nb", "-x", "localhost", "LocalHost.", "web.localhost", "localhost.localdomain"]
        {
            assert_eq!(name(&format!(r#"{{"root":{{"path":"r"}},"hostname":"{bad}"}}"#)), None, "{bad}");
        }
    }
}
