//! `ocinet-exporter`: what every container sends, receives, publishes and loses, for Prometheus.
//!
//! ```text
//! records, link counters, nft counters … (sources/) -> snapshot.rs -> metrics.rs (exposition) or page.rs (people)
//! ```
//!
//! | file | does |
//! |---|---|
//! | `snapshot.rs` | what one scrape found, as a value |
//! | `sources/` | one file a source; each fails by itself |
//! | `collector.rs` | runs the sources, times them, and puts a [`snapshot::Snapshot`] together |
//! | `steady.rs` | counters that never fall |
//! | `metrics.rs` `series.rs` `exposition.rs` | the table of metrics, their series, and the text formats |
//! | `scraper.rs` | the thread that scrapes, one scrape at a time |
//! | `page.rs` `page/` | the page for people |
//! | `server.rs` `connections.rs` | connections: accepting, serving and ending them; who has to go when |
//! | `routes.rs` `negotiation.rs` | from a request to its answer |
//! | `web_config.rs` `tls.rs` `client_certificates.rs` `auth.rs` `fair_queue.rs` `bucket.rs` | who may ask: the exporter-toolkit's file, and what is made of it |
//! | `listen.rs` | sockets, and systemd |
//! | `cli.rs` `error.rs` `log.rs` | flags, failures, the log |
//!
//! Invariants: no program is started; a source that fails takes nothing else along; a scrape changes nothing; no client can
//! keep the others from an answer.

#![forbid(unsafe_code)]

pub mod auth;
pub mod bucket;
pub mod cli;
pub mod client_certificates;
pub mod collector;
pub mod connections;
pub mod error;
pub mod exposition;
pub mod fair_queue;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod negotiation;
pub mod page;
pub mod routes;
pub mod scraper;
mod series;
pub mod server;
pub mod snapshot;
mod sources;
mod steady;
pub mod tls;
pub mod web_config;
