//! The words of the design as types that cannot hold nonsense, and what is written down of them.

pub mod cidr;
pub mod container_id;

pub mod driver_settings;
pub mod element;
pub mod hook_stats;
pub mod ifname;
pub mod link_mode;
pub mod mac;
pub mod names;
pub mod namespace_id;
pub mod network;
pub mod port;
pub mod port_elements;
pub mod record;
