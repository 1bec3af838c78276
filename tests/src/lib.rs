//! What ocinet's tests and benchmarks share: the lab, how figures are summed up, and which test holds which rule.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

pub mod figures;
pub mod guards;
pub mod lab;
#[cfg(test)]
mod rooms;
