//! What the checks know: records, networks, and the host as the kernel describes it.

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::ifname::IfName;
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::link::{self, Link};
use ocinet_shared::kernel::nft::chains::{self, Chain};
use ocinet_shared::kernel::route::{self, Route};
use ocinet_shared::kernel::{addr, process};
use ocinet_shared::network::Network;
use ocinet_shared::record::{Attachment, Phase, Record};
use ocinet_shared::record_dir::StateDir;

use super::fate::Place;
use crate::error::Error;
use crate::tables;

/// What the checks know.
pub(crate) struct Surroundings {
    /// The containers to look at, all of which live.
    pub(crate) records: Vec<Record>,
    /// Their networks.
    pub(crate) networks: Vec<Network>,
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<(u32, Cidr)>,
    pub(super) routes: Vec<Route>,
    pub(super) chains: Vec<Chain>,
    pub(super) route: Channel,
    pub(super) netfilter: Channel,
}

impl Surroundings {
    /// Reads them for the given container, or for all.
    ///
    /// # Errors
    /// A folder that cannot be read, or a refusal of the kernel's.
    pub(crate) fn read(state: &StateDir, only: Option<&Record>) -> Result<Self, Error> {
        let boot_id = process::boot_id().unwrap_or_default();
        let mut records = Vec::new();
        match only {
            Some(record) => records.push(record.clone()),
            None => {
                for record in state.records()? {
                    match record {
                        Ok(record) => records.push(record),
                        Err(error) => crate::log::warn(error),
                    }
                }
            }
        }
        records.retain(|record| record.phase == Phase::Ready && !record.is_dead(&boot_id));
        let mut networks = tables::networks(state)?;
        networks.retain(|network| {
            only.is_none() || attachments(&records).any(|(_, attachment)| attachment.network == network.name)
        });
        let mut route = Channel::open(NETLINK_ROUTE)?;
        let mut netfilter = Channel::open(NETLINK_NETFILTER)?;
        Ok(Self {
            records,
            networks,
            links: link::list(&mut route)?,
            addresses: addr::list(&mut route)?,
            routes: route::list_all(&mut route)?,
            chains: chains::list(&mut netfilter)?,
            route,
            netfilter,
        })
    }

    /// The attachments of all containers.
    pub(super) fn attachments(&self) -> impl Iterator<Item = (&Record, &Attachment)> {
        attachments(&self.records)
    }

    /// The networks that the host itself routes for, by links of its own.
    pub(super) fn routed(&self) -> impl Iterator<Item = &Network> {
        self.networks.iter().filter(|network| network.group != 0)
    }

    pub(super) fn link(&self, name: &IfName) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name.as_str())
    }

    /// The names of the links by which the host routes for a network: its bridge, or each container's.
    pub(super) fn routers(&self, network: &Network) -> Vec<IfName> {
        match network.bridge() {
            Some(bridge) => vec![bridge.clone()],
            None => self
                .attachments()
                .filter(|(_, attachment)| attachment.network == network.name)
                .filter_map(|(_, attachment)| attachment.host_interface.clone())
                .collect(),
        }
    }

    /// The link by which the host routes to an attachment.
    pub(super) fn router<'a>(&'a self, attachment: &'a Attachment) -> Option<&'a IfName> {
        let network = self.routed().find(|network| network.name == attachment.network)?;
        network.bridge().or(attachment.host_interface.as_ref())
    }

    /// The same links as conditions of rules see them.
    pub(super) fn places(&self, network: &Network) -> Vec<Place> {
        let place = |name: &IfName| {
            let link = self.link(name)?;
            Some(Place { index: link.index, name: link.name.clone(), group: network.group })
        };
        self.routers(network).iter().filter_map(place).collect()
    }

    /// The link of the host's best default route.
    pub(super) fn way_out(&self, family: Family) -> Option<&Link> {
        let of_family = |route: &&Route| {
            route.destination.prefix() == 0 && route.destination.family() == family && route.link.is_some()
        };
        let best = self.routes.iter().filter(of_family).min_by_key(|route| route.metric)?;
        self.links.iter().find(|link| Some(link.index) == best.link)
    }
}

fn attachments(records: &[Record]) -> impl Iterator<Item = (&Record, &Attachment)> {
    records.iter().flat_map(|record| record.attachments.iter().map(move |attachment| (record, attachment)))
}
