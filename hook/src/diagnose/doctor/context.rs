//! What the checks know: records, networks, and the host as the kernel describes it.

use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::nft::chains;
use ocinet_shared::kernel::nft::chains::Chain;
use ocinet_shared::kernel::route;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::element::Element;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::network::Network;
use ocinet_shared::model::record::{Attachment, Record};
use ocinet_shared::state::StateDir;

use super::packet::Place;
use crate::error::Error;
use crate::host::forwarding;
use crate::host::observed::ObservedHost;
use crate::input::config::Config;
use crate::lifecycle::restore;
use crate::log;
use crate::state::forwarding::turned;
use crate::state::networks::Networks;
use crate::state::pod_members;

/// What the checks know.
pub(crate) struct DoctorContext {
    /// The containers to look at, all of which live. The process is one that is in their network namespace.
    pub(crate) records: Vec<Record>,
    /// Their networks.
    pub(crate) networks: Vec<Network>,
    /// The administrator's configuration.
    pub(super) config: Config,
    pub(super) found: ObservedHost,
    pub(super) chains: Vec<Chain>,
    /// The elements that keep the host's uplinks apart and are not there.
    pub(super) uplinks: Vec<Element>,
    /// The families in which ocinet turned forwarding on that nothing needs any more.
    pub(super) idle: Vec<Family>,
}

impl DoctorContext {
    /// Reads them for the given container, or for all.
    ///
    /// # Errors
    /// A folder that cannot be read, or a refusal of the kernel's.
    pub(crate) fn read(
        state: &StateDir,
        config: &Config,
        only: Option<&Record>,
        boot_id: &str,
    ) -> Result<Self, Error> {
        let mut records = match only {
            Some(record) => {
                let attached = restore::is_attached(state, record, boot_id);
                attached.then(|| record.clone()).into_iter().collect()
            }
            None => restore::live_records(state, boot_id)?,
        };
        for record in &mut records {
            // A pod's owner may have ended, and its namespace lives on in a member.
            record.pid = pod_members::pid_within(state, record, boot_id).unwrap_or(record.pid);
        }
        let mut found = ObservedHost::ask()?;
        let uplinks = forwarding::missing(state, &found)?;
        let networks = Networks::read_and_warn(state)?;
        let turned = turned(state)?.unwrap_or_else(|fault| {
            log::warn(fault);
            Vec::new()
        });
        let idle = forwarding::idle(&turned, &networks, &found.links_and_routes())?;
        let mut networks = networks.readable;
        networks.retain(|network| {
            only.is_none() || attachments(&records).any(|(_, attachment)| attachment.network == network.name)
        });
        let chains = chains::list(found.nft.socket())?;
        Ok(Self { records, networks, config: config.clone(), found, chains, uplinks, idle })
    }

    /// The attachments of all containers.
    pub(super) fn attachments(&self) -> impl Iterator<Item = (&Record, &Attachment)> {
        attachments(&self.records)
    }

    /// The containers whose attachments those are.
    pub(super) fn owners(&self) -> impl Iterator<Item = &Record> {
        owners(&self.records)
    }

    /// The networks that the host itself routes for, by links of its own.
    pub(super) fn routed(&self) -> impl Iterator<Item = &Network> {
        self.networks.iter().filter(|network| network.group != 0)
    }

    pub(super) fn link(&self, name: &IfName) -> Option<&Link> {
        self.found.link(name.as_str())
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
    pub(super) fn default_link(&self, family: Family) -> Option<&Link> {
        let best = route::defaults(&self.found.routes, family).find(|route| route.link.is_some())?;
        self.found.link_at(best.link?)
    }
}

fn attachments(records: &[Record]) -> impl Iterator<Item = (&Record, &Attachment)> {
    owners(records).flat_map(|record| record.attachments.iter().map(move |attachment| (record, attachment)))
}

/// What a member of a pod has is its owner's, where that is looked at as well.
fn owners(records: &[Record]) -> impl Iterator<Item = &Record> {
    let is_known = |owner: &ContainerId| records.iter().any(|record| record.id == *owner);
    records.iter().filter(move |record| !record.shares.as_ref().is_some_and(is_known))
}
