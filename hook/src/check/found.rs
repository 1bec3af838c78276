//! What there is: few dumps, whatever the number of containers.

use std::collections::BTreeSet;

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::cidr::Cidr;
use ocinet_shared::element::{Element, Set, Table};
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::filter::Filter;
use ocinet_shared::kernel::link::{self, Link};
use ocinet_shared::kernel::netns::Namespace;
use ocinet_shared::kernel::nft::{Nft, counted};
use ocinet_shared::kernel::route::{self, Route};
use ocinet_shared::kernel::{KernelError, addr};
use ocinet_shared::record::Record;

use crate::error::Error;

/// What there is on the host.
pub(super) struct Found {
    channel: Channel,
    tables: Vec<Table>,
    elements: BTreeSet<(Set, Vec<u8>)>,
    /// All links.
    pub links: Vec<Link>,
    /// All addresses, each with the index of its link.
    pub addresses: Vec<(u32, Cidr)>,
    /// The host's routes.
    pub routes: Vec<Route>,
}

impl Found {
    /// Asks the kernel.
    pub fn ask() -> Result<Self, Error> {
        let mut channel = Channel::open(NETLINK_ROUTE)?;
        let mut nft = Nft::open()?;
        let mut tables = Vec::new();
        for table in [Table::Inet, Table::Bridge] {
            tables.extend(counted::table(nft.channel(), table)?.map(|_| table));
        }
        let elements = counted::all_keys(nft.channel())?;
        let links = link::list(&mut channel)?;
        let addresses = addr::list(&mut channel)?;
        let routes = route::list_all(&mut channel)?;
        Ok(Self { channel, tables, elements, links, addresses, routes })
    }

    pub fn has(&self, table: Table) -> bool {
        self.tables.contains(&table)
    }

    pub fn has_element(&self, element: &Element) -> bool {
        self.elements.contains(&(element.set, element.key_bytes()))
    }

    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// A line for each of these filters that is not on a link. Where it cannot be asked, it is not said to be missing.
    pub fn missing(&mut self, link: &Link, filters: &[Filter<'_>]) -> Vec<String> {
        let is_off = |filter: &&Filter<'_>| matches!(filter.is_on(&mut self.channel, link.index), Ok(false));
        let missing = filters.iter().filter(is_off);
        missing.map(|filter| format!("the filter of {} on {} is missing", filter.name(), link.name)).collect()
    }
}

/// What there is in a container.
pub(super) enum Inside {
    /// Its namespace is another than the record says, or cannot be entered.
    Unknown(String),
    /// Its links, addresses and routes.
    Known { links: Vec<Link>, addresses: Vec<(u32, Cidr)>, routes: Vec<Route> },
}

impl Inside {
    /// Looks into the namespace of a container's process.
    pub fn of(record: &Record) -> Self {
        let look = || -> Result<Self, String> {
            let text = |error: KernelError| error.to_string();
            let home = Namespace::own().map_err(|error| error.to_string())?;
            let namespace = Namespace::of_process(record.pid)
                .map_err(|error| format!("its network namespace cannot be opened: {error}"))?;
            if namespace.id() != record.netns {
                return Err("its process is in another network namespace than it was attached in".to_owned());
            }
            if namespace.id() == home.id() {
                return Ok(Self::Known { links: Vec::new(), addresses: Vec::new(), routes: Vec::new() });
            }
            let mut channel = namespace
                .enter(&home, || Channel::open(NETLINK_ROUTE))
                .and_then(|opened| opened)
                .map_err(text)?;
            let links = link::list(&mut channel).map_err(text)?;
            let addresses = addr::list(&mut channel).map_err(text)?;
            Ok(Self::Known { links, addresses, routes: route::list_all(&mut channel).map_err(text)? })
        };
        look().unwrap_or_else(Self::Unknown)
    }
}
