//! `ocinet-exporter`: what every container sends, receives, publishes and loses, for Prometheus.
//!
//! ```text
//! records, link counters, nft counters … (scrape) -> snapshot -> text (render) -> answer (http)
//! ```
//!
//! From the top, where a room uses only rooms below it:
//!
//! | room | does |
//! |---|---|
//! | `cli.rs` | the command line: it makes the options that `http/` and `scrape/` define, and only `main.rs` uses it |
//! | `http/` | connections and requests: who may ask, and what the answer is |
//! | `render/` | a snapshot as text: the formats of Prometheus, and the live status page |
//! | `scrape/` | what one scrape finds: records, link counters, nft counters and so on, as a value |
//! | `error.rs` `log.rs` | failures, the log; they use no other room |
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
