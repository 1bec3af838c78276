//! The exporter itself: its sources, its version and its process.

use crate::render::exposition::{Description, Group, Header, Kind, Value, Writer, gauge, info};
use crate::render::labels::LabelSet;
use crate::render::metrics::own;
use crate::scrape::snapshot::{Snapshot, SourceReport};

/// The sources.
#[rustfmt::skip]
static SOURCES: Group<SourceReport> = Group {
    labels: &["source"],
    source: None,
    metrics: &[
        gauge("ocinet_scrape_source_success", "Whether a source could say everything.",
            |source| source.success.into()),
        gauge("ocinet_scrape_source_duration_seconds", "How long a source took.",
            |source| source.duration.as_secs_f64().into()),
    ],
};

/// The program itself.
#[rustfmt::skip]
static BUILD: Group<()> = Group {
    labels: &["version", "rustversion"],
    source: None,
    metrics: &[
        info("ocinet_exporter_build_info", "The exporter: 1."),
    ],
};

const fn of_process(name: &'static str, kind: Kind, help: &'static str) -> Header<'static> {
    Header { name, kind, help }
}

/// The resources of the exporter's own process, by the names of the prometheus crate.
#[rustfmt::skip]
static PROCESS: &[Header<'static>] = &[
    of_process("process_cpu_seconds_total", Kind::Counter, "Seconds of processor time, in whole ones."),
    of_process("process_open_fds", Kind::Gauge, "Open file descriptors."),
    of_process("process_max_fds", Kind::Gauge, "The most file descriptors that may be open."),
    of_process("process_virtual_memory_bytes", Kind::Gauge, "Virtual memory."),
    of_process("process_resident_memory_bytes", Kind::Gauge, "Memory in use."),
    of_process("process_start_time_seconds", Kind::Gauge,
        "When the process was started, in seconds since 1970-01-01 UTC."),
    of_process("process_threads", Kind::Gauge, "Threads."),
];

/// What the tables say, in their order.
pub(super) fn table() -> impl Iterator<Item = Description> {
    let process = PROCESS.iter().map(|header| header.describe(&[], Some("process")));
    SOURCES.describe().chain(BUILD.describe()).chain(own::table()).chain(process)
}

pub(super) fn write(snapshot: &Snapshot, writer: &mut Writer<'_>) {
    let with_labels = |source: &SourceReport| (LabelSet::default().with("source", source.name), *source);
    SOURCES.write(&snapshot.sources.iter().map(with_labels).collect::<Vec<_>>(), writer);
    let version = LabelSet::default()
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("rustversion", env!("OCINET_RUSTC_VERSION"));
    BUILD.write(&[(version, ())], writer);
    own::write(&snapshot.own, writer);
    let none = LabelSet::default();
    for header in PROCESS {
        let values = snapshot.process.iter().filter(|(name, _)| name == header.name);
        writer.metric(header, values.map(|(_, value)| (&none, Value::Real(*value))));
    }
}
