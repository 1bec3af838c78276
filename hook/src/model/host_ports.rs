//! Host ports, and whether two are in each other's way.

use std::collections::BTreeMap;

use ocinet_shared::model::port::{Protocol, PublishedPort};

/// Host ports by their numbers: a container may publish thousands, and each is looked for among them.
#[derive(Debug, Default)]
pub struct HostPorts(BTreeMap<(Protocol, u16), Vec<PublishedPort>>);

impl HostPorts {
    /// Adds a port.
    pub fn add(&mut self, port: PublishedPort) {
        self.0.entry((port.protocol, port.host_port)).or_default().push(port);
    }

    /// Whether a packet could be meant for one of them and for this one.
    #[must_use]
    pub fn overlap(&self, port: &PublishedPort) -> bool {
        let same = self.0.get(&(port.protocol, port.host_port));
        same.is_some_and(|same| same.iter().any(|other| other.overlaps(port)))
    }
}

impl FromIterator<PublishedPort> for HostPorts {
    fn from_iter<I: IntoIterator<Item = PublishedPort>>(ports: I) -> Self {
        let mut all = Self::default();
        ports.into_iter().for_each(|port| all.add(port));
        all
    }
}

#[cfg(test)]
mod tests {
    use ocinet_shared::model::port::parse_published;

    use super::*;

    #[test]
    fn ports_of_one_number_are_told_apart() {
        let port = |text: &str| parse_published(text).unwrap()[0];
        let taken: HostPorts = ["80:80", "127.0.0.1:81:81", "82:82/udp"].map(port).into_iter().collect();
        for same in ["80:90", "127.0.0.1:80:90", "81:90", "127.0.0.1:81:90", "82:82/udp"] {
            assert!(taken.overlap(&port(same)), "{same}");
        }
        for other in ["83:80", "80:80/udp", "127.0.0.2:81:81", "[2001:db8::1]:81:81", "82:82"] {
            assert!(!taken.overlap(&port(other)), "{other}");
        }
    }
}
