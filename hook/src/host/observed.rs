//! What there is, for those that compare it with the records: few dumps, whatever the number of containers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::kernel::filter::Filter;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::netns::Namespace;
use ocinet_shared::kernel::nft;
use ocinet_shared::kernel::nft::{Nft, Place, listing};
use ocinet_shared::kernel::route;
use ocinet_shared::kernel::route::Route;
use ocinet_shared::kernel::{KernelError, addr, neighbour};
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::element::{Element, Set, Table};
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::network::Network;
use ocinet_shared::model::record::{Attachment, Record};

use crate::error::Error;
use crate::host::uplinks::Links;
use crate::plan::link_filters;

/// What there is on the host.
pub struct ObservedHost {
    /// For further questions about links, addresses and routes.
    pub route: NetlinkSocket,
    /// For further questions about rules.
    pub nft: Nft,
    tables: Vec<Table>,
    elements: BTreeSet<(Set, Vec<u8>)>,
    /// All links.
    pub links: Vec<Link>,
    /// All addresses, each with the index of its link.
    pub addresses: Vec<(u32, Cidr)>,
    /// The host's routes.
    pub routes: Vec<Route>,
}

impl ObservedHost {
    /// Asks the kernel.
    ///
    /// # Errors
    /// A refusal of the kernel's.
    pub fn ask() -> Result<Self, Error> {
        let mut route = NetlinkSocket::open(NETLINK_ROUTE)?;
        let mut nft = Nft::open()?;
        let mut tables = Vec::new();
        for table in [Table::Inet, Table::Bridge] {
            tables.extend(listing::table(nft.socket(), table)?.map(|_| table));
        }
        let elements = listing::all_keys(nft.socket())?;
        let links = link::list(&mut route)?;
        let addresses = addr::list(&mut route)?;
        let routes = route::list_all(&mut route)?;
        Ok(Self { route, nft, tables, elements, links, addresses, routes })
    }

    /// Whether a table is there.
    #[must_use]
    pub fn has(&self, table: Table) -> bool {
        self.tables.contains(&table)
    }

    /// The elements that are not there, of those whose table is.
    pub fn missing<'a>(
        &self,
        elements: impl Iterator<Item = &'a Element>,
    ) -> impl Iterator<Item = &'a Element> {
        elements.filter(|element| {
            self.has(element.set.place().0) && !self.elements.contains(&(element.set, element.key_bytes()))
        })
    }

    /// The elements in whose place another one is that leads elsewhere: another state folder's container may have taken a port.
    ///
    /// # Errors
    /// A refusal of the kernel's.
    pub fn led_elsewhere(&mut self, elements: &[Element]) -> Result<Vec<String>, KernelError> {
        let places = nft::places(self.nft.socket(), elements)?;
        let is_others = |of: &&Element| places.get(&(of.set, of.key_bytes())) == Some(&Place::Others);
        Ok(elements.iter().filter(is_others).map(ToString::to_string).collect())
    }

    /// The links and routes, to tell uplinks from others' networks.
    #[must_use]
    pub(crate) fn links_and_routes(&self) -> Links<'_> {
        Links { links: &self.links, routes: &self.routes }
    }

    /// The link of that name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The link of that index.
    #[must_use]
    pub fn link_at(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// Whether a link has an address, with whatever prefix length.
    #[must_use]
    pub fn has_address(&self, index: u32, address: IpAddr) -> bool {
        has_address(&self.addresses, index, address)
    }

    /// What the port of a bridge that leads to a container lacks. Where it cannot be asked, nothing is said to be missing.
    pub fn port_lacks(
        &mut self,
        (network, attachment): (&Network, &Attachment),
        port: &Link,
        bridge: u32,
    ) -> Vec<Lack> {
        let mut lacks = Vec::new();
        link_filters::with_sender(network, attachment, |sender, gateway| {
            let Some(gateway) = gateway else { return };
            let shortcut = Filter::Shortcut { sender, gateway, bridge };
            if port.mac != Some(gateway) && matches!(shortcut.is_on(&mut self.route, port.index), Ok(true)) {
                lacks.push(Lack::Address(gateway));
            }
            if matches!(neighbour::is_by_port(&mut self.route, port.index, sender.mac), Ok(false)) {
                lacks.push(Lack::Entry(sender.mac));
            }
        });
        lacks
    }

    /// The names of those of these filters that are not on a link. Where it cannot be asked, it is not said to be missing.
    pub fn missing_filters(&mut self, index: u32, filters: &[Filter<'_>]) -> Vec<&'static str> {
        let is_off = |filter: &&Filter<'_>| matches!(filter.is_on(&mut self.route, index), Ok(false));
        filters.iter().filter(is_off).map(|filter| filter.name()).collect()
    }
}

/// What a bridge's port that leads to a container needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// The bridge's Ethernet address, which is this: without it, the host drops what takes the port's shortcut.
    Address(Mac),
    /// The bridge's entry for the container, whose Ethernet address is this: without it, neighbours may see what is for the container.
    Entry(Mac),
}

/// What there is in a container.
pub enum Inside {
    /// Its namespace is another than the record says, or cannot be entered: why.
    Unknown(String),
    /// What is in it.
    Known(Interfaces),
}

/// A container's links, addresses and routes.
#[derive(Default)]
pub struct Interfaces {
    links: Vec<Link>,
    addresses: Vec<(u32, Cidr)>,
    routes: Vec<Route>,
}

impl Interfaces {
    /// The interface of that name.
    #[must_use]
    pub fn link(&self, name: &IfName) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name.as_str())
    }

    /// An attachment's addresses that its interface does not have.
    pub fn missing_addresses<'a>(
        &self,
        attachment: &'a Attachment,
        link: &Link,
    ) -> impl Iterator<Item = &'a Cidr> {
        attachment.addresses.iter().filter(|own| !has_address(&self.addresses, link.index, own.address()))
    }

    /// A container's default routes that are missing: for each family that has gateways, the first, where no default route leads
    /// by any of them. One by another link than its attachments' is the container's own affair.
    pub fn missing_default_routes<'a>(&self, record: &'a Record) -> Vec<(&'a Attachment, Family, IpAddr)> {
        let mut missing = Vec::new();
        for family in Family::ALL {
            let of_family = record.attachments.iter().filter_map(|attachment| {
                let gateway =
                    attachment.gateways.iter().copied().find(|gateway| Family::of(*gateway) == family);
                let next_hop = attachment.next_hop.filter(|_| family == Family::Ipv4).map(IpAddr::from);
                Some((attachment, gateway.or(next_hop)?))
            });
            let gateways: Vec<(&Attachment, IpAddr)> = of_family.collect();
            let is_by = |route: &Route, (of, _): &(&Attachment, IpAddr)| {
                route.link.is_some() && route.link == self.link(&of.interface).map(|link| link.index)
            };
            let leads_out = |route: &&Route| match gateways.iter().find(|by| is_by(route, by)) {
                Some((_, gateway)) => route.gateway == Some(*gateway),
                None => true,
            };
            let mut defaults = self.routes.iter().filter(|route| {
                route.is_in_main() && route.is_default_of(family) && route.leads_nowhere.is_none()
            });
            if !defaults.any(|route| leads_out(&route)) {
                missing.extend(gateways.first().map(|(of, gateway)| (*of, family, *gateway)));
            }
        }
        missing
    }
}

fn has_address(addresses: &[(u32, Cidr)], index: u32, address: IpAddr) -> bool {
    addresses.iter().any(|(on, has)| *on == index && has.address() == address)
}

impl Inside {
    /// Looks into the namespace of a container, by a process that is in it.
    #[must_use]
    pub fn of(record: &Record, pid: Option<u32>) -> Self {
        let look = || -> Result<Self, String> {
            let text = |error: KernelError| error.to_string();
            let home = Namespace::own().map_err(|error| error.to_string())?;
            let pid = pid.ok_or_else(|| "it has ended".to_owned())?;
            let namespace = Namespace::of_process(pid)
                .map_err(|error| format!("its network namespace cannot be opened: {error}"))?;
            if namespace.id() != record.netns {
                return Err("its process is in another network namespace than it was attached in".to_owned());
            }
            if namespace.id() == home.id() {
                return Ok(Self::Known(Interfaces::default()));
            }
            let mut socket = namespace
                .enter(&home, || NetlinkSocket::open(NETLINK_ROUTE))
                .and_then(|opened| opened)
                .map_err(text)?;
            let links = link::list(&mut socket).map_err(text)?;
            let addresses = addr::list(&mut socket).map_err(text)?;
            let routes = route::list_all(&mut socket).map_err(text)?;
            Ok(Self::Known(Interfaces { links, addresses, routes }))
        };
        look().unwrap_or_else(Self::Unknown)
    }
}
