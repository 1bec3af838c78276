//! One element of one of ocinet's nftables sets, as data: the only shape in which rules change.
//!
//! `kernel/nft/base.nft` declares the sets; [`Set::ALL`] is tested against it.

mod form;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::cidr::Family;
use crate::model::mac::Mac;
use crate::model::port::Protocol;

/// The table that a set lives in. Both are named `ocinet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// `table inet ocinet`: what is routed.
    Inet,
    /// `table bridge ocinet`: what crosses a bridge.
    Bridge,
}

impl Table {
    /// nft's word for the table's family.
    #[must_use]
    pub fn family(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Bridge => "bridge",
        }
    }
}

macro_rules! sets {
    ($($(#[$doc:meta])* $variant:ident, $table:ident, $name:literal;)*) => {
        /// A set or map of the base tables.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Set {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Set {
            /// Every set, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The table, and the set's name in it.
            #[must_use]
            pub fn place(self) -> (Table, &'static str) {
                match self {
                    $(Self::$variant => (Table::$table, {
                        // In serialized records the two tables' sets need different names.
                        let name: &'static str = $name;
                        match name.split_once('/') { Some((_, bare)) => bare, None => name }
                    }),)*
                }
            }
        }
    };
}

sets! {
    /// (group, group): traffic that stays inside one network.
    Within, Inet, "within";
    /// Groups of internal networks.
    Internal, Inet, "internal";
    /// Groups of networks that gave up isolation.
    Open, Inet, "open";
    /// Families whose forwarding ocinet turned on.
    NoTransit, Inet, "no_transit";
    /// The host's own ways to other hosts, of those links that have a kind.
    Uplinks, Inet, "uplinks";
    /// (bridge, the same bridge): uplinks inside which frames are bridged.
    Bridged, Inet, "bridged";
    /// (group, address) of every container.
    Member4, Inet, "member4";
    /// The same for IPv6.
    Member6, Inet, "member6";
    /// Containers that may leave behind the host's address; counts connections.
    Masquerade4, Inet, "masquerade4";
    /// The same for IPv6.
    Masquerade6, Inet, "masquerade6";
    /// Containers whose traffic leaves with a host address of their own; counts connections.
    Snat4, Inet, "snat4";
    /// The same for IPv6.
    Snat6, Inet, "snat6";
    /// Counts what a container sends out of its network.
    Sent4, Inet, "sent4";
    /// The same for IPv6.
    Sent6, Inet, "sent6";
    /// Counts what a container receives from outside its network.
    Received4, Inet, "received4";
    /// The same for IPv6.
    Received6, Inet, "received6";
    /// Containers that are reachable from outside without a published port.
    Inbound4, Inet, "inbound4";
    /// The same for IPv6.
    Inbound6, Inet, "inbound6";
    /// Every container's addresses, which nobody outside sends from.
    Container4, Inet, "container4";
    /// The same for IPv6.
    Container6, Inet, "container6";
    /// Every container's addresses, each twice: two addresses of a packet that are both its own.
    Itself4, Inet, "itself4";
    /// The same for IPv6.
    Itself6, Inet, "itself6";
    /// Ports published on every host address; counts connections.
    Publish4, Inet, "publish4";
    /// The same for IPv6.
    Publish6, Inet, "publish6";
    /// (protocol, port) of what is published on every host address, which no masqueraded connection leaves by.
    Taken4, Inet, "taken4";
    /// The same for IPv6.
    Taken6, Inet, "taken6";
    /// Ports published on one host address; counts connections.
    Publish4Bound, Inet, "publish4_bound";
    /// The same for IPv6.
    Publish6Bound, Inet, "publish6_bound";
    /// Counts what reaches a container's published port.
    PortIn4, Inet, "port_in4";
    /// The same for IPv6.
    PortIn6, Inet, "port_in6";
    /// Counts what a container's published port answers.
    PortOut4, Inet, "port_out4";
    /// The same for IPv6.
    PortOut6, Inet, "port_out6";
    /// (UDP port, network identifier) of the overlays that the host has an end of.
    Overlays, Inet, "overlays";
    /// The host ends of links to containers that are on no bridge.
    Routed, Inet, "routed";
    /// (link, IPv4 address) that such a container may send from.
    RoutedSource4, Inet, "routed_source4";
    /// The same for IPv6.
    RoutedSource6, Inet, "routed_source6";
    /// The host ends of containers' links to bridges.
    Links, Bridge, "bridge/links";
    /// Tunnel ends on bridges.
    Tunnels, Bridge, "bridge/tunnels";
    /// The same, in a set of the part for tunnels, by which it is told whether the part is there.
    TunnelsOut, Bridge, "bridge/tunnels_out";
    /// (tunnel end, Ethernet address) of the gateways that every host of an overlay has for itself.
    Gateways, Bridge, "bridge/gateways";
    /// (tunnel end, IPv4 address) of these gateways.
    Gateways4, Bridge, "bridge/gateways4";
    /// The same for IPv6.
    Gateways6, Bridge, "bridge/gateways6";
    /// (link, Ethernet address, IPv4 address) that a container may send from.
    Source4, Bridge, "bridge/source4";
    /// (link, Ethernet address, IPv6 address) that a container may send from.
    Source6, Bridge, "bridge/source6";
    /// (link, Ethernet address, IPv6 address) that a container may advertise as its own.
    Target6, Bridge, "bridge/target6";
}

impl Set {
    /// Picks the set of an address's family.
    #[must_use]
    pub fn by_family(family: Family, ipv4: Self, ipv6: Self) -> Self {
        match family {
            Family::Ipv4 => ipv4,
            Family::Ipv6 => ipv6,
        }
    }
}

/// One field of a key or a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// nft's `ifname`: 16 bytes, padded with NUL.
    Interface(String),
    /// nft's `ipv4_addr` or `ipv6_addr`.
    Address(IpAddr),
    /// nft's `ether_addr`.
    Mac(Mac),
    /// nft's `inet_proto`.
    Protocol(Protocol),
    /// nft's `inet_service`.
    Port(u16),
    /// nft's `nf_proto`.
    Family(Family),
    /// nft's `devgroup`.
    Group(u32),
    /// A VXLAN network identifier: the 24 bits of a packet.
    Vni(u32),
}

impl Field {
    /// Appends the bytes that the kernel compares, in network order unless said otherwise.
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Interface(name) => {
                let mut padded = [0_u8; 16];
                // Names come from `IfName`, which holds at most 15 bytes.
                for (to, from) in padded.iter_mut().take(15).zip(name.bytes()) {
                    *to = from;
                }
                bytes.extend(padded);
            }
            Self::Address(IpAddr::V4(address)) => bytes.extend(address.octets()),
            Self::Address(IpAddr::V6(address)) => bytes.extend(address.octets()),
            Self::Mac(mac) => bytes.extend(mac.0),
            Self::Protocol(protocol) => bytes.push(protocol.number()),
            Self::Port(port) => bytes.extend(port.to_be_bytes()),
            Self::Family(family) => bytes.push(family.number()),
            // The kernel loads a group into a register as it is, and so compares it in the host's order.
            Self::Group(group) => bytes.extend(group.to_ne_bytes()),
            Self::Vni(vni) => bytes.extend(&vni.to_be_bytes()[1..]),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => write!(f, "\"{name}\""),
            Self::Address(address) => write!(f, "{address}"),
            Self::Mac(mac) => write!(f, "{mac}"),
            Self::Protocol(protocol) => write!(f, "{protocol}"),
            Self::Port(port) => write!(f, "{port}"),
            Self::Family(Family::Ipv4) => f.write_str("ipv4"),
            Self::Family(Family::Ipv6) => f.write_str("ipv6"),
            Self::Group(group) => write!(f, "{group:#010x}"),
            Self::Vni(vni) => write!(f, "{vni}"),
        }
    }
}

/// One element of one set, or of one map where it has a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    /// The set that holds it.
    pub set: Set,
    /// The key, one field for each part of the set's type.
    pub key: Vec<Field>,
    /// The value of a map's element; empty for a set's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub value: Vec<Field>,
}

impl Element {
    /// An element of a set.
    #[must_use]
    pub fn new(set: Set, key: Vec<Field>) -> Self {
        Self { set, key, value: Vec::new() }
    }

    /// An element of a map.
    #[must_use]
    pub fn mapping(set: Set, key: Vec<Field>, value: Vec<Field>) -> Self {
        Self { set, key, value }
    }

    /// An element by the bytes of its key, as nf_tables holds it; its value stays unknown. `None` for bytes of another form.
    #[must_use]
    pub fn from_key(set: Set, bytes: &[u8]) -> Option<Self> {
        let forms = set.form();
        let mut rest = bytes;
        let mut key = Vec::with_capacity(forms.len());
        for form in forms {
            let length = form.length();
            key.push(form.field(rest.get(..length)?)?);
            let padded = if forms.len() > 1 { length.next_multiple_of(4) } else { length };
            rest = rest.get(padded..)?;
        }
        rest.is_empty().then_some(Self::new(set, key))
    }

    /// The container's address, where it is the one element that says that a container has it.
    #[must_use]
    pub fn of_container(&self) -> Option<IpAddr> {
        match (self.set, self.key.as_slice()) {
            (Set::Container4 | Set::Container6, [Field::Address(address)]) => Some(*address),
            _ => None,
        }
    }

    /// The key's bytes as nf_tables holds them.
    #[must_use]
    pub fn key_bytes(&self) -> Vec<u8> {
        encode(&self.key)
    }

    /// The key, and the value behind a colon, as nft reads them. An address that the set knows as bytes of a packet is a
    /// number to nft.
    #[must_use]
    pub fn nft(&self) -> String {
        let is_raw = matches!(self.set, Set::Target6 | Set::Gateways6);
        let text = |field: &Field| match field {
            Field::Address(IpAddr::V6(address)) if is_raw => format!("{:#034x}", u128::from(*address)),
            field => field.to_string(),
        };
        let join = |fields: &[Field]| fields.iter().map(text).collect::<Vec<_>>().join(" . ");
        let key = join(&self.key);
        if self.value.is_empty() { key } else { format!("{key} : {}", join(&self.value)) }
    }

    /// The value's bytes as nf_tables holds them; empty for a set's element.
    #[must_use]
    pub fn value_bytes(&self) -> Vec<u8> {
        encode(&self.value)
    }
}

/// A single field keeps its length; the fields of a concatenation each fill whole 32-bit registers.
fn encode(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    for field in fields {
        field.encode(&mut bytes);
        if fields.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |fields: &[Field]| fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(" . ");
        let (table, set) = self.set.place();
        write!(f, "{} ocinet {set} {{ {}", table.family(), join(&self.key))?;
        if !self.value.is_empty() {
            write!(f, " : {}", join(&self.value))?;
        }
        f.write_str(" }")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_declared_in_the_base_tables_and_the_reverse() {
        let text = include_str!("../kernel/nft/base.nft");
        let mut declared = Vec::new();
        let mut table = "";
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["table", family, "ocinet", "{"] => table = family,
                ["set" | "map", name, "{", ..] => declared.push(format!("{table} {name}")),
                _ => {}
            }
        }
        let mut known: Vec<String> = Set::ALL
            .iter()
            .map(|set| {
                let (table, name) = set.place();
                format!("{} {name}", if table == Table::Inet { "inet" } else { "bridge" })
            })
            .collect();
        declared.sort();
        known.sort();
        assert_eq!(declared, known);
    }

    #[test]
    fn keys_are_laid_out_as_the_kernel_compares_them() {
        let element = Element::mapping(
            Set::Publish4,
            vec![Field::Protocol(Protocol::Udp), Field::Port(0x1f90)],
            vec![Field::Address([10, 90, 0, 5].into()), Field::Port(80)],
        );
        assert_eq!(element.key_bytes(), [17, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        assert_eq!(element.value_bytes(), [10, 90, 0, 5, 0, 80, 0, 0]);
        assert_eq!(element.to_string(), "inet ocinet publish4 { udp . 8080 : 10.90.0.5 . 80 }");
        let overlay = Element::new(Set::Overlays, vec![Field::Port(0x12b5), Field::Vni(0x01_0203)]);
        assert_eq!(overlay.key_bytes(), [0x12, 0xb5, 0, 0, 1, 2, 3, 0]);
        let target = vec![Field::Interface("oc-a".into()), Field::Address("fd00::1".parse().unwrap())];
        assert_eq!(
            Element::new(Set::Gateways6, target.clone()).nft(),
            "\"oc-a\" . 0xfd000000000000000000000000000001"
        );
        assert_eq!(Element::new(Set::RoutedSource6, target).nft(), "\"oc-a\" . fd00::1");
        assert_eq!(element.nft(), "udp . 8080 : 10.90.0.5 . 80");
        let single = Element::new(Set::NoTransit, vec![Field::Family(Family::Ipv6)]);
        assert_eq!(single.key_bytes(), [10]);
        let source = Element::new(
            Set::Source4,
            vec![
                Field::Interface("oc-a".into()),
                Field::Mac(Mac([2, 0x6f, 10, 90, 0, 5])),
                Field::Address([10, 90, 0, 5].into()),
            ],
        );
        assert_eq!(source.key_bytes().len(), 28);
    }
}
