//! Series: what a snapshot has of each metric, with labels that are made once for all metrics that have the same.

use std::fmt::Display;

use ocinet_shared::kernel::nft::Counter;
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::record::Attachment;

use crate::render::exposition::{Labels, Page};
use crate::render::metrics::{Metric, Of};
use crate::scrape::snapshot::{Container, HookRuns, Interface, LinkCounters, Port, Snapshot};

/// What a published port counted, all host addresses together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortTraffic {
    /// What reached the container.
    pub received: Counter,
    /// What it answered.
    pub sent: Counter,
}

/// A snapshot's containers with their labels.
pub struct Prepared<'a> {
    containers: Vec<PreparedContainer<'a>>,
}

struct PreparedContainer<'a> {
    container: &'a Container,
    own: Labels,
    interfaces: Vec<(Labels, &'a Interface)>,
    cadvisor: Vec<(Labels, LinkCounters)>,
    connections: Vec<(Labels, u64)>,
    traffic: Vec<(Labels, PortTraffic)>,
}

impl<'a> Prepared<'a> {
    /// Makes the labels, those of cAdvisor's too if they are wanted.
    #[must_use]
    pub fn of(snapshot: &'a Snapshot, cadvisor: bool) -> Self {
        let containers = snapshot.containers.iter();
        Self { containers: containers.map(|container| PreparedContainer::of(container, cadvisor)).collect() }
    }
}

impl<'a> PreparedContainer<'a> {
    fn of(container: &'a Container, cadvisor: bool) -> Self {
        let record = &container.record;
        let own = Labels::default().with("id", record.id.as_str()).with("name", record.display_name());
        let interface_name = |interface: &Interface| {
            record
                .attachments
                .get(interface.attachment)
                .map_or("", |attachment| attachment.interface.as_str())
        };
        let of_interface =
            |interface: &'a Interface| (own.clone().with("interface", interface_name(interface)), interface);
        let image = record.labels.image.as_deref().unwrap_or_default();
        let of_cadvisor = |interface: &Interface| {
            let labels = own.clone().with("image", image).with("interface", interface_name(interface));
            Some((labels, interface.counters?))
        };
        let of_port = |port: &Port| {
            let address = port.port.host_address.map(|address| address.to_string()).unwrap_or_default();
            let labels =
                own.clone().with("protocol", port.port.protocol.name()).with("host_address", &address);
            (with_ports(labels, port), port.connections)
        };
        let compatible = container.interfaces.iter().filter(|_| cadvisor);
        Self {
            container,
            interfaces: container.interfaces.iter().map(of_interface).collect(),
            cadvisor: compatible.filter_map(of_cadvisor).collect(),
            connections: container.ports.iter().map(of_port).collect(),
            traffic: traffic(container, &own),
            own,
        }
    }
}

fn with_ports(labels: Labels, port: &Port) -> Labels {
    labels
        .with("host_port", &port.port.host_port.to_string())
        .with("container_port", &port.port.container_port.to_string())
}

/// Two host addresses of one host port have the same counters, and are one series.
fn traffic(container: &Container, own: &Labels) -> Vec<(Labels, PortTraffic)> {
    let key = |port: &Port| (port.port.protocol, port.port.host_port, port.port.container_port);
    let mut ports: Vec<&Port> = container.ports.iter().collect();
    ports.sort_by_key(|port| key(port));
    let groups = ports.chunk_by(|a, b| key(a) == key(b));
    let of_group = |group: &[&Port]| {
        let first = group.first()?;
        let mut traffic = PortTraffic::default();
        for (index, port) in group.iter().enumerate() {
            let serves_the_same = |earlier: &&Port| {
                Family::ALL.into_iter().any(|family| earlier.port.serves(family) && port.port.serves(family))
            };
            if !group.iter().take(index).any(serves_the_same) {
                add(&mut traffic.received, port.received);
                add(&mut traffic.sent, port.sent);
            }
        }
        Some((with_ports(own.clone().with("protocol", first.port.protocol.name()), first), traffic))
    };
    groups.filter_map(of_group).collect()
}

fn add(sum: &mut Counter, counter: Counter) {
    sum.bytes = sum.bytes.wrapping_add(counter.bytes);
    sum.packets = sum.packets.wrapping_add(counter.packets);
}

/// A metric under way, whose header comes before its first series; one without a series has none.
struct Series<'p, 'a> {
    metric: &'static Metric,
    page: &'p mut Page<'a>,
    has_header: bool,
}

impl Series<'_, '_> {
    fn begin(&mut self) {
        if !self.has_header {
            self.page.header(self.metric.name, self.metric.kind, self.metric.help);
            self.has_header = true;
        }
    }

    fn number(&mut self, labels: &Labels, value: u64) {
        self.begin();
        self.page.number(self.metric.name, labels.as_str(), value);
    }

    fn value(&mut self, labels: &Labels, value: impl Display) {
        self.begin();
        self.page.value(self.metric.name, labels.as_str(), value);
    }
}

/// Appends a metric with all its series.
pub fn write_metric(
    metric: &'static Metric,
    snapshot: &Snapshot,
    prepared: &Prepared<'_>,
    page: &mut Page<'_>,
) {
    let mut series = Series { metric, page, has_header: false };
    for prepared in &prepared.containers {
        write_container(&mut series, prepared);
    }
    let none = Labels::default;
    match metric.of {
        Of::Pool(number) => {
            for pool in &snapshot.pools {
                let family = if pool.family == Family::Ipv4 { "ipv4" } else { "ipv6" };
                series.value(
                    &none().with("network", pool.network.as_str()).with("family", family),
                    number(pool),
                );
            }
        }
        Of::RecordPhase => {
            let phases = snapshot.records.iter().flat_map(|records| {
                [("ready", records.ready), ("pending", records.pending), ("unreadable", records.unreadable)]
            });
            phases.for_each(|(phase, count)| series.number(&none().with("phase", phase), count));
        }
        Of::Records(number) => {
            let value = snapshot.records.as_ref().and_then(number);
            value.into_iter().for_each(|value| series.value(&none(), value));
        }
        Of::HookResult | Of::HookDuration => {
            snapshot.hooks.iter().for_each(|runs| write_hook(&mut series, runs));
        }
        Of::Tables => {
            let tables = snapshot.tables.iter();
            let tables = tables.flat_map(|tables| [("inet", tables.inet), ("bridge", tables.bridge)]);
            tables.for_each(|(table, there)| series.number(&none().with("table", table), u64::from(there)));
        }
        Of::Source(number) => {
            let sources = snapshot.sources.iter();
            sources.for_each(|source| series.value(&none().with("source", source.name), number(source)));
        }
        Of::Build => {
            let version = none().with("version", env!("CARGO_PKG_VERSION"));
            series.number(&version.with("rustversion", env!("OCINET_RUSTC_VERSION")), 1);
        }
        Of::Process => {
            let values = snapshot.process.iter().filter(|(name, _)| name == metric.name);
            values.for_each(|(_, value)| series.value(&none(), value));
        }
        // Those of containers.
        _ => {}
    }
}

fn write_container(series: &mut Series<'_, '_>, prepared: &PreparedContainer<'_>) {
    match series.metric.of {
        Of::Attachment => write_attachments(series, prepared),
        Of::Interface(number) => {
            for (labels, interface) in &prepared.interfaces {
                number(interface).into_iter().for_each(|value| series.number(labels, value));
            }
        }
        Of::Cadvisor(number) => {
            prepared.cadvisor.iter().for_each(|(labels, counters)| series.number(labels, number(counters)));
        }
        Of::Routed(number) => {
            let routed = prepared.container.routed.iter();
            routed.for_each(|routed| series.number(&prepared.own, number(routed)));
        }
        Of::Connections => {
            prepared.connections.iter().for_each(|(labels, value)| series.number(labels, *value));
        }
        Of::PortTraffic(number) => {
            prepared.traffic.iter().for_each(|(labels, traffic)| series.number(labels, number(traffic)));
        }
        Of::Conntrack => {
            let entries = prepared.container.conntrack_entries.into_iter();
            entries.for_each(|entries| series.number(&prepared.own, entries));
        }
        _ => {}
    }
}

/// One series an attachment, those that are shared in a pod included; one without any for a container that has none.
fn write_attachments(series: &mut Series<'_, '_>, prepared: &PreparedContainer<'_>) {
    let record = &prepared.container.record;
    let text = |label: &Option<String>| label.clone().unwrap_or_default();
    let own = prepared
        .own
        .clone()
        .with("image", &text(&record.labels.image))
        .with("pod", &text(&record.labels.pod));
    let mut write = |attachment: Option<&Attachment>| {
        let of = |value: fn(&Attachment) -> &str| attachment.map_or("", value);
        let address = |family| {
            let cidrs = attachment.into_iter().flat_map(|attachment| &attachment.addresses);
            let mut addresses = cidrs.filter(|cidr| cidr.family() == family).map(Cidr::address);
            addresses.next().map(|address| address.to_string()).unwrap_or_default()
        };
        let labels = own
            .clone()
            .with("driver", of(|attachment| &attachment.driver))
            .with("network", of(|attachment| attachment.network.as_str()))
            .with("interface", of(|attachment| attachment.interface.as_str()))
            .with("address", &address(Family::Ipv4))
            .with("address6", &address(Family::Ipv6));
        series.number(&labels, 1);
    };
    if record.attachments.is_empty() {
        write(None);
    }
    record.attachments.iter().for_each(|attachment| write(Some(attachment)));
}

fn write_hook(series: &mut Series<'_, '_>, runs: &HookRuns) {
    let stage = Labels::default().with("stage", &runs.stage);
    if matches!(series.metric.of, Of::HookResult) {
        for (result, count) in &runs.results {
            series.number(&stage.clone().with("result", result), *count);
        }
        return;
    }
    series.begin();
    let page = &mut *series.page;
    let name = series.metric.name;
    let bucket = format!("{name}_bucket");
    for (bound, count) in &runs.buckets {
        let bound = page.bound(*bound);
        page.number(&bucket, stage.clone().with("le", &bound).as_str(), *count);
    }
    let all: u64 = runs.results.iter().map(|(_, count)| count).sum();
    page.number(&bucket, stage.clone().with("le", "+Inf").as_str(), all);
    page.value(&format!("{name}_sum"), stage.as_str(), runs.seconds);
    page.number(&format!("{name}_count"), stage.as_str(), all);
}
