//! `ocinet`: gives an OCI container its network from a runtime's hooks.
//!
//! ```text
//! createRuntime: input -> annotations -> request -> policy -> facts (network, ipam, ports) -> plan (drivers, nat) -> record -> apply -> record
//! poststart:     input (id, process, bundle) -> record -> apply/names.rs, where an engine wrote the container's files anew
//! poststop:      input (id and bundle) -> record -> take_back -> record removed
//! ```
//!
//! | file | does |
//! |---|---|
//! | `cli.rs` `commands/` | the command line, one file a command |
//! | `input.rs` `annotations.rs` `nearest.rs` `request/` `config/` `labels.rs` | from text to checked values |
//! | `policy/` | what annotations may ask for |
//! | `facts.rs` `underlay.rs` `occupied.rs` `network.rs` `fit.rs` `ipam/` `ports.rs` `host_resolver.rs` | which network, address, host ports and name servers |
//! | `setup.rs` `assemble.rs` | the course of a start |
//! | `plan.rs` `step.rs` `drivers/` `nat.rs` `filters.rs` `resolver.rs` | what is to be done, pure |
//! | `apply/` `tables.rs` `connections.rs` | doing it |
//! | `bundle.rs` `oci_bundle.rs` | what is registered in a bundle, and what is read there |
//! | `members.rs` `networks.rs` | containers that share a network namespace; networks that have containers |
//! | `forwarding/` | forwarding that ocinet itself turned on, the host's uplinks, and giving it back |
//! | `identity.rs` | which container a record is about |
//! | `take_back.rs` `take_back/` `sweep.rs` | undoing it, from records alone |
//! | `doctor/` | why packets do not arrive, reading only |
//! | `strays.rs` `strays/` `check/` `found.rs` | what nobody owns, and what differs from the records |
//! | `holder.rs` `error.rs` `log.rs` `stats.rs` `phases.rs` | saying what went wrong and what took how long, and counting it |
//!
//! Invariants: nothing above `apply` changes the kernel; drivers see no socket; undo comes from the record alone; the
//! record is on disk before the first change; no cost grows with the number of other containers.

#![forbid(unsafe_code)]

mod annotations;
mod apply;
mod assemble;
mod bundle;
mod check;
pub mod cli;
pub mod commands;
pub mod config;
mod connections;
mod doctor;
mod drivers;
mod error;
mod facts;
mod filters;
mod fit;
mod forwarding;
mod found;
mod holder;
mod host_resolver;
mod identity;
pub mod input;
mod ipam;
mod labels;
mod log;
mod members;
mod nat;
mod nearest;
mod network;
mod networks;
mod occupied;
mod oci_bundle;
mod phases;
mod plan;
pub mod policy;
mod ports;
#[cfg(test)]
mod properties;
pub mod request;
mod resolver;
mod setup;
mod state;
mod stats;
mod step;
mod strays;
mod sweep;
mod tables;
mod take_back;
mod underlay;

pub use annotations::{KEYS, Key, Subject};
pub use error::{Error, Report};
