//! A [`Snapshot`](crate::scrape::snapshot::Snapshot) as text: the formats of Prometheus, and the live status page.
//!
//! | file | does |
//! |---|---|
//! | `exposition.rs` `labels.rs` | metrics and their series in the two text formats |
//! | `metrics/` | every metric: one file for each kind of thing that has some |
//! | `page/` | the live status page |
//! | `renderer.rs` | what a client can ask for, and which of these writes it |

pub mod exposition;
mod labels;
pub mod metrics;
pub mod page;
pub mod renderer;
