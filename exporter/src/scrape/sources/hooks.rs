//! Runs of the hooks, as they count them.

use ocinet_shared::model::hook_stats::{HookStats, Stage};
use ocinet_shared::state::{StateDir, StateError};

use crate::scrape::snapshot::HookRuns;

/// Reads the counts of runs; none where no hook has run yet.
///
/// # Errors
/// A file that cannot be read, or whose counts contradict each other.
pub fn read(state: &StateDir) -> Result<Vec<HookRuns>, StateError> {
    let path = state.hook_stats_path();
    let Some(text) = state.read_common(&path)? else { return Ok(Vec::new()) };
    let runs = HookStats::parse(&text).and_then(|stats| {
        stats.stages.into_iter().map(|(name, stage)| runs(name, stage)).collect::<Option<Vec<_>>>()
    });
    runs.ok_or_else(|| StateError::Malformed { path, reason: "it does not hold counts of runs".to_owned() })
}

/// The buckets of a histogram are cumulative, and the last has at most all runs.
fn runs(name: String, stage: Stage) -> Option<HookRuns> {
    let buckets = stage.buckets.iter().map(|(bound, count)| Some((bound.parse().ok()?, *count)));
    let buckets: Vec<(f64, u64)> = buckets.collect::<Option<_>>()?;
    let are_ascending = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
    let all = stage.results.values().try_fold(0_u64, |sum, count| sum.checked_add(*count))?;
    let most = buckets.last().map_or(0, |(_, count)| *count);
    let adds_up = are_ascending && all == stage.count && most <= all;
    adds_up.then(|| HookRuns {
        stage: name,
        results: stage.results.into_iter().collect(),
        buckets,
        seconds: stage.sum_us as f64 / 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn reads_what_the_hooks_write_and_nothing_that_does_not_add_up() {
        let made = tempfile::tempdir().unwrap();
        let folder = made.path();
        let state = StateDir::new(folder);
        assert_eq!(read(&state).unwrap(), []);
        let mut stats = HookStats::default();
        stats.count("createRuntime", "ok", Duration::from_millis(2));
        stats.count("createRuntime", "conflict", Duration::from_secs(9));
        let text = serde_json::to_string(&stats).unwrap();
        let write = |text: &str| std::fs::write(folder.join("stats.json"), text).unwrap();
        write(&text);
        let runs = read(&state).unwrap();
        assert_eq!(runs[0].results, [("conflict".to_owned(), 1), ("ok".to_owned(), 1)]);
        assert_eq!((runs[0].buckets[0], runs[0].buckets[11]), ((0.001, 0), (5.0, 1)));
        assert!((runs[0].seconds - 9.002).abs() < 1e-9);
        for length in 0..text.len() {
            write(&text[..length]);
            assert!(read(&state).is_err(), "{length} bytes");
        }
        for (from, to) in [
            ("\"ok\":1", "\"ok\":2"),
            ("\"0.002\"", "\"NaN\""),
            ("\"0.002\"", "\"x\""),
            ("\"5\",1", "\"5\",7"),
        ] {
            assert!(text.contains(from), "{text}");
            write(&text.replace(from, to));
            assert!(read(&state).is_err(), "{to}");
        }
    }
}
