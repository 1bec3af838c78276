//! Leases, claims and shares: where the file system decides who has an address, a port or an attachment.

use std::net::IpAddr;

use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::port::PublishedPort;
use ocinet_shared::model::record::{Phase, SharedLink};

use super::applier::{Applier, Failure};
use crate::error::{Class, Error};
use crate::host::conflict;
use crate::plan::elements;
use crate::state::{leases, pod_members};

impl Applier<'_> {
    pub(super) fn take_lease(&mut self, network: &ContainerId, address: IpAddr) -> Result<(), Failure> {
        let path = self.state.lease_path(network, address);
        if leases::take(self.state, &path, self.target.id)? {
            return Ok(());
        }
        Err(Failure::Conflict(Box::new(conflict::of_lease(self.state, network, address))))
    }

    /// The other container's record is locked meanwhile, so that nobody removes its attachments.
    pub(super) fn share(&mut self, owner: &ContainerId) -> Result<(), Failure> {
        let gone = || {
            Failure::Stale(Error::new(
                Class::Conflict,
                format!("share the network of container {owner}"),
                "it ended at the same moment",
                "start the container again",
            ))
        };
        let (record, _lock) = self.state.lock_record(owner)?.ok_or_else(gone)?;
        if record.phase != Phase::Ready || record.netns != self.target.namespace.id() {
            return Err(gone());
        }
        Ok(pod_members::add(self.state, owner, self.target.id)?)
    }

    pub(super) fn claim_mac(&mut self, on: &SharedLink, mac: Mac) -> Result<(), Failure> {
        if leases::take(self.state, &self.state.mac_claim_path(on, mac), self.target.id)? {
            return Ok(());
        }
        Err(Failure::Conflict(Box::new(conflict::of_mac(self.state, on, mac))))
    }

    pub(super) fn claim_port(&mut self, port: &PublishedPort) -> Result<(), Failure> {
        let Some(path) = self.state.port_claim_path(port) else { return Ok(()) };
        if !leases::take(self.state, &path, self.target.id)? {
            return Err(Failure::Conflict(Box::new(conflict::of_claim(self.state, port, &path))));
        }
        // Claims are made before publish elements are looked for, and publish elements before claims: of two
        // starts at once, at least one sees the other.
        let Some(address) = port.bound_address() else { return Ok(()) };
        let everywhere = elements::wildcard_element(port, Family::of(address));
        match self.nft.get(&everywhere)? {
            Some(found) => self.refuse(&everywhere, Some(&found.value)),
            None => Ok(()),
        }
    }
}
