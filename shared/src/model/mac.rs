//! Ethernet addresses, and how ocinet derives them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The first two bytes of every address that ocinet derives for a container: locally administered
/// (IEEE 802 bit 1 of the first byte), unicast, and easy to spot in a capture.
const CONTAINER: [u8; 2] = [0x02, 0x6f];
/// The same for the bridges that ocinet makes; finding it on a bridge tells that the bridge is ours.
const BRIDGE: [u8; 2] = [0x02, 0x6e];
/// The same for the host's ends of containers' links.
const HOST_END: [u8; 2] = [0x02, 0x6d];

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address of a container's interface, derived from its first IP address, so that when an
    /// IP address is used again the neighbours' caches still hold the right Ethernet address.
    #[must_use]
    pub fn of_container(address: IpAddr) -> Self {
        let tail = match address {
            IpAddr::V4(v4) => v4.octets(),
            IpAddr::V6(v6) => (fnv1a(&v6.octets()) as u32).to_be_bytes(),
        };
        Self::join(CONTAINER, tail)
    }

    /// The address of the bridge that ocinet makes for a network.
    #[must_use]
    pub fn of_bridge(network: &str) -> Self {
        Self::join(BRIDGE, (fnv1a(network.as_bytes()) as u32).to_be_bytes())
    }

    /// The address of the host's end of a link, derived from its name, which is drawn for each. An address that the kernel
    /// draws is another some moments later: udev gives such links one of its own (`MACAddressPolicy` of systemd.link(5)).
    #[must_use]
    pub fn of_host_end(name: &str) -> Self {
        Self::join(HOST_END, (fnv1a(name.as_bytes()) as u32).to_be_bytes())
    }

    fn join(head: [u8; 2], tail: [u8; 4]) -> Self {
        Self([head[0], head[1], tail[0], tail[1], tail[2], tail[3]])
    }

    /// Whether a single station can have this address (not a group address, not all zero).
    #[must_use]
    pub fn is_unicast(&self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }

    /// The link-local IPv6 address that the kernel forms from it (RFC 4291, appendix A).
    #[must_use]
    pub fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0.map(u16::from);
        Ipv6Addr::new(0xfe80, 0, 0, 0, ((a ^ 2) << 8) | b, (c << 8) | 0xff, 0xfe00 | d, (e << 8) | f)
    }
}

/// FNV-1a, 64 bits: where ocinet spreads names over addresses it needs a hash that stays the same
/// in every version, which the standard library's does not promise.
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Why a text is not an Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an Ethernet address of six bytes such as 02:6f:0a:5a:00:05")]
pub struct MacError(String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || MacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(bad)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"00:00:00:00:00:00";
        for (byte, at) in self.0.iter().zip(text.chunks_mut(3)) {
            at[0] = DIGITS[usize::from(byte >> 4)];
            at[1] = DIGITS[usize::from(byte & 0xf)];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_derived_from_the_address() {
        let mac = Mac::of_container(IpAddr::from([10, 90, 3, 7]));
        assert_eq!(mac.to_string(), "02:6f:0a:5a:03:07");
        assert_eq!(mac.link_local().to_string(), "fe80::6f:aff:fe5a:307");
        assert!(Mac::of_bridge("default").is_unicast());
    }

    #[test]
    fn refuses_what_is_no_address() {
        for bad in [
            "",
            "02:6f",
            "02:6f:0a:5a:03:07:01",
            "2:6f:0a:5a:03:07",
            "02-6f-0a-5a-03-07",
            "zz:6f:0a:5a:03:07",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
        assert!(!"ff:ff:ff:ff:ff:ff".parse::<Mac>().unwrap().is_unicast());
    }
}
