//! Published ports, in the syntax of `docker run -p`.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::model::cidr::{AddressError, Family, parse_address};

/// A transport protocol whose ports can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

impl Protocol {
    /// Every protocol, in the order in which messages list them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The number in the IP header (IANA protocol numbers).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The name in annotations, sets and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A host address and port that lead to a container's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The one host address it is published on; `None` is every address of the host.
    pub host_address: Option<IpAddr>,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port on the host; 0 until ocinet has chosen a free one.
    pub host_port: u16,
    /// The port inside the container.
    pub container_port: u16,
}

impl PublishedPort {
    /// The one host address that it is published on; `None` where it is published on all of a family or of both.
    #[must_use]
    pub fn bound_address(&self) -> Option<IpAddr> {
        self.host_address.filter(|address| !address.is_unspecified())
    }

    /// Whether it is published on one host address only.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.bound_address().is_some()
    }

    /// Whether a packet could be meant for either.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let same_address = match (self.bound_address(), other.bound_address()) {
            (Some(a), Some(b)) => a == b,
            _ => Family::ALL.into_iter().any(|family| self.serves(family) && other.serves(family)),
        };
        self.protocol == other.protocol
            && self.host_port != 0
            && self.host_port == other.host_port
            && same_address
    }

    /// Whether the port is published for this family.
    #[must_use]
    pub fn serves(&self, family: Family) -> bool {
        self.host_address.is_none_or(|address| Family::of(address) == family)
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            None => {}
        }
        write!(f, "{}:{}/{}", self.host_port, self.container_port, self.protocol)
    }
}

/// Why a text publishes no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not a decimal number from 1 to 65535 without sign or leading zero.
    #[error("\"{0}\" is not a port from 1 to 65535")]
    Number(String),
    /// Not one of the protocols.
    #[error("\"{0}\" is not one of tcp, udp, sctp")]
    Protocol(String),
    /// The second number of a range is below the first.
    #[error("the range \"{0}\" ends before it begins")]
    Reversed(String),
    /// The ranges on both sides have different lengths.
    #[error("\"{0}\" has {1} host ports for {2} container ports")]
    Unequal(String, usize, usize),
    /// The host address is not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Square brackets that do not close, or an IPv6 address without them.
    #[error("\"{0}\" is not of the form [ADDRESS:][HOSTPORT:]PORT[/PROTOCOL]")]
    Form(String),
}

/// Reads one entry of `net.ports`, a single port or a range, as the list of ports it publishes.
///
/// # Errors
/// [`PortError`] says what is wrong with it.
pub fn parse_published(text: &str) -> Result<Vec<PublishedPort>, PortError> {
    let (rest, protocol) = match text.split_once('/') {
        Some((rest, name)) => (rest, parse_protocol(name)?),
        None => (text, Protocol::Tcp),
    };
    let (host_address, ports) = split_address(rest)?;
    let (host, container) = match ports.split_once(':') {
        Some((host, container)) => (Some(host), container),
        None => (None, ports),
    };
    let container = parse_range(container)?;
    let host = match host {
        None | Some("") => None,
        Some(host) => Some(parse_range(host)?),
    };
    let lengths = (host.as_ref().map_or(container.len(), RangeInclusive::len), container.len());
    if lengths.0 != lengths.1 {
        return Err(PortError::Unequal(text.to_owned(), lengths.0, lengths.1));
    }
    let published = container.enumerate().map(|(index, container_port)| {
        let host_port = host.as_ref().map_or(0, |range| range.start() + index as u16);
        PublishedPort { host_address, protocol, host_port, container_port }
    });
    Ok(published.collect())
}

fn split_address(text: &str) -> Result<(Option<IpAddr>, &str), PortError> {
    let form = || PortError::Form(text.to_owned());
    if let Some(rest) = text.strip_prefix('[') {
        let (address, ports) = rest.split_once("]:").ok_or_else(form)?;
        let address = parse_address(address)?;
        return if address.is_ipv6() { Ok((Some(address), ports)) } else { Err(form()) };
    }
    match text.matches(':').count() {
        0 | 1 => Ok((None, text)),
        2 => {
            let (address, ports) = text.split_once(':').ok_or_else(form)?;
            let address = parse_address(address)?;
            Ok((Some(address), ports))
        }
        _ => Err(form()),
    }
}

fn parse_protocol(name: &str) -> Result<Protocol, PortError> {
    Protocol::ALL
        .into_iter()
        .find(|protocol| protocol.name() == name)
        .ok_or_else(|| PortError::Protocol(name.escape_debug().to_string()))
}

fn parse_range(text: &str) -> Result<RangeInclusive<u16>, PortError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (parse_number(first)?, parse_number(last)?);
    if last < first {
        return Err(PortError::Reversed(text.to_owned()));
    }
    Ok(first..=last)
}

fn parse_number(text: &str) -> Result<u16, PortError> {
    let bad = || PortError::Number(text.escape_debug().to_string());
    if text.is_empty() || text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    text.parse().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> String {
        let ports = parse_published(text).unwrap();
        assert_eq!(ports.len(), 1);
        ports[0].to_string()
    }

    #[test]
    fn reads_dockers_syntax() {
        assert_eq!(one("8080:80"), "8080:80/tcp");
        assert_eq!(one("80"), "0:80/tcp");
        assert_eq!(one("127.0.0.1:53:53/udp"), "127.0.0.1:53:53/udp");
        assert_eq!(one("[2001:db8::1]:443:443"), "[2001:db8::1]:443:443/tcp");
        assert_eq!(one("127.0.0.1::80"), "127.0.0.1:0:80/tcp");
        let range = parse_published("9000-9010:9100-9110/sctp").unwrap();
        assert_eq!((range.len(), range[10].host_port, range[10].container_port), (11, 9010, 9110));
        assert_eq!(parse_published("1-65535:1-65535").unwrap().len(), 65535);
    }

    #[test]
    fn refuses_what_docker_would_not_mean() {
        for bad in [
            "",
            "0:80",
            "65536:80",
            "70000:80",
            "+80:80",
            "080:80",
            "８０:80",
            "80:",
            "9010-9000:9010-9000",
            "80/icmp",
            "80/TCP",
            "9000-9001:80",
            "1.2.3:80:80",
            "2001:db8::1:443:443",
            "[127.0.0.1]:80:80",
            "[::1]80:80",
            "80 :80",
            "a:80",
            "1:2:3:4",
        ] {
            assert!(parse_published(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn overlap_knows_that_every_address_includes_each() {
        let port = |text: &str| parse_published(text).unwrap()[0];
        assert!(port("80:80").overlaps(&port("127.0.0.1:80:81")));
        assert!(!port("127.0.0.2:80:80").overlaps(&port("127.0.0.1:80:81")));
        assert!(!port("80:80/udp").overlaps(&port("80:80")));
        assert!(!port("80").overlaps(&port("80")));
        assert!(port("0.0.0.0:80:80").overlaps(&port("127.0.0.1:80:81")));
        assert!(!port("0.0.0.0:80:80").overlaps(&port("[2001:db8::1]:80:81")));
    }
}
