//! `rate_limit`: a token bucket, of which every request takes a token.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::http::web_config::RateLimit;

/// A token bucket. As in the toolkit, it is made once: a changed limit counts from the next start.
#[derive(Debug)]
pub struct RateLimiter {
    limit: RateLimit,
    /// Tokens, and when they were last added.
    state: Mutex<(f64, Instant)>,
}

impl RateLimiter {
    /// A limiter with all tokens; none where there is no limit.
    #[must_use]
    pub fn new(limit: RateLimit, now: Instant) -> Option<Self> {
        let state = Mutex::new((f64::from(limit.burst), now));
        (!limit.interval.is_zero()).then_some(Self { limit, state })
    }

    /// Takes a token, if there is one.
    pub fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, last) = *state;
        let grown = now.saturating_duration_since(last).div_duration_f64(self.limit.interval);
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
        let limiter = RateLimiter::new(RateLimit { interval: second, burst: 2 }, start).unwrap();
        assert_eq!([0; 3].map(|_| limiter.take(start)), [true, true, false]);
        assert!(!limiter.take(start + second / 2));
        assert!(limiter.take(start + second));
        assert_eq!([0; 3].map(|_| limiter.take(start + 100 * second)), [true, true, false]);
        assert!(RateLimiter::new(RateLimit::default(), start).is_none());
    }
}
