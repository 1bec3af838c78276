//! What annotations may ask for: the administrator's word about whoever starts containers. Pure.
//!
//! `input/config/policy.rs` is the policy as the configuration has it. A request is checked as a whole before anything else is looked
//! at; what an annotation does not say itself, but has to answer for, once the network is known.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::network::Network;
use ocinet_shared::model::port::PublishedPort;
use toml::Spanned;

use crate::error::{Class, Error};
use crate::input::annotations::{Label, PREFIX};
use crate::input::config::Config;
use crate::input::config::policy::{
    Addresses, DriverName, KeyName, List, Pattern, PortRange, Preset, SysctlPattern, Table, VniRange,
    is_listed,
};
use crate::input::oci_bundle::OciBundle;
use crate::input::request::{AttachmentRequest, DriverOf, Request};
use crate::model::driver_spec::{AddressScope, Driver};

/// The host ports that the preset `strict` allows: those that a process needs no right to listen on.
const UNPRIVILEGED: std::ops::RangeInclusive<u32> = 1024..=65_535;

/// Reads the annotations of a container and checks that the policy allows what they ask for; `None` where they ask for
/// nothing.
///
/// # Errors
/// Those of [`Request::parse`], and [`Class::Policy`].
pub fn admit(
    annotations: &BTreeMap<String, String>,
    config: &Config,
    driver_of: DriverOf<'_>,
) -> Result<Option<Request>, Error> {
    let request = Request::parse(annotations.clone(), config, driver_of)?;
    if let Some(request) = &request {
        Rules::of(config, annotations).check(annotations, request)?;
    }
    Ok(request)
}

/// What holds for one container.
#[derive(Debug)]
pub struct Rules<'a> {
    config: &'a Config,
    /// The tables that say it, the first before the second.
    tables: Vec<&'a Table>,
}

/// What does not allow something: the list's name in the configuration, and its place.
struct Refusal {
    list: &'static str,
    place: String,
}

impl<'a> Rules<'a> {
    /// The rules for a container with these annotations.
    #[must_use]
    pub fn of(config: &'a Config, annotations: &BTreeMap<String, String>) -> Self {
        let text = |text: &'a Option<Spanned<String>>| text.as_ref().map(|text| text.as_ref().as_str());
        let is_about = |entry: &&'a Table| {
            let value = text(&entry.annotation).and_then(|name| annotations.get(name));
            value.zip(text(&entry.prefix)).is_some_and(|(value, prefix)| value.starts_with(prefix))
        };
        let policy = &config.policy;
        let tables = match policy.matches.iter().map(Spanned::as_ref).find(is_about) {
            Some(entry) if entry.preset.is_some() => vec![entry],
            Some(entry) => vec![entry, policy],
            None => vec![policy],
        };
        Self { config, tables }
    }

    /// Checks everything that the annotations say.
    fn check(&self, annotations: &BTreeMap<String, String>, request: &Request) -> Result<(), Error> {
        for key in annotations.keys() {
            let Some(name) = key.strip_prefix(PREFIX).and_then(|rest| rest.rsplit('.').next()) else {
                continue;
            };
            if !is_listed(name) {
                let allowed =
                    self.allows("keys", |table| &table.keys, |KeyName(allowed)| allowed == name, false);
                let label = Label { key: key.clone(), is_annotation: true };
                allowed.map_err(|refusal| refusal.error(&label, "it"))?;
            }
        }
        if let Some(driver) = request.standalone {
            let label = Label { key: format!("{PREFIX}driver"), is_annotation: true };
            self.driver(Driver::Standalone(driver))
                .map_err(|refusal| refusal.error(&label, &driver_named(driver.name())))?;
        }
        for asked in &request.attachments {
            self.check_attachment(asked)?;
        }
        for sysctl in &request.sysctls {
            let allowed = self.allows(
                "sysctls",
                |table| &table.sysctls,
                |pattern: &SysctlPattern| pattern.fits(&sysctl.key),
                false,
            );
            let label = Label { key: format!("{PREFIX}sysctl"), is_annotation: true };
            allowed.map_err(|refusal| refusal.error(&label, &format!("the sysctl {}", sysctl.key)))?;
        }
        Ok(())
    }

    fn check_attachment(&self, asked: &AttachmentRequest) -> Result<(), Error> {
        let refuse =
            |key: &'static str, what: String| move |refusal: Refusal| refusal.error(&asked.label(key), &what);
        self.network(asked).map_err(refuse("network", format!("the network {}", asked.network)))?;
        if !self.is_configured(asked, "driver") {
            let refuse = refuse("driver", driver_named(asked.driver.name()));
            self.driver(Driver::Network(asked.driver.kind())).map_err(refuse)?;
        }
        if let Some(parent) = asked.driver.parent().filter(|_| asked.label("parent").is_annotation) {
            self.parent(asked, parent)?;
        }
        let vni = asked.driver.tunnels().and_then(|asked| asked.vni);
        if let Some(vni) = vni.filter(|_| asked.label("vni").is_annotation) {
            self.vni(asked, vni)?;
        }
        for subnet in asked.subnets.iter().filter(|_| asked.label("subnet").is_annotation) {
            self.subnet(asked, subnet)?;
        }
        for port in &asked.ports {
            self.host_port(port).map_err(refuse("ports", host_port_named(port)))?;
            self.host_address(port).map_err(refuse("ports", host_address_named(port)))?;
        }
        let local = asked.driver.tunnels().and_then(|asked| asked.local);
        let own =
            asked.snat.iter().map(|address| ("snat", *address)).chain(local.map(|local| ("local", local)));
        for (key, address) in own.filter(|(key, _)| asked.label(key).is_annotation) {
            let allowed = self.addresses(|allowed| allowed.contains(address));
            allowed.map_err(refuse(key, format!("the address {address}")))?;
        }
        Ok(())
    }

    /// Checks what an attachment gets of a network without saying it: the link and the number that the network was made
    /// with, or is to be made with. `carries_default` tells whether a link has the host's default route.
    ///
    /// # Errors
    /// [`Class::Policy`], and those of `carries_default`.
    pub fn check_network(
        &self,
        asked: &AttachmentRequest,
        network: &Network,
        carries_default: impl Fn(&IfName) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        if let Some(parent) = network.settings.parent().filter(|_| !self.is_configured(asked, "parent")) {
            self.parent(asked, parent)?;
        }
        if let Some(vni) = network.settings.vni().filter(|_| !self.is_configured(asked, "vni")) {
            self.vni(asked, vni)?;
        }
        let is_own = self.is_configured(asked, "parent") && self.is_configured(asked, "mode");
        if is_own || !network.settings.holds_one() {
            return Ok(());
        }
        let Some(parent) = network.settings.parent() else { return Ok(()) };
        if carries_default(parent)? {
            let place = self.preset().1;
            let cause =
                format!("the policy gives nobody {parent}, which carries the host's default route ({place})");
            return Err(error(
                &asked.label("mode"),
                cause,
                "use another net.parent or net.mode, or let a network of the configuration say both"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Checks what a container may do to the host's network by its capabilities, whatever its annotations say. `Some` is what
    /// the administrator should know of one that is allowed only because nothing forbids it.
    ///
    /// # Errors
    /// [`Class::Policy`]; also for a bundle that cannot be read, where the policy forbids what it may say.
    pub fn check_capabilities(
        &self,
        id: &ContainerId,
        bundle: Result<&OciBundle, &Error>,
    ) -> Result<Option<String>, Error> {
        const WHAT: &str =
            "it has CAP_NET_ADMIN and no user namespace, so that it controls the host's network";
        let says = self.tables.iter().find_map(|table| table.net_admin.as_ref());
        let forbidden_by = match (says, self.preset()) {
            (Some(says), _) if *says.as_ref() => return Ok(None),
            (Some(says), _) => Some(self.place(says.span())),
            (None, (Preset::Strict, place)) => Some(place),
            (None, (Preset::Trusted, _)) => None,
        };
        let cause = match (bundle, forbidden_by) {
            (Ok(bundle), _) if !bundle.has_net_admin_over_host => return Ok(None),
            (Ok(_), Some(place)) => format!("{WHAT}, which the policy does not allow ({place})"),
            (Ok(_), None) => {
                return Ok(Some(format!(
                    "container {id}: {WHAT}; `net-admin` of the policy allows or forbids it"
                )));
            }
            (Err(error), Some(place)) => {
                format!(
                    "whether it has CAP_NET_ADMIN, which the policy does not allow ({place}), is not known: {error}"
                )
            }
            (Err(_), None) => return Ok(None),
        };
        let hint = "take the capability away, give the container a user namespace, or let `net-admin = true` allow it there";
        Err(Error::new(Class::Policy, format!("attach container {id}"), cause, hint))
    }

    /// Whether the configuration says what holds for a key of an attachment.
    fn is_configured(&self, asked: &AttachmentRequest, key: &str) -> bool {
        let says = self.config.networks.get(&asked.network).is_some_and(|table| table.0.contains_key(key));
        says && !asked.label(key).is_annotation
    }

    fn driver(&self, driver: Driver) -> Result<(), Refusal> {
        let is_default = driver == Driver::Network(Driver::DEFAULT);
        self.allows("drivers", |table| &table.drivers, |DriverName(allowed)| *allowed == driver, is_default)
    }

    /// `strict` allows the networks that the configuration puts on a bridge.
    fn network(&self, asked: &AttachmentRequest) -> Result<(), Refusal> {
        let bridge = Driver::DEFAULT.name();
        let is_on_a_bridge = |table: &crate::input::config::NetworkTable| {
            table.0.get("driver").is_none_or(|driver| driver == bridge)
        };
        let by_strict = self.config.networks.get(&asked.network).is_some_and(is_on_a_bridge);
        let fits = |pattern: &Pattern| pattern.fits(asked.network.as_str());
        self.allows("networks", |table| &table.networks, fits, by_strict)
    }

    fn parent(&self, asked: &AttachmentRequest, parent: &IfName) -> Result<(), Error> {
        let fits = |pattern: &Pattern| pattern.fits(parent.as_str());
        let allowed = self.allows("parents", |table| &table.parents, fits, false);
        allowed.map_err(|refusal| refusal.error(&asked.label("parent"), &format!("the parent {parent}")))
    }

    fn vni(&self, asked: &AttachmentRequest, vni: u32) -> Result<(), Error> {
        let fits = |VniRange { 0: range }: &VniRange| range.contains(&vni);
        let allowed = self.allows("vnis", |table| &table.vnis, fits, false);
        allowed.map_err(|refusal| refusal.error(&asked.label("vni"), &format!("VNI {vni}")))
    }

    /// A port that ocinet is to choose may become any of those that nobody needs a right for.
    fn host_port(&self, port: &PublishedPort) -> Result<(), Refusal> {
        let wanted = match u32::from(port.host_port) {
            0 => UNPRIVILEGED,
            number => number..=number,
        };
        let within = |range: &std::ops::RangeInclusive<u32>| {
            range.contains(wanted.start()) && range.contains(wanted.end())
        };
        let fits = |PortRange { 0: range }: &PortRange| within(range);
        self.allows("host-ports", |table| &table.host_ports, fits, within(&UNPRIVILEGED))
    }

    /// A port that is published on all addresses of a family needs all of them.
    fn host_address(&self, port: &PublishedPort) -> Result<(), Refusal> {
        use ocinet_shared::model::cidr::Family;
        let all = |allowed: &Cidr, family| allowed.prefix() == 0 && allowed.family() == family;
        match port.host_address {
            None => {
                Family::ALL.into_iter().try_for_each(|family| self.addresses(|allowed| all(allowed, family)))
            }
            Some(address) if address.is_unspecified() => {
                self.addresses(|allowed| all(allowed, Family::of(address)))
            }
            Some(address) => self.addresses(|allowed| allowed.contains(address)),
        }
    }

    /// The host routes a network's subnet to its containers, and reaches nobody else there. By default, a subnet is therefore one
    /// that nobody on the internet owns. To a LAN's containers, the host has a route with `net.host-access` alone.
    fn subnet(&self, asked: &AttachmentRequest, subnet: &Cidr) -> Result<(), Error> {
        let (label, what) = (asked.label("subnet"), format!("the subnet {subnet}"));
        if let Some(listed) = self.tables.iter().find_map(|table| table.subnets.as_ref()) {
            let is_allowed = listed.as_ref().iter().any(|Addresses(allowed)| allowed.holds(subnet));
            let refusal = Refusal { list: "subnets", place: self.place(listed.span()) };
            return if is_allowed { Ok(()) } else { Err(refusal.error(&label, &what)) };
        }
        let has_route = asked.driver.addresses() != AddressScope::Lan || asked.driver.host_access();
        if !has_route || super::special_purpose::holds(subnet) {
            return Ok(());
        }
        let hint = "use a private range, such as 10.91.7.0/24 or fd00:91:7::/64, or let `subnets` of the policy allow it";
        Err(error(&label, format!("the policy does not allow {what} ({})", self.preset().1), hint.to_owned()))
    }

    fn addresses(&self, fits: impl Fn(&Cidr) -> bool) -> Result<(), Refusal> {
        let fits = |Addresses(allowed): &Addresses| fits(allowed);
        self.allows("host-addresses", |table| &table.host_addresses, fits, false)
    }

    /// Whether something is in a list, or in none and `by_strict` tells whether the preset of that name allows it.
    fn allows<T: 'a>(
        &self,
        list: &'static str,
        of: impl Fn(&'a Table) -> &'a List<T>,
        fits: impl Fn(&T) -> bool,
        by_strict: bool,
    ) -> Result<(), Refusal> {
        let place = match self.tables.iter().find_map(|table| of(table).as_ref()) {
            Some(allowed) if allowed.as_ref().iter().any(fits) => return Ok(()),
            Some(allowed) => self.place(allowed.span()),
            None => match self.preset() {
                (Preset::Trusted, _) => return Ok(()),
                (Preset::Strict, _) if by_strict => return Ok(()),
                (Preset::Strict, place) => place,
            },
        };
        Err(Refusal { list, place })
    }

    /// The preset, and what says it.
    fn preset(&self) -> (Preset, String) {
        match self.tables.iter().find_map(|table| table.preset.as_ref()) {
            Some(preset) => (*preset.as_ref(), self.place(preset.span())),
            None => (Preset::default(), "preset trusted, the default".to_owned()),
        }
    }

    fn place(&self, span: Range<usize>) -> String {
        format!("line {} of {}", self.config.line_of(span.start), self.config.path.display())
    }
}

impl Refusal {
    fn error(self, label: &Label, what: &str) -> Error {
        let Self { list, place } = self;
        let hint = format!("ask for what the policy allows, or let `{list}` allow it there");
        error(label, format!("the policy does not allow {what} ({place})"), hint)
    }
}

fn error(label: &Label, cause: String, hint: String) -> Error {
    let of = if label.is_annotation { "the annotation " } else { "" };
    Error::new(Class::Policy, format!("use {of}{}", label.key), cause, hint)
}

fn driver_named(name: &str) -> String {
    format!("the driver {name}")
}

fn host_port_named(port: &PublishedPort) -> String {
    match port.host_port {
        0 => "a host port of ocinet's choice".to_owned(),
        number => format!("host port {number}"),
    }
}

fn host_address_named(port: &PublishedPort) -> String {
    match port.host_address {
        None => "every address of the host".to_owned(),
        Some(IpAddr::V4(address)) if address.is_unspecified() => "every IPv4 address of the host".to_owned(),
        Some(IpAddr::V6(address)) if address.is_unspecified() => "every IPv6 address of the host".to_owned(),
        Some(address) => format!("the host address {address}"),
    }
}

#[cfg(test)]
mod tests;
