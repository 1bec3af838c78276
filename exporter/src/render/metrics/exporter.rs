//! The exporter itself: its sources, its version and its process.

use crate::render::exposition::{Description, Group, Writer, counter, gauge, info};
use crate::render::labels::LabelSet;
use crate::render::metrics::own;
use crate::scrape::snapshot::{ProcessUsage, Snapshot, SourceReport};

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

/// The resources of the exporter's own process, by the names that Prometheus's client libraries give them.
#[rustfmt::skip]
static PROCESS: Group<ProcessUsage> = Group {
    labels: &[],
    source: Some("process"),
    metrics: &[
        counter("process_cpu_seconds_total", "Seconds of processor time.", |process| process.cpu_seconds.into()),
        gauge("process_open_fds", "Open file descriptors.", |process| process.open_fds.into()),
        gauge("process_max_fds", "The most file descriptors that may be open.", |process| process.max_fds.into()),
        gauge("process_virtual_memory_bytes", "Virtual memory.", |process| process.virtual_bytes.into()),
        gauge("process_resident_memory_bytes", "Memory in use.", |process| process.resident_bytes.into()),
        gauge("process_start_time_seconds", "When the process was started, in seconds since 1970-01-01 UTC.",
            |process| process.start_time.into()),
        gauge("process_threads", "Threads.", |process| process.threads.into()),
    ],
};

/// What the tables say, in their order.
pub(super) fn table() -> impl Iterator<Item = Description> {
    SOURCES.describe().chain(BUILD.describe()).chain(own::table()).chain(PROCESS.describe())
}

pub(super) fn write(snapshot: &Snapshot, writer: &mut Writer<'_>) {
    let with_labels = |source: &SourceReport| (LabelSet::default().with("source", source.name), *source);
    SOURCES.write(&snapshot.sources.iter().map(with_labels).collect::<Vec<_>>(), writer);
    let version = LabelSet::default()
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("rustversion", env!("OCINET_RUSTC_VERSION"));
    BUILD.write(&[(version, ())], writer);
    own::write(&snapshot.own, writer);
    PROCESS.write(
        &snapshot.process.map(|process| (LabelSet::default(), process)).into_iter().collect::<Vec<_>>(),
        writer,
    );
}
