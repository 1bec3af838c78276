//! Behaviour by packets, in namespaces of each test's own. Needs root and the tools that `make deps` installs; nothing is
//! skipped: what is missing is a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod attachments;
mod check;
mod configuration;
mod conflict;
mod connections;
mod container_files;
mod damaged;
mod dashboards;
mod demo;
mod disguise;
mod doctor;
mod elements;
mod exporter;
mod faults;
mod flushed;
mod folders;
mod forwarding;
mod gc;
mod guards;
mod host_routes;
mod hosts;
mod icmp_errors;
mod identity;
mod impersonation;
mod in_the_place;
mod instructions;
mod ipvlan;
mod journal;
mod life;
mod locks;
mod macs;
mod macvlan;
mod many_ports;
mod mtu;
mod name_servers;
mod networks;
mod notes;
mod options;
mod outgoing;
mod overlay;
mod own_root;
mod path;
mod planted;
mod pods;
mod policy;
mod poststart;
mod privileges;
mod publish;
mod rates;
mod reach;
mod readme;
mod reference;
mod register;
mod reload;
mod resolver;
mod routed;
mod scrape;
mod scrape_faults;
mod source_routes;
mod spoof;
mod streams;
mod sysctls;
mod trust;
mod truth;

use std::time::Duration;

/// Long enough for an answer inside one machine, also on a busy one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long something is tried that must not succeed, before whoever would have seen it is asked.
const SILENCE: Duration = Duration::from_millis(300);
