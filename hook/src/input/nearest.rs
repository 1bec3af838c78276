//! Which known word somebody meant. Pure.

use crate::model::driver_spec::Driver;

/// What the keys are called by other programs (docker run, podman run, compose files, CNI and Kubernetes), without the
/// `net.` that they do not have there.
const CALLED: &[(&str, &[&str])] = &[
    ("driver", &["type", "kind", "net-driver", "network-driver", "network-mode"]),
    ("network", &["name", "net", "networks", "network-name"]),
    ("ifname", &["interface", "interface-name", "if", "name-in-container"]),
    ("bridge", &["bridge-name", "br", "master"]),
    ("subnet", &["cidr", "range", "pool"]),
    ("gateway", &["gw", "router", "default-gateway"]),
    ("ip-range", &["allocation-pool", "range-start", "dhcp-range"]),
    (
        "ip",
        &[
            "address",
            "addresses",
            "addr",
            "ip-address",
            "ip-addresses",
            "ipv4",
            "ipv6",
            "ip4",
            "ip6",
            "ipv4-address",
            "ipv6-address",
            "static-ip",
            "ips",
        ],
    ),
    ("mac", &["mac-address", "hwaddr", "hw-address", "ethernet", "lladdr"]),
    ("routes", &["route", "static-routes"]),
    (
        "ports",
        &[
            "publish",
            "published",
            "publish-port",
            "publish-ports",
            "expose",
            "p",
            "port-map",
            "portmap",
            "port-mapping",
            "port-mappings",
            "port-bindings",
            "forward",
            "forwards",
            "port-forward",
        ],
    ),
    ("masquerade", &["masq", "nat", "ip-masq", "ipmasq", "enable-ip-masquerade"]),
    ("snat", &["source-nat", "source-ip", "outbound-address", "outbound-addr"]),
    ("isolate", &["isolated", "icc", "enable-icc", "isolation"]),
    ("allow-inbound", &["inbound", "allow-ingress"]),
    (
        "rate-in",
        &["ingress", "ingress-rate", "ingress-bandwidth", "download", "bandwidth", "rate", "rate-limit"],
    ),
    ("rate-out", &["egress", "egress-rate", "egress-bandwidth", "upload"]),
    ("parent", &["device", "dev", "link", "uplink", "vlan"]),
    ("mode", &["macvlan-mode", "ipvlan-mode"]),
    ("vni", &["vxlan-id", "vnid", "id"]),
    ("peers", &["remote", "remotes", "peer"]),
    ("default-route", &["gateway-interface", "default-interface"]),
    (
        "dns",
        &[
            "dns-server",
            "dns-servers",
            "nameserver",
            "nameservers",
            "name-server",
            "name-servers",
            "resolver",
            "resolvers",
        ],
    ),
    (
        "dns-search",
        &["search", "search-domain", "search-domains", "domain", "domains", "dns-domain", "dns-domains"],
    ),
    ("hosts", &["add-host", "add-hosts", "extra-host", "extra-hosts", "host-aliases", "etc-hosts"]),
    ("sysctl", &["sysctls"]),
];

/// The known word that another one is a slip of the pen for: at most a third of it is otherwise.
#[must_use]
pub fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('_', "-");
    let distance = |known: &str| strsim::damerau_levenshtein(known, &word);
    let nearest = known.into_iter().min_by_key(|known| distance(known))?;
    (distance(nearest) * 3 <= nearest.len().max(word.len())).then_some(nearest)
}

/// The key that somebody meant who knows other programs' words.
#[must_use]
pub fn called_elsewhere(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase().replace('_', "-");
    CALLED.iter().find(|(_, names)| names.contains(&word.as_str())).map(|(key, _)| *key)
}

/// A name that no driver has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no driver \"{0}\"")]
pub struct UnknownDriver(String);

impl UnknownDriver {
    /// The driver whose name is near, and all that there are.
    #[must_use]
    pub fn hint(&self) -> String {
        let all: Vec<&str> = Driver::names().collect();
        let nearest = near(&self.0, all.iter().copied());
        let nearest = nearest.map(|name| format!("the nearest one is {name}; ")).unwrap_or_default();
        format!("{nearest}there are {}", all.join(", "))
    }
}

/// The driver of a name.
///
/// # Errors
/// A name that no driver has.
pub fn driver(name: &str) -> Result<Driver, UnknownDriver> {
    Driver::find(name).ok_or_else(|| UnknownDriver(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::annotations::{KEYS, Subject};

    #[test]
    fn what_is_called_otherwise_elsewhere_is_a_key_and_no_key_itself() {
        for (key, names) in CALLED {
            assert!(KEYS.iter().any(|known| known.name == *key && known.subject != Subject::Later), "{key}");
            for name in *names {
                assert!(KEYS.iter().all(|known| known.name != *name), "{name}");
                assert_eq!(called_elsewhere(name), Some(*key), "{name} is there twice");
            }
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_near_and_another_word_is_not() {
        let known = ["ports", "ip", "subnet", "mtu"];
        for (word, meant) in
            [("prots", "ports"), ("Ports", "ports"), ("sub_net", "subnet"), ("ipp", "ip"), ("mtus", "mtu")]
        {
            assert_eq!(near(word, known), Some(meant), "{word}");
        }
        for word in ["publish", "xy", "hostname", ""] {
            assert_eq!(near(word, known), None, "{word}");
        }
    }
}
