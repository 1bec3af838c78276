//! The container's link: made, filtered and shaped.

use std::os::fd::AsFd as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use ocinet_shared::kernel::filter;
use ocinet_shared::kernel::filter::{Filter, Sender};
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::{Child, Veth};
use ocinet_shared::kernel::{Change, KernelError, neighbour, optional, rate, sysctl};
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::Mac;

use super::applier::{Applier, Failure};
use crate::error::{Class, Error};
use crate::host::conflict;
use crate::lifecycle::teardown::DEPARTURE;
use crate::plan::step::{FilterHostEnd, LimitRates, MakeChild, MakeVeth};

impl Applier<'_> {
    pub(super) fn make_veth(&mut self, step: &MakeVeth) -> Result<(), Failure> {
        let MakeVeth { host_interface, host_mac, bridge, group, interface, mac, mtu, hairpin } = step;
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
        let made = link::make_veth(&mut self.route, &veth, self.target.namespace.as_fd());
        self.made_inside(made, interface)?;
        let host_end = self.index_of(host_interface)?;
        self.host_ends.insert(interface.clone(), host_end);
        Ok(())
    }

    pub(super) fn filter_host_end(&mut self, step: &FilterHostEnd) -> Result<(), Failure> {
        let FilterHostEnd { host_interface, mac, addresses, confined_to, bridge, shortcut } = step;
        let index = self.index_of(host_interface)?;
        let sender = Sender { mac: *mac, addresses, confined_to };
        let gateway = bridge.as_ref().map(|bridge| bridge.mac);
        if let Some(bridge) = bridge.as_ref().filter(|_| *shortcut) {
            let bridge = self.index_of(&bridge.name)?;
            let changes = filters_of_host_end(index, sender, gateway, Some(bridge))?;
            match self.route.change(changes, |_| format!("filter what {host_interface} carries")) {
                // A kernel without act_mirred has the other filters, and does without the shortcut.
                Err(error) if filter::is_missing(&error) => {}
                changed => return Ok(changed?),
            }
        }
        let changes = filters_of_host_end(index, sender, gateway, None)?;
        self.filter(changes, host_interface)
    }

    /// A parent serves either kind of link alone, and one in mode passthru alone: what the container before had on it
    /// may not be gone yet.
    pub(super) fn make_child(&mut self, step: &MakeChild) -> Result<(), Failure> {
        let MakeChild { parent, kind, interface, mac, mtu } = step;
        let parent_index = self.index_of(parent)?;
        let child =
            Child { name: interface, parent: parent_index, kind: *kind, mac: *mac, mtu: *mtu, group: None };
        let deadline = Instant::now() + DEPARTURE;
        let made = loop {
            match link::make_child(&mut self.route, &child, Some(self.target.namespace.as_fd())) {
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
                Err(Error::new(Class::Conflict, doing, cause, hint).into())
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
        Err(match record.filter(|record| record.netns == self.target.namespace.id()) {
            Some(record) if record.id != *self.target.id => Failure::Attached(Box::new(record)),
            _ => conflict::of_interface(self.target.id, interface).into(),
        })
    }

    /// What a container receives waits in its link's host end, what it sends in a link of its own.
    pub(super) fn limit_rates(&mut self, limits: &LimitRates) -> Result<(), Failure> {
        let LimitRates { host_interface, receive, send, shaper: name } = limits;
        let doing = format!("limit the rates of {host_interface}");
        let found = link::find(&mut self.route, host_interface)?
            .ok_or_else(|| KernelError::new(doing.clone(), Errno::ENODEV))?;
        let mut changes = receive.map(|rate| rate::shape(found.index, rate, found.mtu)).unwrap_or_default();
        if let Some(rate) = *send {
            let shaper = rate::make_ifb(&mut self.route, name)?;
            optional(sysctl::write(&sysctl::of_interface(Family::Ipv6, name, "disable_ipv6"), "1"))?;
            changes.extend(rate::shape(shaper, rate, found.mtu));
            changes.extend(rate::redirect_incoming(found.index, shaper));
        }
        Ok(self.route.change(changes, |_| doing.clone())?)
    }
}

/// What became of a link of a kind that the kernel may lack.
pub(super) fn no_such_kind(error: KernelError) -> Error {
    if error.errno != Errno::EOPNOTSUPP {
        return error.into();
    }
    let hint = "load its module with `modprobe`, or use another net.driver";
    Error::new(Class::Kernel, error.doing, "this kernel does not have it", hint)
}

/// The messages that filter a container's link. On a bridge, whose Ethernet address is `gateway`, the bridge is told where the
/// container is; with `shortcut`, the bridge's index, what the container sends to its gateway goes straight to the bridge, whose
/// ports then do not see it and could not learn from it where the container is.
///
/// # Errors
/// None in practice: see [`filter::put`].
fn filters_of_host_end(
    port: u32,
    sender: Sender<'_>,
    gateway: Option<Mac>,
    shortcut: Option<u32>,
) -> Result<Vec<Change>, KernelError> {
    let mut filters = vec![Filter::Sender(sender), Filter::Receiver { gateway }];
    // Asked first: see `filter::put`.
    filters.extend(gateway.zip(shortcut).map(|(gateway, bridge)| Filter::Shortcut {
        sender,
        gateway,
        bridge,
    }));
    let mut changes: Vec<Change> = gateway.iter().map(|_| neighbour::by_port(port, sender.mac)).collect();
    changes.extend(filter::put(port, &filters)?);
    Ok(changes)
}
