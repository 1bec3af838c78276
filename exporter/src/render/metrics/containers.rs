//! Containers: what they are attached to, and their interfaces.

use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::record::Attachment;

use crate::render::exposition::{Description, Group, Writer, counter, gauge, info};
use crate::render::labels::LabelSet;
use crate::scrape::snapshot::{Container, Interface, LinkCounters};

/// Attachments of containers to networks.
#[rustfmt::skip]
static ATTACHMENTS: Group<()> = Group {
    labels: &["id", "name", "image", "pod", "driver", "network", "interface", "address", "address6"],
    source: Some("records"),
    metrics: &[
        info("ocinet_container_info", "A container's attachment to a network: 1."),
    ],
};

/// Interfaces of containers.
#[rustfmt::skip]
static INTERFACES: Group<Interface> = Group {
    labels: &["id", "name", "interface"],
    source: Some("links"),
    metrics: &[
        counter("ocinet_interface_receive_bytes_total", "Bytes of frames that a container's interface received.",
            |interface| interface.counters.map(|counters| counters.received.bytes).into()),
        counter("ocinet_interface_receive_packets_total", "Frames that a container's interface received.",
            |interface| interface.counters.map(|counters| counters.received.packets).into()),
        counter("ocinet_interface_receive_errors_total", "Frames for a container's interface that an error lost.",
            |interface| interface.counters.map(|counters| counters.received.errors).into()),
        counter("ocinet_interface_receive_packets_dropped_total", "Frames for a container's interface that were dropped.",
            |interface| interface.counters.map(|counters| counters.received.drops).into()),
        counter("ocinet_interface_transmit_bytes_total", "Bytes of frames that a container's interface sent.",
            |interface| interface.counters.map(|counters| counters.sent.bytes).into()),
        counter("ocinet_interface_transmit_packets_total", "Frames that a container's interface sent.",
            |interface| interface.counters.map(|counters| counters.sent.packets).into()),
        counter("ocinet_interface_transmit_errors_total", "Frames of a container's interface that an error lost.",
            |interface| interface.counters.map(|counters| counters.sent.errors).into()),
        counter("ocinet_interface_transmit_packets_dropped_total", "Frames of a container's interface that were dropped.",
            |interface| interface.counters.map(|counters| counters.sent.drops).into()),
        gauge("ocinet_interface_up", "Whether a container's interface is up and has a carrier.",
            |interface| interface.up.into()),
        gauge("ocinet_interface_mtu_bytes", "The largest IP packet that a container's interface sends.",
            |interface| interface.mtu.map(u64::from).into()),
        gauge("ocinet_interface_speed_bytes", "Bytes per second of the device that a container's interface is on.",
            |interface| interface.speed.map(|bits| bits / 8).into()),
    ],
};

/// The same by cAdvisor's names, only with `--compat.cadvisor`.
#[rustfmt::skip]
static CADVISOR: Group<LinkCounters> = Group {
    labels: &["id", "name", "image", "interface"],
    source: Some("links"),
    metrics: &[
        counter("container_network_receive_bytes_total", "Cumulative count of bytes received.",
            |counters| counters.received.bytes.into()),
        counter("container_network_receive_packets_total", "Cumulative count of packets received.",
            |counters| counters.received.packets.into()),
        counter("container_network_receive_packets_dropped_total", "Cumulative count of packets dropped while receiving.",
            |counters| counters.received.drops.into()),
        counter("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving.",
            |counters| counters.received.errors.into()),
        counter("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted.",
            |counters| counters.sent.bytes.into()),
        counter("container_network_transmit_packets_total", "Cumulative count of packets transmitted.",
            |counters| counters.sent.packets.into()),
        counter("container_network_transmit_packets_dropped_total", "Cumulative count of packets dropped while transmitting.",
            |counters| counters.sent.drops.into()),
        counter("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting.",
            |counters| counters.sent.errors.into()),
    ],
};

/// What the tables say, in their order.
pub(super) fn table() -> impl Iterator<Item = Description> {
    ATTACHMENTS.describe().chain(INTERFACES.describe())
}

/// The same of cAdvisor's names.
pub(super) fn cadvisor_table() -> impl Iterator<Item = Description> {
    CADVISOR.describe()
}

/// Containers with the labels that every series of a container has.
pub(super) fn with_labels(containers: &[Container]) -> Vec<(LabelSet, &Container)> {
    let labels = |Container { record, .. }: &Container| {
        LabelSet::default().with("id", record.id.as_str()).with("name", record.display_name())
    };
    containers.iter().map(|container| (labels(container), container)).collect()
}

pub(super) fn write(containers: &[(LabelSet, &Container)], writer: &mut Writer<'_>) {
    let (mut attachments, mut interfaces) = (Vec::new(), Vec::new());
    for (own, container) in containers {
        attachments.extend(attachments_of(container, own));
        let of_interface = |interface| (with_interface(own.clone(), container, interface), interface);
        interfaces.extend(container.interfaces.iter().map(of_interface));
    }
    ATTACHMENTS.write(&attachments, writer);
    INTERFACES.write(&interfaces, writer);
}

pub(super) fn write_cadvisor(containers: &[(LabelSet, &Container)], writer: &mut Writer<'_>) {
    let mut interfaces = Vec::new();
    for (own, container) in containers {
        let image = container.record.labels.image.as_deref().unwrap_or_default();
        let of_interface = |interface: &Interface| {
            Some((
                with_interface(own.clone().with("image", image), container, interface),
                interface.counters?,
            ))
        };
        interfaces.extend(container.interfaces.iter().filter_map(of_interface));
    }
    CADVISOR.write(&interfaces, writer);
}

fn with_interface(labels: LabelSet, container: &Container, interface: &Interface) -> LabelSet {
    let attachment = container.record.attachments.get(interface.attachment);
    labels.with("interface", attachment.map_or("", |attachment| attachment.interface.as_str()))
}

/// One series an attachment, those that are shared in a pod included; one without any for a container that has none.
fn attachments_of(container: &Container, own: &LabelSet) -> Vec<(LabelSet, ())> {
    let record = &container.record;
    let text = |label: &Option<String>| label.clone().unwrap_or_default();
    let own = own.clone().with("image", &text(&record.labels.image)).with("pod", &text(&record.labels.pod));
    let with = |attachment: Option<&Attachment>| {
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
        (labels, ())
    };
    if record.attachments.is_empty() {
        return vec![with(None)];
    }
    record.attachments.iter().map(|attachment| with(Some(attachment))).collect()
}
