//! What one set-up works with: its sockets, its namespaces, and what its steps have found out so far.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use ocinet_shared::kernel::filter;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::netns::Namespace;
use ocinet_shared::kernel::nft::Nft;
use ocinet_shared::kernel::probe::Probe;
use ocinet_shared::kernel::root_files::RootFiles;
use ocinet_shared::kernel::{Change, KernelError};
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::record::Record;
use ocinet_shared::state::{Lock, StateDir};

use crate::error::Error;
use crate::host::conflict::{Conflict, WithoutLease};
use crate::input::oci_bundle::OciBundle;
use crate::lifecycle::phases::Phases;
use crate::lifecycle::teardown::Teardown;

/// Why a plan was not applied.
#[derive(Debug)]
pub enum Failure {
    /// The network changed after the plan was made; a new plan may succeed.
    Stale(Error),
    /// Another container has what the plan wants; a new plan may want something else.
    Conflict(Box<Conflict>),
    /// A container that no lease here is about lives and has an address that the plan wants.
    WithoutLease(Box<WithoutLease>),
    /// The container's namespace was attached by another container that lives.
    Attached(Box<Record>),
    /// The container's namespace has a default route already, another container's.
    HasDefaultRoute(Error),
    /// Another plan would not help.
    Final(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

/// The container that is being set up.
#[derive(Debug)]
pub struct Target<'a> {
    /// Its id.
    pub id: &'a ContainerId,
    /// Its first process.
    pub pid: u32,
    /// Its bundle, or why it cannot be read.
    pub bundle: &'a Result<OciBundle, Error>,
    /// The host's network namespace.
    pub home: &'a Namespace,
    /// The container's.
    pub namespace: &'a Namespace,
    /// What the start spends its time on.
    pub phases: &'a Phases,
}

/// A question that was asked on a LAN.
pub(super) struct Question {
    pub(super) probe: Probe,
    pub(super) parent: (IfName, u32),
    pub(super) addresses: Vec<IpAddr>,
    pub(super) for_host: Vec<IpAddr>,
    pub(super) deadline: Instant,
}

/// The sockets and namespaces of one set-up.
pub struct Applier<'a> {
    pub(super) state: &'a StateDir,
    pub(super) target: &'a Target<'a>,
    pub(super) route: NetlinkSocket,
    pub(super) nft: Nft,
    pub(super) inside: Option<NetlinkSocket>,
    pub(super) network_locks: Vec<Lock>,
    pub(super) links: BTreeMap<IfName, u32>,
    pub(super) host_ends: BTreeMap<IfName, u32>,
    /// The Ethernet addresses of host ends that are gateways themselves.
    pub(super) routers: BTreeMap<u32, Mac>,
    pub(super) questions: BTreeMap<IfName, Question>,
    /// The container's root, once one of its files was looked at.
    pub(super) root_files: OnceCell<RootFiles>,
}

impl<'a> Applier<'a> {
    /// Opens the sockets in the host's namespace.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn new(state: &'a StateDir, target: &'a Target<'a>) -> Result<Self, KernelError> {
        Ok(Self {
            state,
            target,
            route: NetlinkSocket::open(NETLINK_ROUTE)?,
            nft: Nft::open()?,
            inside: None,
            network_locks: Vec::new(),
            links: BTreeMap::new(),
            host_ends: BTreeMap::new(),
            routers: BTreeMap::new(),
            questions: BTreeMap::new(),
            root_files: OnceCell::new(),
        })
    }

    /// Gives up the locks, and makes of the sockets what detaches the container: a process that has no descriptors
    /// left can still undo.
    pub fn into_teardown(self) -> Teardown<'a> {
        Teardown::with(self.state, self.route, self.nft)
    }

    /// The index of the host's end of an interface's link; 0 where none was made.
    #[must_use]
    pub fn host_index(&self, interface: &IfName) -> u32 {
        self.host_ends.get(interface).copied().unwrap_or_default()
    }

    /// The socket in the container's network namespace, opened there once and used from outside.
    pub(super) fn inside(&mut self) -> Result<&mut NetlinkSocket, KernelError> {
        if self.inside.is_none() {
            let opened =
                self.target.namespace.enter(self.target.home, || NetlinkSocket::open(NETLINK_ROUTE))??;
            self.inside = Some(opened);
        }
        self.inside.as_mut().ok_or_else(|| KernelError::new("open a netlink socket", Errno::EBADF))
    }

    /// The index of a link of the host; a network's links are known from joining it.
    pub(super) fn index_of(&mut self, name: &IfName) -> Result<u32, KernelError> {
        if let Some(index) = self.links.get(name) {
            return Ok(*index);
        }
        let index = link::index_of(name)?;
        self.links.insert(name.clone(), index);
        Ok(index)
    }

    /// The rules hold the same, so that a kernel without filters only has nothing that outlives them.
    pub(super) fn filter(&mut self, changes: Vec<Change>, link: &IfName) -> Result<(), Failure> {
        match self.route.change(changes, |_| format!("filter what {link} carries")) {
            Err(error) if filter::is_missing(&error) => {
                crate::log::warn(format_args!(
                    "{error}: this kernel lacks cls_bpf, and whoever flushes the rules ends the isolation of {link}"
                ));
                Ok(())
            }
            filtered => Ok(filtered?),
        }
    }
}
