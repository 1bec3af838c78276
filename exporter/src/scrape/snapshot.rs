//! What one scrape found, as a value: the sources fill it, and `render/` writes it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use ocinet_shared::kernel::counters::{Direction, LinkCounters};
use ocinet_shared::kernel::nft::Counter;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::port::PublishedPort;
use ocinet_shared::model::record::Record;
use prometheus::proto::MetricFamily;

/// Everything that one scrape found.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The containers that live, by id.
    pub containers: Vec<Container>,
    /// The networks' pools of addresses, one for each family, by network.
    pub pools: Vec<Pool>,
    /// What the records say of themselves; nothing where the folder could not be read.
    pub records: Option<Records>,
    /// Runs of the hooks.
    pub hooks: Vec<HookRuns>,
    /// Whether the base tables are in place; nothing where the kernel could not be asked.
    pub tables: Option<Tables>,
    /// What the exporter's own process takes; nothing where /proc cannot be read.
    pub process: Option<ProcessUsage>,
    /// What the exporter has counted of itself.
    pub own: Vec<MetricFamily>,
    /// The result of each source.
    pub sources: Vec<SourceReport>,
}

/// A container and what was counted for it.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its record, read once for as long as the file stays the same.
    pub record: Arc<Record>,
    /// Its interfaces, as many as the record has attachments; empty where it shares those of another.
    pub interfaces: Vec<Interface>,
    /// What was routed for its addresses; nothing where the kernel's tables could not be read.
    pub routed: Option<Routed>,
    /// Its published ports, in the record's order; empty where the kernel's tables could not be read.
    pub ports: Vec<Port>,
    /// Open entries of connection tracking, where that source is on.
    pub conntrack_entries: Option<u64>,
}

/// One interface, as the container sees it: what it receives is what came to it.
#[derive(Debug, Clone, Default)]
pub struct Interface {
    /// Which attachment of the record it is.
    pub attachment: usize,
    /// Its counters; nothing where the link is gone or could not be asked.
    pub counters: Option<LinkCounters>,
    /// Whether it is up with a carrier (netdevice(7)).
    pub up: Option<bool>,
    /// The MTU in bytes.
    pub mtu: Option<u32>,
    /// The speed in bits per second, where the parent is a device that has one.
    pub speed: Option<u64>,
}

/// What the host routed for a container, all addresses together, since it was attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Routed {
    /// What the container sent out of its network: bytes of IP packets.
    pub sent: Counter,
    /// What it received from outside its network.
    pub received: Counter,
    /// Connections that left behind an address of the host.
    pub masqueraded: u64,
}

/// A published port and what was counted for it, both families together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// The port, as the record has it.
    pub port: PublishedPort,
    /// Connections.
    pub connections: u64,
    /// What reached the container by it.
    pub received: Counter,
    /// What the container answered.
    pub sent: Counter,
}

/// A network's addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The network.
    pub network: ContainerId,
    /// The family.
    pub family: Family,
    /// How many addresses containers can have.
    pub size: u128,
    /// How many of them are leased.
    pub used: u64,
}

/// What the folder of records holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Records {
    /// Containers that are set up.
    pub ready: u64,
    /// Containers whose set-up or teardown is not finished.
    pub pending: u64,
    /// Files that are no record, or a newer ocinet's.
    pub unreadable: u64,
    /// The age of the oldest pending one.
    pub oldest_pending: Option<Duration>,
    /// When the last set-up failed whose container was not set up since.
    pub last_error: Option<SystemTime>,
}

/// Runs of a hook by their end, and how long they took.
#[derive(Debug, Clone, PartialEq)]
pub struct HookRuns {
    /// `createRuntime`, `poststart` or `poststop`.
    pub stage: String,
    /// Runs by result: `ok`, or the class of the exit code.
    pub results: Vec<(String, u64)>,
    /// Upper bounds in seconds and runs up to each, cumulative, without the last one (`+Inf`).
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all durations in seconds.
    pub seconds: f64,
}

/// Whether each base table is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tables {
    /// `table inet ocinet`.
    pub inet: bool,
    /// `table bridge ocinet`.
    pub bridge: bool,
}

/// The result of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceReport {
    /// Its name, as in `--collector.NAME`.
    pub name: &'static str,
    /// Whether it could read everything.
    pub success: bool,
    /// How long it took.
    pub duration: Duration,
}

/// The container's addresses of an interface, IPv4 first.
pub fn addresses(container: &Container, interface: &Interface) -> impl Iterator<Item = IpAddr> {
    let attachment = container.record.attachments.get(interface.attachment);
    attachment
        .into_iter()
        .flat_map(|attachment| attachment.addresses.iter().map(ocinet_shared::model::cidr::Cidr::address))
}

/// What the exporter's own process takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessUsage {
    /// Processor time, in seconds, of the process and of the kernel for it.
    pub cpu_seconds: f64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// The most file descriptors that may be open.
    pub max_fds: u64,
    /// Virtual memory, in bytes.
    pub virtual_bytes: u64,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// When it was started, in seconds since 1970-01-01 UTC.
    pub start_time: f64,
    /// Threads.
    pub threads: u64,
}
