//! Whether a namespace forwards, and what forwarding changes beside itself.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use super::sysctl::{self, family_of_sysctls as name};
use super::{KernelError, optional};
use crate::cidr::Family;

/// What turning forwarding on for all links overwrites (`inet_forward_change`, `addrconf_fixup_forwarding`), and turning
/// it off does not bring back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The links that forwarded by themselves, and `default` where new ones did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// Whether ICMP redirects were refused on all links; IPv4 alone.
    #[serde(default)]
    pub refused_redirects: bool,
}

impl Before {
    /// Reads it in this namespace.
    ///
    /// # Errors
    /// Those of readdir(3).
    pub fn read(family: Family) -> io::Result<Self> {
        let folder = format!("/proc/sys/net/{}/conf", name(family));
        let mut links: Vec<String> =
            fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        links.retain(|link| link != "all" && setting(family, link, "forwarding").as_deref() == Some("1"));
        links.sort();
        Ok(Self { links, refused_redirects: refuses_redirects(family) })
    }
}

/// Turns forwarding off in this namespace, and gives back what turning it on overwrote.
///
/// # Errors
/// Those of open(2) and write(2).
pub fn turn_off(family: Family, before: &Before) -> Result<(), KernelError> {
    // The kernel refuses redirects while it forwards, and takes them from then on: who set it to take them meanwhile wants so.
    let refuses = before.refused_redirects && refuses_redirects(family);
    sysctl::write(sysctl::forwarding_key(family), "0")?;
    if refuses {
        sysctl::write(&key(family, "all", "accept_redirects"), "0")?;
    }
    before.links.iter().try_for_each(|link| optional(sysctl::write(&key(family, link, "forwarding"), "1")))
}

/// Whether one link, or `default`, forwards; `None` where there is no such link.
#[must_use]
pub fn of_link(family: Family, link: &str) -> Option<bool> {
    setting(family, link, "forwarding").map(|value| value != "0")
}

fn refuses_redirects(family: Family) -> bool {
    family == Family::Ipv4 && setting(family, "all", "accept_redirects").as_deref() == Some("0")
}

fn setting(family: Family, link: &str, setting: &str) -> Option<String> {
    sysctl::read(&key(family, link, setting))
}

fn key(family: Family, link: &str, setting: &str) -> String {
    format!("net/{}/conf/{link}/{setting}", name(family))
}
