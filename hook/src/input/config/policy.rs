//! The policy as the configuration has it. A word that nobody knows is refused where it stands.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use ocinet_shared::model::cidr::{Cidr, parse_address};
use ocinet_shared::model::ifname::IfName;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use toml::Spanned;

use crate::input::annotations;
use crate::input::nearest;
use crate::model::driver_spec::Driver;
use crate::model::sysctl::sysctl_path;

/// A list of what is allowed, and where it stands.
pub type List<T> = Option<Spanned<Vec<T>>>;

/// What a policy sets out from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Whoever may start a container may attach it as they like.
    #[default]
    Trusted,
    /// Bridges that the administrator defined, and ports that nobody needs a right for.
    Strict,
}

/// `[policy]`, or one `[[policy.match]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Table {
    /// The annotation that tells whether the entry is about a container.
    pub annotation: Option<Spanned<String>>,
    /// What the annotation begins with then.
    pub prefix: Option<Spanned<String>>,
    /// What the policy sets out from.
    pub preset: Option<Spanned<Preset>>,
    /// Drivers.
    pub drivers: List<DriverName>,
    /// Links of the host.
    pub parents: List<Pattern>,
    /// Networks, by name.
    pub networks: List<Pattern>,
    /// Ports of the host.
    pub host_ports: List<PortRange>,
    /// Addresses of the host.
    pub host_addresses: List<Addresses>,
    /// Addresses that networks may be made of.
    pub subnets: List<Addresses>,
    /// Numbers of overlays.
    pub vnis: List<VniRange>,
    /// Sysctls, each as its path below /proc/sys.
    pub sysctls: List<SysctlPattern>,
    /// Whether a container may have CAP_NET_ADMIN over the host.
    pub net_admin: Option<Spanned<bool>>,
    /// Annotations about which there is no list of their own.
    pub keys: List<KeyName>,
    /// The entries about some containers.
    #[serde(rename = "match")]
    pub matches: Vec<Spanned<Table>>,
}

impl Table {
    /// Checks what the form alone does not hold: that an entry says which containers it is about, and nothing else does.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(&self) -> Result<(), (Range<usize>, &'static str)> {
        if let Some(outside) = self.annotation.as_ref().or(self.prefix.as_ref()) {
            return Err((outside.span(), "it belongs to an entry [[policy.match]]"));
        }
        for entry in &self.matches {
            let table = entry.as_ref();
            if table.annotation.is_none() || table.prefix.is_none() {
                return Err((entry.span(), "an entry needs `annotation` and `prefix`"));
            }
            if let Some(inner) = table.matches.first() {
                return Err((inner.span(), "an entry has no entries of its own"));
            }
        }
        Ok(())
    }
}

/// A name, or the beginning of one with `*` behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Whether a name is allowed.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == self.0,
        }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // What begins a name is one, but for an empty beginning.
        let beginning = text.strip_suffix('*').unwrap_or(&text);
        let is_name = beginning.parse::<IfName>().is_ok()
            || beginning.parse::<ocinet_shared::model::container_id::ContainerId>().is_ok();
        if is_name || text == "*" {
            Ok(Self(text))
        } else {
            Err(D::Error::custom(format_args!(
                "\"{text}\" is neither a name nor the beginning of one with a *"
            )))
        }
    }
}

/// A driver that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverName(pub Driver);

impl<'de> Deserialize<'de> for DriverName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match nearest::driver(&name) {
            Ok(driver) => Ok(Self(driver)),
            Err(unknown) => Err(D::Error::custom(format_args!("{unknown}, {}", unknown.hint()))),
        }
    }
}

/// Numbers from one to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberRange<const LEAST: u32, const MOST: u32>(pub RangeInclusive<u32>);

/// Ports.
pub type PortRange = NumberRange<1, 65_535>;
/// Network identifiers of VXLAN, 24 bits (RFC 7348).
pub type VniRange = NumberRange<1, 0x00ff_ffff>;

impl<'de, const LEAST: u32, const MOST: u32> Deserialize<'de> for NumberRange<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor::<LEAST, MOST>)
    }
}

struct NumberVisitor<const LEAST: u32, const MOST: u32>;

impl<const LEAST: u32, const MOST: u32> Visitor<'_> for NumberVisitor<LEAST, MOST> {
    type Value = NumberRange<LEAST, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from {LEAST} to {MOST}, or two with a dash between them")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| {
            let digits = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
            text.parse().ok().filter(|number| digits && (LEAST..=MOST).contains(number))
        };
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(NumberRange(first..=last)),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }
}

/// One address, or all of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses(pub Cidr);

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !text.contains('/') {
            return parse_address(&text).map(|address| Self(Cidr::host(address))).map_err(D::Error::custom);
        }
        let cidr: Cidr = text.parse().map_err(D::Error::custom)?;
        if cidr.is_network() {
            Ok(Self(cidr))
        } else {
            Err(D::Error::custom(format_args!("{cidr} has host bits set; the network is {}", cidr.network())))
        }
    }
}

/// The path of a sysctl below /proc/sys, or the beginning of one with `*` behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysctlPattern(Pattern);

impl SysctlPattern {
    /// Whether the sysctl at a path is allowed.
    #[must_use]
    pub fn fits(&self, path: &str) -> bool {
        self.0.fits(path)
    }
}

impl<'de> Deserialize<'de> for SysctlPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let path = match text.strip_suffix('*') {
            None => sysctl_path(&text),
            // The beginning of a key is none, but what is behind it makes it one.
            Some(beginning) => {
                let end = if beginning.contains('/') { "x/x" } else { "x.x" };
                let path = sysctl_path(&format!("{beginning}{end}"));
                path.and_then(|path| Some(format!("{}*", path.get(..path.len() - end.len())?)))
            }
        };
        path.map(|path| Self(Pattern(path))).ok_or_else(|| {
            D::Error::custom(format_args!(
                "\"{text}\" is neither a sysctl below net. nor the beginning of one with a *"
            ))
        })
    }
}

/// An annotation about which the policy has no list of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(pub String);

/// The annotations that lists of their own are about, each with the list; what has none is allowed, being the
/// container's own affair.
const LISTED: [(&str, Option<&str>); 8] = [
    ("driver", Some("drivers")),
    ("network", Some("networks")),
    ("parent", Some("parents")),
    ("ports", Some("host-ports")),
    ("vni", Some("vnis")),
    ("sysctl", Some("sysctls")),
    ("ifname", None),
    ("default-route", None),
];

/// Whether `keys` is not about an annotation.
#[must_use]
pub fn is_listed(name: &str) -> bool {
    LISTED.iter().any(|(listed, _)| *listed == name)
}

impl<'de> Deserialize<'de> for KeyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if annotations::key(&name).is_none() {
            let instead = annotations::instead_of(&name, |key| format!("net.{key}"));
            return Err(D::Error::custom(format_args!("there is no annotation net.{name}, {instead}")));
        }
        match LISTED.iter().find(|(listed, _)| *listed == name) {
            None => Ok(Self(name)),
            Some((_, Some(list))) => {
                Err(D::Error::custom(format_args!("what net.{name} may say is a matter of `{list}`")))
            }
            Some((_, None)) => Err(D::Error::custom(format_args!("net.{name} is always allowed"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::config::parse;

    #[test]
    fn a_pattern_is_a_name_or_how_one_begins() {
        let table = |parents: &str| parse(&format!("[policy]\nparents = [\"{parents}\"]"));
        for (pattern, fits, others) in [
            ("eth0", &["eth0"][..], &["eth", "eth00"][..]),
            ("eth*", &["eth", "eth0"], &["et", "veth0"]),
            ("*", &["eth0", "x"], &[]),
            // Of a link alone, and of a network alone.
            ("_up", &["_up"], &["up"]),
            ("a-name-of-a-network+1", &["a-name-of-a-network+1"], &["a-name-of-a-network"]),
        ] {
            let parents = table(pattern).unwrap().policy.parents.unwrap().into_inner();
            assert!(fits.iter().all(|name| parents[0].fits(name)), "{pattern}");
            assert!(!others.iter().any(|name| parents[0].fits(name)), "{pattern}");
        }
        for bad in ["", "**", "e*h", "eth 0", "../x"] {
            assert!(table(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_is_a_number_or_two_as_people_write_them() {
        let table = |ports: &str| parse(&format!("[policy]\nhost-ports = [{ports}]"));
        for (text, expected) in [("80", 80..=80), ("\"80\"", 80..=80), ("\"1-65535\"", 1..=65_535)] {
            let ports = table(text).unwrap().policy.host_ports.unwrap().into_inner();
            assert_eq!(ports, [NumberRange(expected)], "{text}");
        }
        for bad in ["0", "-1", "65536", "\"\"", "\"080\"", "\"+80\"", "\"8-\"", "\"8-7\"", "\"a\"", "true"] {
            assert!(table(bad).is_err(), "{bad}");
        }
    }
}
