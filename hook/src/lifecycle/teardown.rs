//! Removes what a container has, as its record lists it: no annotation and no configuration is read. Only the last container to leave a
//! network reads that network's file, too. What is gone already counts as removed. `network.rs` leaves networks.

mod network;

use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::nft;
use ocinet_shared::kernel::nft::{Nft, Place};
use ocinet_shared::kernel::{KernelError, conntrack, link, neighbour, route};
use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::element::{Element, Field, Set};
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::record::{Attachment, Owned, Phase, Record};
use ocinet_shared::state::{Locked, StateDir, temporary_path};

use crate::error::{Class, Error};
use crate::plan::elements;
use crate::state::leases;
use crate::state::pod_members;

/// How long the links of a namespace that has ended may take to go.
pub const DEPARTURE: Duration = Duration::from_secs(2);

/// Whether the container is known to have got all that its record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// It got everything: its record is ready.
    Complete,
    /// The process that set it up was killed or failed half-way: anything may be missing.
    Unknown,
}

/// Detaches containers.
pub struct Teardown<'a> {
    state: &'a StateDir,
    route: NetlinkSocket,
    nft: Nft,
    /// Addresses from and to which the host has routed nothing.
    silent: Vec<IpAddr>,
    /// Addresses that a start did not come to use: another container may have them, which no lease here is about.
    unused: Vec<IpAddr>,
}

impl<'a> Teardown<'a> {
    /// Opens the sockets in the host's namespace.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn new(state: &'a StateDir) -> Result<Self, Error> {
        Ok(Self::with(state, NetlinkSocket::open(NETLINK_ROUTE)?, Nft::open()?))
    }

    /// Takes over sockets that are open in the host's namespace.
    #[must_use]
    pub fn with(state: &'a StateDir, route: NetlinkSocket, nft: Nft) -> Self {
        Self { state, route, nft, silent: Vec::new(), unused: Vec::new() }
    }

    /// Detaches a recorded container and removes its record. The caller holds the record's lock.
    ///
    /// # Errors
    /// [`Class::Partial`] with everything that could not be removed; the record is kept then, for another try.
    pub fn container(&mut self, record: &Record) -> Result<(), Error> {
        self.silent = self.find_silent(record)?;
        let certainty = if record.phase == Phase::Ready { Certainty::Complete } else { Certainty::Unknown };
        self.unused = self.find_unused(record, certainty)?;
        let _ending = self.state.lock(Locked::EndingContainer(&record.id))?;
        self.remove_all(record, certainty)?;
        remove_record(self.state, &record.id)
    }

    /// Goes on after an error: what can be removed is, whatever else cannot. The addresses alone are kept then: by them
    /// the next try knows what is still this container's.
    fn remove_all(&mut self, record: &Record, certainty: Certainty) -> Result<(), Error> {
        let id = &record.id;
        let mut failed = Vec::new();
        for owned in record.owned.iter().rev() {
            if !failed.is_empty() && matches!(owned, Owned::Lease { .. } | Owned::MacClaim { .. }) {
                continue;
            }
            if let Err(error) = self.remove(record, owned, certainty) {
                failed.push(error.without_hint());
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Class::Partial,
            format!("detach all of container {id}"),
            failed.join("; and "),
            format!(
                "fix the cause and run `ocinet poststop` again with {{\"id\":\"{id}\"}} on standard input"
            ),
        ))
    }

    fn remove(&mut self, record: &Record, owned: &Owned, certainty: Certainty) -> Result<(), Error> {
        let id = &record.id;
        match owned {
            Owned::Lease { network, address } => self.release_lease(record, network, *address),
            Owned::PortClaim(port) => {
                if let Some(path) = self.state.port_claim_path(port) {
                    leases::release(self.state, &path, id)?;
                    leases::remove_if_empty(&self.state.port_claim_folder(port))?;
                }
                Ok(())
            }
            Owned::MacClaim { on, mac } => {
                leases::release(self.state, &self.state.mac_claim_path(on, *mac), id)?;
                Ok(leases::remove_if_empty(&self.state.mac_claim_folder(on)).map(drop)?)
            }
            Owned::Elements { elements } => self.delete_elements(elements, certainty),
            Owned::Link { name } => self.delete_link(name),
            Owned::InnerLink { interface } => self.delete_inside(record, interface, certainty),
            Owned::Shaper { name } => Ok(link::delete(&mut self.route, name)?),
            Owned::Routes { link, addresses } => self.delete_routes(record, link, addresses),
            Owned::Share { owner } => self.unshare(owner, record),
            Owned::Membership { network } => self.leave_network(network),
        }
    }

    /// The IPv6 addresses whose counters say that there is no connection to end, which would take long to find.
    fn find_silent(&mut self, record: &Record) -> Result<Vec<IpAddr>, Error> {
        let mut silent = Vec::new();
        let routed = record.attachments.iter().filter(|of| of.host_interface.is_some());
        let addresses = routed.flat_map(|of| of.addresses.iter().map(Cidr::address));
        for address in addresses.filter(IpAddr::is_ipv6) {
            let mut is_silent = true;
            for set in [Set::Sent6, Set::Received6] {
                let counted = self.nft.get(&Element::new(set, vec![Field::Address(address)]))?;
                is_silent &= counted.is_some_and(|element| element.counter.packets == 0);
            }
            silent.extend(is_silent.then_some(address));
        }
        Ok(silent)
    }

    /// The addresses of elements that a start which failed had not added.
    fn find_unused(&mut self, record: &Record, certainty: Certainty) -> Result<Vec<IpAddr>, Error> {
        let mut unused = Vec::new();
        for owned in &record.owned {
            if let Owned::Elements { elements } = owned
                && !self.were_added(elements, certainty)?
            {
                unused.extend(elements.iter().filter_map(Element::of_container));
            }
        }
        Ok(unused)
    }

    /// Whoever has the address next is not to get what was meant for this container. Where the host does not route for
    /// it, it does not track its connections either.
    fn release_lease(
        &mut self,
        record: &Record,
        network: &ContainerId,
        address: IpAddr,
    ) -> Result<(), Error> {
        let path = self.state.lease_path(network, address);
        let is_routed = |of: &Attachment| of.network == *network && of.host_interface.is_some();
        // A start that lost the address to another container must leave that one's connections alone.
        if record.attachments.iter().any(is_routed)
            && !self.silent.contains(&address)
            && !self.unused.contains(&address)
            && leases::holder(self.state, &path)?.as_ref() == Some(&record.id)
        {
            conntrack::end_all_of(self.nft.socket(), address)?;
        }
        Ok(leases::release(self.state, &path, &record.id)?)
    }

    /// A batch of elements was added whole or not at all. Where it is not known, the first element tells: it is the
    /// container's link, whose name no other container ever has. Without that question, a start that was killed just
    /// before it lost a port to another container would take that container's port away.
    fn were_added(&mut self, elements: &[Element], certainty: Certainty) -> Result<bool, KernelError> {
        let Some(first) = elements.first().filter(|_| certainty == Certainty::Unknown) else {
            return Ok(true);
        };
        Ok(self.nft.get(first)?.is_some_and(|found| found.value == first.value_bytes()))
    }

    /// A port may be another container's by now, which took it while the rules were gone: of a map, only what leads to this
    /// container is deleted. Another can still take a port between the look and the deletion.
    fn delete_elements(&mut self, elements: &[Element], certainty: Certainty) -> Result<(), Error> {
        let _not_restored = self.state.lock_elements_to_delete()?;
        if !self.were_added(elements, certainty)? {
            return Ok(());
        }
        let places = nft::places(self.nft.socket(), elements)?;
        if places.values().all(|place| *place == Place::Own) {
            return Ok(self.nft.delete(elements)?);
        }
        let place = |of: &Element| places.get(&(of.set, of.key_bytes())).copied();
        let is_own = |element: &&Element| match place(element) {
            Some(place) => place == Place::Own,
            None => elements::publish_of_taken(element).and_then(|of| place(&of)) != Some(Place::Others),
        };
        let own: Vec<Element> = elements.iter().filter(is_own).cloned().collect();
        Ok(self.nft.delete(&own)?)
    }

    /// A link that is in the container's namespace as a whole goes with that namespace. Where that lives on, it is
    /// reached by the number that the host knows it by, which may be another namespace's by now.
    fn delete_inside(
        &mut self,
        record: &Record,
        interface: &IfName,
        certainty: Certainty,
    ) -> Result<(), Error> {
        let Some(number) = record.netns_number else { return Ok(()) };
        let of_record = record.attachments.iter().find(|attachment| attachment.interface == *interface);
        let Some(found) = link::find_inside(&mut self.route, number, interface)? else {
            if let Some(attachment) = of_record.filter(|_| certainty == Certainty::Complete) {
                self.wait_for_departure(attachment);
            }
            return Ok(());
        };
        if is_own(&found, &record.id, of_record) {
            link::delete_inside(&mut self.route, number, interface)?;
        }
        Ok(())
    }

    /// Until the kernel, some milliseconds after a namespace's end, takes its links down, a macvlan of it answers for the
    /// container's addresses: they are given back only then.
    fn wait_for_departure(&mut self, attachment: &Attachment) {
        let (Some(parent), Some(mac)) = (&attachment.parent, attachment.mac) else { return };
        let Ok(Some(parent)) = link::find(&mut self.route, parent) else { return };
        let deadline = Instant::now() + DEPARTURE;
        while neighbour::received_for(&mut self.route, parent.index).is_ok_and(|all| all.contains(&mac))
            && Instant::now() < deadline
        {
            sleep(Duration::from_millis(1));
        }
    }

    /// A start that lost an address to another container must leave that one's route alone: the lease, which is given
    /// back after the route, tells whose it is.
    fn delete_routes(&mut self, record: &Record, name: &IfName, addresses: &[IpAddr]) -> Result<(), Error> {
        let Some(found) = link::find(&mut self.route, name)? else { return Ok(()) };
        for address in addresses {
            if self.unused.contains(address) {
                continue;
            }
            let has = |of: &&Attachment| of.addresses.iter().any(|cidr| cidr.address() == *address);
            let Some(of) = record.attachments.iter().find(has) else { continue };
            let lease = self.state.lease_path(&of.network, *address);
            if leases::holder(self.state, &lease)?.as_ref() != Some(&record.id) {
                continue;
            }
            route::delete_to_container(&mut self.route, found.index, *address)?;
        }
        Ok(())
    }

    /// The attachments outlive the container that they belong to as long as others share them: the last of these removes
    /// them.
    fn unshare(&mut self, owner: &ContainerId, record: &Record) -> Result<(), Error> {
        pod_members::remove(self.state, owner, &record.id)?;
        let is_left = |owner: &Record| !pod_members::is_live(self.state, owner, &record.boot_id);
        if !self.state.read_record(owner)?.is_some_and(|owner| is_left(&owner)) {
            return Ok(());
        }
        match self.state.lock_record(owner)? {
            Some((owner, _lock)) if is_left(&owner) => self.container(&owner),
            _ => Ok(()),
        }
    }

    /// The kernel removes the links of a namespace that nobody uses any more by itself, some milliseconds after its last
    /// process; deleting one explicitly would wait for that. Where the namespace lives on, or the container's end was moved to another,
    /// the link would too. One that is gone is not looked at: the look would wait for whoever changes links.
    fn delete_link(&mut self, name: &IfName) -> Result<(), Error> {
        if matches!(link::index_of(name), Err(KernelError { errno: Errno::ENODEV, .. })) {
            return Ok(());
        }
        let Some(found) = link::find(&mut self.route, name)? else { return Ok(()) };
        if link::peer_namespace_lives(&mut self.route, &found)? {
            link::delete(&mut self.route, name)?;
        }
        Ok(())
    }

    /// Closes the sockets; what they deleted is waited for elsewhere.
    pub fn close(self) {
        self.nft.close();
    }
}

/// Whether a link inside a namespace is a container's: it bears the container's id or, because nothing could write the id yet,
/// no text at all, and is what the attachment says.
fn is_own(found: &Link, id: &ContainerId, of_record: Option<&Attachment>) -> bool {
    let is_as_recorded =
        |of: &Attachment| of.driver == found.kind && (of.mac.is_none() || of.mac == found.mac);
    match found.alias.strip_prefix(link::OF_CONTAINER) {
        Some(of) => of == id.as_str(),
        None => found.alias.is_empty() && of_record.is_some_and(is_as_recorded),
    }
}

/// Removes a container's record and what an interrupted write of it left. The reason of a failed set-up is kept: runc
/// runs poststop right after it, and crun's users find it nowhere else.
///
/// # Errors
/// Those of unlink(2).
fn remove_record(state: &StateDir, id: &ContainerId) -> Result<(), Error> {
    leases::remove_source(state, id)?;
    Ok(state.remove(&state.record_path(id))?)
}

/// Removes what a start that was killed before it had a record left. A start of that id that is under way is left alone.
///
/// # Errors
/// Those of the lock and of unlink(2).
pub fn remove_unrecorded(state: &StateDir, id: &ContainerId) -> Result<(), Error> {
    let path = state.record_path(id);
    if !temporary_path(&path).exists() && !leases::has_source(state, id) {
        return Ok(());
    }
    let _lock = state.lock(Locked::Container(id))?;
    if path.exists() { Ok(()) } else { remove_record(state, id) }
}

#[cfg(test)]
mod tests;
