//! `ocinet-exporter`: what every container sends, receives, publishes and loses, for Prometheus.
//!
//! ```text
//! records, link counters, nft counters … (sources/) -> snapshot.rs -> metrics.rs (exposition)
//! ```
//!
//! | file | does |
//! |---|---|
//! | `snapshot.rs` | what one scrape found, as a value |
//! | `sources/` | one file a source; each fails by itself |
//! | `collector.rs` | runs the sources, times them, and puts a [`snapshot::Snapshot`] together |
//! | `steady.rs` | counters that never fall |
//! | `metrics.rs` `series.rs` `exposition.rs` | the table of metrics, their series, and the text formats |
//!
//! Invariants: no program is started; a source that fails takes nothing else along; a scrape changes nothing.

pub mod collector;
pub mod exposition;
pub mod metrics;
mod series;
pub mod snapshot;
mod sources;
mod steady;
