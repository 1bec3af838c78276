//! The table of metrics: what each is called, what it means, and where in a snapshot it is. `series.rs` writes them.
//!
//! docs/metrics.md is compared with this table by a test.

use crate::render::exposition::Page;
pub use crate::render::exposition::{Format, Kind};
use crate::render::series::{PortTraffic, Prepared, write_metric};
use crate::scrape::collector::Options;
use crate::scrape::snapshot::{Interface, LinkCounters, Pool, Records, Routed, Snapshot, SourceReport};

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name of its series, in the text format also the metric's own.
    pub name: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// What it means, as a sentence.
    pub help: &'static str,
    /// Where it is in a snapshot, and so which labels it has.
    pub of: Of,
}

/// Where a metric is in a snapshot.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    /// Every attachment of every container.
    Attachment,
    /// A number of every interface.
    Interface(fn(&Interface) -> Option<u64>),
    /// The same by cAdvisor's name, only with `--compat.cadvisor`.
    Cadvisor(fn(&LinkCounters) -> u64),
    /// A number of what is routed for a container.
    Routed(fn(&Routed) -> u64),
    /// Connections to a published port.
    Connections,
    /// A number of a published port, all host addresses together.
    PortTraffic(fn(&PortTraffic) -> u64),
    /// Open connections of a container.
    Conntrack,
    /// A number of a network's addresses of one family.
    Pool(fn(&Pool) -> u128),
    /// Records by phase.
    RecordPhase,
    /// A number of the records as a whole.
    Records(fn(&Records) -> Option<f64>),
    /// Runs of a hook by result.
    HookResult,
    /// How long runs of a hook took.
    HookDuration,
    /// The base tables.
    Tables,
    /// A number of a source.
    Source(fn(&SourceReport) -> f64),
    /// The program itself.
    Build,
    /// The exporter's own process.
    Process,
}

impl Of {
    /// The names of the labels.
    #[must_use]
    pub fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Attachment => {
                &["id", "name", "image", "pod", "driver", "network", "interface", "address", "address6"]
            }
            Self::Interface(_) => &["id", "name", "interface"],
            Self::Cadvisor(_) => &["id", "name", "image", "interface"],
            Self::Routed(_) | Self::Conntrack => &["id", "name"],
            Self::Connections => &["id", "name", "protocol", "host_address", "host_port", "container_port"],
            Self::PortTraffic(_) => &["id", "name", "protocol", "host_port", "container_port"],
            Self::Pool(_) => &["network", "family"],
            Self::RecordPhase => &["phase"],
            Self::HookResult => &["stage", "result"],
            Self::HookDuration => &["stage"],
            Self::Tables => &["table"],
            Self::Source(_) => &["source"],
            Self::Build => &["version", "rustversion"],
            Self::Records(_) | Self::Process => &[],
        }
    }

    /// The source that it comes from; none where it is always there.
    #[must_use]
    pub fn source(self) -> Option<&'static str> {
        match self {
            Self::Attachment | Self::RecordPhase | Self::Records(_) => Some("records"),
            Self::Interface(_) | Self::Cadvisor(_) => Some("links"),
            Self::Routed(_) | Self::Connections | Self::PortTraffic(_) | Self::Tables => Some("nft"),
            Self::Conntrack => Some("conntrack"),
            Self::Pool(_) => Some("pools"),
            Self::HookResult | Self::HookDuration => Some("hooks"),
            Self::Process => Some("process"),
            Self::Source(_) | Self::Build => None,
        }
    }
}

const fn counter(name: &'static str, help: &'static str, of: Of) -> Metric {
    Metric { name, kind: Kind::Counter, help, of }
}

const fn gauge(name: &'static str, help: &'static str, of: Of) -> Metric {
    Metric { name, kind: Kind::Gauge, help, of }
}

const fn info(name: &'static str, help: &'static str, of: Of) -> Metric {
    Metric { name, kind: Kind::Info, help, of }
}

const fn histogram(name: &'static str, help: &'static str, of: Of) -> Metric {
    Metric { name, kind: Kind::Histogram, help, of }
}

/// Every metric, in the order of the page.
#[rustfmt::skip]
pub static METRICS: &[Metric] = &[
    info("ocinet_container_info", "A container's attachment to a network: 1.", Of::Attachment),

    counter("ocinet_interface_receive_bytes_total", "Bytes of frames that a container's interface received.",
        Of::Interface(|interface| Some(interface.counters?.received.bytes))),
    counter("ocinet_interface_receive_packets_total", "Frames that a container's interface received.",
        Of::Interface(|interface| Some(interface.counters?.received.packets))),
    counter("ocinet_interface_receive_errors_total", "Frames for a container's interface that an error lost.",
        Of::Interface(|interface| Some(interface.counters?.received.errors))),
    counter("ocinet_interface_receive_packets_dropped_total", "Frames for a container's interface that were dropped.",
        Of::Interface(|interface| Some(interface.counters?.received.drops))),
    counter("ocinet_interface_transmit_bytes_total", "Bytes of frames that a container's interface sent.",
        Of::Interface(|interface| Some(interface.counters?.sent.bytes))),
    counter("ocinet_interface_transmit_packets_total", "Frames that a container's interface sent.",
        Of::Interface(|interface| Some(interface.counters?.sent.packets))),
    counter("ocinet_interface_transmit_errors_total", "Frames of a container's interface that an error lost.",
        Of::Interface(|interface| Some(interface.counters?.sent.errors))),
    counter("ocinet_interface_transmit_packets_dropped_total", "Frames of a container's interface that were dropped.",
        Of::Interface(|interface| Some(interface.counters?.sent.drops))),
    gauge("ocinet_interface_up", "Whether a container's interface is up and has a carrier.",
        Of::Interface(|interface| interface.up.map(u64::from))),
    gauge("ocinet_interface_mtu_bytes", "The largest IP packet that a container's interface sends.",
        Of::Interface(|interface| interface.mtu.map(u64::from))),
    gauge("ocinet_interface_speed_bytes", "Bytes per second of the device that a container's interface is on.",
        Of::Interface(|interface| interface.speed.map(|bits| bits / 8))),

    counter("ocinet_routed_receive_bytes_total", "Bytes of IP packets that a container received from outside its network.",
        Of::Routed(|routed| routed.received.bytes)),
    counter("ocinet_routed_receive_packets_total", "IP packets that a container received from outside its network.",
        Of::Routed(|routed| routed.received.packets)),
    counter("ocinet_routed_transmit_bytes_total", "Bytes of IP packets that a container sent out of its network.",
        Of::Routed(|routed| routed.sent.bytes)),
    counter("ocinet_routed_transmit_packets_total", "IP packets that a container sent out of its network.",
        Of::Routed(|routed| routed.sent.packets)),
    counter("ocinet_masqueraded_connections_total", "Connections of a container that left behind an address of the host.",
        Of::Routed(|routed| routed.masqueraded)),

    counter("ocinet_published_port_connections_total", "Connections to a published port of a container.",
        Of::Connections),
    counter("ocinet_published_port_receive_bytes_total", "Bytes of IP packets that reached a container by a published port.",
        Of::PortTraffic(|traffic| traffic.received.bytes)),
    counter("ocinet_published_port_receive_packets_total", "IP packets that reached a container by a published port.",
        Of::PortTraffic(|traffic| traffic.received.packets)),
    counter("ocinet_published_port_transmit_bytes_total", "Bytes of IP packets that a container answered by a published port.",
        Of::PortTraffic(|traffic| traffic.sent.bytes)),
    counter("ocinet_published_port_transmit_packets_total", "IP packets that a container answered by a published port.",
        Of::PortTraffic(|traffic| traffic.sent.packets)),

    gauge("ocinet_conntrack_entries", "Entries of the host's connection tracking that have an address of a container.",
        Of::Conntrack),

    gauge("ocinet_pool_addresses", "Addresses that a network has for containers.", Of::Pool(|pool| pool.size)),
    gauge("ocinet_pool_addresses_used", "Addresses of a network that containers have.", Of::Pool(|pool| pool.used.into())),

    gauge("ocinet_records", "Records of containers: set up, under way in either direction, or no records.", Of::RecordPhase),
    gauge("ocinet_pending_record_age_seconds", "The age of the oldest record of a container that is under way; 0 without one.",
        Of::Records(|records| Some(records.oldest_pending.unwrap_or_default().as_secs_f64()))),
    gauge("ocinet_last_error_timestamp_seconds", "When a set-up last failed whose container was not set up since.",
        Of::Records(|records| records.last_error?.duration_since(std::time::UNIX_EPOCH).ok().map(|age| age.as_secs_f64()))),

    counter("ocinet_hook_runs_total", "Runs of a hook by result.", Of::HookResult),
    histogram("ocinet_hook_duration_seconds", "How long runs of a hook took.", Of::HookDuration),

    gauge("ocinet_nftables_table_present", "Whether the table ocinet of a family is there.", Of::Tables),

    counter("container_network_receive_bytes_total", "Cumulative count of bytes received.",
        Of::Cadvisor(|counters| counters.received.bytes)),
    counter("container_network_receive_packets_total", "Cumulative count of packets received.",
        Of::Cadvisor(|counters| counters.received.packets)),
    counter("container_network_receive_packets_dropped_total", "Cumulative count of packets dropped while receiving.",
        Of::Cadvisor(|counters| counters.received.drops)),
    counter("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving.",
        Of::Cadvisor(|counters| counters.received.errors)),
    counter("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted.",
        Of::Cadvisor(|counters| counters.sent.bytes)),
    counter("container_network_transmit_packets_total", "Cumulative count of packets transmitted.",
        Of::Cadvisor(|counters| counters.sent.packets)),
    counter("container_network_transmit_packets_dropped_total", "Cumulative count of packets dropped while transmitting.",
        Of::Cadvisor(|counters| counters.sent.drops)),
    counter("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting.",
        Of::Cadvisor(|counters| counters.sent.errors)),

    gauge("ocinet_scrape_source_success", "Whether a source could say everything.",
        Of::Source(|source| f64::from(u8::from(source.success)))),
    gauge("ocinet_scrape_source_duration_seconds", "How long a source took.",
        Of::Source(|source| source.duration.as_secs_f64())),
    info("ocinet_exporter_build_info", "The exporter: 1.", Of::Build),

    counter("process_cpu_seconds_total", "Seconds of processor time, in whole ones.", Of::Process),
    gauge("process_open_fds", "Open file descriptors.", Of::Process),
    gauge("process_max_fds", "The most file descriptors that may be open.", Of::Process),
    gauge("process_virtual_memory_bytes", "Virtual memory.", Of::Process),
    gauge("process_resident_memory_bytes", "Memory in use.", Of::Process),
    gauge("process_start_time_seconds", "When the process was started, in seconds since 1970-01-01 UTC.", Of::Process),
    gauge("process_threads", "Threads.", Of::Process),
];

/// Appends a snapshot's page to a text.
pub fn write(snapshot: &Snapshot, options: &Options, format: Format, out: &mut String) {
    let prepared = Prepared::of(snapshot, options.cadvisor);
    let mut page = Page::new(out, format);
    for metric in METRICS {
        write_metric(metric, snapshot, &prepared, &mut page);
    }
    page.end();
}
