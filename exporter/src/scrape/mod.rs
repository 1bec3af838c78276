//! What one scrape finds: records, link counters, nft counters and so on, as a [`snapshot::Snapshot`].
//!
//! | file | does |
//! |---|---|
//! | `snapshot.rs` | what one scrape found, as a value |
//! | `sources/` | one file a source; each fails by itself |
//! | `collector.rs` | runs the sources, times them, and puts a [`snapshot::Snapshot`] together |
//! | `monotonic.rs` | counters that never fall |
//! | `own_metrics.rs` | what the exporter counts of itself |
//! | `scraper.rs` | the thread that scrapes, one scrape at a time |

pub mod collector;
mod monotonic;
pub mod own_metrics;
pub mod scraper;
pub mod snapshot;
mod sources;
