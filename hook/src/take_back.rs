//! Takes back what a container's record says, from the record alone: no annotation, no configuration, no process is
//! asked. What is gone already counts as taken back.

use netlink_sys::protocols::NETLINK_ROUTE;
use std::path::PathBuf;

use ocinet_shared::container_id::ContainerId;
use ocinet_shared::element::Element;
use ocinet_shared::ifname::IfName;
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::nft::Nft;
use ocinet_shared::mac::Mac;
use ocinet_shared::network::Network;
use ocinet_shared::record::{Phase, Record, Undo};
use ocinet_shared::record_dir::{Mode, StateDir, StateError};

use crate::error::{Error, report};
use crate::ipam::files;
use crate::nat;

/// Whether the steps to take back are known to have been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// They were.
    Taken,
    /// The process that took them was killed or failed half-way; any of them may be missing.
    Unknown,
}

/// Takes containers back.
pub struct TakeBack<'a> {
    state: &'a StateDir,
    route: Channel,
    nft: Nft,
}

impl<'a> TakeBack<'a> {
    /// Opens the sockets in the host's namespace.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn new(state: &'a StateDir) -> Result<Self, Error> {
        Ok(Self::with(state, Channel::open(NETLINK_ROUTE)?, Nft::open()?))
    }

    /// Takes over sockets that are open in the host's namespace.
    #[must_use]
    pub fn with(state: &'a StateDir, route: Channel, nft: Nft) -> Self {
        Self { state, route, nft }
    }

    /// Takes a recorded container back and removes its record. The caller holds the record's lock.
    ///
    /// # Errors
    /// [`Error::Partial`] with everything that could not be taken back; the record is kept then, for another try.
    pub fn container(&mut self, record: &Record) -> Result<(), Error> {
        let certainty = if record.phase == Phase::Ready { Certainty::Taken } else { Certainty::Unknown };
        self.steps(&record.id, &record.undo, certainty)?;
        forget(self.state, &record.id)
    }

    /// Goes on after an error: what can be taken back is, whatever else cannot.
    fn steps(&mut self, id: &ContainerId, undo: &[Undo], certainty: Certainty) -> Result<(), Error> {
        let mut failed = Vec::new();
        for step in undo.iter().rev() {
            if let Err(error) = self.step(id, step, certainty) {
                failed.push(error.without_hint());
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(Error::Partial(report(
            format!("take back all of container {id}"),
            failed.join("; and "),
            format!(
                "mend the cause and run `ocinet poststop` again with {{\"id\":\"{id}\"}} on standard input"
            ),
        )))
    }

    fn step(&mut self, id: &ContainerId, step: &Undo, certainty: Certainty) -> Result<(), Error> {
        match step {
            Undo::ReleaseLease { network, address } => {
                Ok(files::release(self.state, &files::lease_path(self.state, network, *address), id)?)
            }
            Undo::ReleasePort(port) => {
                if let Some(path) = files::claim_path(self.state, port) {
                    files::release(self.state, &path, id)?;
                    files::remove_if_empty(&files::claim_folder(self.state, port))?;
                }
                Ok(())
            }
            Undo::DeleteElements { elements } => self.delete_elements(elements, certainty),
            Undo::DeleteLink { name } => self.delete_link(name),
            Undo::LeaveNetwork { network } => self.leave_network(network),
        }
    }

    /// A batch of elements was added whole or not at all. Where it is not known, the first element tells: it is the
    /// container's link, whose name no other container ever has. Without that question, a start that was killed just
    /// before it lost a port to another container would take that container's port away.
    fn delete_elements(&mut self, elements: &[Element], certainty: Certainty) -> Result<(), Error> {
        if certainty == Certainty::Unknown
            && let Some(first) = elements.first()
            && self.nft.get(first)?.is_none()
        {
            return Ok(());
        }
        Ok(self.nft.delete(elements)?)
    }

    /// The kernel removes the links of a namespace that nobody uses any more by itself, some milliseconds after its last
    /// process; deleting one explicitly would wait for that. Where the namespace lives on, the link would too.
    fn delete_link(&mut self, name: &IfName) -> Result<(), Error> {
        let Some(found) = link::find(&mut self.route, name)? else { return Ok(()) };
        if link::peer_namespace_lives(&mut self.route, &found)? {
            link::delete(&mut self.route, name)?;
        }
        Ok(())
    }

    /// Whoever empties the folder of leases is the last to leave. Only then is the network locked, against those who
    /// are joining it: if one of them has taken a lease meanwhile, the network stays.
    fn leave_network(&mut self, name: &ContainerId) -> Result<(), Error> {
        let leases = files::lease_folder(self.state, name);
        if !files::remove_if_empty(&leases)? {
            return Ok(());
        }
        let path = self.state.path(&format!("networks/{name}.json"));
        let Some((text, _lock)) = self.state.lock(&path, Mode::Exclusive)? else {
            return Ok(self.state.remove_unmade_network(&path)?);
        };
        if leases.exists() {
            return Ok(());
        }
        let network: Network = serde_json::from_str(&text)
            .map_err(|error| StateError::Malformed { path: path.clone(), reason: error.to_string() })?;
        if let Some(bridge) = link::find(&mut self.route, &network.bridge)?
            && bridge.is_bridge
            && bridge.mac == Some(Mac::of_bridge(name.as_str()))
        {
            link::delete(&mut self.route, &network.bridge)?;
        }
        self.nft.delete(&nat::network_elements(&network))?;
        Ok(self.state.remove(&path)?)
    }

    /// Closes the sockets; what they deleted is waited for elsewhere.
    pub fn close(self) {
        self.nft.close();
    }
}

/// Where the reason is written down why a container's last set-up failed.
#[must_use]
pub fn last_error(state: &StateDir, id: &ContainerId) -> PathBuf {
    state.path(&format!("last-error/{id}.json"))
}

/// Removes a container's record and what an interrupted write of it left. The reason of a failed set-up is kept: runc
/// runs poststop right after it, and crun's users find it nowhere else.
///
/// # Errors
/// Those of unlink(2).
pub fn forget(state: &StateDir, id: &ContainerId) -> Result<(), Error> {
    files::forget_source(state, id)?;
    Ok(state.remove(&state.record_path(id))?)
}
