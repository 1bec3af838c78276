//! What changes the kernel and the disk: starts, stops, and putting back what was lost.

pub mod apply;
mod connections;
pub mod forwarding;
pub mod identity;
pub mod phases;
pub mod planner;
#[cfg(test)]
mod properties;
pub mod restore;
pub mod setup;
pub mod sweep;
pub mod teardown;
