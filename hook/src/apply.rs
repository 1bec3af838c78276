//! Steps to the kernel and the state folder. What was done is known at every moment; what failed is taken back.

use std::fs;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::container_id::ContainerId;
use ocinet_shared::element::{Element, Field, Set};
use ocinet_shared::ifname::IfName;
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::link::{self, Link, Veth};
use ocinet_shared::kernel::netns::Namespace;
use ocinet_shared::kernel::nft::{ChangeError, Nft};
use ocinet_shared::kernel::{KernelError, addr, route, sysctl};
use ocinet_shared::mac::Mac;
use ocinet_shared::network::Network;
use ocinet_shared::port::PublishedPort;
use ocinet_shared::record::Undo;
use ocinet_shared::record_dir::{Lock, Mode, StateDir, StateError, to_json};

use crate::error::{Error, report};
use crate::ipam::files;
use crate::plan::Plan;
use crate::step::Step;
use crate::{holder, nat, tables};

/// Why a plan was not applied.
#[derive(Debug)]
pub enum Failure {
    /// Something that the plan was made from has changed meanwhile; a new plan may succeed.
    Stale(Error),
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
    done: Vec<Undo>,
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
        Ok(Self {
            state,
            id,
            home,
            namespace,
            route,
            nft,
            network_lock: None,
            bridge: None,
            done: Vec::new(),
        })
    }

    /// Takes every step of a plan.
    ///
    /// # Errors
    /// The first step's that fails; [`Self::undo`] then holds what to take back.
    pub fn apply(&mut self, plan: &Plan) -> Result<(), Failure> {
        for step in &plan.steps {
            // A batch of elements comes whole or not at all, and what made it fail may be another container's
            // element. Every other step is taken back also where it failed half-way.
            let all_or_nothing = matches!(step, Step::AddElements { .. });
            if !all_or_nothing {
                self.done.extend(step.undo());
            }
            self.step(step)?;
            if all_or_nothing {
                self.done.extend(step.undo());
            }
        }
        Ok(())
    }

    /// What takes back the steps taken so far; the locks are given up.
    pub fn undo(&mut self) -> Vec<Undo> {
        self.network_lock = None;
        std::mem::take(&mut self.done)
    }

    /// The index of the host's end of the link.
    ///
    /// # Errors
    /// The kernel's.
    pub fn index_of(&mut self, name: &IfName) -> Result<u32, KernelError> {
        let found = link::find(&mut self.route, name)?;
        found
            .map(|link| link.index)
            .ok_or_else(|| KernelError::new(format!("find the link {name}"), Errno::ENODEV))
    }

    fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::JoinNetwork { network } => self.join_network(network),
            Step::TakeLease { network, address } => self.take_lease(network, *address),
            Step::ClaimPort { port } => self.claim_port(port),
            Step::Forward { family } => self.forward(*family),
            Step::AddElements { elements } => self.add_elements(elements),
            Step::MakeVeth { host_interface, interface, mac, mtu, .. } => {
                let bridge = self.bridge.as_ref().map(|bridge| bridge.index).unwrap_or_default();
                let veth = Veth {
                    host_name: host_interface,
                    bridge,
                    container_name: interface,
                    mac: *mac,
                    mtu: *mtu,
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

    /// The network's file is held shared until the container is attached, so that nobody who leaves the network takes
    /// its bridge away meanwhile.
    fn join_network(&mut self, network: &Network) -> Result<(), Failure> {
        let path = self.state.path(&format!("networks/{}.json", network.name));
        let stale = || {
            Failure::Stale(Error::Conflict(report(
                format!("join network {}", network.name),
                "it was made or changed by another container at the same moment",
                "start the container again",
            )))
        };
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
            let folder = self.state.path("networks");
            let making = fs::File::open(&folder).and_then(|folder| folder.lock().map(|()| folder));
            let _making = making.map_err(|error| StateError::io("lock", &folder, error))?;
            let others = tables::networks(self.state)?;
            let overlaps = |other: &Network| {
                other.name != network.name
                    && (other.bridge == network.bridge
                        || other.subnets().any(|theirs| network.subnets().any(|ours| ours.overlaps(&theirs))))
            };
            if others.iter().any(overlaps) {
                return Err(stale());
            }
            drop(self.state.create(&path, &to_json(network, &path)?)?);
        }
        let leases = files::lease_folder(self.state, &network.name);
        match fs::create_dir(&leases) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.state.make_parent(&leases.join("."))?;
            }
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(StateError::io("make the folder", &leases, error).into());
            }
            _ => {}
        }
        self.ensure_bridge(network)
    }

    /// A bridge that is up is a bridge that is complete: bringing it up is the last thing done to it.
    fn ensure_bridge(&mut self, network: &Network) -> Result<(), Failure> {
        let mac = Mac::of_bridge(network.name.as_str());
        match link::find(&mut self.route, &network.bridge)? {
            Some(found) if !is_ours(&found, mac) => return Err(not_ours(network, &found).into()),
            Some(found) if found.is_up => self.bridge = Some(found),
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

    fn take_lease(&mut self, network: &ContainerId, address: IpAddr) -> Result<(), Failure> {
        let path = files::lease_path(self.state, network, address);
        if files::take(self.state, &path, self.id)? {
            return Ok(());
        }
        Err(Failure::Stale(holder::of_lease(self.state, network, address)))
    }

    fn claim_port(&mut self, port: &PublishedPort) -> Result<(), Failure> {
        let Some(path) = files::claim_path(self.state, port) else { return Ok(()) };
        if !files::take(self.state, &path, self.id)? {
            return Err(Failure::Stale(holder::of_claim(self.state, port, &path)));
        }
        // Claims are made before publish elements are looked for, and publish elements before claims: of two
        // starts at once, at least one sees the other.
        let Some(address) = port.bound_address() else { return Ok(()) };
        let everywhere = nat::wildcard_element(port, Family::of(address));
        match self.nft.get(&everywhere)? {
            Some(found) => Err(Failure::Stale(holder::of_element(self.state, port, &found.value))),
            None => Ok(()),
        }
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

    fn add_elements(&mut self, elements: &[Element]) -> Result<(), Failure> {
        let mut result = self.nft.add(elements);
        if matches!(result, Err(ChangeError::NoTable)) {
            tables::restore(self.state, &mut self.nft)?;
            result = self.nft.add(elements);
        }
        match result {
            Ok(()) => {}
            Err(ChangeError::Exists(index)) => {
                let element = elements.get(index).cloned();
                let value = element.as_ref().map(|element| self.nft.get(element)).transpose()?.flatten();
                let value = value.map(|state| state.value).unwrap_or_default();
                return Err(Failure::Stale(holder::of_published(self.state, element.as_ref(), &value)));
            }
            Err(error) => return Err(tables::change_error(error).into()),
        }
        match bound_claim(self.state, self.id, elements)? {
            Some(error) => {
                self.nft.delete(elements)?;
                Err(Failure::Stale(error))
            }
            None => Ok(()),
        }
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
                &[("accept_ra", "0"), ("disable_ipv6", "0")]
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
        let mut messages = vec![link::up(LOOPBACK), link::up(found.index)];
        messages.extend(addresses.iter().map(|address| addr::add(found.index, address)));
        messages.extend(gateways.iter().map(|gateway| route::add_default(found.index, *gateway)));
        Ok(inside.change(messages, |_| doing())?)
    }

    /// Closes the sockets; what they deleted is waited for elsewhere.
    pub fn close(self) {
        self.nft.close();
    }
}

/// The loopback's index in every network namespace (`LOOPBACK_IFINDEX` of include/net/flow.h).
const LOOPBACK: u32 = 1;

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

/// A kernel without IPv6 has none of its sysctls, and needs none.
fn optional(written: Result<(), KernelError>) -> Result<(), KernelError> {
    match written {
        Err(KernelError { errno: Errno::ENOENT, .. }) => Ok(()),
        other => other,
    }
}

/// Whether another container publishes, on one host address, a port that these elements publish on all.
fn bound_claim(
    state: &StateDir,
    id: &ContainerId,
    elements: &[Element],
) -> Result<Option<Error>, StateError> {
    for element in elements {
        let (Set::Publish4 | Set::Publish6, [Field::Protocol(protocol), Field::Port(host_port)]) =
            (element.set, element.key.as_slice())
        else {
            continue;
        };
        let family = if element.set == Set::Publish4 { Family::Ipv4 } else { Family::Ipv6 };
        let port = PublishedPort {
            host_address: None,
            protocol: *protocol,
            host_port: *host_port,
            container_port: 0,
        };
        let Ok(claims) = fs::read_dir(files::claim_folder(state, &port)) else { continue };
        for claim in claims.filter_map(Result::ok) {
            let address: Option<IpAddr> = claim.file_name().to_str().and_then(|name| name.parse().ok());
            let concerns = address.is_some_and(|address| Family::of(address) == family);
            if concerns && files::holder(state, &claim.path())?.is_some_and(|holder| holder != *id) {
                return Ok(Some(holder::of_claim(state, &port, &claim.path())));
            }
        }
    }
    Ok(None)
}
