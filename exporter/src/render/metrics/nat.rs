//! What is routed and published for containers, and their open connections.

use ocinet_shared::kernel::nft::Counter;
use ocinet_shared::model::cidr::Family;

use crate::render::exposition::{Description, Group, Writer, counter, gauge};
use crate::render::labels::LabelSet;
use crate::scrape::snapshot::{Container, Port, Routed};

/// What is routed for a container, all addresses together.
#[rustfmt::skip]
static ROUTED: Group<Routed> = Group {
    labels: &["id", "name"],
    source: Some("nft"),
    metrics: &[
        counter("ocinet_routed_receive_bytes_total", "Bytes of IP packets that a container received from outside its network.",
            |routed| routed.received.bytes.into()),
        counter("ocinet_routed_receive_packets_total", "IP packets that a container received from outside its network.",
            |routed| routed.received.packets.into()),
        counter("ocinet_routed_transmit_bytes_total", "Bytes of IP packets that a container sent out of its network.",
            |routed| routed.sent.bytes.into()),
        counter("ocinet_routed_transmit_packets_total", "IP packets that a container sent out of its network.",
            |routed| routed.sent.packets.into()),
        counter("ocinet_masqueraded_connections_total", "Connections of a container that left behind an address of the host.",
            |routed| routed.masqueraded.into()),
    ],
};

/// Connections to a published port.
#[rustfmt::skip]
static CONNECTIONS: Group<u64> = Group {
    labels: &["id", "name", "protocol", "host_address", "host_port", "container_port"],
    source: Some("nft"),
    metrics: &[
        counter("ocinet_published_port_connections_total", "Connections to a published port of a container.",
            |count| (*count).into()),
    ],
};

/// What a published port carried, all host addresses together.
#[rustfmt::skip]
static PORT_TRAFFIC: Group<PortTraffic> = Group {
    labels: &["id", "name", "protocol", "host_port", "container_port"],
    source: Some("nft"),
    metrics: &[
        counter("ocinet_published_port_receive_bytes_total", "Bytes of IP packets that reached a container by a published port.",
            |traffic| traffic.received.bytes.into()),
        counter("ocinet_published_port_receive_packets_total", "IP packets that reached a container by a published port.",
            |traffic| traffic.received.packets.into()),
        counter("ocinet_published_port_transmit_bytes_total", "Bytes of IP packets that a container answered by a published port.",
            |traffic| traffic.sent.bytes.into()),
        counter("ocinet_published_port_transmit_packets_total", "IP packets that a container answered by a published port.",
            |traffic| traffic.sent.packets.into()),
    ],
};

/// Open connections of a container.
#[rustfmt::skip]
static CONNTRACK: Group<u64> = Group {
    labels: &["id", "name"],
    source: Some("conntrack"),
    metrics: &[
        gauge("ocinet_conntrack_entries", "Entries of the host's connection tracking that have an address of a container.",
            |count| (*count).into()),
    ],
};

/// What the tables say, in their order.
pub(super) fn table() -> impl Iterator<Item = Description> {
    let ports = CONNECTIONS.describe().chain(PORT_TRAFFIC.describe());
    ROUTED.describe().chain(ports).chain(CONNTRACK.describe())
}

pub(super) fn write(containers: &[(LabelSet, &Container)], writer: &mut Writer<'_>) {
    let (mut routed, mut connections, mut traffic) = (Vec::new(), Vec::new(), Vec::new());
    let mut conntrack: Vec<(&LabelSet, u64)> = Vec::new();
    for (own, container) in containers {
        routed.extend(container.routed.map(|routed| (own, routed)));
        connections.extend(container.ports.iter().map(|port| (of_port(own.clone(), port), port.connections)));
        traffic.extend(port_traffic(container, own));
        conntrack.extend(container.conntrack_entries.map(|entries| (own, entries)));
    }
    ROUTED.write(&routed, writer);
    CONNECTIONS.write(&connections, writer);
    PORT_TRAFFIC.write(&traffic, writer);
    CONNTRACK.write(&conntrack, writer);
}

fn of_port(own: LabelSet, port: &Port) -> LabelSet {
    let address = port.port.host_address.map(|address| address.to_string()).unwrap_or_default();
    with_ports(own.with("protocol", port.port.protocol.name()).with("host_address", &address), port)
}

fn with_ports(labels: LabelSet, port: &Port) -> LabelSet {
    labels
        .with("host_port", &port.port.host_port.to_string())
        .with("container_port", &port.port.container_port.to_string())
}

/// What a published port carried, all host addresses together.
#[derive(Default)]
struct PortTraffic {
    /// What reached the container.
    received: Counter,
    /// What it answered.
    sent: Counter,
}

/// Two host addresses of one host port have the same counters, and are one series.
fn port_traffic(container: &Container, own: &LabelSet) -> Vec<(LabelSet, PortTraffic)> {
    let key = |port: &Port| (port.port.protocol, port.port.host_port, port.port.container_port);
    let mut ports: Vec<&Port> = container.ports.iter().collect();
    ports.sort_by_key(|port| key(port));
    let same_ports = ports.chunk_by(|a, b| key(a) == key(b));
    let together = |ports: &[&Port]| {
        let first = ports.first()?;
        let mut traffic = PortTraffic::default();
        for (index, port) in ports.iter().enumerate() {
            let serves_the_same = |earlier: &&Port| {
                Family::ALL.into_iter().any(|family| earlier.port.serves(family) && port.port.serves(family))
            };
            if !ports.iter().take(index).any(serves_the_same) {
                add(&mut traffic.received, port.received);
                add(&mut traffic.sent, port.sent);
            }
        }
        Some((with_ports(own.clone().with("protocol", first.port.protocol.name()), first), traffic))
    };
    same_ports.filter_map(together).collect()
}

fn add(sum: &mut Counter, counter: Counter) {
    sum.bytes = sum.bytes.wrapping_add(counter.bytes);
    sum.packets = sum.packets.wrapping_add(counter.packets);
}
