//! Open connections of containers. Off by default: its cost grows with the connections of the whole host.

use std::collections::HashMap;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_NETFILTER;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::{KernelError, conntrack};

use super::open;
use crate::scrape::snapshot::Container;

/// The host's connection tracking.
#[derive(Default)]
pub struct ConntrackSource {
    socket: Option<NetlinkSocket>,
}

impl ConntrackSource {
    /// Counts every container's connections: those with one of its addresses at an end of either direction.
    ///
    /// # Errors
    /// A refusal of the dump.
    pub fn read(&mut self, containers: &mut [Container]) -> Result<(), KernelError> {
        let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
        for (index, container) in containers.iter().enumerate() {
            if container.record.shares.is_none() {
                by_address.extend(container.record.addresses().map(|address| (address, index)));
            }
        }
        let mut counts = vec![0_u64; containers.len()];
        let socket = open(&mut self.socket, NETLINK_NETFILTER)?;
        let dumped = conntrack::entries(socket, |addresses| {
            let mut ends: Vec<usize> =
                addresses.iter().filter_map(|address| by_address.get(address).copied()).collect();
            ends.sort_unstable();
            ends.dedup();
            for index in ends {
                if let Some(count) = counts.get_mut(index) {
                    *count += 1;
                }
            }
        });
        if let Err(error) = dumped {
            self.socket = None;
            return Err(error);
        }
        for (container, count) in containers.iter_mut().zip(counts) {
            container.conntrack_entries = container.record.shares.is_none().then_some(count);
        }
        Ok(())
    }
}
