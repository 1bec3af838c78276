//! What is to be done for a container, as a value: everything is checked before the kernel is touched.

pub mod addresses;
pub mod driver;
pub mod drivers;
pub mod elements;
pub mod link_filters;
pub mod network;
pub mod pod;
pub mod registration;
pub mod resolver_files;
pub mod step;
pub mod subnets;
pub mod validate;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ocinet_shared::kernel::route::RouteSpec;
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::names::{NameServers, OwnName, Told, ToldHosts, ToldResolver};
use ocinet_shared::model::network::HostLinkKind;
use ocinet_shared::model::record::{Attachment, Owned, Record};

use crate::error::{Error, annotation};
use crate::input::request::Request;
use crate::model::driver_spec::StandaloneDriver;
use crate::plan::driver::Attached;
use crate::plan::drivers::standalone;
use crate::plan::resolver_files::HostNames;
use crate::plan::step::{AskLan, ConfigureInterface, OwnTable, Step};

/// The routing table of an interface beside others is this and the number in the interface's name.
const TABLES: u8 = 100;

/// The steps for a container, and what they amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The interfaces that the container then has.
    pub attachments: Vec<Attachment>,
}

impl Plan {
    /// The plan of a container that is attached to networks. `has_default_route` tells that the namespace, a pod's, has a
    /// default route already.
    ///
    /// # Errors
    /// Two routes to one destination, or a default route by an interface that leads nowhere, or where there is one.
    pub fn new(
        request: &Request,
        attached: Vec<Attached>,
        has_default_route: bool,
        names: HostNames,
    ) -> Result<Self, Error> {
        check_routes(request, &attached)?;
        let defaults = defaults(request, &attached, has_default_route)?;
        // One interface alone answers by itself. Among several, an answer must leave by the one that was asked.
        let by_source = attached.len() > 1 || has_default_route;
        let mut tables = Vec::new();
        let mut plan = Self::default();
        for (index, attached) in attached.into_iter().enumerate() {
            let Attached { mut steps, attachment, mut routes, default_routes, announce } = attached;
            let is_default = |route: &&RouteSpec| defaults.contains(&(route.to.family(), index));
            let own_table = by_source.then(|| {
                let number = table_of(&attachment.interface, &tables);
                tables.push(number);
                let all = [connected(&attachment), routes.clone(), default_routes.clone()].concat();
                let routes =
                    all.into_iter().map(|route| RouteSpec { table: Some(number), ..route }).collect();
                let addresses = attachment.addresses.iter().map(Cidr::address).collect();
                OwnTable { number, addresses, routes }
            });
            routes.extend(default_routes.iter().filter(is_default).copied());
            steps.push(Step::ConfigureInterface(ConfigureInterface {
                interface: attachment.interface.clone(),
                addresses: attachment.addresses.clone(),
                routes,
                own_table,
                mac: attachment.mac,
                announce,
            }));
            plan.steps.extend(steps);
            plan.attachments.push(attachment);
        }
        check_macs(&plan.steps)?;
        plan.ask_first();
        plan.finish(request, names)?;
        Ok(plan)
    }

    /// The plan of a container that is attached to nothing.
    ///
    /// # Errors
    /// Sysctls where the namespace is the host's, or a name for the gateway.
    pub fn standalone(request: &Request, driver: StandaloneDriver) -> Result<Self, Error> {
        if !driver.needs_own_namespace() && !request.sysctls.is_empty() {
            let cause = format!("with the driver {}, the network namespace is the host's", driver.name());
            return Err(annotation("net.sysctl", cause, "leave it out, or use another net.driver"));
        }
        let mut plan = Self { steps: standalone::steps(driver), ..Self::default() };
        plan.finish(request, HostNames::default())?;
        Ok(plan)
    }

    /// Who is asked for the container's addresses has the time that all else takes to answer.
    fn ask_first(&mut self) {
        let parents = self.attachments.iter().filter(|of| of.host_interface.is_none());
        let asks = parents.filter_map(|of| {
            let addresses = of.addresses.iter().map(Cidr::address).collect();
            let (parent, interface) = (of.parent.clone()?, of.interface.clone());
            let for_host = self.for_host(&of.network);
            Some(Step::AskLan(AskLan { parent, interface, addresses, for_host }))
        });
        let asks: Vec<Step> = asks.collect();
        self.steps.splice(0..0, asks);
    }

    /// The host's addresses on a LAN where it has a link of its own.
    fn for_host(&self, network: &ContainerId) -> Vec<IpAddr> {
        let joined = self.steps.iter().find_map(|step| match step {
            Step::JoinNetwork(joined) if joined.name == *network => Some(joined),
            _ => None,
        });
        let links = joined.map(|network| &network.links[..]).unwrap_or_default();
        let own = links.iter().filter_map(|link| match &link.kind {
            HostLinkKind::Macvlan { addresses, .. } => Some(addresses),
            HostLinkKind::Bridge | HostLinkKind::Vxlan(_) => None,
        });
        own.flatten().copied().collect()
    }

    /// What is about the container as a whole comes last.
    fn finish(&mut self, request: &Request, names: HostNames) -> Result<(), Error> {
        if !request.sysctls.is_empty() {
            self.steps.push(Step::WriteSysctls(request.sysctls.clone()));
        }
        self.tell_the_resolver(request, names)
    }

    /// The plan of a container that shares the attachments of another, up to its ports.
    ///
    /// # Errors
    /// A name for the gateway where there is none.
    pub fn shared(request: &Request, owner: &Record, names: HostNames) -> Result<Self, Error> {
        let steps = vec![Step::Share(owner.id.clone())];
        let mut plan = Self { steps, attachments: owner.attachments.clone() };
        plan.finish(request, names)?;
        Ok(plan)
    }

    /// Whether it makes a link that only the container's namespace has, which is found again by that one's number.
    #[must_use]
    pub fn needs_namespace_number(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::MakeChild(_)))
    }

    /// Names for `host-gateway` are the gateway's, of the first interface that has one. The container's own name is the
    /// addresses of its first interface, unless `net.hosts` gives it to another.
    fn tell_the_resolver(&mut self, request: &Request, names: HostNames) -> Result<(), Error> {
        let resolver = &request.resolver;
        let asked = NameServers { servers: resolver.servers.clone(), search: resolver.search.clone() };
        let host = names.host.filter(|_| asked.servers.is_empty());
        let told = ToldResolver { asked, host };
        if told != ToldResolver::default() {
            self.steps.push(Step::WriteResolver(told));
        }
        if names.has_none {
            self.steps.push(Step::WarnWithoutNameServer);
        }
        let first = self.attachments.first().map(|first| &first.addresses[..]).unwrap_or_default();
        let own = names.own.filter(|name| resolver.hosts.iter().all(|host| host.name != *name));
        let own = own.filter(|_| !first.is_empty());
        let own = own.map(|name| OwnName { name, addresses: first.iter().map(Cidr::address).collect() });
        if resolver.hosts.is_empty() && own.is_none() {
            return Ok(());
        }
        let gateway = self.attachments.iter().find_map(|attachment| attachment.gateways.first().copied());
        let mut asked = Vec::new();
        for host in &resolver.hosts {
            let address = host.address.or(gateway).ok_or_else(|| {
                let cause = format!("{} is to be the gateway, and the container has none", host.name);
                annotation("net.hosts", cause, "give the name an address")
            })?;
            asked.push((address, host.name.clone()));
        }
        self.steps.push(Step::WriteHosts(ToldHosts { own, asked }));
        Ok(())
    }

    /// What the container's own files are told.
    #[must_use]
    pub fn told(&self) -> Told {
        let mut all = Told::default();
        for step in &self.steps {
            match step {
                Step::WriteResolver(told) => all.resolver = Some(told.clone()),
                Step::WriteHosts(told) => all.hosts = Some(told.clone()),
                _ => {}
            }
        }
        all
    }

    /// What the container has by the plan, in the order of its steps.
    #[must_use]
    pub fn owned(&self) -> Vec<Owned> {
        self.steps.iter().filter_map(Step::owned).collect()
    }
}

/// Two interfaces on one link have two Ethernet addresses.
fn check_macs(steps: &[Step]) -> Result<(), Error> {
    let mut known = Vec::new();
    for step in steps {
        let Step::ClaimMac { on, mac } = step else { continue };
        if known.contains(&(on, mac)) {
            let cause = format!("two interfaces on {on} have {mac}");
            return Err(annotation("net.mac", cause, "give each interface its own, or leave it out"));
        }
        known.push((on, mac));
    }
    Ok(())
}

/// The kernel takes one route to a destination, or the second would never be used.
fn check_routes(request: &Request, attached: &[Attached]) -> Result<(), Error> {
    let mut known: BTreeMap<Cidr, &IfName> = BTreeMap::new();
    for (asked, one) in request.attachments.iter().zip(attached) {
        let on_link = one.attachment.addresses.iter().map(Cidr::network);
        // The driver's own routes are behind those that are asked for.
        let own = one.routes.iter().skip(asked.routes.len()).map(|route| route.to);
        known.extend(on_link.chain(own).map(|to| (to, &one.attachment.interface)));
    }
    for asked in &request.attachments {
        for (to, _) in &asked.routes {
            if let Some(interface) = known.insert(*to, &asked.interface) {
                let cause = format!("there is a route to {to} by {interface} already");
                return Err(asked.label("routes").error(cause, "leave one of them out"));
            }
        }
    }
    Ok(())
}

/// The attachment, by its number, that is the container's default route of each family: the wanted one, or the first
/// that leads out.
fn defaults(
    request: &Request,
    attached: &[Attached],
    has_default_route: bool,
) -> Result<Vec<(Family, usize)>, Error> {
    let leads_out =
        |one: &Attached, family| one.default_routes.iter().any(|route| route.to.family() == family);
    let wanted = request.default_route.as_ref();
    if let Some(wanted) = wanted {
        let refuse = |cause: String, hint: &str| Err(annotation("net.default-route", cause, hint));
        let is_wanted = |one: &&Attached| one.attachment.interface == *wanted;
        if attached.iter().find(is_wanted).is_some_and(|one| one.default_routes.is_empty()) {
            let hint = "name another interface, or give a net.gateway";
            return refuse(format!("the network of {wanted} has no gateway"), hint);
        }
        if has_default_route {
            let cause = "the network namespace has a default route already".to_owned();
            return refuse(cause, "leave it out, or say it of the pod's first container");
        }
    }
    let default_of = |family| {
        let first = attached
            .iter()
            .position(|one| Some(&one.attachment.interface) == wanted && leads_out(one, family))
            .or_else(|| attached.iter().position(|one| leads_out(one, family)));
        Some((family, first?))
    };
    let defaults = Family::ALL.into_iter().filter_map(default_of);
    Ok(if has_default_route { Vec::new() } else { defaults.collect() })
}

/// The routes to the neighbours on an attachment's link, as the kernel makes them in the main table by its addresses.
fn connected(attachment: &Attachment) -> Vec<RouteSpec> {
    let on_link = |to| RouteSpec { to, gateway: None, onlink: false, table: None };
    let subnets = attachment.addresses.iter().map(Cidr::network);
    let mut routes: Vec<RouteSpec> =
        subnets.filter(|to| to.prefix() < to.family().bits()).map(on_link).collect();
    if attachment.addresses.iter().any(|cidr| cidr.family() == Family::Ipv6) {
        routes.push(on_link(Cidr::link_local6()));
    }
    routes
}

/// By the number in the interface's name, so that containers of one pod do not choose the same.
fn table_of(interface: &IfName, used: &[u8]) -> u8 {
    let name = interface.as_str();
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let number = digits.parse::<u8>().unwrap_or_default() % TABLES;
    let free = |table: &u8| !used.contains(table);
    (0..TABLES).map(|step| TABLES + (number + step) % TABLES).find(free).unwrap_or(TABLES)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return f.write_str("nothing to do\n");
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

#[cfg(test)]
mod tests;
