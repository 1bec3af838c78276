//! What a container's annotations ask for, each value checked by itself. What they mean on this host is for
//! `plan/` to say.
//!
//! `values.rs` reads single values and lists, `driver.rs` the settings of a driver, `published.rs` ports, `container.rs` what is about
//! the container as a whole. `routable.rs` says where a route cannot lead.

mod container;
mod driver;
mod published;
mod routable;
mod values;

use std::net::IpAddr;

use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::port::PublishedPort;

pub use container::{Resolver, is_name};
pub use driver::{BridgeRequest, DriverRequest, IpvlanRequest, MacvlanRequest, VethRequest, VxlanRequest};

use crate::error::{Error, annotation};
use crate::input::annotations::{Annotations, Label, Names, Sorted};
use crate::input::config::Config;
use crate::input::nearest;
use crate::model::driver_spec::{DEFAULT_NETWORK, DefaultNetwork, Driver, DriverKind, StandaloneDriver};
use crate::model::sysctl::Sysctl;

/// What a container asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The driver that attaches it to nothing, where it asks for that.
    pub standalone: Option<StandaloneDriver>,
    /// The interfaces that it asks for.
    pub attachments: Vec<AttachmentRequest>,
    /// The interface that it leaves by; the first that has a gateway without.
    pub default_route: Option<IfName>,
    /// What its resolver is told.
    pub resolver: Resolver,
    /// Sysctls of its namespace.
    pub sysctls: Vec<Sysctl>,
}

/// What a container asks for one of its interfaces.
#[derive(Debug, Clone)]
pub struct AttachmentRequest {
    /// What its keys are called in messages.
    pub names: Names,
    /// How to attach it, and what the driver is told of its network's links.
    pub driver: DriverRequest,
    /// The network.
    pub network: ContainerId,
    /// The interface's name in the container.
    pub interface: IfName,
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
    /// Further routes, each by a gateway on the network.
    pub routes: Vec<(Cidr, IpAddr)>,
    /// The ports to publish; host port 0 is one that ocinet chooses.
    pub ports: Vec<PublishedPort>,
    /// Whether the container's traffic leaves behind the host's address.
    pub masquerade: bool,
    /// The host's addresses that it leaves with instead, at most one a family.
    pub snat: Vec<IpAddr>,
    /// Whether the network reaches nothing outside, where it is said.
    pub internal: Option<bool>,
    /// Whether the network is kept apart from others, where it is said.
    pub isolate: Option<bool>,
    /// Whether the container is reachable from outside on every port.
    pub allow_inbound: bool,
    /// The most that the container receives, in bits per second.
    pub rate_in: Option<u64>,
    /// The most that the container sends, in bits per second.
    pub rate_out: Option<u64>,
}

impl AttachmentRequest {
    /// What to call a key in a message.
    #[must_use]
    pub fn label(&self, name: &str) -> Label {
        self.names.label(name)
    }
}

/// Tells the driver of a network that has containers already: whoever names it need not name its driver.
pub type DriverOf<'a> = &'a dyn Fn(&ContainerId) -> Result<Option<String>, Error>;

impl Request {
    /// Reads the annotations; `None` where no `net.*` annotation is there, and so nothing is asked for.
    ///
    /// # Errors
    /// The first annotation that is unknown, malformed, or that the driver does not support.
    pub fn parse(
        annotations: impl IntoIterator<Item = (String, String)>,
        config: &Config,
        driver_of: DriverOf<'_>,
    ) -> Result<Option<Self>, Error> {
        let Some(Sorted { mut container, attachments: sorted }) = Sorted::new(annotations)? else {
            return Ok(None);
        };
        let mut attachments: Vec<AttachmentRequest> = Vec::new();
        let mut standalone = None;
        let several = sorted.len() > 1;
        for mut of in sorted {
            let network = named_network(&mut of, config, driver_of)?;
            let names = of.names();
            match driver(&mut of)? {
                Driver::Standalone(driver) if several => {
                    let cause = format!("the driver {} attaches the container to nothing", driver.name());
                    return Err(annotation(
                        "net.driver",
                        cause,
                        "leave the other interfaces out, or this driver",
                    ));
                }
                Driver::Standalone(driver) => {
                    of.finish(driver.name())?;
                    standalone = Some(driver);
                }
                Driver::Network(driver) => {
                    config.let_say(&network, &mut container, is_resolver);
                    attachments.push(attachment(of, names, driver, network, config)?);
                }
            }
        }
        check_together(&attachments, config)?;
        let interfaces: Vec<&str> =
            attachments.iter().map(|attachment| attachment.interface.as_str()).collect();
        let default_route = container::default_route(&mut container, &interfaces)?;
        let shares_host = standalone.is_some_and(|driver: StandaloneDriver| !driver.needs_own_namespace());
        let resolver = container::resolver(&mut container, shares_host)?;
        let sysctls = container::sysctls(&mut container)?;
        container.finish("of the container")?;
        Ok(Some(Self { standalone, attachments, default_route, resolver, sysctls }))
    }

    /// Whether the container must have a network namespace of its own.
    #[must_use]
    pub fn needs_own_namespace(&self) -> bool {
        self.standalone.is_none_or(StandaloneDriver::needs_own_namespace)
    }

    /// All ports of the container.
    pub fn ports(&self) -> impl Iterator<Item = &PublishedPort> {
        self.attachments.iter().flat_map(|attachment| &attachment.ports)
    }
}

fn is_resolver(name: &str) -> bool {
    matches!(name, "dns" | "dns-search")
}

/// The network that an attachment names, or the one that its driver has for those that name none. What the
/// configuration says of it stands behind the annotations, and behind both the driver that it was made with. A driver
/// that attaches to nothing is left alone with its annotations.
fn named_network(
    of: &mut Annotations,
    config: &Config,
    driver_of: DriverOf<'_>,
) -> Result<ContainerId, Error> {
    let named = of.peek("driver").filter(|name| !name.is_empty());
    let asked = named.map(|name| find_driver(name, &of.label("driver"))).transpose()?;
    let kind = match asked.unwrap_or(Driver::Network(Driver::DEFAULT)) {
        Driver::Network(kind) => kind,
        Driver::Standalone(_) => return values::constant(DEFAULT_NETWORK),
    };
    let hint = "name it with letters, digits and dashes";
    let network: ContainerId = match values::parsed(of, "network", hint)? {
        Some(network) => network,
        None => {
            let name = default_network(kind, of);
            name.parse().map_err(|error| of.label("network").error(error, hint))?
        }
    };
    config.let_say(&network, of, |name| !is_resolver(name));
    if !of.has("driver")
        && let Some(driver) = driver_of(&network)?
    {
        of.or_else(&format!("network {network}, which is there"), [("driver", driver.as_str())]);
    }
    Ok(network)
}

fn driver(of: &mut Annotations) -> Result<Driver, Error> {
    match of.take("driver")? {
        Some((name, label)) => find_driver(&name, &label),
        None => Ok(Driver::Network(Driver::DEFAULT)),
    }
}

/// The driver of a name that stands at `label`; the message of an unknown one names the nearest.
fn find_driver(name: &str, label: &Label) -> Result<Driver, Error> {
    nearest::driver(name).map_err(|unknown| label.error(&unknown, unknown.hint()))
}

/// The network of containers that name none. A name that no link has is refused as what it is, the parent's, and not as a part
/// of the network's.
fn default_network(kind: DriverKind, of: &Annotations) -> String {
    let name = kind.name();
    match kind.spec().default_network {
        DefaultNetwork::Named(network) => network.to_owned(),
        DefaultNetwork::By(key) => {
            let value = of.peek(key).filter(|value| key != "parent" || value.parse::<IfName>().is_ok());
            value.map_or_else(|| name.to_owned(), |value| format!("{name}-{value}"))
        }
    }
}

fn attachment(
    mut annotations: Annotations,
    names: Names,
    driver: DriverKind,
    network: ContainerId,
    config: &Config,
) -> Result<AttachmentRequest, Error> {
    let of = &mut values::For { annotations: &mut annotations, driver };
    let interface = match of.annotations.interface() {
        Some(interface) => interface.clone(),
        None => match values::parsed(of.annotations, "ifname", "use a name such as eth0")? {
            Some(interface) => interface,
            None => values::constant("eth0")?,
        },
    };
    let request = AttachmentRequest {
        names,
        driver: of.driver_request()?,
        network,
        interface,
        subnets: of.subnets()?,
        gateways: of.addresses("gateway", "give an address inside net.subnet")?,
        ip_ranges: of.ip_ranges()?,
        addresses: of.addresses("ip", "give an address inside the network's subnet")?,
        mac: of.mac()?,
        mtu: of.mtu()?,
        routes: of.routes()?,
        ports: of.ports(config)?,
        masquerade: of.boolean("masquerade")?.unwrap_or(true),
        snat: of.snat()?,
        internal: of.boolean("internal")?,
        isolate: of.boolean("isolate")?,
        allow_inbound: of.boolean("allow-inbound")?.unwrap_or(false),
        rate_in: of.rate("rate-in")?,
        rate_out: of.rate("rate-out")?,
    };
    annotations.finish(driver.name())?;
    Ok(request)
}

/// What several attachments must not have in common.
fn check_together(attachments: &[AttachmentRequest], config: &Config) -> Result<(), Error> {
    for (index, one) in attachments.iter().enumerate() {
        for other in &attachments[index + 1..] {
            if one.interface == other.interface {
                let cause = format!("{} is configured twice", one.interface);
                let hint =
                    format!("give net.ifname another name, or leave the keys net.{}.* out", one.interface);
                return Err(annotation("net.ifname", cause, hint));
            }
            if one.network == other.network {
                let cause =
                    format!("{} and {} are both on network {}", one.interface, other.interface, one.network);
                return Err(annotation("net.network", cause, "put each interface on a network of its own"));
            }
        }
    }
    let ports: Vec<&PublishedPort> = attachments.iter().flat_map(|attachment| &attachment.ports).collect();
    published::check_number(&ports, config)?;
    published::check_distinct(&ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(annotations: &[(&str, &str)]) -> Result<Request, Error> {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Ok(Request::parse(annotations, &Config::default(), &|_| Ok(None))?.expect("net. annotations"))
    }

    #[test]
    fn a_container_on_the_hosts_network_alone_needs_no_namespace_of_its_own() {
        for driver in Driver::names() {
            let request = parse(&[("net.driver", driver)]).unwrap();
            assert_eq!(request.needs_own_namespace(), driver != "host", "{driver}");
        }
    }

    #[test]
    fn the_ports_of_a_container_are_those_of_all_its_interfaces() {
        let asked =
            [("net.ports", "80:1,81:2"), ("net.eth1.network", "blue"), ("net.eth1.ports", "82:3/udp")];
        let request = parse(&asked).unwrap();
        let ports: Vec<String> = request.ports().map(ToString::to_string).collect();
        assert_eq!(ports, ["80:1/tcp", "81:2/tcp", "82:3/udp"]);
    }

    #[test]
    fn any_two_interfaces_have_two_names_and_two_networks() {
        let third = |key: &'static str, value: &'static str| {
            parse(&[("net.network", "a"), ("net.eth1.network", "b"), ("net.eth2.network", "c"), (key, value)])
        };
        assert_eq!(third("net.eth2.mtu", "1400").unwrap().attachments.len(), 3);
        for (key, value, says) in [
            ("net.ifname", "eth2", "eth2 is configured twice"),
            ("net.eth2.network", "b", "eth1 and eth2 are both on network b"),
        ] {
            assert!(third(key, value).unwrap_err().to_string().contains(says), "{key}={value}");
        }
    }
}
