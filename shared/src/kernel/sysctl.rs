//! Sysctls, by their files under /proc/sys.

use std::fs;
use std::io::{self, Write as _};

use super::KernelError;
use crate::cidr::Family;
use crate::ifname::IfName;

/// Writes a sysctl of the network namespace that this process is in; `key` has slashes, as in
/// `net/ipv4/ip_forward`, because interface names may have dots.
///
/// # Errors
/// Those of open(2) and write(2).
pub fn write(key: &str, value: &str) -> Result<(), KernelError> {
    let path = format!("/proc/sys/{key}");
    let written =
        fs::OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(value.as_bytes()));
    written.map_err(|error| KernelError::from_io(format!("write the sysctl {key}"), &error))
}

/// Reads a sysctl of the network namespace that this process is in; `None` where there is none of that key.
#[must_use]
pub fn read(key: &str) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/sys/{key}")).ok()?.trim_end().to_owned())
}

/// The key of a per-interface setting.
#[must_use]
pub fn of_interface(family: Family, interface: &IfName, setting: &str) -> String {
    let family = match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    };
    format!("net/{family}/conf/{interface}/{setting}")
}

/// The key that makes this namespace forward packets of a family between its links.
#[must_use]
pub fn forwarding_key(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "net/ipv4/ip_forward",
        Family::Ipv6 => "net/ipv6/conf/all/forwarding",
    }
}

/// Whether this namespace forwards packets of a family.
///
/// # Errors
/// Those of open(2) and read(2); a kernel without the family is an error.
pub fn forwards(family: Family) -> io::Result<bool> {
    Ok(fs::read(format!("/proc/sys/{}", forwarding_key(family)))?.first() != Some(&b'0'))
}
