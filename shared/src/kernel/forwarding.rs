//! Whether a namespace forwards, and what forwarding changes beside itself.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use super::sysctl;
use super::sysctl::family_of_sysctls as name;
use super::{KernelError, optional};
use crate::model::cidr::Family;

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
    /// Those of readdir(3) and open(2).
    pub fn read(family: Family) -> io::Result<Self> {
        let folder = format!("/proc/sys/net/{}/conf", name(family));
        let mut links: Vec<String> =
            fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        links.sort();
        let mut forwarding = Vec::new();
        for link in links.into_iter().filter(|link| link != "all") {
            if setting(family, &link, "forwarding")?.as_deref() == Some("1") {
                forwarding.push(link);
            }
        }
        Ok(Self { links: forwarding, refused_redirects: refuses_redirects(family)? })
    }
}

/// Turns forwarding off in this namespace, and gives back what turning it on overwrote.
///
/// # Errors
/// Those of open(2) and write(2).
pub fn turn_off(family: Family, before: &Before) -> Result<(), KernelError> {
    // The kernel refuses redirects while it forwards, and takes them from then on: who set it to take them meanwhile wants so.
    let unreadable = |error| KernelError::from_io("read whether the host refuses redirects", &error);
    let refuses = before.refused_redirects && refuses_redirects(family).map_err(unreadable)?;
    sysctl::write(sysctl::forwarding_key(family), "0")?;
    if refuses {
        sysctl::write(&key(family, "all", "accept_redirects"), "0")?;
    }
    before.links.iter().try_for_each(|link| optional(sysctl::write(&key(family, link, "forwarding"), "1")))
}

/// Whether one link, or `default`, forwards; `None` where there is no such link.
#[must_use]
pub fn of_link(family: Family, link: &str) -> Option<bool> {
    setting(family, link, "forwarding").ok()?.map(|value| value != "0")
}

fn refuses_redirects(family: Family) -> io::Result<bool> {
    Ok(family == Family::Ipv4 && setting(family, "all", "accept_redirects")?.as_deref() == Some("0"))
}

/// A link's setting; `None` where there is no such link.
fn setting(family: Family, link: &str, setting: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(format!("/proc/sys/{}", key(family, link, setting))) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        // A link that goes while its settings are opened is not there, and its file may be none any more.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn key(family: Family, link: &str, setting: &str) -> String {
    format!("net/{}/conf/{link}/{setting}", name(family))
}
