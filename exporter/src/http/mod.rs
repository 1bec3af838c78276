//! Connections and requests: who may ask, and what the answer is.
//!
//! | file | does |
//! |---|---|
//! | `listen.rs` | sockets, and systemd |
//! | `server.rs` `connections.rs` | connections: accepting, serving and ending them; who has to go when |
//! | `routes.rs` `negotiation.rs` | from a request to its answer |
//! | `web_config.rs` `tls.rs` `client_certificates.rs` `auth.rs` `fair_queue.rs` `rate_limiter.rs` | who may ask: the exporter-toolkit's file, and what is made of it |

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
