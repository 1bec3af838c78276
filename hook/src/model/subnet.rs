//! Subnets that a network can have, and addresses that no container can have.

use std::net::IpAddr;
use std::str::FromStr;

use ocinet_shared::model::cidr::{AddressError, Cidr, Family};

/// What kind of address this is, where it cannot be a container's.
#[must_use]
pub fn unusable(address: IpAddr) -> Option<&'static str> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let reserved = matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240);
    if address.is_loopback() {
        Some("loopback")
    } else if address.is_multicast() {
        Some("multicast")
    } else if link_local {
        Some("link-local")
    } else if address.is_unspecified() || reserved {
        Some("reserved")
    } else {
        None
    }
}

/// A network in CIDR notation.
///
/// # Errors
/// Text that is none, and an address with host bits.
pub fn network_cidr(text: &str) -> Result<Cidr, String> {
    let cidr: Cidr = text.parse().map_err(|error: AddressError| error.to_string())?;
    if cidr.is_network() {
        Ok(cidr)
    } else {
        Err(format!("{cidr} has host bits set; the network is {}", cidr.network()))
    }
}

/// A subnet that has room for a gateway and a container, and consists of addresses that hosts can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct UsableSubnet(pub Cidr);

impl FromStr for UsableSubnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let subnet = network_cidr(text)?;
        let lengths = match subnet.family() {
            Family::Ipv4 => 8..=30,
            Family::Ipv6 => 16..=126,
        };
        if !lengths.contains(&subnet.prefix()) {
            let (least, most) = (lengths.start(), lengths.end());
            return Err(format!("{subnet} has a prefix length outside /{least} to /{most}"));
        }
        match unusable(subnet.address()) {
            Some(kind) => Err(format!("{subnet} holds {kind} addresses, which no container can have")),
            None => Ok(Self(subnet)),
        }
    }
}

impl TryFrom<String> for UsableSubnet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
