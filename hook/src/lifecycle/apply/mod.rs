//! Steps to the kernel and the state folder. What fails is taken back from the record, as after a kill.
//!
//! `network.rs` makes and shares networks, `tunnel.rs` joins them to other hosts', `ports.rs` adds elements and claims ports, `container.rs` is what happens in
//! the container's namespace, `names.rs` in its root, `lan.rs` asks others on a LAN for a container's addresses.

mod container;
mod lan;
pub mod names;
pub mod network;
mod ports;
mod tunnel;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::container_id::ContainerId;
use ocinet_shared::ifname::IfName;
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::filter::{self, Sender};
use ocinet_shared::kernel::link::{self, Child, Veth};
use ocinet_shared::kernel::netns::Namespace;
use ocinet_shared::kernel::nft::Nft;
use ocinet_shared::kernel::root_files::RootFiles;
use ocinet_shared::kernel::{Change, KernelError, addr, neighbour, optional, rate, route, sysctl};
use ocinet_shared::mac::Mac;
use ocinet_shared::quoted::word;
use ocinet_shared::record::Record;
use ocinet_shared::record_dir::{Lock, StateDir};

use crate::error::{Error, report};
use crate::host::conflict;
use crate::host::conflict::{Taken, WithoutLease};
use crate::input::oci_bundle::OciBundle;
use crate::lifecycle::forwarding;
use crate::lifecycle::phases::Phases;
use crate::lifecycle::teardown::{DEPARTURE, TakeBack};
use crate::plan::Plan;
use crate::plan::link_filters;
use crate::plan::step::{Step, ToContainer};
use crate::state::leases;

/// Why a plan was not applied.
#[derive(Debug)]
pub enum Failure {
    /// The network changed after the plan was made; a new plan may succeed.
    Stale(Error),
    /// Another container has what the plan wants; a new plan may want something else.
    Taken(Box<Taken>),
    /// A container that no lease here is about lives and has an address that the plan wants.
    WithoutLease(Box<WithoutLease>),
    /// The container's namespace was attached by another container that lives.
    Attached(Box<Record>),
    /// The container's namespace has a default route already, another container's.
    HasWayOut(Error),
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
pub struct Subject<'a> {
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

/// The sockets and namespaces of one set-up.
pub struct Applier<'a> {
    state: &'a StateDir,
    subject: &'a Subject<'a>,
    route: Channel,
    nft: Nft,
    inside: Option<Channel>,
    network_locks: Vec<Lock>,
    links: BTreeMap<IfName, u32>,
    host_ends: BTreeMap<IfName, u32>,
    /// The Ethernet addresses of host ends that are gateways themselves.
    routers: BTreeMap<u32, Mac>,
    questions: BTreeMap<IfName, lan::Question>,
    /// The container's root, once one of its files was looked at.
    root_files: OnceCell<RootFiles>,
}

impl<'a> Applier<'a> {
    /// Opens the sockets in the host's namespace.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn new(state: &'a StateDir, subject: &'a Subject<'a>) -> Result<Self, KernelError> {
        Ok(Self {
            state,
            subject,
            route: Channel::open(NETLINK_ROUTE)?,
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

    /// Takes every step of a plan.
    ///
    /// # Errors
    /// The first step's that fails. [`Self::into_take_back`] then takes back the steps before it, and what the failed
    /// one did.
    pub fn apply(&mut self, plan: &Plan) -> Result<(), Failure> {
        plan.steps.iter().try_for_each(|step| {
            self.step(step)?;
            self.subject.phases.end(step.phase());
            Ok(())
        })
    }

    /// Gives up the locks, and makes of the sockets what takes the container back: a process that has no descriptors
    /// left can still undo.
    pub fn into_take_back(self) -> TakeBack<'a> {
        TakeBack::with(self.state, self.route, self.nft)
    }

    /// The index of the host's end of an interface's link; 0 where none was made.
    #[must_use]
    pub fn host_index(&self, interface: &IfName) -> u32 {
        self.host_ends.get(interface).copied().unwrap_or_default()
    }

    fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::JoinNetwork { network } => self.join_network(network),
            Step::TakeLease { network, address } => self.take_lease(network, *address),
            Step::ClaimPort { port } => self.claim_port(port),
            Step::AskLan { parent, interface, addresses, for_host } => {
                self.ask_lan(parent, interface, addresses, for_host)
            }
            Step::ClaimMac { on, mac } => self.claim_mac(on, *mac),
            Step::Forward { family } => self.forward(*family),
            Step::AddElements { elements } => self.add_elements(elements),
            Step::MakeVeth { .. } => self.make_veth(step),
            Step::FilterHostEnd { .. } => self.filter_host_end(step),
            Step::MakeChild { .. } => self.make_child(step),
            Step::LimitRates { host_interface, receive, send, shaper } => {
                self.limit(host_interface, *receive, send.map(|rate| (rate, shaper)))
            }
            Step::RouteToContainer(to) => self.route_to_container(to),
            Step::RouteFromHost { link, addresses, mtu } => self.route_from_host(link, addresses, *mtu),
            Step::ConfigureInterface { .. } => self.configure(step),
            Step::WriteSysctls { sysctls } => self.write_sysctls(sysctls),
            Step::WriteResolver(told) => self.write_resolver(told),
            Step::WarnWithoutNameServer => {
                self.warn_without_name_server();
                Ok(())
            }
            Step::WriteHosts(told) => self.write_hosts(told),
            Step::Share { owner } => self.share(owner),
            Step::BringUpLoopback => Ok(self.inside()?.change(vec![link::up(link::LOOPBACK)], |_| {
                "bring up the container's loopback".to_owned()
            })?),
        }
    }

    fn take_lease(&mut self, network: &ContainerId, address: IpAddr) -> Result<(), Failure> {
        let path = leases::lease_path(self.state, network, address);
        if leases::take(self.state, &path, self.subject.id)? {
            return Ok(());
        }
        Err(Failure::Taken(Box::new(conflict::of_lease(self.state, network, address))))
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
        if family == Family::Ipv6 {
            self.check_router_advertisements()?;
        }
        // Whoever ends the last network turns forwarding off under the same lock.
        let _alone = self.state.lock_networks()?;
        if sysctl::forwards(family).unwrap_or_default() {
            return Ok(());
        }
        let elements = forwarding::remember(self.state, &mut self.route, family)?;
        self.add_elements(&elements)?;
        Ok(sysctl::write(sysctl::forwarding_key(family), "1")?)
    }

    /// What the kernel learns from router advertisements it forgets once it forwards, unless `accept_ra` is 2. Where it is 0, a
    /// program learns it, which goes on.
    fn check_router_advertisements(&mut self) -> Result<(), Failure> {
        let routes = route::list(&mut self.route, Family::Ipv6)?;
        for route in routes.iter().filter(|route| route.from_router_advertisement) {
            let link = route.link.map(|index| link::find_by_index(&mut self.route, index)).transpose()?;
            let Some(link) = link.flatten() else { continue };
            let key = format!("net/ipv6/conf/{}/accept_ra", link.name);
            if sysctl::read(&key).as_deref() != Some("1") {
                continue;
            }
            let cause = format!(
                "the host learned its route to {} from a router advertisement, which it ignores on {} once it forwards IPv6",
                route.destination, link.name
            );
            let hint = format!("run `sysctl -w {}=2`, and start the container again", word(&key));
            return Err(Error::Kernel(report("turn on IPv6 forwarding", cause, hint)).into());
        }
        Ok(())
    }

    fn make_veth(&mut self, step: &Step) -> Result<(), Failure> {
        let Step::MakeVeth { host_interface, host_mac, bridge, group, interface, mac, mtu, hairpin } = step
        else {
            return Ok(());
        };
        let veth = Veth {
            host_name: host_interface,
            bridge: bridge.as_ref().map(|bridge| self.index_of(bridge)).transpose()?,
            host_mac: *host_mac,
            group: *group,
            container_name: interface,
            mac: *mac,
            mtu: *mtu,
            hairpin: *hairpin,
        };
        let made = link::make_veth(&mut self.route, &veth, self.subject.namespace.as_fd());
        self.made_inside(made, interface)?;
        let host_end = self.index_of(host_interface)?;
        self.host_ends.insert(interface.clone(), host_end);
        Ok(())
    }

    fn filter_host_end(&mut self, step: &Step) -> Result<(), Failure> {
        let Step::FilterHostEnd { host_interface, mac, addresses, confined_to, bridge, shortcut } = step
        else {
            return Ok(());
        };
        let index = self.index_of(host_interface)?;
        let sender = Sender { mac: *mac, addresses, confined_to };
        let gateway = bridge.as_ref().map(|bridge| bridge.mac);
        if let Some(bridge) = bridge.as_ref().filter(|_| *shortcut) {
            let bridge = self.index_of(&bridge.name)?;
            let changes = link_filters::put(index, sender, gateway, Some(bridge))?;
            match self.route.change(changes, |_| format!("filter what {host_interface} carries")) {
                // A kernel without act_mirred has the other filters, and does without the shortcut.
                Err(error) if filter::is_missing(&error) => {}
                changed => return Ok(changed?),
            }
        }
        let changes = link_filters::put(index, sender, gateway, None)?;
        self.filter(changes, host_interface)
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

    /// A parent serves either kind of link alone, and one in mode passthru alone: what the container before had on it
    /// may not be gone yet.
    fn make_child(&mut self, step: &Step) -> Result<(), Failure> {
        let Step::MakeChild { parent, kind, interface, mac, mtu } = step else { return Ok(()) };
        let parent_index = self.index_of(parent)?;
        let child =
            Child { name: interface, parent: parent_index, kind: *kind, mac: *mac, mtu: *mtu, group: None };
        let deadline = Instant::now() + DEPARTURE;
        let made = loop {
            match link::make_child(&mut self.route, &child, Some(self.subject.namespace.as_fd())) {
                Err(KernelError { errno: Errno::EBUSY | Errno::EINVAL, .. }) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(1));
                }
                made => break made,
            }
        };
        match made {
            Err(KernelError { errno: Errno::EBUSY | Errno::EINVAL, doing, .. }) => {
                let cause = format!("{parent} has links on it that it cannot share with this one");
                let hint = "a link has either macvlans or ipvlans on it, or one macvlan in mode passthru alone: use another net.parent";
                Err(Error::Conflict(report(doing, cause, hint)).into())
            }
            Err(error) if error.errno == Errno::EOPNOTSUPP => Err(no_such_kind(error).into()),
            made => self.made_inside(made, interface),
        }
    }

    /// An interface of that name may be there already: the container joined a namespace that another one has.
    fn made_inside(&mut self, made: Result<(), KernelError>, interface: &IfName) -> Result<(), Failure> {
        let Err(error) = made else { return Ok(()) };
        if error.errno != Errno::EEXIST {
            return Err(error.into());
        }
        let owner = link::find(self.inside()?, interface)?
            .and_then(|link| link.alias.strip_prefix(link::OF_CONTAINER)?.parse::<ContainerId>().ok());
        let record = owner.map(|owner| self.state.read_record(&owner)).transpose()?.flatten();
        Err(match record.filter(|record| record.netns == self.subject.namespace.id()) {
            Some(record) if record.id != *self.subject.id => Failure::Attached(Box::new(record)),
            _ => conflict::of_interface(self.subject.id, interface).into(),
        })
    }

    /// The host's end is the gateway, with the gateway's addresses, and the container's addresses are behind it. The host
    /// need not ask for them: it could not by IPv6 until its end has a link-local address.
    fn route_to_container(&mut self, to: &ToContainer) -> Result<(), Failure> {
        let ToContainer { host_interface, gateways, addresses, mac, confined_to } = to;
        let has_ipv6 = addresses.iter().any(IpAddr::is_ipv6);
        let mut families: Vec<Family> = addresses.iter().map(|address| Family::of(*address)).collect();
        families.dedup();
        let doing = format!("route to the container by {host_interface}");
        let index = self.index_of(host_interface)?;
        let router = network::make_router(host_interface, index, has_ipv6, &families)?;
        self.routers.insert(index, Mac::of_host_end(host_interface.as_str()));
        let gateways = gateways.iter().map(|gateway| addr::add(index, &Cidr::host(*gateway)));
        let ways = addresses.iter().map(|address| route::to_container(index, *address, None));
        let neighbours = addresses.iter().map(|address| neighbour::known(index, *address, *mac));
        // The host's default route would take what is sent to an address that nobody has out of the network.
        let within = confined_to.iter().map(|subnet| route::within(index, *subnet));
        let rest = gateways.chain(ways).chain(neighbours).chain(within);
        let changes: Vec<Change> = std::iter::once(router).chain(rest).collect();
        Ok(self.route.change(changes, |_| doing.clone())?)
    }

    fn route_from_host(
        &mut self,
        link: &IfName,
        addresses: &[IpAddr],
        mtu: Option<u32>,
    ) -> Result<(), Failure> {
        let index = self.index_of(link)?;
        let changes = addresses.iter().map(|address| route::to_container(index, *address, mtu)).collect();
        Ok(self.route.change(changes, |_| format!("route to the container by {link}"))?)
    }

    /// What a container receives waits in its link's host end, what it sends in a link of its own.
    fn limit(
        &mut self,
        host_interface: &IfName,
        receive: Option<u64>,
        send: Option<(u64, &IfName)>,
    ) -> Result<(), Failure> {
        let doing = format!("limit the rates of {host_interface}");
        let found = link::find(&mut self.route, host_interface)?
            .ok_or_else(|| KernelError::new(doing.clone(), Errno::ENODEV))?;
        let mut changes = receive.map(|rate| rate::shape(found.index, rate, found.mtu)).unwrap_or_default();
        if let Some((rate, name)) = send {
            let shaper = rate::make_ifb(&mut self.route, name)?;
            optional(sysctl::write(&sysctl::of_interface(Family::Ipv6, name, "disable_ipv6"), "1"))?;
            changes.extend(rate::shape(shaper, rate, found.mtu));
            changes.extend(rate::redirect_incoming(found.index, shaper));
        }
        Ok(self.route.change(changes, |_| doing.clone())?)
    }

    /// The index of a link of the host; a network's links are known from joining it.
    fn index_of(&mut self, name: &IfName) -> Result<u32, KernelError> {
        if let Some(index) = self.links.get(name) {
            return Ok(*index);
        }
        let index = link::index_of(name)?;
        self.links.insert(name.clone(), index);
        Ok(index)
    }
}

/// What became of a link of a kind that the kernel may lack.
fn no_such_kind(error: KernelError) -> Error {
    if error.errno != Errno::EOPNOTSUPP {
        return error.into();
    }
    let hint = "load its module with `modprobe`, or use another net.driver";
    Error::Kernel(report(error.doing, "this kernel does not have it", hint))
}
