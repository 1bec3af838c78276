//! `rate_limit`: a bucket of tokens, one of which every request takes.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::http::web_config::RateLimit;

/// The bucket. As in the toolkit, it is made once: a changed limit counts from the next start.
#[derive(Debug)]
pub struct Bucket {
    limit: RateLimit,
    /// Tokens, and when they were counted.
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// A full bucket; none where there is no limit.
    #[must_use]
    pub fn new(limit: RateLimit, now: Instant) -> Option<Self> {
        let state = Mutex::new((f64::from(limit.burst), now));
        (!limit.interval.is_zero()).then_some(Self { limit, state })
    }

    /// Takes a token, if there is one.
    pub fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, counted) = *state;
        let grown = now.saturating_duration_since(counted).div_duration_f64(self.limit.interval);
        let tokens = (tokens + grown).min(f64::from(self.limit.burst));
        let taken = tokens >= 1.0;
        *state = (if taken { tokens - 1.0 } else { tokens }, now);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn so_many_at_once_and_then_one_an_interval() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let bucket = Bucket::new(RateLimit { interval: second, burst: 2 }, start).unwrap();
        assert_eq!([0; 3].map(|_| bucket.take(start)), [true, true, false]);
        assert!(!bucket.take(start + second / 2));
        assert!(bucket.take(start + second));
        assert_eq!([0; 3].map(|_| bucket.take(start + 100 * second)), [true, true, false]);
        assert!(Bucket::new(RateLimit::default(), start).is_none());
    }
}
