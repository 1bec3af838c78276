//! A [`Snapshot`](crate::scrape::snapshot::Snapshot) as text: the formats of Prometheus, and the page for people.
//!
//! | file | does |
//! |---|---|
//! | `metrics.rs` `series.rs` `exposition.rs` | the table of metrics, their series, and the text formats |
//! | `page/` | the page for people |
//! | `renderer.rs` | what a client can ask for, and which of these writes it |

pub mod exposition;
pub mod metrics;
pub mod page;
pub mod renderer;
mod series;
