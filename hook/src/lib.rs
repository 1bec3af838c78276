//! `ocinet`: gives an OCI container its network from a runtime's hooks.
//!
//! ```text
//! createRuntime: oci_state -> annotations -> request -> policy -> host/facts -> plan -> record (pending) -> apply -> record (ready)
//! poststart:     oci_state (id, process, bundle) -> record -> apply/names.rs, where an engine wrote the container's files anew
//! poststop:      oci_state (id and bundle) -> record -> teardown -> record removed
//! ```
//!
//! The rooms, from the top. A room uses rooms below it.
//!
//! | room | holds |
//! |---|---|
//! | `commands/` | one file a command: it calls and prints |
//! | `diagnose/` | `check`, `doctor` and `gc`: what is wrong, and what nobody owns |
//! | `lifecycle/` | starts, stops and restoring: what changes the kernel and the disk |
//! | `host/` | what is read from the host, and only read |
//! | `policy/` | what the administrator allows |
//! | `plan/` | values in, steps out: networks, drivers, elements, filters |
//! | `input/` | text in, checked values out: the runtime's state, annotations, the configuration |
//! | `state/` | the files of the state folder that the hook alone writes |
//! | `model/` | types that several rooms share |
//! | `error.rs` `log.rs` `cli.rs` | failures, the log, the command line |
//!
//! Invariants: only `lifecycle/` changes the kernel, but for what `ocinet gc` deletes (`diagnose/orphans.rs`); drivers see no
//! socket; undo reads the record, and for the last container of a network that network's file; the record is on disk before the first
//! change; no cost grows with the number of other containers.
//!
//! ARCHITECTURE.md follows one container through the rooms.

#![forbid(unsafe_code)]

pub mod cli;
pub mod commands;
mod diagnose;
mod error;
mod host;
pub mod input;
mod lifecycle;
mod log;
mod model;
mod plan;
pub mod policy;
mod state;

pub use error::{Class, Error};
pub use input::annotations::{KEYS, Key, Subject};
