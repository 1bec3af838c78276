//! What the hooks write down about their own runs, in `stats.json` of the state folder, for the exporter.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The version of the file's form.
const VERSION: u32 = 1;

/// The upper bounds of the histogram of durations, in seconds, as Prometheus writes them. A start takes 2 to 3 ms.
pub const BOUNDS: [&str; 12] =
    ["0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"];

/// The runs of the hooks since the machine was booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStats {
    version: u32,
    /// By the hook's name in the OCI specification.
    pub stages: BTreeMap<String, Stage>,
}

/// The runs of one hook.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Runs by result: `ok`, or the class of the exit code.
    pub results: BTreeMap<String, u64>,
    /// [`BOUNDS`], each with the number of runs that took no longer.
    pub buckets: Vec<(String, u64)>,
    /// All runs.
    pub count: u64,
    /// How long they took together, in microseconds.
    pub sum_us: u64,
}

impl Default for HookStats {
    fn default() -> Self {
        Self { version: VERSION, stages: BTreeMap::new() }
    }
}

impl HookStats {
    /// Reads the file's text; `None` where it is damaged, or another version's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|stats: &Self| stats.version == VERSION)
    }

    /// Adds one run.
    pub fn count(&mut self, stage: &str, result: &str, took: Duration) {
        let stage = self.stages.entry(stage.to_owned()).or_default();
        *stage.results.entry(result.to_owned()).or_default() += 1;
        if stage.buckets.is_empty() {
            stage.buckets = BOUNDS.map(|bound| (bound.to_owned(), 0)).to_vec();
        }
        for (bound, count) in &mut stage.buckets {
            let is_within = bound.parse().is_ok_and(|bound: f64| took.as_secs_f64() <= bound);
            *count += u64::from(is_within);
        }
        stage.count += 1;
        stage.sum_us += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_counted_in_every_bucket_that_is_wide_enough() {
        let mut stats = HookStats::default();
        stats.count("poststop", "ok", Duration::from_millis(5));
        stats.count("poststop", "kernel", Duration::from_secs(9));
        let text = serde_json::to_string(&stats).unwrap();
        assert_eq!(HookStats::parse(&text), Some(stats.clone()));
        let stage = &stats.stages["poststop"];
        let counts: Vec<u64> = stage.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!((stage.count, stage.sum_us, stage.results["kernel"]), (2, 9_005_000, 1));
        assert_eq!(HookStats::parse(&text.replace("\"version\":1", "\"version\":2")), None);
    }
}
