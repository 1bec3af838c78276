//! What a network's driver was told or chose. In a network's file it is text by annotation key, and nowhere else.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::ifname::IfName;
use crate::model::link_mode::{IpvlanMode, MacvlanMode};

/// What a network's driver was told or chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverSettings {
    /// A bridge that the containers share.
    Bridge {
        /// Its name.
        bridge: IfName,
    },
    /// A link for each container.
    Veth,
    /// Links on the LAN, each with an Ethernet address of its own.
    Macvlan {
        /// The link of the host that they are on.
        parent: IfName,
        /// Who of them reaches whom.
        mode: MacvlanMode,
        /// Whether the host has a link beside them, by which it reaches them.
        host_access: bool,
    },
    /// Links on the LAN with their parent's Ethernet address.
    Ipvlan {
        /// The link of the host that they are on.
        parent: IfName,
        /// At which layer they are told apart.
        mode: IpvlanMode,
    },
    /// A bridge that spans several hosts.
    Vxlan(VxlanSettings),
    /// What is in the file and cannot be read: of another version's driver, say. Its containers can be detached by their
    /// records; nobody can join.
    Unreadable {
        /// The name of the driver.
        driver: String,
        /// The text by annotation key.
        settings: BTreeMap<String, String>,
    },
}

/// What a network of tunnels was told or chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VxlanSettings {
    /// The name of the bridge.
    pub bridge: IfName,
    /// The VXLAN network identifier (RFC 7348): 24 bits.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The link that the tunnel is bound to, where one was named.
    pub parent: Option<IfName>,
    /// This host's address in the underlay, where one was named.
    pub local: Option<IpAddr>,
    /// The hosts that were named, this one perhaps among them.
    pub peers: Vec<IpAddr>,
    /// The multicast group, where one was named.
    pub group: Option<IpAddr>,
}

impl DriverSettings {
    /// What a network's file says.
    #[must_use]
    pub fn read(driver: String, texts: BTreeMap<String, String>) -> Self {
        read(&driver, &texts).unwrap_or(Self::Unreadable { driver, settings: texts })
    }

    /// The name of the driver, as `net.driver` has it.
    #[must_use]
    pub fn driver(&self) -> &str {
        match self {
            Self::Bridge { .. } => "bridge",
            Self::Veth => "veth",
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
            Self::Vxlan(_) => "vxlan",
            Self::Unreadable { driver, .. } => driver,
        }
    }

    /// Why no container can join the network, where its file does not say what its driver writes there.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let Self::Unreadable { driver, .. } = self else { return None };
        Some(format!("its file does not hold the settings of the driver {driver}"))
    }

    /// The link of the host that containers' links, or tunnels, are bound to, where one was named or found.
    #[must_use]
    pub fn parent(&self) -> Option<&IfName> {
        match self {
            Self::Macvlan { parent, .. } | Self::Ipvlan { parent, .. } => Some(parent),
            Self::Vxlan(settings) => settings.parent.as_ref(),
            Self::Bridge { .. } | Self::Veth | Self::Unreadable { .. } => None,
        }
    }

    /// The VXLAN network identifier.
    #[must_use]
    pub fn vni(&self) -> Option<u32> {
        if let Self::Vxlan(settings) = self { Some(settings.vni) } else { None }
    }

    /// Whether the network has room for one container only.
    #[must_use]
    pub fn holds_one(&self) -> bool {
        matches!(self, Self::Macvlan { mode: MacvlanMode::Passthru, .. })
    }

    /// The settings as text by annotation key.
    #[must_use]
    pub fn texts(&self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        let mut put = |key: &str, value: Option<String>| {
            texts.extend(value.map(|value| (key.to_owned(), value)));
        };
        match self {
            Self::Bridge { bridge } => put("bridge", Some(bridge.to_string())),
            Self::Veth => {}
            Self::Macvlan { parent, mode, host_access } => {
                put("parent", Some(parent.to_string()));
                put("mode", Some(mode.to_string()));
                put("host-access", Some(host_access.to_string()));
            }
            Self::Ipvlan { parent, mode } => {
                put("parent", Some(parent.to_string()));
                put("mode", Some(mode.to_string()));
            }
            Self::Vxlan(VxlanSettings { bridge, vni, port, parent, local, peers, group }) => {
                put("bridge", Some(bridge.to_string()));
                put("vni", Some(vni.to_string()));
                put("port", Some(port.to_string()));
                put("parent", parent.as_ref().map(ToString::to_string));
                put("local", local.map(|local| local.to_string()));
                put("peers", list(peers));
                put("group", group.map(|group| group.to_string()));
            }
            Self::Unreadable { settings, .. } => return settings.clone(),
        }
        texts
    }
}

/// Addresses as an annotation lists them; `None` where there is none.
#[must_use]
pub fn list(addresses: &[IpAddr]) -> Option<String> {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(","))
}

/// The settings that a file's text says; `None` where anything of it is not as ocinet writes it.
fn read(driver: &str, settings: &BTreeMap<String, String>) -> Option<DriverSettings> {
    let text = |key: &str| settings.get(key).map(String::as_str);
    match driver {
        "bridge" => Some(DriverSettings::Bridge { bridge: text("bridge")?.parse().ok()? }),
        "veth" => Some(DriverSettings::Veth),
        "macvlan" => Some(DriverSettings::Macvlan {
            parent: text("parent")?.parse().ok()?,
            mode: text("mode")?.parse().ok()?,
            host_access: text("host-access").map_or(Some(false), |text| text.parse().ok())?,
        }),
        "ipvlan" => Some(DriverSettings::Ipvlan {
            parent: text("parent")?.parse().ok()?,
            mode: text("mode")?.parse().ok()?,
        }),
        "vxlan" => Some(DriverSettings::Vxlan(VxlanSettings {
            bridge: text("bridge")?.parse().ok()?,
            vni: text("vni")?.parse().ok()?,
            port: text("port")?.parse().ok()?,
            parent: text("parent").map(str::parse).transpose().ok()?,
            local: text("local").map(str::parse).transpose().ok()?,
            peers: text("peers").map_or(Ok(Vec::new()), addresses).ok()?,
            group: text("group").map(str::parse).transpose().ok()?,
        })),
        _ => None,
    }
}

fn addresses(list: &str) -> Result<Vec<IpAddr>, std::net::AddrParseError> {
    list.split(',').map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(driver: &str, settings: &str) -> DriverSettings {
        DriverSettings::read(driver.to_owned(), serde_json::from_str(settings).unwrap())
    }

    #[test]
    fn what_a_file_says_is_written_again_as_it_was() {
        for (driver, settings) in [
            ("bridge", r#"{"bridge":"ocinet0"}"#),
            ("veth", "{}"),
            ("macvlan", r#"{"host-access":"true","mode":"bridge","parent":"eth0"}"#),
            ("ipvlan", r#"{"mode":"l3s","parent":"eth0"}"#),
            ("vxlan", r#"{"bridge":"oc-far","peers":"192.0.2.2,192.0.2.3","port":"4789","vni":"7"}"#),
            (
                "vxlan",
                r#"{"bridge":"oc-far","group":"ff05::1","local":"2001:db8::1","parent":"eth0","port":"4790","vni":"16777215"}"#,
            ),
            // Another version's, and damaged ones.
            ("wireguard", r#"{"key":"k"}"#),
            ("bridge", "{}"),
            ("vxlan", r#"{"bridge":"oc-far","port":"4789","vni":"x"}"#),
        ] {
            let read = parsed(driver, settings);
            assert_eq!(serde_json::to_string(&read.texts()).unwrap(), settings);
            assert_eq!(read.driver(), driver);
        }
    }

    #[test]
    fn a_macvlan_network_of_an_earlier_version_has_no_host_access() {
        let settings = parsed("macvlan", r#"{"mode":"passthru","parent":"eth0"}"#);
        let DriverSettings::Macvlan { host_access, .. } = settings else { panic!("{settings:?}") };
        assert!(!host_access && settings.holds_one());
    }

    #[test]
    fn what_cannot_be_read_keeps_its_text() {
        for (driver, settings) in [
            ("bridge", r#"{"bridge":"a name that no link has"}"#),
            ("macvlan", r#"{"parent":"eth0"}"#),
            ("macvlan", r#"{"parent":"eth0","mode":"l2"}"#),
            ("macvlan", r#"{"parent":"eth0","mode":"vepa","host-access":"maybe"}"#),
            ("ipvlan", r#"{"mode":"l2"}"#),
            ("vxlan", r#"{"bridge":"b","vni":"7","port":"4789","peers":"here"}"#),
        ] {
            let DriverSettings::Unreadable { driver: of, settings: kept } = parsed(driver, settings) else {
                panic!("{driver} {settings}")
            };
            assert_eq!(
                (of.as_str(), serde_json::to_value(kept).unwrap()),
                (driver, serde_json::from_str(settings).unwrap())
            );
        }
    }
}
