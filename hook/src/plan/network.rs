//! Which network a container belongs to, and what a new one is made with. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use ocinet_shared::cidr::{Cidr, Family};
use ocinet_shared::container_id::ContainerId;
use ocinet_shared::ifname::IfName;
use ocinet_shared::mac::fnv1a;
use ocinet_shared::network::{HostLinkKind, Network, Subnet, not_a_host};

use crate::error::{Error, annotation, report};
use crate::input::annotations::Label;
use crate::input::config::{Config, Setting};
use crate::input::request::{AttachmentRequest, DEFAULT_NETWORK};
use crate::plan::drivers::{Pool, lan};

/// The bridge of the network `default`.
const DEFAULT_BRIDGE: &str = "ocinet0";
/// The size of a network that names no subnet.
const POOL_PREFIX: u8 = 24;

/// The MTU that a link has when nothing gives it another (`ETH_DATA_LEN` of linux/if_ether.h).
pub const DEFAULT_MTU: u32 = 1500;
/// The least MTU of a link that has IPv6 (RFC 8200, section 5).
pub const IPV6_MTU: u32 = 1280;

/// What a range of the host's leaves for new networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaves {
    /// Nothing: others answer to its addresses, on a link of the host's or in another network.
    Nothing,
    /// Parts of it to a network whose subnet somebody named: it is a LAN as wide as a whole private range (RFC 1918).
    Named,
    /// Parts of it also to a network whose subnet is chosen, where the whole pool is inside it: it is far away, and reached by a
    /// gateway.
    Parts,
}

/// A range of addresses that is in use on the host, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupied {
    /// The range.
    pub range: Cidr,
    /// What uses it, for a message: `the host's route to 10.0.0.0/8`.
    pub by: String,
    /// What is left of it.
    pub leaves: Leaves,
}

impl Occupied {
    /// Whether a subnet that a network is given cannot be made: more specific routes win over wider ones.
    fn bars(&self, subnet: &Cidr) -> bool {
        let is_part = self.range.prefix() < subnet.prefix() && self.leaves != Leaves::Nothing;
        self.range.overlaps(subnet) && !is_part
    }

    /// Whether a subnet is not to be chosen from a pool, which an administrator may have named.
    fn spoils(&self, subnet: &Cidr, pool: &Cidr, is_named: bool) -> bool {
        let covers_all = self.range.prefix() < pool.prefix() && self.range.contains(pool.address());
        let leaves_it = self.leaves == Leaves::Parts || (is_named && self.leaves == Leaves::Named);
        self.range.overlaps(subnet) && !(covers_all && leaves_it)
    }
}

/// The link that a network's packets leave the host by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    /// Its name.
    pub name: IfName,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its addresses with the prefix length of their subnets, IPv4 first; no link-local ones.
    pub addresses: Vec<Cidr>,
    /// The gateways of the host's default routes by it.
    pub gateways: Vec<IpAddr>,
    /// The IPv6 address by which the host's default route of IPv4 leads over it.
    pub next_hop: Option<Ipv6Addr>,
}

/// What a new network has to go by.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The administrator's defaults.
    pub config: &'a Config,
    /// The networks that are there.
    pub others: &'a [Network],
    /// The ranges that the host uses.
    pub occupied: Vec<Occupied>,
    /// The link that its packets leave the host by, where there is one.
    pub underlay: Option<&'a Underlay>,
    /// The other hosts that its tunnels lead to.
    pub peers: Vec<IpAddr>,
    /// The kernel's id of this boot.
    pub boot_id: &'a str,
}

/// Checks what the container says of a network that exists; what it does not say, it shares.
///
/// # Errors
/// [`Error::Conflict`] that shows both, where it says something else.
pub fn share(request: &AttachmentRequest, network: Network) -> Result<Network, Error> {
    let differ = |name: &str, asked: &str, has: &str| {
        let Label { key, is_annotation } = request.label(name);
        let hint = if is_annotation {
            format!("leave {key} out, use another net.network, or stop the network's containers first")
        } else {
            "stop the network's containers, so that it is made anew, or set the configuration back".to_owned()
        };
        Err(Error::Conflict(report(
            format!("join network {}", network.name),
            format!("{key} asks for {asked}, but the network was made with {has}"),
            hint,
        )))
    };
    if request.driver.name() != network.driver {
        return differ("driver", request.driver.name(), &network.driver);
    }
    for (key, asked) in &request.settings {
        let has = network.settings.get(*key).map_or("none", String::as_str);
        if has != asked {
            return differ(key, asked, has);
        }
    }
    let has: Vec<Cidr> = network.subnets().collect();
    if !request.subnets.is_empty() && request.subnets != has {
        return differ("subnet", &list(&request.subnets), &list(&has));
    }
    if let Some(gateway) =
        request.gateways.iter().find(|asked| network.gateway(Family::of(**asked)) != Some(**asked))
    {
        let has: Vec<IpAddr> = network.subnets.iter().filter_map(|subnet| subnet.gateway).collect();
        return differ("gateway", &gateway.to_string(), &list(&has));
    }
    for (key, asked, has) in
        [("internal", request.internal, network.internal), ("isolate", request.isolate, network.isolate)]
    {
        if let Some(asked) = asked.filter(|asked| *asked != has) {
            return differ(key, &asked.to_string(), &has.to_string());
        }
    }
    Ok(network)
}

/// What a new network is made with.
///
/// # Errors
/// A link or a subnet that is in use, no subnet left, or a gateway that is not in the subnet.
pub fn make(request: &AttachmentRequest, around: &Surroundings<'_>) -> Result<Network, Error> {
    let pool = request.driver.pool();
    let ranges = ranges(request, around)?;
    for range in &ranges {
        if let Some(overlap) = around.occupied.iter().find(|one| is_barred(range, one, request, around)) {
            return Err(Error::Conflict(report(
                format!("make network {} with the subnet {range}", request.network),
                format!("it overlaps {}", overlap.by),
                other_subnet(request, around.config),
            )));
        }
    }
    let is_inside = |gateway: &&IpAddr| ranges.iter().any(|range| is_on_link(pool, range, **gateway));
    if let Some(stray) = request.gateways.iter().find(|gateway| !is_inside(gateway)) {
        let cause = format!("{stray} is outside {}", list(&ranges));
        return Err(request.label("gateway").error(cause, "give an address inside the subnet"));
    }
    let subnets = ranges.iter().map(|range| subnet(*range, request, around)).collect::<Result<_, _>>()?;
    let on_lan = pool == Pool::Lan;
    let underlay_mtu = around.underlay.map(|underlay| underlay.mtu).filter(|mtu| *mtu != DEFAULT_MTU);
    let mut network = Network {
        name: request.network.clone(),
        driver: request.driver.name().to_owned(),
        settings: BTreeMap::new(),
        subnets,
        ip_ranges: if pool == Pool::Host { Vec::new() } else { request.ip_ranges.clone() },
        reserved: Vec::new(),
        internal: request.internal.unwrap_or(false),
        isolate: request.isolate.unwrap_or(!on_lan),
        mtu: request.mtu.or(if on_lan { None } else { underlay_mtu }),
        group: if on_lan { 0 } else { Network::free_group(&request.network, around.others) },
        links: Vec::new(),
    };
    if let Some(underlay) = around.underlay.filter(|_| on_lan) {
        let own = underlay.addresses.iter().map(Cidr::address);
        network.reserved = own.filter(|own| ranges.iter().any(|range| range.contains(*own))).collect();
    }
    request.driver.wire(request, around, &mut network)?;
    check_links(&network, around.others)?;
    let least = network.mtu.or(around.underlay.filter(|_| on_lan).map(|underlay| underlay.mtu));
    if let Some(mtu) = least.filter(|mtu| *mtu < IPV6_MTU && network.subnet(Family::Ipv6).is_some()) {
        return Err(too_small_for_ipv6(request, mtu));
    }
    Ok(network)
}

/// Whether a subnet of a new network cannot be made beside what the host uses. A subnet from the pool was chosen so that it
/// can be made.
fn is_barred(
    range: &Cidr,
    occupied: &Occupied,
    request: &AttachmentRequest,
    around: &Surroundings<'_>,
) -> bool {
    let is_built_in = request.subnets.is_empty() && !around.config.default_subnets.is_named;
    match named_subnets(request, around.config) {
        [] if request.driver.pool() == Pool::Host => false,
        [_, ..] if is_built_in => occupied.spoils(range, range, false),
        _ => occupied.bars(range),
    }
}

/// What to do about a subnet that cannot be: it is mended where it was named.
fn other_subnet(request: &AttachmentRequest, config: &Config) -> String {
    let Label { key, is_annotation } = request.label("subnet");
    let file = config.path.display();
    match request.driver.pool() {
        _ if !is_annotation => format!("set a free {key}"),
        Pool::Lan => {
            format!(
                "a LAN is one network: share that network by net.network, with its driver and mode, or give this one a {key} that overlaps none"
            )
        }
        Pool::Host if request.subnets.is_empty() && config.default_subnets.is_named => {
            format!("set free default-subnets in the configuration {file}, or give the network a free {key}")
        }
        Pool::Host if request.subnets.is_empty() => {
            format!("give the network a free {key}, or set free default-subnets in the configuration {file}")
        }
        Pool::Host | Pool::Overlay => format!("give the network a free {key}"),
    }
}

/// IPv6 is not to be had on a link of that MTU.
#[must_use]
pub fn too_small_for_ipv6(request: &AttachmentRequest, mtu: u32) -> Error {
    match request.mtu {
        Some(mtu) => request.label("mtu").error(
            format!("{mtu} is less than the {IPV6_MTU} that IPv6 needs"),
            format!("give at least {IPV6_MTU}, or use a network without an IPv6 subnet"),
        ),
        None => request.label("subnet").error(
            format!("IPv6 needs an MTU of {IPV6_MTU}, and packets leave the host by a link that has room for {mtu}"),
            "leave the IPv6 subnet out, or raise that link's MTU",
        ),
    }
}

/// A link belongs to one network, and so does a tunnel's number.
fn check_links(network: &Network, others: &[Network]) -> Result<(), Error> {
    for link in &network.links {
        let has = |other: &&Network| other.links.iter().any(|theirs| theirs.name == link.name);
        let Some(other) = others.iter().find(has) else { continue };
        let (key, what) = match &link.kind {
            HostLinkKind::Vxlan(tunnel) => ("vni", format!("VNI {}", tunnel.vni)),
            kind => ("bridge", format!("{} {}", kind.name(), link.name)),
        };
        return Err(Error::Conflict(report(
            format!("use the {what}"),
            format!("it is the {} of network {}", link.kind.name(), other.name),
            format!("name another with net.{key}, or that network with net.network"),
        )));
    }
    Ok(())
}

/// The subnets of a new network.
fn ranges(request: &AttachmentRequest, around: &Surroundings<'_>) -> Result<Vec<Cidr>, Error> {
    let named = named_subnets(request, around.config);
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    match request.driver.pool() {
        Pool::Host => Ok(vec![next_free(&around.config.subnet_pool, &around.occupied)?]),
        Pool::Overlay => {
            let cause =
                format!("network {} is new, and every host must give it the same addresses", request.network);
            Err(request.label("subnet").error(cause, "give it a subnet, the same on every host"))
        }
        Pool::Lan => lan::ranges(request, around),
    }
}

/// Whether a gateway is reached on a network's link: LANs know their IPv6 routers by link-local addresses.
#[must_use]
pub fn is_on_link(pool: Pool, range: &Cidr, gateway: IpAddr) -> bool {
    let link_local =
        pool == Pool::Lan && range.family() == Family::Ipv6 && Cidr::link_local6().contains(gateway);
    range.contains(gateway) || link_local
}

/// The subnets that the container or the configuration names for a new network; none where one is to be chosen.
fn named_subnets<'a>(request: &'a AttachmentRequest, config: &'a Config) -> &'a [Cidr] {
    let is_default = request.network.as_str() == DEFAULT_NETWORK && request.driver.pool() == Pool::Host;
    if request.subnets.is_empty() && is_default { &config.default_subnets.value } else { &request.subnets }
}

/// The families whose routes a new network needs to know: those that it will have, and that of an overlay's underlay.
#[must_use]
pub fn families(request: &AttachmentRequest, config: &Config) -> Vec<Family> {
    match named_subnets(request, config) {
        _ if request.driver.pool() == Pool::Overlay => Family::ALL.to_vec(),
        [] if request.driver.pool() == Pool::Lan => Family::ALL.to_vec(),
        [] => vec![config.subnet_pool.value.family()],
        named => named.iter().map(Cidr::family).collect(),
    }
}

/// Items as an annotation has them.
pub fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn next_free(pool: &Setting<Cidr>, occupied: &[Occupied]) -> Result<Cidr, Error> {
    let (pool, is_named) = (pool.value, pool.is_named);
    let step = 1_u128 << (Family::Ipv4.bits() - POOL_PREFIX);
    let count = pool.size() / step;
    let spoiled = |subnet: &Cidr| occupied.iter().any(|one| one.spoils(subnet, &pool, is_named));
    let mut subnets = (0..count).filter_map(|index| Cidr::new(pool.nth(index * step), POOL_PREFIX));
    subnets.find(|subnet| !spoiled(subnet)).ok_or_else(|| {
        let widest = occupied
            .iter()
            .filter(|one| one.spoils(&pool, &pool, is_named))
            .min_by_key(|one| one.range.prefix());
        let widest = widest.map_or("other networks", |one| one.by.as_str());
        Error::Conflict(report(
            "choose a subnet for a new network",
            format!("all {count} of the pool {pool} are in use, most by {widest}"),
            "give the network a free net.subnet, or set another subnet-pool in the configuration",
        ))
    })
}

/// A subnet with its gateway: the one that is asked for; else the LAN's own router, or the first address.
fn subnet(range: Cidr, request: &AttachmentRequest, around: &Surroundings<'_>) -> Result<Subnet, Error> {
    let pool = request.driver.pool();
    let inside = |list: &[IpAddr]| list.iter().copied().find(|gateway| is_on_link(pool, &range, *gateway));
    let gateway = match (inside(&request.gateways), pool) {
        (Some(asked), _) => Some(asked),
        (None, Pool::Lan) => around.underlay.and_then(|underlay| inside(&underlay.gateways)),
        (None, _) => Some(range.nth(1)),
    };
    match gateway.and_then(|gateway| Some((gateway, not_a_host(&range, gateway)?))) {
        Some((gateway, what)) => Err(request
            .label("gateway")
            .error(format!("{gateway} is {what} of {range}"), "give another address inside the subnet")),
        None => {
            let is_asked = gateway.is_none() && pool == Pool::Lan && range.family() == Family::Ipv4;
            let next_hop = around.underlay.filter(|_| is_asked).and_then(|underlay| underlay.next_hop);
            Ok(Subnet { range, gateway, next_hop })
        }
    }
}

/// `ocinet0` for the default network, `oc-NAME` where that fits, and otherwise a name from the hash of the network's.
///
/// # Errors
/// A name that the kernel does not accept.
pub fn bridge_of(network: &ContainerId) -> Result<IfName, Error> {
    if network.as_str() == DEFAULT_NETWORK {
        return DEFAULT_BRIDGE
            .parse()
            .map_err(|error| annotation("net.bridge", error, "report this as a bug"));
    }
    format!("oc-{network}").parse().or_else(|_| {
        let name = format!("oc-{:012x}", fnv1a(network.as_str().as_bytes()) & 0xffff_ffff_ffff);
        name.parse().map_err(|error| annotation("net.network", error, "name the bridge with net.bridge"))
    })
}
