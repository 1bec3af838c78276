//! What a container asks for as a whole, whichever interfaces it has.

use std::net::{IpAddr, Ipv4Addr};

use ocinet_shared::model::cidr::parse_address;
use ocinet_shared::model::ifname::IfName;

use super::values::{items, parsed};
use crate::error::{Error, annotation};
use crate::input::annotations::{Annotations, Label};
use crate::model::sysctl::{Sysctl, sysctl_path};

/// The longest name of a host or domain in the DNS, as text (RFC 1035).
const MAX_NAME: usize = 253;
/// The longest part of such a name.
const MAX_LABEL: usize = 63;
/// How many search domains resolvers take note of (resolv.conf(5)).
const MAX_SEARCH: usize = 32;

/// What a container's resolver is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    /// The name servers to ask.
    pub servers: Vec<IpAddr>,
    /// The domains to look names up in.
    pub search: Vec<String>,
    /// Names that are known without asking.
    pub hosts: Vec<HostEntry>,
}

/// A name that is known without asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The name.
    pub name: String,
    /// Its address; the container's gateway without.
    pub address: Option<IpAddr>,
}

/// The interface that a container leaves by; `names` are those that it has.
///
/// # Errors
/// One that it does not have.
pub fn default_route(from: &mut Annotations, names: &[&str]) -> Result<Option<IfName>, Error> {
    let hint = &format!("name one of the container's interfaces: {}", names.join(", "));
    let Some(name): Option<IfName> = parsed(from, "default-route", hint)? else { return Ok(None) };
    if names.contains(&name.as_str()) {
        return Ok(Some(name));
    }
    Err(annotation("net.default-route", format!("the container has no interface {name}"), hint))
}

/// What the resolver is told. `shares_host` is whether the container's loopback is the host's.
///
/// # Errors
/// What is no address or no name.
pub fn resolver(from: &mut Annotations, shares_host: bool) -> Result<Resolver, Error> {
    let mut resolver = Resolver::default();
    if let Some((text, label)) = from.take("dns")? {
        for item in items(&text) {
            let hint = "give the addresses of name servers, as 192.0.2.53,2001:db8::53";
            let server = parse_address(item).map_err(|error| label.error(error, hint))?;
            check_server(server, &label, shares_host)?;
            resolver.servers.push(server);
        }
    }
    if let Some((text, label)) = from.take("dns-search")? {
        for item in items(&text) {
            check_name(item, &label, "give domains, as example.org,lan")?;
            resolver.search.push(item.to_owned());
        }
        if resolver.search.len() > MAX_SEARCH {
            return Err(label.error(format!("it has more than {MAX_SEARCH} domains"), "give fewer"));
        }
    }
    if let Some((text, label)) = from.take("hosts")? {
        for item in items(&text) {
            resolver.hosts.push(host_entry(item, &label)?);
        }
    }
    Ok(resolver)
}

/// A name server that no container reaches would make every look-up wait.
fn check_server(server: IpAddr, label: &Label, shares_host: bool) -> Result<(), Error> {
    let is_link_local = matches!(server, IpAddr::V6(address) if address.is_unicast_link_local());
    let cause = match server {
        _ if server.is_loopback() && !shares_host => "would be the container itself, not this host",
        _ if server.is_unspecified() => "is no address of a name server",
        _ if server.is_multicast() || server == IpAddr::V4(Ipv4Addr::BROADCAST) => {
            "is the address of many, not of a name server"
        }
        _ if is_link_local => "is on one link alone, which resolv.conf does not name",
        _ => return Ok(()),
    };
    let hint = "give an address that the container reaches, or leave it out for the host's name servers";
    Err(label.error(format!("{server} {cause}"), hint))
}

/// `NAME:ADDRESS` as for `docker run --add-host`; an IPv6 address may stand in brackets.
fn host_entry(text: &str, label: &Label) -> Result<HostEntry, Error> {
    let hint = "write it as for docker run --add-host, as db:10.90.0.7 or host.docker.internal:host-gateway";
    let Some((name, address)) = text.split_once(':') else {
        return Err(label.error(format!("\"{text}\" is not of the form NAME:ADDRESS"), hint));
    };
    check_name(name, label, hint)?;
    if address == "host-gateway" {
        return Ok(HostEntry { name: name.to_owned(), address: None });
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let address = parse_address(bare).map_err(|error| label.error(error, hint))?;
    if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        let hint = "give the address of one host, as db:10.90.0.7";
        return Err(label.error(format!("{address} is the address of many, not of a host"), hint));
    }
    Ok(HostEntry { name: name.to_owned(), address: Some(address) })
}

fn check_name(name: &str, label: &Label, hint: &str) -> Result<(), Error> {
    if is_name(name) {
        return Ok(());
    }
    Err(label.error(format!("\"{name}\" is not the name of a host or domain"), hint))
}

/// Whether it is the name of a host or domain. A name goes into a file by lines and words: what could end either is none.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let is_label = |part: &str| {
        (1..=MAX_LABEL).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !part.starts_with('-')
    };
    bare.len() <= MAX_NAME && bare.split('.').all(is_label)
}

/// The sysctls, as `net.ipv4.tcp_syncookies=1,net.core.somaxconn=1024`.
///
/// # Errors
/// A key outside `net.`, or one without a value.
pub fn sysctls(from: &mut Annotations) -> Result<Vec<Sysctl>, Error> {
    let Some((text, label)) = from.take("sysctl")? else { return Ok(Vec::new()) };
    let hint = "write it as net.core.somaxconn=1024,net.ipv4.tcp_syncookies=1";
    let mut sysctls: Vec<Sysctl> = Vec::new();
    let by_commas = text.contains(',');
    for item in items(&text) {
        let (key, value) = match (item.split_once('='), sysctls.last_mut()) {
            (Some(pair), _) => pair,
            // A value may itself be a list: what has no key belongs to the value before it.
            (None, Some(last)) if !item.is_empty() => {
                last.value.push(if by_commas { ',' } else { ' ' });
                last.value.push_str(item);
                continue;
            }
            (None, _) => return Err(label.error(format!("\"{item}\" is not of the form KEY=VALUE"), hint)),
        };
        let (key, value) = (key.trim(), value.trim());
        let path = sysctl_path(key).ok_or_else(|| {
            label.error(format!("\"{key}\" is not a sysctl of the network namespace"), hint)
        })?;
        if value.is_empty() || value.chars().any(char::is_control) {
            return Err(label.error(format!("{key} has no value that could be written"), hint));
        }
        if sysctls.iter().any(|other| other.key == path) {
            return Err(label.error(format!("{key} is there twice"), hint));
        }
        sysctls.push(Sysctl { key: path, value: value.to_owned() });
    }
    Ok(sysctls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_dns_allows() {
        let (part, whole) = ("x".repeat(63), "x23456789.".repeat(25) + "abc");
        for good in ["a", "db.", "a-b_c.example.org", "x-", "1", &part, &whole, &(whole.clone() + ".")] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "-x", "a..b", ".a", "a b", "a\n", "é", &(part + "x"), &(whole + "d")] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    fn taken<T>(
        key: &str,
        text: &str,
        read: impl Fn(&mut Annotations) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let sorted = crate::input::annotations::Sorted::new([(format!("net.{key}"), text.to_owned())]);
        read(&mut sorted.unwrap().unwrap().container)
    }

    #[test]
    fn a_resolver_takes_note_of_32_domains() {
        let search = |count: usize| {
            let text = vec!["example.org"; count].join(",");
            taken("dns-search", &text, |from| resolver(from, false)).map(|resolver| resolver.search.len())
        };
        assert_eq!(search(32), Ok(32));
        assert!(search(33).unwrap_err().to_string().contains("more than 32 domains"));
    }

    #[test]
    fn a_name_server_on_the_loopback_is_the_hosts_where_that_is_shared() {
        let servers = |text: &str, shares| taken("dns", text, |from| resolver(from, shares));
        assert_eq!(servers("127.0.0.53", true).unwrap().servers, ["127.0.0.53".parse::<IpAddr>().unwrap()]);
        assert!(servers("127.0.0.53", false).is_err());
        assert!(servers("0.0.0.0", true).is_err());
    }

    #[test]
    fn a_sysctl_has_a_value_which_may_be_a_list() {
        let read = |text: &str| {
            let all = taken("sysctl", text, sysctls)?;
            Ok::<_, Error>(all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "))
        };
        for (text, expected) in [
            ("net.core.a=1,net.core.b = 2", "net/core/a=1 and net/core/b=2"),
            ("net.core.a=80,443,net.core.b=2", "net/core/a=80,443 and net/core/b=2"),
            ("net.core.a=0 1000 net.core.b=2", "net/core/a=0 1000 and net/core/b=2"),
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
        for bad in [
            "net.core.a=",
            "net.core.a=1,",
            "80,net.core.a=1",
            "net.core.a=1\u{1}",
            "net.core.a=1,net.core.a=2",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
