//! What the exporter counts of itself, in a registry of the prometheus crate.
//!
//! Every series is there from the start, and no client can make one.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, Result as Registered,
};

/// The status codes of all answers.
const CODES: [&str; 8] = ["200", "400", "401", "404", "405", "429", "500", "503"];
/// Those of scrapes, as promhttp has them from the start.
const SCRAPE_CODES: [&str; 3] = ["200", "500", "503"];
/// Upper bounds of scrapes' durations, in seconds.
const DURATIONS: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Why a log-in was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginRefusal {
    /// The request had no password.
    Missing,
    /// The password is not that of a user.
    Wrong,
}

impl LoginRefusal {
    const ALL: [Self; 2] = [Self::Missing, Self::Wrong];

    fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Wrong => "wrong",
        }
    }
}

/// The exporter's own metrics.
#[derive(Debug)]
pub struct OwnMetrics {
    registry: Registry,
    requests: IntCounterVec,
    refused_logins: IntCounterVec,
    failed_handshakes: IntCounter,
    scrape_durations: Histogram,
    scrapes: IntCounterVec,
    scrapes_in_flight: IntGauge,
}

impl OwnMetrics {
    /// A registry in which everything is 0.
    ///
    /// # Errors
    /// The registry's, where a name is no name or comes twice.
    pub fn new() -> Registered<Self> {
        let registry = Registry::new();
        let own = Self {
            requests: counters(
                "ocinet_exporter_http_requests_total",
                "Answers to HTTP requests, of every path, by status code.",
                "code",
                &CODES,
            )?,
            refused_logins: counters(
                "ocinet_exporter_refused_logins_total",
                "Requests that were refused because their password was missing or wrong.",
                "reason",
                &LoginRefusal::ALL.map(LoginRefusal::name),
            )?,
            failed_handshakes: IntCounter::new(
                "ocinet_exporter_tls_handshake_failures_total",
                "TLS handshakes that came to no connection.",
            )?,
            scrape_durations: Histogram::with_opts(
                HistogramOpts::new(
                    "ocinet_scrape_duration_seconds",
                    "How long scrapes took, writing included.",
                )
                .buckets(DURATIONS.to_vec()),
            )?,
            // These two have their names and texts from promhttp, which exporters in Go use.
            scrapes: counters(
                "promhttp_metric_handler_requests_total",
                "Total number of scrapes by HTTP status code.",
                "code",
                &SCRAPE_CODES,
            )?,
            scrapes_in_flight: IntGauge::new(
                "promhttp_metric_handler_requests_in_flight",
                "Current number of scrapes being served.",
            )?,
            registry,
        };
        let all: [Box<dyn Collector>; 6] = [
            Box::new(own.requests.clone()),
            Box::new(own.refused_logins.clone()),
            Box::new(own.failed_handshakes.clone()),
            Box::new(own.scrape_durations.clone()),
            Box::new(own.scrapes.clone()),
            Box::new(own.scrapes_in_flight.clone()),
        ];
        all.into_iter().try_for_each(|metric| own.registry.register(metric))?;
        Ok(own)
    }

    /// All of them, by name.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// Counts an answer. `status` is one of those that the exporter gives.
    pub fn count_answer(&self, status: &str) {
        self.requests.with_label_values(&[status]).inc();
    }

    /// Counts a log-in that is refused.
    pub fn count_refused_login(&self, reason: LoginRefusal) {
        self.refused_logins.with_label_values(&[reason.name()]).inc();
    }

    /// Counts how long a scrape took.
    pub fn count_scrape(&self, duration: Duration) {
        self.scrape_durations.observe(duration.as_secs_f64());
    }

    /// A request for metrics, which is in flight until what is returned is dropped.
    #[must_use]
    pub fn begin_request(&self) -> RequestInFlight<'_> {
        self.scrapes_in_flight.inc();
        RequestInFlight(self)
    }

    /// A TLS handshake, which fails unless what is returned is told otherwise.
    #[must_use]
    pub fn begin_handshake(&self) -> Handshake<'_> {
        Handshake { own: self, is_done: false }
    }
}

/// Counters of one label, one for each of its values.
fn counters(name: &str, help: &str, label: &str, values: &[&str]) -> Registered<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
    for value in values {
        counters.get_metric_with_label_values(&[value])?;
    }
    Ok(counters)
}

/// A request for metrics that is being served.
#[derive(Debug)]
pub struct RequestInFlight<'a>(&'a OwnMetrics);

impl RequestInFlight<'_> {
    /// Counts its answer.
    pub fn count_answer(&self, status: &str) {
        self.0.scrapes.with_label_values(&[status]).inc();
    }
}

impl Drop for RequestInFlight<'_> {
    fn drop(&mut self) {
        self.0.scrapes_in_flight.dec();
    }
}

/// A TLS handshake that is under way.
#[derive(Debug)]
pub struct Handshake<'a> {
    own: &'a OwnMetrics,
    is_done: bool,
}

impl Handshake<'_> {
    /// It came to a connection.
    pub fn succeed(mut self) {
        self.is_done = true;
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.own.failed_handshakes.inc();
        }
    }
}
