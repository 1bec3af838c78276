//! Runs the sources, measures their time, and makes a snapshot of what they find.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ocinet_shared::state::StateDir;

use crate::scrape::snapshot::{Container, Interface, Snapshot, SourceReport};
use crate::scrape::sources::conntrack::ConntrackSource;
use crate::scrape::sources::links::LinkSource;
use crate::scrape::sources::nft::NftSource;
use crate::scrape::sources::pools::PoolSource;
use crate::scrape::sources::records::{Known, RecordCache};
use crate::scrape::sources::{hooks, process};

/// A source's name and purpose.
#[derive(Debug, Clone, Copy)]
pub struct SourceInfo {
    /// As in `--collector.NAME`.
    pub name: &'static str,
    /// Whether it runs unless it is turned off.
    pub default_on: bool,
    /// What it reads, for `--help`.
    pub help: &'static str,
}

const fn source(name: &'static str, default_on: bool, help: &'static str) -> SourceInfo {
    SourceInfo { name, default_on, help }
}

/// Every source, in the order in which they run.
pub static SOURCES: &[SourceInfo] = &[
    source("records", true, "containers, by ocinet's records; without it nothing is known of any container"),
    source("links", true, "counters and settings of containers' interfaces"),
    source("nft", true, "what is routed, masqueraded and published, and whether the tables are there"),
    source("pools", true, "networks' addresses: how many there are, and how many are leased"),
    source("hooks", true, "runs of the hooks, by stage and result, and how long they took"),
    source("conntrack", false, "open connections of every container; its cost grows with those of the host"),
    source("process", true, "what the exporter's own process takes"),
];

/// The sources that are on, by name.
pub type Sources = BTreeSet<&'static str>;

/// The sources that are on unless they are turned off.
#[must_use]
pub fn default_sources() -> Sources {
    SOURCES.iter().filter(|source| source.default_on).map(|source| source.name).collect()
}

/// What is collected, and from where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state folder.
    pub state: PathBuf,
    /// Which sources are on.
    pub enabled: Sources,
    /// Whether cAdvisor's names are written too.
    pub cadvisor: bool,
}

/// Collects, and keeps what the next scrape need not read again. The first scrape opens the sockets, in the network
/// namespace of its thread.
pub struct Collector {
    options: Options,
    state: StateDir,
    records: RecordCache,
    links: LinkSource,
    nft: NftSource,
    pools: PoolSource,
    conntrack: ConntrackSource,
}

impl Collector {
    /// A collector that has read nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let state = StateDir::new(&options.state);
        Self {
            records: RecordCache::new(state.clone()),
            links: LinkSource::default(),
            nft: NftSource::default(),
            pools: PoolSource::new(state.clone()),
            conntrack: ConntrackSource::default(),
            state,
            options,
        }
    }

    /// Runs every source that is on.
    pub fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut run = Run { enabled: &self.options.enabled, reports: Vec::with_capacity(SOURCES.len()) };
        run.source("records", || {
            let (records, success) = self.records.refresh();
            snapshot.records = records;
            success
        });
        let mut living: Vec<&mut Known> = self.records.living().collect();
        let mut containers: Vec<Container> = living.iter().map(|known| container(known)).collect();
        let mut is_sound = vec![true; containers.len()];
        run.source("links", || self.links.read(&mut living, &mut containers, &mut is_sound));
        run.source("nft", || {
            let mut elements: Vec<_> = living.iter_mut().map(|known| &mut known.elements).collect();
            let (tables, success) = self.nft.read(&mut elements, &mut containers, &mut is_sound);
            snapshot.tables = tables;
            success
        });
        self.records.drop_gone(&mut containers, &is_sound);
        snapshot.containers = containers;
        run.source("pools", || {
            let (pools, read) = self.pools.read();
            snapshot.pools = pools;
            read.is_ok()
        });
        run.source("hooks", || hooks::read(&self.state).map(|runs| snapshot.hooks = runs).is_ok());
        run.source("conntrack", || self.conntrack.read(&mut snapshot.containers).is_ok());
        run.source("process", || {
            snapshot.process = process::read().ok();
            snapshot.process.is_some()
        });
        snapshot.sources = run.reports;
        snapshot
    }
}

/// One scrape's sources.
struct Run<'a> {
    enabled: &'a Sources,
    reports: Vec<SourceReport>,
}

impl Run<'_> {
    /// Runs a source if it is on, and reports its result.
    fn source(&mut self, name: &'static str, read: impl FnOnce() -> bool) {
        if !self.enabled.contains(name) {
            return;
        }
        let started = Instant::now();
        let success = read();
        self.reports.push(SourceReport { name, success, duration: started.elapsed() });
    }
}

/// A container without counters.
fn container(known: &Known) -> Container {
    let interfaces = if known.record.shares.is_some() { 0 } else { known.record.attachments.len() };
    Container {
        record: Arc::clone(&known.record),
        interfaces: (0..interfaces)
            .map(|attachment| Interface { attachment, ..Interface::default() })
            .collect(),
        routed: None,
        ports: Vec::new(),
        conntrack_entries: None,
    }
}
