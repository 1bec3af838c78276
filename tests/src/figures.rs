//! What benchmarks say of many measurements.

use std::time::Duration;

/// Milliseconds: least, median, most.
///
/// # Panics
/// When nothing was measured.
#[must_use]
pub fn spread(durations: &[Duration]) -> [f64; 3] {
    let mut sorted: Vec<f64> = durations.iter().map(|duration| duration.as_secs_f64() * 1e3).collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    [sorted[0], sorted[last / 2], sorted[last]]
}
