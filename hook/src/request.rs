//! What a container's annotations ask for, each value checked by itself. What they mean on this host is `network.rs`'s
//! and the drivers' business.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use ocinet_shared::cidr::{Cidr, Family, parse_address};
use ocinet_shared::container_id::ContainerId;
use ocinet_shared::ifname::IfName;
use ocinet_shared::mac::Mac;
use ocinet_shared::port::{PublishedPort, parse_published};

use crate::annotations::Annotations;
use crate::config::Config;
use crate::drivers::{self, Driver};
use crate::error::{Error, annotation};

/// The name of the network of containers that name none.
pub const DEFAULT_NETWORK: &str = "default";
/// The least MTU: IPv6 needs 1280 bytes (RFC 8200), IPv4 can do with 68 (RFC 791).
const MTU: std::ops::RangeInclusive<u32> = 68..=65535;

/// What a container asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// How to wire it.
    pub driver: &'static dyn Driver,
    /// The network.
    pub network: ContainerId,
    /// The interface's name in the container.
    pub interface: IfName,
    /// The bridge, where it is named.
    pub bridge: Option<IfName>,
    /// The network's subnets, at most one a family, IPv4 first; empty where none is named.
    pub subnets: Vec<Cidr>,
    /// The network's gateways, at most one a family.
    pub gateways: Vec<IpAddr>,
    /// Where the address is taken from, at most one range a family.
    pub ip_ranges: Vec<Cidr>,
    /// The container's addresses, at most one a family.
    pub addresses: Vec<IpAddr>,
    /// The container's Ethernet address.
    pub mac: Option<Mac>,
    /// The MTU in bytes.
    pub mtu: Option<u32>,
    /// The ports to publish; host port 0 is one that ocinet chooses.
    pub ports: Vec<PublishedPort>,
    /// Whether the container's traffic leaves behind the host's address.
    pub masquerade: bool,
    /// Whether the network reaches nothing outside, where it is said.
    pub internal: Option<bool>,
    /// Whether the network is kept apart from others, where it is said.
    pub isolate: Option<bool>,
    /// Whether the container is reachable from outside on every port.
    pub allow_inbound: bool,
}

impl Request {
    /// Reads the annotations; `None` where no `net.*` annotation is there, and so nothing is asked for.
    ///
    /// # Errors
    /// The first annotation that is unknown, malformed, or that the driver has no use for.
    pub fn parse(mut annotations: Annotations, config: &Config) -> Result<Option<Self>, Error> {
        if annotations.is_empty() {
            return Ok(None);
        }
        let from = &mut annotations;
        let driver = match from.take("driver")? {
            Some(name) => drivers::find(&name)?,
            None => drivers::default(),
        };
        let request = if driver.has_network() {
            Self {
                driver,
                network: parsed(from, "network", "name it with letters, digits and dashes")?
                    .map_or_else(|| default_name(DEFAULT_NETWORK), Ok)?,
                interface: parsed(from, "ifname", "use a name such as eth0")?
                    .map_or_else(|| default_name("eth0"), Ok)?,
                bridge: parsed(from, "bridge", "use a name such as ocinet1")?,
                subnets: subnets(from)?,
                gateways: one_a_family(from, "gateway", parse_address, "give an address inside net.subnet")?,
                ip_ranges: one_a_family(
                    from,
                    "ip-range",
                    network_cidr,
                    "give a part of net.subnet, as 10.90.1.0/24",
                )?,
                addresses: one_a_family(
                    from,
                    "ip",
                    parse_address,
                    "give an address inside the network's subnet",
                )?,
                mac: mac(from)?,
                mtu: mtu(from)?,
                ports: ports(from, config)?,
                masquerade: boolean(from, "masquerade")?.unwrap_or(true),
                internal: boolean(from, "internal")?,
                isolate: boolean(from, "isolate")?,
                allow_inbound: boolean(from, "allow-inbound")?.unwrap_or(false),
            }
        } else {
            Self::without_network(driver)?
        };
        annotations.finish().map_err(|error| request.explain(error))?;
        Ok(Some(request))
    }

    fn without_network(driver: &'static dyn Driver) -> Result<Self, Error> {
        Ok(Self {
            driver,
            network: default_name(DEFAULT_NETWORK)?,
            interface: default_name("eth0")?,
            bridge: None,
            subnets: Vec::new(),
            gateways: Vec::new(),
            ip_ranges: Vec::new(),
            addresses: Vec::new(),
            mac: None,
            mtu: None,
            ports: Vec::new(),
            masquerade: false,
            internal: None,
            isolate: None,
            allow_inbound: false,
        })
    }

    /// A key that is known, but that a driver without a network left over, is not "unknown".
    fn explain(&self, error: Error) -> Error {
        let Error::Annotation(mut report) = error else { return error };
        if !self.driver.has_network() && report.cause.contains("one interface") {
            report.cause = format!("the driver {} has no use for it", self.driver.name());
            report.hint = "leave it out, or use net.driver=bridge".to_owned();
        }
        Error::Annotation(report)
    }
}

fn default_name<T: FromStr>(name: &'static str) -> Result<T, Error>
where
    T::Err: Display,
{
    // Only constants come here, and the unit tests parse them.
    name.parse().map_err(|error| annotation("net.network", error, "report this as a bug"))
}

fn parsed<T: FromStr>(from: &mut Annotations, key: &str, hint: &str) -> Result<Option<T>, Error>
where
    T::Err: Display,
{
    let parse = |value: String| value.parse().map_err(|error| annotation(&format!("net.{key}"), error, hint));
    from.take(key)?.map(parse).transpose()
}

fn boolean(from: &mut Annotations, key: &str) -> Result<Option<bool>, Error> {
    from.take(key)?
        .map(|value| match value.as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => {
                let cause = format!("\"{other}\" is neither true nor false");
                Err(annotation(&format!("net.{key}"), cause, "give true or false"))
            }
        })
        .transpose()
}

/// Items are separated by commas or, for podman, whose `--annotation` splits its value at commas, by spaces.
fn items(value: &str) -> impl Iterator<Item = &str> {
    let by_spaces = !value.contains(',') && value.contains(' ');
    value
        .split(if by_spaces { ' ' } else { ',' })
        .map(str::trim)
        .filter(move |item| !by_spaces || !item.is_empty())
}

/// A list with at most one entry for each family; IPv4 comes first.
fn one_a_family<T: Copy + FamilyOf, E: Display>(
    from: &mut Annotations,
    key: &str,
    parse: impl Fn(&str) -> Result<T, E>,
    hint: &str,
) -> Result<Vec<T>, Error> {
    let full = format!("net.{key}");
    let Some(value) = from.take(key)? else { return Ok(Vec::new()) };
    let mut list: Vec<T> = Vec::new();
    for item in items(&value) {
        let parsed = parse(item).map_err(|error| annotation(&full, error, hint))?;
        let family = parsed.family();
        if list.iter().any(|other| other.family() == family) {
            let cause = format!("\"{value}\" has more than one for {family}");
            return Err(annotation(&full, cause, "give one for IPv4, one for IPv6, or one of each"));
        }
        list.push(parsed);
    }
    list.sort_by_key(FamilyOf::family);
    Ok(list)
}

trait FamilyOf {
    fn family(&self) -> Family;
}

impl FamilyOf for IpAddr {
    fn family(&self) -> Family {
        Family::of(*self)
    }
}

impl FamilyOf for Cidr {
    fn family(&self) -> Family {
        self.family()
    }
}

fn network_cidr(text: &str) -> Result<Cidr, String> {
    let cidr: Cidr = text.parse().map_err(|error: ocinet_shared::cidr::AddressError| error.to_string())?;
    if cidr.is_network() {
        Ok(cidr)
    } else {
        Err(format!("{cidr} has host bits set; the network is {}", cidr.network()))
    }
}

fn subnets(from: &mut Annotations) -> Result<Vec<Cidr>, Error> {
    let subnets =
        one_a_family(from, "subnet", network_cidr, "give a network such as 10.90.0.0/16 or fd00:90::/64")?;
    for subnet in &subnets {
        check_subnet(subnet).map_err(|cause| {
            annotation(
                "net.subnet",
                cause,
                "give a private network, as 10.90.0.0/16 (RFC 1918) or fd00:90::/64 (RFC 4193)",
            )
        })?;
    }
    Ok(subnets)
}

/// A subnet must have room for a gateway and a container, and consist of addresses that hosts can have.
fn check_subnet(subnet: &Cidr) -> Result<(), String> {
    let lengths = match subnet.family() {
        Family::Ipv4 => 8..=30,
        Family::Ipv6 => 16..=126,
    };
    if !lengths.contains(&subnet.prefix()) {
        let (least, most) = (lengths.start(), lengths.end());
        return Err(format!("{subnet} has a prefix length outside /{least} to /{most}"));
    }
    match unusable(subnet.address()) {
        Some(kind) => Err(format!("{subnet} holds {kind} addresses, which no container can have")),
        None => Ok(()),
    }
}

/// What kind of address this is, where it cannot be a container's.
#[must_use]
pub fn unusable(address: IpAddr) -> Option<&'static str> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let reserved = matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240);
    if address.is_loopback() {
        Some("loopback")
    } else if address.is_multicast() {
        Some("multicast")
    } else if link_local {
        Some("link-local")
    } else if address.is_unspecified() || reserved {
        Some("reserved")
    } else {
        None
    }
}

fn mac(from: &mut Annotations) -> Result<Option<Mac>, Error> {
    let mac: Option<Mac> = parsed(from, "mac", "give six bytes in hexadecimal, as 02:6f:0a:5a:00:05")?;
    if let Some(mac) = mac.filter(|mac| !mac.is_unicast()) {
        return Err(annotation(
            "net.mac",
            format!("{mac} is a group address or zero"),
            "give a unicast address",
        ));
    }
    Ok(mac)
}

fn mtu(from: &mut Annotations) -> Result<Option<u32>, Error> {
    let hint = "give a number of bytes from 68 to 65535";
    let mtu: Option<u32> = parsed(from, "mtu", hint)?;
    match mtu {
        Some(mtu) if !MTU.contains(&mtu) => {
            Err(annotation("net.mtu", format!("{mtu} is out of range"), hint))
        }
        other => Ok(other),
    }
}

fn ports(from: &mut Annotations, config: &Config) -> Result<Vec<PublishedPort>, Error> {
    let hint = "write it as for docker run -p, as 8080:80 or 127.0.0.1:53:53/udp";
    let Some(value) = from.take("ports")? else { return Ok(Vec::new()) };
    let mut ports: Vec<PublishedPort> = Vec::new();
    for item in items(&value) {
        ports.extend(parse_published(item).map_err(|error| annotation("net.ports", error, hint))?);
        if ports.len() > config.max_ports {
            let cause = format!("it publishes more than {} ports", config.max_ports);
            return Err(annotation(
                "net.ports",
                cause,
                "publish fewer, or raise max-ports in the configuration",
            ));
        }
    }
    let mut sorted: Vec<&PublishedPort> = ports.iter().collect();
    sorted.sort_by_key(|port| (port.protocol, port.host_port));
    for (index, port) in sorted.iter().enumerate() {
        let same_port = sorted[index + 1..].iter().take_while(|other| other.host_port == port.host_port);
        if let Some(other) = same_port.into_iter().find(|other| port.overlaps(other)) {
            let cause = format!("{port} and {other} are the same host port");
            return Err(annotation("net.ports", cause, "publish each host port once"));
        }
    }
    if let Some(port) = ports.iter().find(|port| port.host_address.is_some_and(never_publishable)) {
        let cause = format!("{port} cannot be published on that address");
        return Err(annotation(
            "net.ports",
            cause,
            "use an address of this host, or 127.0.0.1 (the kernel cannot translate ::1)",
        ));
    }
    Ok(ports)
}

fn never_publishable(address: IpAddr) -> bool {
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    address.is_multicast() || link_local || (address.is_ipv6() && address.is_loopback())
}
