//! What ocinet's tests and benchmarks share: the lab, and how figures are summed up.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

pub mod figures;
pub mod lab;
