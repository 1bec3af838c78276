//! What a container is told about names, in its etc/resolv.conf and its etc/hosts.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Where a resolver asks, and where it looks names up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameServers {
    /// The name servers.
    pub servers: Vec<IpAddr>,
    /// The search domains.
    pub search: Vec<String>,
}

impl fmt::Display for NameServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> =
            self.servers.iter().map(|server| format!("nameserver {server}")).collect();
        lines.extend((!self.search.is_empty()).then(|| format!("search {}", self.search.join(" "))));
        f.write_str(&lines.join(", "))
    }
}

/// What is told in etc/resolv.conf.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldResolver {
    /// What is asked for.
    pub asked: NameServers,
    /// The host's name servers, for a container that has none.
    pub host: Option<NameServers>,
}

impl ToldResolver {
    /// Whether an annotation asks for any of it.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        self.asked != NameServers::default()
    }
}

/// A container's own name, and the addresses that it is to stand for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnName {
    /// The name.
    pub name: String,
    /// The addresses, at most one a family.
    pub addresses: Vec<IpAddr>,
}

/// What is told in etc/hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldHosts {
    /// The container's own name, which nobody asked for.
    pub own: Option<OwnName>,
    /// The names that are asked for.
    pub asked: Vec<(IpAddr, String)>,
}

impl ToldHosts {
    /// Whether an annotation asks for any of it.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        !self.asked.is_empty()
    }
}

/// What a container's own files are told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// In etc/resolv.conf, where anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<ToldResolver>,
    /// In etc/hosts, where anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<ToldHosts>,
}

impl Told {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}
