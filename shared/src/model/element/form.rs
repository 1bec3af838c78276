//! What the keys of each set are made of, to read them again from the kernel's bytes.

use std::net::IpAddr;

use super::{Field, Set};
use crate::model::cidr::Family;
use crate::model::mac::Mac;
use crate::model::port::Protocol;

/// The form of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Interface,
    Ipv4,
    Ipv6,
    Mac,
    Protocol,
    Port,
    Family,
    Group,
    Vni,
}

impl Set {
    /// The forms of the fields of its keys.
    pub(super) fn form(self) -> &'static [Form] {
        use Form::{Family, Group, Interface, Ipv4, Ipv6, Mac, Port, Protocol, Vni};
        match self {
            Self::Internal | Self::Open => &[Group],
            Self::Within => &[Group, Group],
            Self::NoTransit => &[Family],
            Self::Bridged => &[Interface, Interface],
            Self::Member4 => &[Group, Ipv4],
            Self::Member6 => &[Group, Ipv6],
            Self::Masquerade4
            | Self::Snat4
            | Self::Sent4
            | Self::Received4
            | Self::Inbound4
            | Self::Container4 => &[Ipv4],
            Self::Masquerade6
            | Self::Snat6
            | Self::Sent6
            | Self::Received6
            | Self::Inbound6
            | Self::Container6 => &[Ipv6],
            Self::Itself4 => &[Ipv4, Ipv4],
            Self::Itself6 => &[Ipv6, Ipv6],
            Self::Publish4 | Self::Publish6 | Self::Taken4 | Self::Taken6 => &[Protocol, Port],
            Self::Publish4Bound => &[Ipv4, Protocol, Port],
            Self::Publish6Bound => &[Ipv6, Protocol, Port],
            Self::PortIn4 | Self::PortOut4 => &[Ipv4, Protocol, Port, Port],
            Self::PortIn6 | Self::PortOut6 => &[Ipv6, Protocol, Port, Port],
            Self::Overlays => &[Port, Vni],
            Self::Uplinks | Self::Routed | Self::Links | Self::Tunnels | Self::TunnelsOut => &[Interface],
            Self::RoutedSource4 | Self::Gateways4 => &[Interface, Ipv4],
            Self::RoutedSource6 | Self::Gateways6 => &[Interface, Ipv6],
            Self::Gateways => &[Interface, Mac],
            Self::Source4 => &[Interface, Mac, Ipv4],
            Self::Source6 | Self::Target6 => &[Interface, Mac, Ipv6],
        }
    }
}

impl Form {
    /// How many bytes it has.
    pub fn length(self) -> usize {
        match self {
            Self::Interface | Self::Ipv6 => 16,
            Self::Ipv4 | Self::Group => 4,
            Self::Mac => 6,
            Self::Vni => 3,
            Self::Port => 2,
            Self::Protocol | Self::Family => 1,
        }
    }

    /// Reads a field of just as many bytes.
    pub fn field(self, bytes: &[u8]) -> Option<Field> {
        Some(match self {
            Self::Interface => {
                let name = bytes.split(|byte| *byte == 0).next()?;
                Field::Interface(std::str::from_utf8(name).ok()?.to_owned())
            }
            Self::Ipv4 => Field::Address(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
            Self::Ipv6 => Field::Address(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
            Self::Mac => Field::Mac(Mac(bytes.try_into().ok()?)),
            Self::Protocol => {
                let number = *bytes.first()?;
                Field::Protocol(Protocol::ALL.into_iter().find(|known| known.number() == number)?)
            }
            Self::Port => Field::Port(u16::from_be_bytes(bytes.try_into().ok()?)),
            Self::Family => {
                let number = *bytes.first()?;
                Field::Family(Family::ALL.into_iter().find(|known| known.number() == number)?)
            }
            Self::Group => Field::Group(u32::from_ne_bytes(bytes.try_into().ok()?)),
            Self::Vni => Field::Vni(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Element;
    use super::*;

    fn example(form: Form) -> Field {
        match form {
            Form::Interface => Field::Interface("oc-abc".to_owned()),
            Form::Ipv4 => Field::Address([10, 90, 0, 5].into()),
            Form::Ipv6 => Field::Address("fd00:90::5".parse().unwrap()),
            Form::Mac => Field::Mac(Mac([2, 0x6f, 10, 90, 0, 5])),
            Form::Protocol => Field::Protocol(Protocol::Sctp),
            Form::Port => Field::Port(0x1f90),
            Form::Family => Field::Family(Family::Ipv6),
            Form::Group => Field::Group(0x6f00_0102),
            Form::Vni => Field::Vni(0x01_0203),
        }
    }

    #[test]
    fn every_key_is_read_again_from_its_bytes() {
        for set in Set::ALL {
            let element = Element::new(*set, set.form().iter().copied().map(example).collect());
            let bytes = element.key_bytes();
            assert_eq!(Element::from_key(*set, &bytes), Some(element), "{set:?}");
            (0..bytes.len()).for_each(|length| assert_eq!(Element::from_key(*set, &bytes[..length]), None));
            assert_eq!(Element::from_key(*set, &[bytes, vec![0; 4]].concat()), None);
        }
    }
}
