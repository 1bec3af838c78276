//! Single values and lists of values of an attachment's annotations.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use ocinet_shared::model::cidr::{Cidr, Family, parse_address};
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::Mac;

use super::driver::{BridgeRequest, DriverRequest, IpvlanRequest, MacvlanRequest, VethRequest, VxlanRequest};
use super::routable::not_routable;
use crate::error::{Error, annotation};
use crate::input::annotations::{Annotations, Label, key};
use crate::model::driver_spec::DriverKind;
use crate::model::subnet::{UsableSubnet, network_cidr, unusable};

/// The least MTU: IPv6 needs 1280 bytes (RFC 8200), IPv4 can do with 68 (RFC 791).
const MTU: std::ops::RangeInclusive<u32> = 68..=65535;
/// The rates that a limit can have, in bits per second: a packet a second, and more than any link has.
const RATE: std::ops::RangeInclusive<u64> = 16_000..=400_000_000_000;
/// How many other hosts an overlay is told of: each gets a copy of what is for all.
const MAX_PEERS: usize = 1024;
/// The VXLAN network identifiers: 24 bits (RFC 7348), and ocinet leaves 0 alone.
const VNI: std::ops::RangeInclusive<u32> = 1..=0x00ff_ffff;

/// A constant of the program's own, in its type.
///
/// # Errors
/// None: the unit tests parse every constant.
pub fn constant<T: FromStr>(text: &'static str) -> Result<T, Error>
where
    T::Err: Display,
{
    text.parse().map_err(|error| annotation(text, error, "report this as a bug"))
}

/// A value in its type.
///
/// # Errors
/// Text that the type refuses.
pub fn parsed<T: FromStr>(from: &mut Annotations, name: &str, hint: &str) -> Result<Option<T>, Error>
where
    T::Err: Display,
{
    let taken = from.take(name)?;
    taken.map(|(text, label)| text.parse().map_err(|error| label.error(error, hint))).transpose()
}

/// Items are separated by commas or, for podman 4, whose `--annotation` splits its value at commas, by spaces.
pub fn items(value: &str) -> impl Iterator<Item = &str> {
    let by_spaces = !value.contains(',') && value.contains(' ');
    value
        .split(if by_spaces { ' ' } else { ',' })
        .map(str::trim)
        .filter(move |item| !by_spaces || !item.is_empty())
}

/// An attachment's annotations, and the driver that they are for. A key that the driver does not support is not taken, so
/// that it is left over.
pub struct For<'a> {
    /// The annotations.
    pub annotations: &'a mut Annotations,
    /// The driver.
    pub driver: DriverKind,
}

impl For<'_> {
    /// Takes a key's value, if the driver supports it.
    pub fn take(&mut self, name: &str) -> Result<Option<(String, Label)>, Error> {
        let subject = key(name).map(|key| key.subject);
        let is_supported = subject.is_some_and(|subject| self.driver.spec().subjects.contains(&subject));
        if is_supported { self.annotations.take(name) } else { Ok(None) }
    }

    fn parsed<T: FromStr>(&mut self, name: &str, hint: &str) -> Result<Option<T>, Error>
    where
        T::Err: Display,
    {
        let taken = self.take(name)?;
        taken.map(|(text, label)| text.parse().map_err(|error| label.error(error, hint))).transpose()
    }

    /// A number inside a range.
    fn number<T>(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<T>,
        hint: &str,
    ) -> Result<Option<T>, Error>
    where
        T: FromStr + PartialOrd,
    {
        let Some((text, label)) = self.take(name)? else { return Ok(None) };
        // "+80" and "080" are numbers to Rust; what a user sees in a list is what they wrote.
        let is_number = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        if !is_number {
            return Err(label.error(format!("\"{text}\" is not a number"), hint));
        }
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| label.error(format!("{text} is out of range"), hint))
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, Error> {
        let Some((text, label)) = self.take(name)? else { return Ok(None) };
        match text.as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            other => Err(label.error(format!("\"{other}\" is neither true nor false"), "give true or false")),
        }
    }

    /// A list with at most one entry for each family; IPv4 comes first.
    fn one_a_family<T: Copy, E: Display>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
        family: impl Fn(&T) -> Family,
        hint: &str,
    ) -> Result<Vec<T>, Error> {
        let Some((text, label)) = self.take(name)? else { return Ok(Vec::new()) };
        let mut list: Vec<T> = Vec::new();
        for item in items(&text) {
            let parsed = parse(item).map_err(|error| label.error(error, hint))?;
            let of = family(&parsed);
            if list.iter().any(|other| family(other) == of) {
                let cause = format!("\"{text}\" has more than one for {of}");
                return Err(label.error(cause, "give one for IPv4, one for IPv6, or one of each"));
            }
            list.push(parsed);
        }
        list.sort_by_key(&family);
        Ok(list)
    }

    /// At most one address a family.
    pub fn addresses(&mut self, name: &str, hint: &str) -> Result<Vec<IpAddr>, Error> {
        self.one_a_family(name, parse_address, |address| Family::of(*address), hint)
    }

    /// The host's addresses to leave with.
    pub fn snat(&mut self) -> Result<Vec<IpAddr>, Error> {
        let parse = |text: &str| {
            let address = parse_address(text).map_err(|error| error.to_string())?;
            unusable(address).map_or(Ok(address), |kind| Err(format!("{address} is a {kind} address")))
        };
        let hint = "give an address of this host that others answer to";
        self.one_a_family("snat", parse, |address| Family::of(*address), hint)
    }

    /// The ranges to take addresses from.
    pub fn ip_ranges(&mut self) -> Result<Vec<Cidr>, Error> {
        self.one_a_family(
            "ip-range",
            network_cidr,
            Cidr::family,
            "give a part of net.subnet, as 10.90.1.0/24",
        )
    }

    /// The subnets.
    pub fn subnets(&mut self) -> Result<Vec<Cidr>, Error> {
        let parse = |text: &str| text.parse().map(|UsableSubnet(subnet)| subnet);
        let hint = "give a network such as 10.90.0.0/16 (RFC 1918) or fd00:90::/64 (RFC 4193)";
        self.one_a_family("subnet", parse, Cidr::family, hint)
    }

    /// The Ethernet address.
    pub fn mac(&mut self) -> Result<Option<Mac>, Error> {
        let Some((text, label)) = self.take("mac")? else { return Ok(None) };
        let hint = "give six bytes in hexadecimal, as 02:6f:0a:5a:00:05";
        let mac: Mac = text.parse().map_err(|error| label.error(error, hint))?;
        if mac.is_unicast() {
            Ok(Some(mac))
        } else {
            Err(label.error(format!("{mac} is a group address or zero"), "give a unicast address"))
        }
    }

    /// The MTU in bytes.
    pub fn mtu(&mut self) -> Result<Option<u32>, Error> {
        self.number("mtu", MTU, "give a number of bytes from 68 to 65535")
    }

    /// Routes, as in `10.0.0.0/8 via 10.90.0.1, fd01::/16 via fd00:90::1`.
    pub fn routes(&mut self) -> Result<Vec<(Cidr, IpAddr)>, Error> {
        let Some((text, label)) = self.take("routes")? else { return Ok(Vec::new()) };
        let hint = "write it as 10.0.0.0/8 via 10.90.0.1, with a comma before the next";
        let bad = |cause: String| label.error(cause, hint);
        let words: Vec<&str> = text.split([',', ' ']).filter(|word| !word.is_empty()).collect();
        let mut routes = Vec::new();
        for route in words.chunks(3) {
            let [to, "via", gateway] = route else {
                return Err(bad(format!("\"{}\" is not of the form CIDR via ADDRESS", route.join(" "))));
            };
            let to = network_cidr(to).map_err(&bad)?;
            let gateway = parse_address(gateway).map_err(|error| bad(error.to_string()))?;
            if Family::of(gateway) != to.family() {
                return Err(bad(format!("{to} and {gateway} are of different families")));
            }
            if let Some(kind) = not_routable(to) {
                let hint = "leave the route out, because no gateway leads there";
                return Err(label.error(format!("{to} holds {kind} addresses alone"), hint));
            }
            if to.prefix() == 0 {
                let hint = "use net.gateway, and net.default-route to choose the interface";
                return Err(label.error(format!("{to} is the default route"), hint));
            }
            routes.push((to, gateway));
        }
        Ok(routes)
    }

    /// A limit in bits per second.
    pub fn rate(&mut self, name: &str) -> Result<Option<u64>, Error> {
        let Some((text, label)) = self.take(name)? else { return Ok(None) };
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "" | "bit" => Some(1),
            "kbit" => Some(1_000),
            "mbit" => Some(1_000_000),
            "gbit" => Some(1_000_000_000),
            _ => None,
        };
        let rate = unit.and_then(|unit: u64| number.parse::<u64>().ok()?.checked_mul(unit));
        match rate.filter(|rate| RATE.contains(rate)) {
            Some(rate) => Ok(Some(rate)),
            None => Err(label.error(
                format!("\"{text}\" is not a rate from 16kbit to 400gbit"),
                "give bits per second with bit, kbit, mbit or gbit behind them, in small letters, as 100mbit",
            )),
        }
    }

    /// What the driver is told of the network's links.
    pub fn driver_request(&mut self) -> Result<DriverRequest, Error> {
        Ok(match self.driver {
            DriverKind::Bridge => DriverRequest::Bridge(BridgeRequest { bridge: self.bridge()? }),
            DriverKind::Veth => DriverRequest::Veth(VethRequest),
            DriverKind::Macvlan => DriverRequest::Macvlan(MacvlanRequest {
                parent: self.parent()?,
                mode: self.mode()?,
                host_access: self.boolean("host-access")?,
            }),
            DriverKind::Ipvlan => {
                DriverRequest::Ipvlan(IpvlanRequest { parent: self.parent()?, mode: self.mode()? })
            }
            DriverKind::Vxlan => DriverRequest::Vxlan(self.vxlan()?),
        })
    }

    fn bridge(&mut self) -> Result<Option<IfName>, Error> {
        self.parsed("bridge", "use a name such as ocinet1")
    }

    fn parent(&mut self) -> Result<Option<IfName>, Error> {
        self.parsed("parent", "name a link of this host, as eth0")
    }

    fn vxlan(&mut self) -> Result<VxlanRequest, Error> {
        let is_usable = |address| unusable(address).is_none();
        let hosts = "give the addresses of the other hosts, as 192.0.2.2,192.0.2.3";
        let many = "give one multicast address, as 239.1.1.1 or ff05::100";
        Ok(VxlanRequest {
            bridge: self.bridge()?,
            parent: self.parent()?,
            vni: self.number("vni", VNI, "give a number from 1 to 16777215")?,
            port: self.number("port", 1..=u16::MAX, "give a UDP port from 1 to 65535")?,
            local: self.address_list("local", is_usable, "give one address of this host")?.pop(),
            peers: self.address_list("peers", is_usable, hosts)?,
            group: self.address_list("group", |address| address.is_multicast(), many)?.pop(),
        })
    }

    fn mode<T: FromStr>(&mut self) -> Result<Option<T>, Error> {
        let Some((text, label)) = self.take("mode")? else { return Ok(None) };
        let spec = self.driver.spec();
        text.parse().map(Some).map_err(|_| {
            let cause = format!("the driver {} has no mode \"{text}\"", spec.name);
            label.error(cause, format!("use one of {}", spec.modes.join(", ")))
        })
    }

    /// Addresses of one family, each once, in order; `peers` alone may have more than one.
    fn address_list(
        &mut self,
        name: &str,
        fits: impl Fn(IpAddr) -> bool,
        hint: &str,
    ) -> Result<Vec<IpAddr>, Error> {
        let Some((text, label)) = self.take(name)? else { return Ok(Vec::new()) };
        if items(&text).count() > MAX_PEERS {
            let hint = "give the overlay a multicast group with net.group";
            return Err(label.error(format!("it has more than {MAX_PEERS} addresses"), hint));
        }
        let mut list: Vec<IpAddr> = Vec::new();
        for item in items(&text) {
            let address = parse_address(item).map_err(|error| label.error(error, hint))?;
            if !fits(address) {
                return Err(label.error(format!("{address} is of the wrong kind"), hint));
            }
            if list.iter().any(|other| Family::of(*other) != Family::of(address)) {
                return Err(label.error(format!("\"{text}\" mixes IPv4 and IPv6"), hint));
            }
            if list.contains(&address) {
                return Err(label.error(format!("{address} is there twice"), hint));
            }
            list.push(address);
        }
        if name != "peers" && list.len() != 1 {
            return Err(label.error(format!("\"{text}\" is not one address"), hint));
        }
        list.sort();
        Ok(list)
    }
}

#[cfg(test)]
mod tests;
