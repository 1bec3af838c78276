//! An address with its prefix length, for both families alike.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The address family of an address, a subnet or a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both families, in the order in which they are always listed.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family that an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// The length of an address in bits.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Ipv4 => 32,
            Self::Ipv6 => 128,
        }
    }

    /// The kernel's number for it: `AF_INET`, `AF_INET6`, which `NFPROTO_IPV4` and `NFPROTO_IPV6` of linux/netfilter.h equal.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
        }
    }

    /// The address that means "any address" in a socket's or a port's binding.
    #[must_use]
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// Why a text is not an address, or not an address with a prefix length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an address in its canonical text form (RFC 5952 for IPv6, dotted quad for IPv4).
    #[error("\"{0}\" is not an IP address")]
    NotAnAddress(String),
    /// An address, written in another way than the one that every tool prints.
    #[error("\"{given}\" is not written in its usual form, which is {canonical}")]
    NotCanonical {
        /// What was given.
        given: String,
        /// The same address in its canonical form.
        canonical: String,
    },
    /// No `/` with a prefix length that fits the family.
    #[error("\"{0}\" has no prefix length from 0 to {1}")]
    Prefix(String, u8),
}

/// Reads an address in canonical text only, so that what a user sees in a list is what they wrote.
///
/// IPv4-mapped IPv6 addresses are refused: the kernel's two families would disagree about them.
///
/// # Errors
/// [`AddressError`] for anything else.
pub fn parse_address(text: &str) -> Result<IpAddr, AddressError> {
    let address: IpAddr = text.parse().map_err(|_| AddressError::NotAnAddress(text.to_owned()))?;
    if let IpAddr::V6(v6) = address
        && v6.to_ipv4_mapped().is_some()
    {
        return Err(AddressError::NotAnAddress(text.to_owned()));
    }
    let canonical = address.to_string();
    if canonical == text {
        Ok(address)
    } else {
        Err(AddressError::NotCanonical { given: text.to_owned(), canonical })
    }
}

/// An address and the length of its network prefix, as in `10.90.0.1/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// An address with a prefix length; `None` where the length does not fit the family.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= Family::of(address).bits()).then_some(Self { address, prefix })
    }

    /// One address alone.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self { address, prefix: Family::of(address).bits() }
    }

    /// Every address of a family.
    #[must_use]
    pub fn everything(family: Family) -> Self {
        Self { address: family.unspecified(), prefix: 0 }
    }

    /// The IPv6 addresses that are good on one link alone, as interfaces have them (RFC 4291, 2.5.6).
    #[must_use]
    pub fn link_local6() -> Self {
        Self { address: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), prefix: 64 }
    }

    /// The address, host bits included.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The length of the prefix in bits.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The family of the address.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// The address with the host bits cleared.
    #[must_use]
    pub fn network(&self) -> Self {
        Self { address: self.with_number(number(self.address) & !self.host_mask()), prefix: self.prefix }
    }

    /// Whether it is of the link-local addresses of IPv6 (RFC 4291), which every link has.
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        matches!(self.address, IpAddr::V6(address) if address.is_unicast_link_local())
    }

    /// Whether no host bit is set.
    #[must_use]
    pub fn is_network(&self) -> bool {
        self.network() == *self
    }

    /// The highest address of the network: IPv4's broadcast address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        self.with_number(number(self.address) | self.host_mask())
    }

    /// Whether the address lies inside this network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family()
            && number(address) & !self.host_mask() == number(self.address) & !self.host_mask()
    }

    /// Whether all addresses of another network are in this one.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }

    /// Whether the two networks share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (wide, narrow) = if self.prefix <= other.prefix { (self, other) } else { (other, self) };
        wide.contains(narrow.address)
    }

    /// How many addresses the network spans, at most `u128::MAX`.
    #[must_use]
    pub fn size(&self) -> u128 {
        self.host_mask().saturating_add(1)
    }

    /// The address at an offset from the network's first; wraps inside the network.
    #[must_use]
    pub fn nth(&self, offset: u128) -> IpAddr {
        let mask = self.host_mask();
        self.with_number((number(self.address) & !mask) | (offset & mask))
    }

    /// Another address with this prefix length; `None` across families.
    #[must_use]
    pub fn with_address(&self, address: IpAddr) -> Option<Self> {
        (Family::of(address) == self.family()).then_some(Self { address, prefix: self.prefix })
    }

    fn host_mask(&self) -> u128 {
        let host_bits = u32::from(self.family().bits() - self.prefix);
        if host_bits == 128 { u128::MAX } else { (1 << host_bits) - 1 }
    }

    fn with_number(&self, number: u128) -> IpAddr {
        match self.family() {
            Family::Ipv4 => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
            Family::Ipv6 => IpAddr::V6(Ipv6Addr::from_bits(number)),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) =
            text.split_once('/').ok_or_else(|| AddressError::Prefix(text.to_owned(), bits_of(text)))?;
        let address = parse_address(address)?;
        let bad_prefix = || AddressError::Prefix(text.to_owned(), Family::of(address).bits());
        if prefix.is_empty() || prefix.len() > 3 || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad_prefix());
        }
        if prefix.len() > 1 && prefix.starts_with('0') {
            return Err(bad_prefix());
        }
        let length: u8 = prefix.parse().map_err(|_| bad_prefix())?;
        Self::new(address, length).ok_or_else(bad_prefix)
    }
}

fn bits_of(text: &str) -> u8 {
    if text.contains(':') { Family::Ipv6.bits() } else { Family::Ipv4.bits() }
}

impl Serialize for Cidr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn reads_only_the_canonical_form() {
        for bad in [
            "",
            "10.0.0.1",
            "10.0.0.1/",
            "10.0.0.1/33",
            "10.0.0.1/08",
            "10.0.0.1/+8",
            "127.1/8",
            "0177.0.0.1/8",
            "::ffff:127.0.0.1/128",
            "2001:DB8::1/64",
            "2001:db8:0::1/64",
            "::/129",
            "10.0.0.0/8 ",
            "１0.0.0.0/8",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        assert_eq!(cidr("2001:db8::1/64").to_string(), "2001:db8::1/64");
        assert_eq!(cidr("::/0").size(), u128::MAX);
    }

    #[test]
    fn knows_its_bounds_in_both_families() {
        assert_eq!(cidr("10.90.3.7/16").network(), cidr("10.90.0.0/16"));
        assert_eq!(cidr("10.90.3.7/16").last(), IpAddr::from([10, 90, 255, 255]));
        assert_eq!(cidr("10.90.0.0/28").nth(13), IpAddr::from([10, 90, 0, 13]));
        assert_eq!(cidr("10.90.0.0/28").size(), 16);
        assert_eq!(cidr("fd00::/64").nth(2).to_string(), "fd00::2");
        assert!(cidr("10.0.0.0/8").overlaps(&cidr("10.90.0.0/16")));
        assert!(cidr("10.90.0.0/16").overlaps(&cidr("0.0.0.0/0")));
        assert!(!cidr("10.90.0.0/16").overlaps(&cidr("10.91.0.0/16")));
        assert!(!cidr("10.90.0.0/16").overlaps(&cidr("::/0")));
        assert!(cidr("10.90.0.0/16").is_network() && !cidr("10.90.0.1/16").is_network());
    }
}
