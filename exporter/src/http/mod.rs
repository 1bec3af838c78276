//! Connections and requests: who may ask, and how each request is answered.
//!
//! | file | does |
//! |---|---|
//! | `listen.rs` | sockets, and systemd |
//! | `server.rs` `connections.rs` | connections: accepting, serving and ending them; which are closed to make room |
//! | `routes.rs` `negotiation.rs` | from a request to its answer |
//! | `web_config.rs` `tls.rs` `client_certificates.rs` `auth.rs` `fair_queue.rs` `rate_limiter.rs` | access: the exporter-toolkit's file, TLS, passwords and limits |

pub mod auth;
pub mod client_certificates;
pub mod connections;
pub mod fair_queue;
pub mod listen;
pub mod negotiation;
pub mod rate_limiter;
pub mod routes;
pub mod server;
pub mod tls;
pub mod web_config;
