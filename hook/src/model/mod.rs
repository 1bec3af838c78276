//! Types that several rooms share.

pub mod driver_spec;
pub mod host_network;
pub mod host_ports;
pub mod mtu;
pub mod subnet;
pub mod sysctl;
