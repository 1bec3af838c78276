//! What is read from the host, and really only read.

pub mod boot;
pub mod conflict;
pub mod elsewhere;
pub mod facts;
pub mod forwarding;
pub mod living;
pub mod name_servers;
pub mod observed;
pub mod occupied;
pub mod ports;
pub mod underlay;
pub mod uplinks;
