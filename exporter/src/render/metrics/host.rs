//! The host: pools, records, hooks and tables.

use std::time::{SystemTime, UNIX_EPOCH};

use ocinet_shared::model::cidr::Family;

use crate::render::exposition::{Description, Group, Histogram, Value, Writer, counter, gauge, histogram};
use crate::render::labels::LabelSet;
use crate::scrape::snapshot::{HookRuns, Pool, Records, Snapshot};

/// A network's addresses of one family.
#[rustfmt::skip]
static POOLS: Group<Pool> = Group {
    labels: &["network", "family"],
    source: Some("pools"),
    metrics: &[
        gauge("ocinet_pool_addresses", "Addresses that a network has for containers.",
            |pool| pool.size.into()),
        gauge("ocinet_pool_addresses_used", "Addresses of a network that containers have.",
            |pool| pool.used.into()),
    ],
};

/// Records by phase.
#[rustfmt::skip]
static RECORD_PHASES: Group<u64> = Group {
    labels: &["phase"],
    source: Some("records"),
    metrics: &[
        gauge("ocinet_records", "Records of containers: set up, under way in either direction, or no records.",
            |count| (*count).into()),
    ],
};

/// The records as a whole.
#[rustfmt::skip]
static RECORDS: Group<Records> = Group {
    labels: &[],
    source: Some("records"),
    metrics: &[
        gauge("ocinet_pending_record_age_seconds", "The age of the oldest record of a container that is under way; 0 without one.",
            |records| records.oldest_pending.unwrap_or_default().as_secs_f64().into()),
        gauge("ocinet_last_error_timestamp_seconds", "When a set-up last failed whose container was not set up since.",
            |records| records.last_error.and_then(seconds_since_1970).into()),
    ],
};

/// Runs of a hook by result.
#[rustfmt::skip]
static HOOK_RUNS: Group<u64> = Group {
    labels: &["stage", "result"],
    source: Some("hooks"),
    metrics: &[
        counter("ocinet_hook_runs_total", "Runs of a hook by result.", |count| (*count).into()),
    ],
};

/// How long runs of a hook took.
#[rustfmt::skip]
static HOOK_DURATIONS: Group<HookRuns> = Group {
    labels: &["stage"],
    source: Some("hooks"),
    metrics: &[
        histogram("ocinet_hook_duration_seconds", "How long runs of a hook took.",
            |runs| Value::Histogram(durations(runs))),
    ],
};

/// The base tables.
#[rustfmt::skip]
static TABLES: Group<bool> = Group {
    labels: &["table"],
    source: Some("nft"),
    metrics: &[
        gauge("ocinet_nftables_table_present", "Whether the table ocinet of a family is there.",
            |is_there| (*is_there).into()),
    ],
};

/// What the tables say, in their order.
pub(super) fn table() -> impl Iterator<Item = Description> {
    let records = RECORD_PHASES.describe().chain(RECORDS.describe());
    let hooks = HOOK_RUNS.describe().chain(HOOK_DURATIONS.describe());
    POOLS.describe().chain(records).chain(hooks).chain(TABLES.describe())
}

pub(super) fn write(snapshot: &Snapshot, writer: &mut Writer<'_>) {
    write_pools(&snapshot.pools, writer);
    if let Some(records) = &snapshot.records {
        write_records(records, writer);
    }
    write_hooks(&snapshot.hooks, writer);
    if let Some(tables) = &snapshot.tables {
        let table = |name, is_there| (LabelSet::default().with("table", name), is_there);
        TABLES.write(&[table("inet", tables.inet), table("bridge", tables.bridge)], writer);
    }
}

fn write_pools(pools: &[Pool], writer: &mut Writer<'_>) {
    let labels = |pool: &Pool| {
        let family = if pool.family == Family::Ipv4 { "ipv4" } else { "ipv6" };
        LabelSet::default().with("network", pool.network.as_str()).with("family", family)
    };
    POOLS.write(&pools.iter().map(|pool| (labels(pool), pool)).collect::<Vec<_>>(), writer);
}

fn write_records(records: &Records, writer: &mut Writer<'_>) {
    let phases = [("ready", records.ready), ("pending", records.pending), ("unreadable", records.unreadable)];
    RECORD_PHASES
        .write(&phases.map(|(phase, count)| (LabelSet::default().with("phase", phase), count)), writer);
    RECORDS.write(&[(LabelSet::default(), records)], writer);
}

fn seconds_since_1970(time: SystemTime) -> Option<f64> {
    time.duration_since(UNIX_EPOCH).ok().map(|age| age.as_secs_f64())
}

fn write_hooks(hooks: &[HookRuns], writer: &mut Writer<'_>) {
    let stage = |runs: &HookRuns| LabelSet::default().with("stage", &runs.stage);
    let results: Vec<(LabelSet, u64)> = hooks
        .iter()
        .flat_map(|runs| {
            runs.results.iter().map(move |(result, count)| (stage(runs).with("result", result), *count))
        })
        .collect();
    HOOK_RUNS.write(&results, writer);
    HOOK_DURATIONS.write(&hooks.iter().map(|runs| (stage(runs), runs)).collect::<Vec<_>>(), writer);
}

fn durations(runs: &HookRuns) -> Histogram {
    Histogram {
        buckets: runs.buckets.clone(),
        sum: runs.seconds,
        count: runs.results.iter().map(|(_, count)| count).sum(),
    }
}
