//! A network and its bridge: shared where it is there, made where it is not.

use nix::errno::Errno;
use ocinet_shared::cidr::Family;
use ocinet_shared::kernel::link::{self, Link};
use ocinet_shared::kernel::{KernelError, addr, sysctl};
use ocinet_shared::mac::Mac;
use ocinet_shared::network::Network;
use ocinet_shared::record_dir::{Mode, to_json};

use super::{Applier, Failure, optional};
use crate::error::{Error, report};
use crate::{nat, tables};

impl Applier<'_> {
    /// The network's file is held shared until the container is attached, so that nobody who leaves the network takes
    /// its bridge away meanwhile.
    pub(super) fn join_network(&mut self, network: &Network) -> Result<(), Failure> {
        let path = self.state.path(&format!("networks/{}.json", network.name));
        let stale = || {
            Failure::Stale(Error::Conflict(report(
                format!("join network {}", network.name),
                "it was made or changed by another container at the same moment",
                "start the container again",
            )))
        };
        let mut fresh = false;
        loop {
            if let Some((text, lock)) = self.state.lock(&path, Mode::Shared)? {
                if serde_json::from_str::<Network>(&text).ok().as_ref() != Some(network) {
                    return Err(stale());
                }
                self.network_lock = Some(lock);
                break;
            }
            // Two new networks must not choose overlapping subnets: they are made one at a time.
            self.state.make_parent(&path)?;
            let _making = self.state.lock_networks()?;
            let others = tables::networks(self.state)?;
            let overlaps = |other: &Network| {
                other.name != network.name
                    && (other.bridge == network.bridge
                        || other.subnets().any(|theirs| network.subnets().any(|ours| ours.overlaps(&theirs))))
            };
            if others.iter().any(overlaps) {
                return Err(stale());
            }
            fresh |= self.state.create(&path, &to_json(network, &path)?)?.is_some();
        }
        self.ensure_bridge(network, fresh)
    }

    /// A bridge that is up is a bridge that is complete: bringing it up is the last thing done to it. One that is there
    /// before its network was left behind by another network of the same name, with other addresses perhaps.
    fn ensure_bridge(&mut self, network: &Network, fresh: bool) -> Result<(), Failure> {
        let mac = Mac::of_bridge(network.name.as_str());
        match link::find(&mut self.route, &network.bridge)? {
            Some(found) if !is_ours(&found, mac) => return Err(not_ours(network, &found).into()),
            Some(found) if found.is_up && !fresh => self.bridge = Some(found),
            _ => {
                self.add_elements(&nat::network_elements(network))?;
                match link::make_bridge(&mut self.route, &network.bridge, mac, network.mtu) {
                    Err(KernelError { errno: Errno::EEXIST, .. }) | Ok(()) => {}
                    Err(error) => return Err(error.into()),
                }
                let made = link::find(&mut self.route, &network.bridge)?;
                let made = made.ok_or_else(|| KernelError::new("find the new bridge", Errno::ENODEV))?;
                if !is_ours(&made, mac) {
                    return Err(not_ours(network, &made).into());
                }
                self.configure_bridge(network, made.index)?;
                self.bridge = Some(made);
            }
        }
        Ok(())
    }

    fn configure_bridge(&mut self, network: &Network, index: u32) -> Result<(), Failure> {
        let bridge = &network.bridge;
        for (family, setting, value) in [
            (Family::Ipv4, "route_localnet", "1"),
            (Family::Ipv4, "rp_filter", "1"),
            (Family::Ipv4, "send_redirects", "0"),
            (Family::Ipv6, "accept_ra", "0"),
            // The host asks for a container's link address by its own link-local one, and could not for a second.
            (Family::Ipv6, "accept_dad", "0"),
        ] {
            optional(sysctl::write(&sysctl::of_interface(family, bridge, setting), value))?;
        }
        let no_ipv6 = if network.subnet(Family::Ipv6).is_some() { "0" } else { "1" };
        optional(sysctl::write(&sysctl::of_interface(Family::Ipv6, bridge, "disable_ipv6"), no_ipv6))?;
        let mut messages: Vec<_> = network.gateways.iter().map(|gateway| addr::add(index, gateway)).collect();
        messages.push(link::alias(index, &format!("ocinet network {}", network.name)));
        messages.push(link::up(index));
        Ok(self.route.change(messages, |_| format!("configure the bridge {bridge}"))?)
    }
}

fn is_ours(link: &Link, mac: Mac) -> bool {
    link.is_bridge && link.mac == Some(mac)
}

fn not_ours(network: &Network, found: &Link) -> Error {
    let what =
        if found.is_bridge { "a bridge that ocinet did not make for this network" } else { "not a bridge" };
    Error::Conflict(report(
        format!("use the bridge {}", network.bridge),
        format!("{} exists and is {what}", found.name),
        "name another bridge with net.bridge; ocinet makes it",
    ))
}
