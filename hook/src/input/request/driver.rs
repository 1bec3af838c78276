//! What annotations say to a driver about its network's links.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ocinet_shared::model::driver_settings::list;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::link_mode::{IpvlanMode, MacvlanMode};

use crate::model::driver_spec::{AddressScope, DriverKind};

/// The driver that is asked for, and what it is told of its network's links. What is not said is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverRequest {
    /// `net.driver=bridge`.
    Bridge(BridgeRequest),
    /// `net.driver=veth`.
    Veth(VethRequest),
    /// `net.driver=macvlan`.
    Macvlan(MacvlanRequest),
    /// `net.driver=ipvlan`.
    Ipvlan(IpvlanRequest),
    /// `net.driver=vxlan`.
    Vxlan(VxlanRequest),
}

/// What the driver bridge is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeRequest {
    /// The name of the bridge.
    pub bridge: Option<IfName>,
}

/// What the driver veth is told: nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethRequest;

/// What the driver macvlan is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacvlanRequest {
    /// The link of the host that the containers' links are on.
    pub parent: Option<IfName>,
    /// Who of them reaches whom.
    pub mode: Option<MacvlanMode>,
    /// Whether the host is to reach them.
    pub host_access: Option<bool>,
}

/// What the driver ipvlan is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpvlanRequest {
    /// The link of the host that the containers' links are on.
    pub parent: Option<IfName>,
    /// At which layer they are told apart.
    pub mode: Option<IpvlanMode>,
}

/// What the driver vxlan is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VxlanRequest {
    /// The name of the bridge.
    pub bridge: Option<IfName>,
    /// The link that the tunnels are bound to.
    pub parent: Option<IfName>,
    /// The VXLAN network identifier.
    pub vni: Option<u32>,
    /// The UDP port.
    pub port: Option<u16>,
    /// This host's address in the underlay.
    pub local: Option<IpAddr>,
    /// All hosts of the network; empty where none is named.
    pub peers: Vec<IpAddr>,
    /// The multicast group of the hosts.
    pub group: Option<IpAddr>,
}

impl DriverRequest {
    /// Which driver it is.
    #[must_use]
    pub const fn kind(&self) -> DriverKind {
        match self {
            Self::Bridge(_) => DriverKind::Bridge,
            Self::Veth(_) => DriverKind::Veth,
            Self::Macvlan(_) => DriverKind::Macvlan,
            Self::Ipvlan(_) => DriverKind::Ipvlan,
            Self::Vxlan(_) => DriverKind::Vxlan,
        }
    }

    /// The driver's name, as `net.driver` has it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// Who hands out the addresses of the driver's networks.
    #[must_use]
    pub const fn addresses(&self) -> AddressScope {
        self.kind().addresses()
    }

    /// `net.bridge`.
    #[must_use]
    pub fn bridge(&self) -> Option<&IfName> {
        match self {
            Self::Bridge(asked) => asked.bridge.as_ref(),
            Self::Vxlan(asked) => asked.bridge.as_ref(),
            Self::Veth(_) | Self::Macvlan(_) | Self::Ipvlan(_) => None,
        }
    }

    /// `net.parent`.
    #[must_use]
    pub fn parent(&self) -> Option<&IfName> {
        match self {
            Self::Macvlan(asked) => asked.parent.as_ref(),
            Self::Ipvlan(asked) => asked.parent.as_ref(),
            Self::Vxlan(asked) => asked.parent.as_ref(),
            Self::Bridge(_) | Self::Veth(_) => None,
        }
    }

    /// Whether the host is to reach the containers of a LAN (`net.host-access`).
    #[must_use]
    pub fn host_access(&self) -> bool {
        matches!(self, Self::Macvlan(MacvlanRequest { host_access: Some(true), .. }))
    }

    /// What is said to the driver of tunnels.
    #[must_use]
    pub fn tunnels(&self) -> Option<&VxlanRequest> {
        if let Self::Vxlan(asked) = self { Some(asked) } else { None }
    }

    /// What is said, as text by annotation key.
    #[must_use]
    pub fn texts(&self) -> BTreeMap<&'static str, String> {
        let mut texts = BTreeMap::new();
        let mut put = |key, value: Option<String>| texts.extend(value.map(|value| (key, value)));
        put("bridge", self.bridge().map(ToString::to_string));
        put("parent", self.parent().map(ToString::to_string));
        match self {
            Self::Bridge(_) | Self::Veth(_) => {}
            Self::Macvlan(asked) => {
                put("mode", asked.mode.map(|mode| mode.to_string()));
                put("host-access", asked.host_access.map(|truth| truth.to_string()));
            }
            Self::Ipvlan(asked) => put("mode", asked.mode.map(|mode| mode.to_string())),
            Self::Vxlan(asked) => {
                put("vni", asked.vni.map(|vni| vni.to_string()));
                put("port", asked.port.map(|port| port.to_string()));
                put("local", asked.local.map(|local| local.to_string()));
                put("peers", list(&asked.peers));
                put("group", asked.group.map(|group| group.to_string()));
            }
        }
        texts
    }
}
