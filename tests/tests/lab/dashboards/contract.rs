//! What the exporter has: its metrics and their labels.

/// The labels of a metric of a container.
const CONTAINER: &[&str] = &["id", "name"];
const INTERFACE: &[&str] = &["id", "name", "interface"];
const PORT: &[&str] = &["id", "name", "protocol", "host_port", "container_port"];
const POOL: &[&str] = &["network", "family"];

/// Every metric and its labels. WAY stands for `receive` and for `transmit`.
const METRICS: &[(&str, &[&str])] = &[
    (
        "ocinet_container_info",
        &["id", "name", "image", "pod", "driver", "network", "interface", "address", "address6"],
    ),
    ("ocinet_interface_WAY_bytes_total", INTERFACE),
    ("ocinet_interface_WAY_packets_total", INTERFACE),
    ("ocinet_interface_WAY_errors_total", INTERFACE),
    ("ocinet_interface_WAY_packets_dropped_total", INTERFACE),
    ("ocinet_interface_up", INTERFACE),
    ("ocinet_interface_mtu_bytes", INTERFACE),
    ("ocinet_interface_speed_bytes", INTERFACE),
    ("ocinet_routed_WAY_bytes_total", CONTAINER),
    ("ocinet_routed_WAY_packets_total", CONTAINER),
    ("ocinet_masqueraded_connections_total", CONTAINER),
    (
        "ocinet_published_port_connections_total",
        &["id", "name", "protocol", "host_address", "host_port", "container_port"],
    ),
    ("ocinet_published_port_WAY_bytes_total", PORT),
    ("ocinet_published_port_WAY_packets_total", PORT),
    ("ocinet_conntrack_entries", CONTAINER),
    ("ocinet_pool_addresses", POOL),
    ("ocinet_pool_addresses_used", POOL),
    ("ocinet_records", &["phase"]),
    ("ocinet_pending_record_age_seconds", &[]),
    ("ocinet_last_error_timestamp_seconds", &[]),
    ("ocinet_hook_runs_total", &["stage", "result"]),
    ("ocinet_hook_duration_seconds_bucket", &["stage", "le"]),
    ("ocinet_hook_duration_seconds_sum", &["stage"]),
    ("ocinet_hook_duration_seconds_count", &["stage"]),
    ("ocinet_nftables_table_present", &["table"]),
    ("ocinet_scrape_source_success", &["source"]),
    ("ocinet_scrape_source_duration_seconds", &["source"]),
    ("ocinet_exporter_build_info", &["version", "rustversion"]),
    ("process_cpu_seconds_total", &[]),
    ("process_resident_memory_bytes", &[]),
    // Prometheus' own.
    ("up", &[]),
    ("scrape_duration_seconds", &[]),
];

const WAYS: [&str; 2] = ["receive", "transmit"];
/// What is not there on a healthy host with virtual links and the sources that are on by default.
const RARE: [&str; 3] =
    ["ocinet_conntrack_entries", "ocinet_interface_speed_bytes", "ocinet_last_error_timestamp_seconds"];

/// The labels of a metric, without those that Prometheus adds; nothing where there is no such metric.
pub(super) fn labels(metric: &str) -> Option<&'static [&'static str]> {
    let found = METRICS.iter().find(|(name, _)| WAYS.iter().any(|way| name.replace("WAY", way) == metric));
    found.map(|(_, labels)| *labels)
}

/// The metrics that every host with containers has.
pub(super) fn usual() -> impl Iterator<Item = String> {
    let common = METRICS.iter().map(|(name, _)| *name).filter(|name| !RARE.contains(name));
    common.flat_map(|name| {
        let ways = WAYS.map(|way| name.replace("WAY", way));
        if name.contains("WAY") { ways.to_vec() } else { vec![name.to_owned()] }
    })
}
