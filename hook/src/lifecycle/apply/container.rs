//! What happens in the container's network namespace.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::{Ipv4Setting, Link};
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::route::RouteSpec;
use ocinet_shared::kernel::{Change, KernelError, addr, neighbour, route, rule, sysctl};
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::Mac;

use super::applier::{Applier, Failure};
use super::lan;
use crate::error::{Class, Error};
use crate::lifecycle::teardown::DEPARTURE;
use crate::model::sysctl::Sysctl;
use crate::plan::step::{ConfigureInterface, OwnTable};

/// The priority of the rule by which an interface's own table is looked up is this and the table's number: before the
/// main table, which leads to an address that is on the network of two interfaces by either.
const BY_SOURCE: u32 = 1000;

/// How long the kernel's workers are waited for, which take note of a carrier and of an address: less than a millisecond
/// mostly, and more than a second on a busy machine.
const WORKER_DEADLINE: Duration = Duration::from_secs(10);
/// The longest time between two looks at what they have done.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

impl Applier<'_> {
    pub(super) fn configure_interface(&mut self, step: &ConfigureInterface) -> Result<(), Failure> {
        let ConfigureInterface { interface, addresses, routes, own_table, mac, announce } = step;
        let has_ipv6 = addresses.iter().any(|address| address.family() == Family::Ipv6);
        let doing = || format!("configure {interface} in the container");
        let index = self.write_interface_sysctls(interface, has_ipv6, *announce)?;
        let host_end = self.host_ends.get(interface).copied();
        let child = if host_end.is_some() { None } else { link::find_by_index(self.inside()?, index)? };
        self.hear_lan(interface)?;
        let kind = child.as_ref().map(|child| child.kind.as_str()).unwrap_or_default();
        match kind {
            "macvlan" => self.bring_up(index, interface)?,
            "ipvlan" => self.take_addresses(index, interface, addresses)?,
            _ => {}
        }
        let mut changes = vec![
            link::alias(index, &format!("{}{}", link::OF_CONTAINER, self.target.id)),
            link::up(link::LOOPBACK),
        ];
        if *announce {
            changes.push(link::ipv4_settings(index, &[(Ipv4Setting::ArpNotify, 1)]));
        }
        // An ipvlan is up and has its addresses.
        if kind != "ipvlan" {
            changes.push(link::up(index));
            changes.extend(addresses.iter().map(|address| addr::add(index, address)));
        }
        changes.extend(self.known_gateways(index, host_end, routes));
        let first_route = changes.len();
        changes.extend(routes.iter().map(|route| route::add(index, route)));
        if let Some(own) = own_table {
            changes.extend(own.routes.iter().map(|route| route::add(index, route)));
            changes.extend(rules(own));
        }
        let refused = Cell::new(0);
        let changed = self.inside()?.change(changes, |index| {
            refused.set(index);
            doing()
        });
        if let Err(error) = changed {
            let route = refused.get().checked_sub(first_route).and_then(|index| routes.get(index));
            let is_default_route = route.is_some_and(|route| route.to.prefix() == 0 && route.table.is_none());
            let has_default_route = is_default_route && error.errno == Errno::EEXIST;
            return Err(if has_default_route {
                Failure::HasDefaultRoute(error.into())
            } else {
                error.into()
            });
        }
        self.wait_for_interface(index, host_end, addresses)?;
        match (mac.or(child.as_ref().and_then(|child| child.mac)).filter(|_| *announce), &child) {
            (Some(mac), Some(child)) if child.kind == "ipvlan" => {
                lan::announce_by_parent(child, mac, addresses);
                Ok(())
            }
            (Some(mac), _) => self.announce(index, mac, interface),
            (None, _) => Ok(()),
        }
    }

    /// Waits until both ends and the bridge are up and the IPv6 addresses can be used: the first packet in either direction would be
    /// lost before.
    fn wait_for_interface(
        &mut self,
        index: u32,
        host_end: Option<u32>,
        addresses: &[Cidr],
    ) -> Result<(), KernelError> {
        if let Some(host_end) = host_end {
            let bridge = wait_until_settled(&mut self.route, host_end)?.and_then(|link| link.controller);
            if let Some(bridge) = bridge {
                wait_until_settled(&mut self.route, bridge)?;
            }
        }
        let mut ipv6 = addresses.iter().map(Cidr::address).filter(IpAddr::is_ipv6).peekable();
        if ipv6.peek().is_some() {
            wait_until_settled(self.inside()?, index)?;
        }
        ipv6.try_for_each(|address| wait_until_local(self.inside()?, address))
    }

    /// A host's end that is itself the gateway has the gateway's address without a subnet. With some values of `arp_ignore`
    /// (ip-sysctl) the host does not answer ARP for such an address, so that the container is told whose it is.
    fn known_gateways(&self, index: u32, host_end: Option<u32>, routes: &[RouteSpec]) -> Vec<Change> {
        let Some(mac) = host_end.and_then(|host_end| self.routers.get(&host_end)) else { return Vec::new() };
        let gateways: BTreeSet<IpAddr> = routes.iter().filter_map(|route| route.gateway).collect();
        gateways.into_iter().map(|gateway| neighbour::known(index, gateway, *mac)).collect()
    }

    /// Of two macvlans on one parent that have the same Ethernet address, one alone can be up.
    fn bring_up(&mut self, index: u32, interface: &IfName) -> Result<(), Failure> {
        let doing = format!("bring up {interface} in the container");
        let cause = "another link on its parent has its Ethernet address";
        let hint = "give the container another net.mac, or stop the other one";
        self.change_once_free(&doing, &[link::up(index)], (cause, hint))
    }

    /// Of two ipvlans on one parent, one alone can have an address.
    fn take_addresses(&mut self, index: u32, interface: &IfName, addresses: &[Cidr]) -> Result<(), Failure> {
        let doing = format!("configure {interface} in the container");
        let up = std::iter::once(link::up(index));
        let changes: Vec<Change> =
            up.chain(addresses.iter().map(|address| addr::add(index, address))).collect();
        let cause = "another link on its parent has one of its addresses";
        let hint = "give the container another net.ip, or stop the other one";
        self.change_once_free(&doing, &changes, (cause, hint))
    }

    /// Makes changes that may be made again, as soon as nobody has what they take. A container that has just ended has its own
    /// until the kernel, some milliseconds later, removes the links of its namespace.
    fn change_once_free(
        &mut self,
        doing: &str,
        changes: &[Change],
        (cause, hint): (&str, &str),
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + DEPARTURE;
        loop {
            match self.inside()?.change(changes.to_vec(), |_| doing.to_owned()) {
                Err(KernelError { errno: Errno::EADDRINUSE, .. }) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(1));
                }
                Err(KernelError { errno: Errno::EADDRINUSE, .. }) => {
                    return Err(Error::new(Class::Conflict, doing, cause, hint).into());
                }
                done => return Ok(done?),
            }
        }
    }

    /// The sysctls are written, the socket is opened and the interface's index is looked up in one visit.
    fn write_interface_sysctls(
        &mut self,
        interface: &IfName,
        has_ipv6: bool,
        announces: bool,
    ) -> Result<u32, KernelError> {
        let mut settings: Vec<(&str, &str)> = if has_ipv6 {
            vec![("accept_ra", "0"), ("accept_dad", "0"), ("disable_ipv6", "0")]
        } else {
            vec![("disable_ipv6", "1")]
        };
        if announces {
            settings.push(("ndisc_notify", "1"));
        }
        let is_open = self.inside.is_some();
        let (opened, index) = self.target.namespace.enter(self.target.home, || {
            sysctl::write_all(Family::Ipv6, interface, &settings)?;
            let opened = if is_open { None } else { Some(NetlinkSocket::open(NETLINK_ROUTE)?) };
            Ok::<_, KernelError>((opened, link::index_of(interface)?))
        })??;
        self.inside = opened.or(self.inside.take());
        Ok(index)
    }

    /// Where the container's address was elsewhere before, bridges and neighbours far away learn by its own frames that
    /// it is here now.
    fn announce(&mut self, index: u32, mac: Mac, interface: &IfName) -> Result<(), Failure> {
        let doing = |_| format!("announce {interface} to the neighbours");
        Ok(self.inside()?.change(vec![link::address(index, mac)], doing)?)
    }

    pub(super) fn write_sysctls(&mut self, sysctls: &[Sysctl]) -> Result<(), Failure> {
        let written = self.target.namespace.enter(self.target.home, || {
            sysctls.iter().try_for_each(|sysctl| sysctl::write(&sysctl.key, &sysctl.value))
        })?;
        written.map_err(|error| {
            let hint = match error.errno {
                Errno::ENOENT | Errno::EISDIR => {
                    "the network namespace has no such sysctl: correct or leave out its key in net.sysctl"
                }
                Errno::EACCES | Errno::EPERM => {
                    "it is the whole host's, not the network namespace's: leave it out of net.sysctl"
                }
                _ => "correct its value in net.sysctl",
            };
            let cause = error.errno.desc();
            Error::new(Class::Annotation, error.doing, cause, hint).into()
        })
    }
}

/// Until the kernel took note of a new link's carrier, a host's end and its bridge drop what they get, and a container's end
/// takes no IPv6: a first packet would wait for its repetition. Newer kernels do so as soon as the link is looked at
/// (`linkwatch_sync_dev` in `rtnl_getlink`, Linux 6.8).
fn wait_until_settled(socket: &mut NetlinkSocket, index: u32) -> Result<Option<Link>, KernelError> {
    let mut found = None;
    let is_settled = wait_for_workers(|| {
        found = link::find_by_index(socket, index)?;
        Ok(found.as_ref().is_none_or(|link| !link.is_settling))
    })?;
    if let Some(late) = found.as_ref().filter(|_| !is_settled) {
        warn_of_late(&format!("link {}", late.name));
    }
    Ok(found)
}

/// The kernel makes an IPv6 address and, some moments later, the route by which packets to it are taken
/// (`addrconf_dad_work`). Whoever is answered in between is not heard, and asks again only a second later.
pub(super) fn wait_until_local(socket: &mut NetlinkSocket, address: IpAddr) -> Result<(), KernelError> {
    if !wait_for_workers(|| route::is_own(socket, address))? {
        warn_of_late(&format!("address {address}"));
    }
    Ok(())
}

/// Whether it is done within [`WORKER_DEADLINE`].
fn wait_for_workers(mut is_done: impl FnMut() -> Result<bool, KernelError>) -> Result<bool, KernelError> {
    let deadline = Instant::now() + WORKER_DEADLINE;
    let mut pause = Duration::from_micros(50);
    while !is_done()? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(pause);
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
    Ok(true)
}

fn warn_of_late(what: &str) {
    let waited = WORKER_DEADLINE.as_secs();
    crate::log::warn(format_args!("{what} is not ready after {waited} s: first packets by it may be lost"));
}

fn rules(own: &OwnTable) -> Vec<Change> {
    let priority = BY_SOURCE + u32::from(own.number);
    own.addresses.iter().map(|address| rule::from_address(*address, own.number, priority)).collect()
}
