//! What both of ocinet's programs need.
//!
//! | file | holds |
//! |---|---|
//! | `cidr.rs` `mac.rs` `ifname.rs` `port.rs` `container_id.rs` | the words of the design as types that cannot hold nonsense |
//! | `element.rs` `counted.rs` | one element of one nftables set, as data; those that count for a container |
//! | `names.rs` | what a container is told about names |
//! | `network.rs` `driver_settings.rs` `record.rs` `hook_stats.rs` `record_dir.rs` `common_file.rs` | what is written down about networks, containers and hooks, and where |
//! | `locks.rs` `folders.rs` `foreign.rs` | the locks of the state folder; that root alone writes to it; whose its files are |
//! | `small_file.rs` | files that others write, opened without a wait and read with bounds |
//! | `one_line.rs` `quoted.rs` | texts and commands that quote what came from outside |
//! | `kernel/` | netlink, nfnetlink, namespaces, sysctls: the only code that touches the kernel |
//!
//! Nothing here reads an annotation or a configuration file.

pub mod cidr;
mod common_file;
pub mod container_id;
pub mod counted;
pub mod driver_settings;
pub mod element;
mod folders;
pub mod foreign;
pub mod hook_stats;
pub mod ifname;
pub mod kernel;
pub mod locks;
pub mod mac;
pub mod names;
pub mod network;
pub mod network_files;
pub mod one_line;
pub mod port;
pub mod quoted;
pub mod record;
pub mod record_dir;
pub mod small_file;
