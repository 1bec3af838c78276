//! How links of the host are set, by ioctl(2) (netdevice(7)).
//!
//! rtnetlink answers the same with everything else that it knows of a link, and holds its lock meanwhile: for 1,000 links
//! a dump takes 20 times as long as these calls, which take no lock.

use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::KernelError;
use super::counters::LinkState;
use crate::model::ifname::IfName;

/// `IFF_UP` and `IFF_RUNNING` of linux/if.h: brought up, and with a carrier. `IFF_LOWER_UP`, which says the same of the
/// carrier a moment earlier, does not fit into this call's 16 bits.
const UP: i16 = 0x41;
/// `ETHTOOL_GLINKSETTINGS` of linux/ethtool.h.
const ETHTOOL_GLINKSETTINGS: u32 = 0x4c;
/// Words of `struct ethtool_link_settings`: 12, and three bit maps of at most 127 (linux/ethtool.h).
const SETTINGS_LENGTH: usize = 12 + 3 * 127;

/// `struct ifreq` of linux/if.h: a name, and 16 bytes that mean something else to each call, 24 with their padding.
#[repr(C, align(8))]
struct Ifreq {
    name: [u8; 16],
    value: [u8; 24],
}

impl Ifreq {
    fn of(name: &IfName) -> Self {
        let mut request = Self { name: [0; 16], value: [0; 24] };
        // Names come from `IfName`, which holds at most 15 bytes.
        for (to, from) in request.name.iter_mut().take(15).zip(name.as_str().bytes()) {
            *to = from;
        }
        request
    }
}

/// A socket by which links are asked for.
#[derive(Debug)]
pub struct Devices(OwnedFd);

impl Devices {
    /// Opens a socket in the current network namespace.
    ///
    /// # Errors
    /// The error of socket(2).
    pub fn open() -> Result<Self, KernelError> {
        let opened = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        opened.map(Self).map_err(|errno| KernelError::new("open a socket to ask for links", errno))
    }

    /// How a link is set; `None` where there is none of that name.
    ///
    /// # Errors
    /// Any other refusal.
    pub fn state(&self, name: &IfName) -> Result<Option<LinkState>, KernelError> {
        let mut request = Ifreq::of(name);
        let asked = self.ask(libc::SIOCGIFFLAGS, &mut request).and_then(|()| {
            let flags = i16::from_ne_bytes([request.value[0], request.value[1]]);
            self.ask(libc::SIOCGIFMTU, &mut request)?;
            let [a, b, c, d, ..] = request.value;
            let mtu = u32::from_ne_bytes([a, b, c, d]);
            Ok(LinkState { up: flags & UP == UP, mtu })
        });
        match asked {
            Ok(state) => Ok(Some(state)),
            Err(Errno::ENODEV) => Ok(None),
            Err(errno) => Err(KernelError::new(format!("ask how the link {name} is set"), errno)),
        }
    }

    /// A link's speed in bits per second, where it has one and knows it.
    #[must_use]
    pub fn speed(&self, name: &IfName) -> Option<u64> {
        let mut settings = [0_u32; SETTINGS_LENGTH];
        settings[0] = ETHTOOL_GLINKSETTINGS;
        // The first call says, as a negative number in byte 15, how many words a bit map has; it must be said back.
        self.ask_settings(name, &mut settings)?;
        let [low, middle, high, words] = settings[3].to_ne_bytes();
        let words = words.cast_signed().checked_neg().filter(|words| *words > 0)?;
        settings = [0; SETTINGS_LENGTH];
        settings[0] = ETHTOOL_GLINKSETTINGS;
        settings[3] = u32::from_ne_bytes([low, middle, high, words.cast_unsigned()]);
        self.ask_settings(name, &mut settings)?;
        // `SPEED_UNKNOWN` is -1.
        let megabits = Some(settings[1]).filter(|speed| *speed != 0 && *speed != u32::MAX)?;
        Some(u64::from(megabits) * 1_000_000)
    }

    fn ask_settings(&self, name: &IfName, settings: &mut [u32; SETTINGS_LENGTH]) -> Option<()> {
        let mut request = Ifreq::of(name);
        let pointer = std::ptr::from_mut(settings).expose_provenance().to_ne_bytes();
        request.value[..pointer.len()].copy_from_slice(&pointer);
        self.ask(libc::SIOCETHTOOL, &mut request).ok()
    }

    #[expect(unsafe_code, reason = "ioctl(2) has no safe wrapper")]
    fn ask(&self, call: libc::Ioctl, request: &mut Ifreq) -> Result<(), Errno> {
        // SAFETY: the calls of this file read and write one `struct ifreq`, which `request` is, mutably borrowed.
        // SIOCETHTOOL, the one among them that follows a pointer in it, gets it from `ask_settings` alone: to an array
        // mutably borrowed for the call's time, with room for the most words that ETHTOOL_GLINKSETTINGS can write.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), call, std::ptr::from_mut(request)) };
        Errno::result(result).map(drop)
    }
}
