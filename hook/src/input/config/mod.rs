//! /etc/ocinet/config.toml: the administrator's defaults.

mod network;
pub mod policy;

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use ocinet_shared::kernel::user_namespace;
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::quoted::word;
use serde::de::{Deserialize as _, Deserializer, Error as _};

pub use network::NetworkTable;

use crate::error::{Class, Error};
use crate::input::annotations::Annotations;
use crate::input::config::policy::Table;
use crate::model::subnet::UsableSubnet;

/// Where the configuration is looked for when nothing names it; it need not exist there.
pub const DEFAULT_PATH: &str = "/etc/ocinet/config.toml";
/// What says that there is no configuration; a link to it does, too.
const NULL: &str = "/dev/null";
/// The largest configuration that is read.
const MAX_CONFIG: u64 = 1 << 20;

/// A value, and whether the file names it: what an administrator names is taken also where ocinet would not choose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Whether it is from the file, and not built in.
    pub is_named: bool,
}

/// What the administrator may set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The file, for messages.
    #[serde(skip)]
    pub path: PathBuf,
    /// The subnets of the network `default`, at most one a family.
    #[serde(deserialize_with = "one_a_family")]
    pub default_subnets: Setting<Vec<Cidr>>,
    /// Where the /24 of a network that names no subnet is taken from.
    #[serde(deserialize_with = "pool")]
    pub subnet_pool: Setting<Cidr>,
    /// How many ports one container may publish.
    pub max_ports: usize,
    /// Where the host's name servers are read, that containers without any are told; the usual places without, nowhere
    /// where it is empty.
    #[serde(deserialize_with = "absolute")]
    pub resolv_conf: Option<PathBuf>,
    /// Named networks: what a container that names one need not say itself, by annotation key.
    #[serde(rename = "network")]
    pub networks: BTreeMap<ContainerId, NetworkTable>,
    /// What annotations may ask for.
    pub policy: Table,
    /// Where the lines of the file end, in bytes.
    #[serde(skip)]
    ends: Vec<usize>,
}

impl Default for Config {
    fn default() -> Self {
        let ipv4 = |a: [u8; 4], prefix| Cidr::new(a.into(), prefix);
        let everything = Cidr::new(Family::Ipv4.unspecified(), 0);
        // Both texts are constants of the right form; the fallback is never reached.
        let (Some(subnet), Some(pool)) =
            (ipv4([10, 90, 0, 0], 16).or(everything), ipv4([10, 91, 0, 0], 16).or(everything))
        else {
            unreachable!("a prefix length of 16 fits IPv4")
        };
        Self {
            path: DEFAULT_PATH.into(),
            default_subnets: Setting { value: vec![subnet], is_named: false },
            subnet_pool: Setting { value: pool, is_named: false },
            max_ports: 1024,
            resolv_conf: None,
            networks: BTreeMap::new(),
            policy: Table::default(),
            ends: Vec::new(),
        }
    }
}

impl Config {
    /// The number of the line that has the byte at an offset.
    #[must_use]
    pub fn line_of(&self, offset: usize) -> usize {
        self.ends.partition_point(|end| *end < offset) + 1
    }

    /// Lets a network say what the annotations of a container that is on it do not, of those keys that are `wanted`.
    pub fn let_say(&self, network: &ContainerId, to: &mut Annotations, wanted: impl Fn(&str) -> bool) {
        let Some(NetworkTable(values)) = self.networks.get(network) else { return };
        let of = format!("network {network} in the configuration {}", self.path.display());
        let values = values.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        to.or_else(&of, values.filter(|(name, _)| wanted(name)));
    }
}

fn one_a_family<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Setting<Vec<Cidr>>, D::Error> {
    let subnets: Vec<UsableSubnet> = Vec::deserialize(deserializer)?;
    let subnets: Vec<Cidr> = subnets.into_iter().map(|UsableSubnet(subnet)| subnet).collect();
    for family in Family::ALL {
        if subnets.iter().filter(|subnet| subnet.family() == family).count() > 1 {
            return Err(D::Error::custom(format_args!("there is more than one {family} subnet")));
        }
    }
    Ok(Setting { value: subnets, is_named: true })
}

fn pool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Setting<Cidr>, D::Error> {
    let UsableSubnet(pool) = UsableSubnet::deserialize(deserializer)?;
    if pool.family() == Family::Ipv4 && pool.prefix() <= 24 {
        Ok(Setting { value: pool, is_named: true })
    } else {
        Err(D::Error::custom(format_args!("{pool} is not an IPv4 network of /24 or wider")))
    }
}

fn absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if path.is_absolute() || path.as_os_str().is_empty() {
        return Ok(Some(path));
    }
    Err(D::Error::custom(format_args!("{} is not an absolute path", path.display())))
}

/// Reads the configuration: the named file, or the one at the default place if there is one.
///
/// # Errors
/// A file that is missing though named, is no ordinary file, may be written or replaced by others than root, or says
/// something unknown.
pub fn load(named: Option<&PathBuf>) -> Result<Config, Error> {
    let path = named.map_or(Path::new(DEFAULT_PATH), PathBuf::as_path);
    let refuse = |cause: String, hint: &str| {
        Error::new(Class::Usage, format!("read the configuration {}", path.display()), cause, hint)
    };
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
            return match dangling(path) {
                None => Ok(Config::default()),
                Some(link) => {
                    let cause = format!("{} is a link to what is not there", link.display());
                    Err(refuse(cause, "put back what it leads to, or remove the link"))
                }
            };
        }
        Err(error) => return Err(refuse(error.to_string(), "name a file that exists with --config")),
    };
    let metadata = file.metadata().map_err(|error| refuse(error.to_string(), "check the file"))?;
    let is_null = is_null_device(&metadata);
    if !metadata.is_file() && !is_null {
        return Err(refuse("it is not an ordinary file".into(), "name a TOML file with --config"));
    }
    // Everybody may write to the null device, and nobody reads it again; a link to it must not be others'.
    if path != Path::new(NULL) {
        check_writers(path, Some(&metadata).filter(|_| !is_null))
            .map_err(|(cause, hint)| refuse(cause, &hint))?;
    }
    let mut text = String::new();
    let read = file.take(MAX_CONFIG + 1).read_to_string(&mut text);
    let length = read.map_err(|error| refuse(error.to_string(), "write it as UTF-8 text"))?;
    if length as u64 > MAX_CONFIG {
        return Err(refuse("it is larger than 1 MiB".into(), "leave out what is not needed"));
    }
    let config = parse(&text);
    let config = config.map_err(|cause| refuse(cause, "see ocinet.toml(5) for what it may hold"))?;
    Ok(Config { path: path.to_owned(), ..config })
}

/// The link of a path that leads nowhere. Somebody wanted a configuration there, maybe a strict policy: that it is gone
/// must not mean that there is none.
fn dangling(path: &Path) -> Option<&Path> {
    // Where the lowest part of the path that is there is no broken link, none above it is.
    path.ancestors().find(|path| path.symlink_metadata().is_ok()).filter(|path| !path.exists())
}

/// The null device, whatever its name.
fn is_null_device(file: &Metadata) -> bool {
    file.file_type().is_char_device() && file.rdev() == nix::sys::stat::makedev(1, 3)
}

/// Whoever can write the policy is who it is about, unless that is root or who runs ocinet.
fn check_writers(path: &Path, file: Option<&Metadata>) -> Result<(), (String, String)> {
    let is_trusted = |id: u32, own: u32| id == 0 || id == own;
    let (user, group) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let of_folder = folder
        .metadata()
        .map_err(|error| (error.to_string(), "check the folder that it is in".to_owned()))?;
    // In a sticky folder nobody replaces a file of others.
    let is_sticky = of_folder.mode() & 0o1000 != 0;
    let of_file = file.map(|file| (("it", path), file, false));
    let of_folder = (("the folder that it is in", folder), &of_folder, is_sticky);
    for ((of, at), metadata, is_safe) in of_file.into_iter().chain([of_folder]) {
        let hint = format!("take the right away with `chmod go-w {}`", word(&at.display().to_string()));
        if metadata.mode() & 0o002 != 0 && !is_safe {
            return Err((format!("everybody may write to {of}"), hint));
        }
        if metadata.mode() & 0o020 != 0 && !is_safe && !is_trusted(metadata.gid(), group) {
            let cause = format!("the group {} may write to {of}", metadata.gid());
            return Err((cause, hint));
        }
        if !is_trusted(metadata.uid(), user) {
            let cause = format!("{of} belongs to the user {}", metadata.uid());
            return Err((cause, owner_hint()));
        }
    }
    Ok(())
}

/// In a user namespace, root is another user of the host, and the host's root is nobody.
fn owner_hint() -> String {
    match user_namespace::root_of(user_namespace::OWN_USERS) {
        Ok(Some(outside)) => format!(
            "in this user namespace root is the host's user {outside}: give it to that user, or name another file with --config, /dev/null for none"
        ),
        _ => "give it to root with `chown`".to_owned(),
    }
}

/// A FIFO would make the hook wait for a writer; without blocking it is opened and then refused.
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)
}

/// Reads a configuration's text.
///
/// # Errors
/// What is wrong with it, and where.
pub fn parse(text: &str) -> Result<Config, String> {
    let refuse = |span: Option<Range<usize>>, cause: &str| {
        let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
        format!("line {line}, column {column}: {}", cause.replace('\n', " "))
    };
    let config: Config = toml::from_str(text).map_err(|error| refuse(error.span(), error.message()))?;
    config.policy.check().map_err(|(span, cause)| refuse(Some(span), cause))?;
    Ok(Config { ends: text.match_indices('\n').map(|(end, _)| end).collect(), ..config })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_what_an_empty_file_says() {
        assert_eq!(parse("").unwrap(), Config::default());
        assert_eq!(Config::default().default_subnets.value[0].to_string(), "10.90.0.0/16");
    }

    #[test]
    fn the_example_says_nothing_until_its_settings_are_taken_in() {
        let example = include_str!("../../../../packaging/etc/config.toml");
        assert_eq!(Config { ends: Vec::new(), ..parse(example).unwrap() }, Config::default());
        // A sentence has a space behind its `#`, a setting has none.
        let taken_in: String = example
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or_default())
            .fold(String::new(), |text, line| text + line + "\n");
        let config = parse(&taken_in).unwrap();
        let (of_example, default) = (&config, Config::default());
        assert_eq!(of_example.default_subnets.value, default.default_subnets.value);
        assert_eq!(of_example.subnet_pool.value, default.subnet_pool.value);
        assert_eq!(of_example.max_ports, default.max_ports);
        let names: Vec<&str> = config.networks.keys().map(ContainerId::as_str).collect();
        assert_eq!(names, ["lan", "web"]);
    }

    #[test]
    fn the_null_device_is_an_empty_configuration_and_no_other_device_is() {
        let named = |path: &str| load(Some(&PathBuf::from(path)));
        let config = named(NULL).unwrap();
        assert_eq!(config, Config { path: NULL.into(), ..Config::default() });
        for device in ["/dev/zero", "/dev/full", "/dev/tty"] {
            assert_eq!(named(device).unwrap_err().exit_code(), 2, "{device}");
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let made = tempfile::tempdir().unwrap();
        let folder = made.path();
        std::fs::create_dir_all(folder.join("etc/real")).unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.join(name)).unwrap();
        link("gone.toml", "etc/config.toml");
        link("gone", "etc/ocinet");
        link("real", "etc/linked");
        let found = |path: &str| dangling(&folder.join(path)).map(|link| link.to_path_buf());
        assert_eq!(found("etc/config.toml"), Some(folder.join("etc/config.toml")));
        assert_eq!(found("etc/ocinet/config.toml"), Some(folder.join("etc/ocinet")));
        for absent in ["etc/linked/config.toml", "etc/real/config.toml", "none/ocinet/config.toml"] {
            assert_eq!(found(absent), None, "{absent}");
        }
    }

    #[test]
    fn a_network_holds_annotation_keys() {
        let config =
            parse("[network.web]\nvni = 7\ninternal = true\npeers = [\"192.0.2.1\", \"192.0.2.2\"]").unwrap();
        let web = &config.networks[&"web".parse::<ContainerId>().unwrap()].0;
        assert_eq!((web["vni"].as_str(), web["internal"].as_str()), ("7", "true"));
        assert_eq!(web["peers"], "192.0.2.1,192.0.2.2");
    }

    #[test]
    fn what_is_wrong_is_shown_with_its_place() {
        assert!(parse("\nmax-prots = 5").unwrap_err().starts_with("line 2, column 1: unknown field"));
        assert!(parse("max-ports = \"5\"").unwrap_err().starts_with("line 1, column 13:"));
        let network = |line: &str| parse(&format!("[network.web]\n{line}")).unwrap_err();
        assert!(network("subnte = \"10.0.0.0/24\"").contains("the nearest one is `subnet`"));
        assert!(network("ports = \"80:80\"").contains("belongs to a container"));
        assert!(network("vni = 1.5").starts_with("line 2"), "{}", network("vni = 1.5"));
        assert!(parse("resolv-conf = \"etc/resolv.conf\"").unwrap_err().contains("not an absolute path"));
        assert!(parse("subnet-pool = \"10.0.0.0/25\"").unwrap_err().contains("/24 or wider"));
        assert!(
            parse("default-subnets = [\"10.0.0.0/8\", \"11.0.0.0/8\"]")
                .unwrap_err()
                .contains("more than one")
        );
    }
}
