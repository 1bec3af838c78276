//! Steps to the kernel and the state folder. What fails is taken back from the record, as after a kill.
//!
//! `network.rs` makes and shares networks, `published.rs` adds elements and claims ports.

mod network;
mod published;

use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::container_id::ContainerId;
use ocinet_shared::ifname::IfName;
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::link::{self, Link, Veth};
use ocinet_shared::kernel::netns::Namespace;
use ocinet_shared::kernel::nft::Nft;
use ocinet_shared::kernel::{KernelError, addr, route, sysctl};
use ocinet_shared::record_dir::{Lock, StateDir};

use crate::error::{Error, report};
use crate::holder::Taken;
use crate::ipam::files;
use crate::plan::Plan;
use crate::step::Step;
use crate::take_back::TakeBack;
use crate::{holder, nat, tables};

/// Why a plan was not applied.
#[derive(Debug)]
pub enum Failure {
    /// The network changed after the plan was made; a new plan may succeed.
    Stale(Error),
    /// Another container has what the plan wants; a new plan may want something else.
    Taken(Box<Taken>),
    /// Another plan would not help.
    Final(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

/// The sockets and namespaces of one set-up.
pub struct Applier<'a> {
    state: &'a StateDir,
    id: &'a ContainerId,
    home: &'a Namespace,
    namespace: &'a Namespace,
    route: Channel,
    nft: Nft,
    network_lock: Option<Lock>,
    bridge: Option<Link>,
    host_index: u32,
}

impl<'a> Applier<'a> {
    /// Opens the sockets in the host's namespace.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn new(
        state: &'a StateDir,
        id: &'a ContainerId,
        home: &'a Namespace,
        namespace: &'a Namespace,
    ) -> Result<Self, KernelError> {
        let (route, nft) = (Channel::open(NETLINK_ROUTE)?, Nft::open()?);
        Ok(Self { state, id, home, namespace, route, nft, network_lock: None, bridge: None, host_index: 0 })
    }

    /// Takes every step of a plan.
    ///
    /// # Errors
    /// The first step's that fails. [`Self::into_take_back`] then takes back the steps before it, and what the failed
    /// one did.
    pub fn apply(&mut self, plan: &Plan) -> Result<(), Failure> {
        plan.steps.iter().try_for_each(|step| self.step(step))
    }

    /// Gives up the locks, and makes of the sockets what takes the container back: a process that has no descriptors
    /// left can still undo.
    pub fn into_take_back(self) -> TakeBack<'a> {
        TakeBack::with(self.state, self.route, self.nft)
    }

    /// The index of the host's end of the link; 0 where none was made.
    #[must_use]
    pub fn host_index(&self) -> u32 {
        self.host_index
    }

    fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::JoinNetwork { network } => self.join_network(network),
            Step::TakeLease { network, address } => self.take_lease(network, *address),
            Step::ClaimPort { port } => self.claim_port(port),
            Step::Forward { family } => self.forward(*family),
            Step::AddElements { elements } => self.add_elements(elements),
            Step::MakeVeth { host_interface, interface, mac, mtu, hairpin, .. } => {
                let bridge = self.bridge.as_ref().map(|bridge| bridge.index).unwrap_or_default();
                let veth = Veth {
                    host_name: host_interface,
                    bridge,
                    container_name: interface,
                    mac: *mac,
                    mtu: *mtu,
                    hairpin: *hairpin,
                };
                self.make_veth(&veth)
            }
            Step::ConfigureInterface { interface, addresses, gateways } => {
                self.configure(interface, addresses, gateways)
            }
            Step::BringUpLoopback => {
                let mut inside = self.namespace.enter(self.home, || Channel::open(NETLINK_ROUTE))??;
                Ok(inside
                    .change(vec![link::up(LOOPBACK)], |_| "bring up the container's loopback".to_owned())?)
            }
        }
    }

    fn take_lease(&mut self, network: &ContainerId, address: IpAddr) -> Result<(), Failure> {
        let path = files::lease_path(self.state, network, address);
        if files::take(self.state, &path, self.id)? {
            return Ok(());
        }
        Err(Failure::Taken(Box::new(holder::of_lease(self.state, network, address))))
    }

    fn forward(&mut self, family: Family) -> Result<(), Failure> {
        match sysctl::forwards(family) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => {
                let doing = format!("read the sysctl {}", sysctl::forwarding_key(family));
                return Err(KernelError::from_io(doing, &error).into());
            }
        }
        if family == Family::Ipv6
            && let Some(route) =
                route::list(&mut self.route, family)?.into_iter().find(|r| r.from_router_advertisement)
        {
            let cause = format!(
                "the host learned its route to {} from a router advertisement, which it ignores once it forwards IPv6",
                route.destination
            );
            let hint = "set net.ipv6.conf.INTERFACE.accept_ra=2 and net.ipv6.conf.all.forwarding=1, and start the container again";
            return Err(Error::Kernel(report("turn on IPv6 forwarding", cause, hint)).into());
        }
        tables::remember_forwarded(self.state, family)?;
        self.add_elements(&[nat::no_transit(family)])?;
        Ok(sysctl::write(sysctl::forwarding_key(family), "1")?)
    }

    fn make_veth(&mut self, veth: &Veth<'_>) -> Result<(), Failure> {
        use std::os::fd::AsFd as _;
        match link::make_veth(&mut self.route, veth, self.namespace.as_fd()) {
            Err(KernelError { errno: Errno::EEXIST, .. }) => {
                Err(holder::of_interface(self.state, self.id, self.namespace.id(), veth.container_name)
                    .into())
            }
            other => Ok(other?),
        }
    }

    fn configure(
        &mut self,
        interface: &IfName,
        addresses: &[Cidr],
        gateways: &[IpAddr],
    ) -> Result<(), Failure> {
        let has_ipv6 = addresses.iter().any(|address| address.family() == Family::Ipv6);
        let mut inside = self.namespace.enter(self.home, || {
            let settings: &[(&str, &str)] = if has_ipv6 {
                &[("accept_ra", "0"), ("accept_dad", "0"), ("disable_ipv6", "0")]
            } else {
                &[("disable_ipv6", "1")]
            };
            for (setting, value) in settings {
                optional(sysctl::write(&sysctl::of_interface(Family::Ipv6, interface, setting), value))?;
            }
            Channel::open(NETLINK_ROUTE)
        })??;
        let doing = || format!("configure {interface} in the container");
        let found =
            link::find(&mut inside, interface)?.ok_or_else(|| KernelError::new(doing(), Errno::ENODEV))?;
        self.host_index = found.peer.unwrap_or_default();
        let mut messages = vec![link::up(LOOPBACK), link::up(found.index)];
        messages.extend(addresses.iter().map(|address| addr::add(found.index, address)));
        messages.extend(gateways.iter().map(|gateway| route::add_default(found.index, *gateway)));
        Ok(inside.change(messages, |_| doing())?)
    }
}

/// The loopback's index in every network namespace (`LOOPBACK_IFINDEX` of include/net/flow.h).
const LOOPBACK: u32 = 1;

/// A kernel without IPv6 has none of its sysctls, and needs none.
fn optional(written: Result<(), KernelError>) -> Result<(), KernelError> {
    match written {
        Err(KernelError { errno: Errno::ENOENT, .. }) => Ok(()),
        other => other,
    }
}
