//! `ocinet-exporter`: what every container sends, receives, publishes and loses, for Prometheus.
//!
//! ```text
//! cli -> http -> render -> scrape -> error, log
//! ```
//!
//! | room | does |
//! |---|---|
//! | `cli.rs` | the command line |
//! | `http/` | connections and requests: who may ask, and what the answer is |
//! | `render/` | a snapshot as text: the formats of Prometheus, and the page for people |
//! | `scrape/` | what one scrape finds: records, link counters, nft counters and so on, as a value |
//! | `error.rs` `log.rs` | failures, the log |
//!
//! Invariants: no program is started; a source that fails takes nothing else along; a scrape changes nothing; no client can
//! keep the others from an answer.

#![forbid(unsafe_code)]

pub mod cli;
pub mod error;
pub mod http;
pub mod log;
pub mod render;
pub mod scrape;
