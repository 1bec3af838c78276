//! Sysctls, by their files under /proc/sys.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::fcntl::{OFlag, openat};
use nix::libc;
use nix::sys::stat::Mode;

use super::{KernelError, optional};
use crate::model::cidr::Family;
use crate::model::ifname::IfName;

/// Makes a sysctl of the network namespace that this process is in what it is to be; `key` has slashes, as in
/// `net/ipv4/ip_forward`, because interface names may have dots. What is so already is not written: /proc/sys may be
/// read-only, and the kernel takes rtnetlink's lock for a write that changes nothing.
///
/// # Errors
/// Those of open(2), read(2) and write(2).
pub fn write(key: &str, value: &str) -> Result<(), KernelError> {
    let path = format!("/proc/sys/{key}");
    write_opened(key, value, |reads| OpenOptions::new().read(reads).write(true).open(&path))
}

/// Makes sysctls of an interface in the network namespace that this process is in what they are to be, each a name and a value. The
/// way to them is walked once: beside hundreds of namespaces it takes milliseconds. Those that the kernel does not have are left out.
///
/// # Errors
/// As [`write()`].
pub fn write_all(family: Family, interface: &IfName, settings: &[(&str, &str)]) -> Result<(), KernelError> {
    let key = of_interface(family, interface, "");
    let folder = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(format!("/proc/sys/{key}"));
    let folder = match folder {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|error| KernelError::from_io(format!("open the sysctls {key}"), &error))?,
    };
    for (setting, value) in settings {
        let open = |reads| {
            let access = if reads { OFlag::O_RDWR } else { OFlag::O_WRONLY };
            Ok(File::from(openat(&folder, *setting, access | OFlag::O_CLOEXEC, Mode::empty())?))
        };
        optional(write_opened(&format!("{key}{setting}"), value, open))?;
    }
    Ok(())
}

/// `open` opens the file to write, and to read as well or not.
fn write_opened(key: &str, value: &str, open: impl Fn(bool) -> io::Result<File>) -> Result<(), KernelError> {
    let written = match open(true) {
        Ok(mut file) => change(&mut file, value),
        // It can only be read, or only be written.
        Err(_) if read(key).is_some_and(|is| is_same(&is, value)) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open(false).and_then(|mut file| file.write_all(value.as_bytes()))
        }
        Err(error) => Err(error),
    };
    written.map_err(|error| KernelError::from_io(format!("write the sysctl {key}"), &error))
}

fn change(file: &mut File, value: &str) -> io::Result<()> {
    let mut is = [0_u8; LONGEST];
    let length = file.read(&mut is)?;
    if length < LONGEST && std::str::from_utf8(&is[..length]).is_ok_and(|is| is_same(is, value)) {
        return Ok(());
    }
    // A write that begins elsewhere than at 0 is ignored (`kernel.sysctl_writes_strict`).
    file.rewind()?;
    file.write_all(value.as_bytes())
}

/// The kernel separates numbers by tabs, whatever separated them when they were written.
fn is_same(is: &str, value: &str) -> bool {
    is.split_ascii_whitespace().eq(value.split_ascii_whitespace())
}

/// Values that are longer are written whatever they are.
const LONGEST: usize = 128;

/// Reads a sysctl of the network namespace that this process is in; `None` where there is none of that key.
#[must_use]
pub fn read(key: &str) -> Option<String> {
    read_text(key).ok()
}

/// The same with the reason why there is none.
///
/// # Errors
/// Those of open(2) and read(2), and a value that is not UTF-8.
pub fn read_text(key: &str) -> io::Result<String> {
    let mut file = File::open(format!("/proc/sys/{key}"))?;
    let mut is = [0_u8; LONGEST];
    let length = file.read(&mut is)?;
    let mut bytes = is[..length].to_vec();
    // The kernel gives a value that fits in whole: no second read tells that it is the end.
    if length == LONGEST {
        file.read_to_end(&mut bytes)?;
    }
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok(text.trim_end().to_owned())
}

/// The key of a per-interface setting.
#[must_use]
pub fn of_interface(family: Family, interface: &IfName, setting: &str) -> String {
    format!("net/{}/conf/{interface}/{setting}", family_of_sysctls(family))
}

/// The folder of a family's sysctls under `net`.
#[must_use]
pub fn family_of_sysctls(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    }
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
    Ok(!read_text(forwarding_key(family))?.starts_with('0'))
}
