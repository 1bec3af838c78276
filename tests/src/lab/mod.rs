//! Private networks in which a container is started for real and its packets are watched.
//!
//! ```text
//!        wan (router; "internet" on its lo)
//!         |
//!   ===== lan: a bridge in namespace sw =====
//!          |             |             |
//!        host   (host1, host2 …)      peer
//! ```
//! `host` plays the machine: runtimes and hooks run in it. `peer` is a neighbour on its LAN. A test that needs several
//! machines adds further hosts.
//! The namespaces have no name: they are held open by this process, so that they are gone when it is, however it ends.

mod attacks;
mod capture;
mod docker;
mod elements;
mod exporter;
mod frame;
mod held_port;
mod hidden;
mod host;
mod http;
mod links;
mod netns;
mod ping;
mod process;
mod prometheus;
mod raw;
mod runtime;
mod sandbox;
mod snapshot;
mod source_route;
mod throughput;
mod topology;
mod traffic;

pub use attacks::{Outcome, Stage, Station};
pub use capture::{Capture, Seen};
pub use docker::Docker;
pub use elements::Element;
pub use exporter::{Exporter, Reply, Slow, exporter_path, read_reply};
pub use frame::{Endpoint, Frame, checksum};
pub use held_port::HeldPort;
pub use hidden::{Disguise, disguises, fragments};
pub use host::Host;
pub use http::{http_get, url_encoded};
pub use links::{Address, Link, Route};
pub use netns::Netns;
pub use ping::{full_size_ping, ping, ping_of};
pub use process::{Background, Finished, command, finish};
pub use prometheus::{Prometheus, Sample};
pub use raw::{Wire, link_address, send_frame};
pub use runtime::{Container, Pod, Runtime, plain_bundle};
pub use sandbox::{Attached, Sandbox, addresses};
pub use snapshot::Snapshot;
pub use source_route::{source_routes, with_options};
pub use throughput::{iperf, iperf_bytes, transfer};
pub use topology::{
    DUAL, Forwarding, HOST_SECOND4, HOST_SECOND6, HOST4, HOST6, INTERNET4, INTERNET6, Lab, PEER4, PEER6,
    WAN4, WAN6, ocinet_path,
};
pub use traffic::{Answer, Server, ask_tcp, ask_udp, reaches_nobody, sctp_exchange, until};
