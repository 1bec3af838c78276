//! Every metric: what each is called, what it means, and where in a snapshot it is.
//!
//! Metrics of the same things stand in one table, beside what makes the series' labels. docs/metrics.md is compared with
//! the tables by a test.

mod containers;
mod exporter;
mod host;
mod nat;
mod own;

use crate::render::exposition::Writer;
pub use crate::render::exposition::{Description, Format};
use crate::scrape::collector::Options;
use crate::scrape::snapshot::Snapshot;

/// Every metric, in the order of the text.
pub fn table() -> impl Iterator<Item = Description> {
    let containers = containers::table().chain(nat::table()).chain(host::table());
    containers.chain(containers::cadvisor_table()).chain(exporter::table())
}

/// Appends a snapshot's metrics to a text.
pub fn write(snapshot: &Snapshot, options: &Options, format: Format, out: &mut String) {
    let mut writer = Writer::new(out, format);
    let containers = containers::with_labels(&snapshot.containers);
    containers::write(&containers, &mut writer);
    nat::write(&containers, &mut writer);
    host::write(snapshot, &mut writer);
    if options.cadvisor {
        containers::write_cadvisor(&containers, &mut writer);
    }
    exporter::write(snapshot, &mut writer);
    writer.end();
}
