//! What each driver is, as data: its name, the annotations that it supports, and where its addresses come from. What a driver
//! does is in `plan/drivers/`.

use ocinet_shared::model::link_mode::{IpvlanMode, MacvlanMode};

use self::Subject::{Addresses, Bridge, Ethernet, HostAccess, Mode, Parent, Rates, Routing, Tunnel};

/// The name of the network of containers that name none and are on a bridge.
pub const DEFAULT_NETWORK: &str = "default";

/// What an annotation key is about. A driver says which subjects it supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The container as a whole.
    Container,
    /// Which attachment this is.
    Attachment,
    /// Addresses and routes.
    Addresses,
    /// The Ethernet address.
    Ethernet,
    /// What the host does for the container as its router.
    Routing,
    /// The bridge.
    Bridge,
    /// Limits of the host's end of the link.
    Rates,
    /// The link of the host that it is on.
    Parent,
    /// The mode of the link.
    Mode,
    /// A way from the host to containers that are on the LAN themselves.
    HostAccess,
    /// Tunnels to other hosts.
    Tunnel,
    /// A later version's.
    Later,
}

/// Who hands out the addresses of a driver's networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressScope {
    /// The host alone hands them out, and routes for them.
    Host,
    /// They are the LAN's, beside others that ocinet knows nothing of.
    Lan,
    /// They are shared with other hosts' ocinet, and each host routes for its own containers.
    Overlay,
}

/// The network of containers that name none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultNetwork {
    /// One network, of this name.
    Named(&'static str),
    /// One for each value of this annotation key: `DRIVER-VALUE`, or `DRIVER` where the key is not set.
    By(&'static str),
}

/// What a driver is that attaches containers to networks.
#[derive(Debug, PartialEq, Eq)]
pub struct DriverSpec {
    /// The value of `net.driver` that asks for it.
    pub name: &'static str,
    /// What it supports: a key about any other subject is refused.
    pub subjects: &'static [Subject],
    /// The values of `net.mode`; the first is the default.
    pub modes: &'static [&'static str],
    /// Who hands out its addresses.
    pub addresses: AddressScope,
    /// The network of containers that name none.
    pub default_network: DefaultNetwork,
}

/// A driver that attaches containers to networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverKind {
    /// A veth pair between the container and a bridge that its network's containers share.
    Bridge,
    /// A link of the container's own to the host.
    Veth,
    /// A link on the LAN itself, with an Ethernet address of its own.
    Macvlan,
    /// A link on the LAN itself, with its parent's Ethernet address.
    Ipvlan,
    /// A bridge that spans several hosts through tunnels.
    Vxlan,
}

/// A driver that attaches the container to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandaloneDriver {
    /// The container uses the host's own network.
    Host,
    /// The container has its loopback and nothing else.
    None,
}

/// A driver of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// It attaches containers to networks.
    Network(DriverKind),
    /// It attaches the container to nothing.
    Standalone(StandaloneDriver),
}

/// All drivers.
const DRIVERS: [Driver; 7] = [
    Driver::Network(DriverKind::Bridge),
    Driver::Network(DriverKind::Veth),
    Driver::Network(DriverKind::Macvlan),
    Driver::Network(DriverKind::Ipvlan),
    Driver::Network(DriverKind::Vxlan),
    Driver::Standalone(StandaloneDriver::Host),
    Driver::Standalone(StandaloneDriver::None),
];

impl DriverKind {
    /// What it is.
    #[must_use]
    pub const fn spec(self) -> &'static DriverSpec {
        match self {
            Self::Bridge => &DriverSpec {
                name: "bridge",
                subjects: &[Addresses, Ethernet, Routing, Bridge, Rates],
                modes: &[],
                addresses: AddressScope::Host,
                default_network: DefaultNetwork::Named(DEFAULT_NETWORK),
            },
            Self::Veth => &DriverSpec {
                name: "veth",
                subjects: &[Addresses, Ethernet, Routing, Rates],
                modes: &[],
                addresses: AddressScope::Host,
                default_network: DefaultNetwork::Named("veth"),
            },
            Self::Macvlan => &DriverSpec {
                name: "macvlan",
                subjects: &[Addresses, Ethernet, Parent, Mode, HostAccess],
                modes: MacvlanMode::NAMES,
                addresses: AddressScope::Lan,
                default_network: DefaultNetwork::By("parent"),
            },
            Self::Ipvlan => &DriverSpec {
                name: "ipvlan",
                subjects: &[Addresses, Parent, Mode],
                modes: IpvlanMode::NAMES,
                addresses: AddressScope::Lan,
                default_network: DefaultNetwork::By("parent"),
            },
            Self::Vxlan => &DriverSpec {
                name: "vxlan",
                subjects: &[Addresses, Ethernet, Routing, Bridge, Rates, Parent, Tunnel],
                modes: &[],
                addresses: AddressScope::Overlay,
                default_network: DefaultNetwork::By("vni"),
            },
        }
    }

    /// The value of `net.driver` that asks for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// Who hands out its addresses.
    #[must_use]
    pub const fn addresses(self) -> AddressScope {
        self.spec().addresses
    }
}

impl StandaloneDriver {
    /// The value of `net.driver` that asks for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::None => "none",
        }
    }

    /// Whether the container must have a network namespace of its own.
    #[must_use]
    pub const fn needs_own_namespace(self) -> bool {
        match self {
            Self::Host => false,
            Self::None => true,
        }
    }
}

impl Driver {
    /// The driver of containers that name none.
    pub const DEFAULT: DriverKind = DriverKind::Bridge;

    /// The value of `net.driver` that asks for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network(driver) => driver.name(),
            Self::Standalone(driver) => driver.name(),
        }
    }

    /// The driver of a name; `None` where no driver has it.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        DRIVERS.into_iter().find(|driver| driver.name() == name)
    }

    /// The names of all drivers.
    pub fn names() -> impl Iterator<Item = &'static str> {
        DRIVERS.into_iter().map(Self::name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_found_by_its_name() {
        let names: Vec<&str> = Driver::names().collect();
        assert_eq!(names, ["bridge", "veth", "macvlan", "ipvlan", "vxlan", "host", "none"]);
        for name in names {
            assert_eq!(Driver::find(name).map(Driver::name), Some(name));
        }
        assert_eq!(Driver::find("Bridge"), None);
    }

    #[test]
    fn a_driver_with_modes_supports_the_key_and_no_other_does() {
        for driver in DRIVERS {
            if let Driver::Network(driver) = driver {
                let spec = driver.spec();
                assert_eq!(spec.subjects.contains(&Mode), !spec.modes.is_empty(), "{}", spec.name);
            }
        }
    }
}
