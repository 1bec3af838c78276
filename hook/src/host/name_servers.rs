//! The host's name servers, as far as a container can ask them: reading only.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::names::NameServers;
use ocinet_shared::small_file;

use crate::error::{Class, Error};
use crate::input::config::Config;
use crate::input::request::is_name;

/// The host's own resolver, and where those that answer on its loopback (systemd-resolved, NetworkManager's dnsmasq) write
/// down whom they ask themselves.
const FILES: [&str; 3] =
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"];
/// The largest of these files that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// How many name servers a resolver takes note of (resolv.conf(5), `MAXNS`).
const MAX_SERVERS: usize = 3;
/// How many search domains it does.
const MAX_SEARCH: usize = 32;

/// What the host says about name servers for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nobody asks: the container reaches none, or the administrator wants it to have none.
    Unasked,
    /// What the container can ask.
    Servers(NameServers),
    /// There is none that it could ask.
    Nobody,
}

/// The host's name servers that a container with addresses of these families can ask.
///
/// # Errors
/// A file that the configuration names and that cannot be read.
pub fn name_servers(config: &Config, families: &[Family]) -> Result<Answer, Error> {
    let texts: Vec<String> = match config.resolv_conf.as_deref() {
        _ if families.is_empty() => return Ok(Answer::Unasked),
        Some(path) if path.as_os_str().is_empty() => return Ok(Answer::Unasked),
        Some(path) => vec![read(path).map_err(|error| unreadable(config, path, &error))?],
        None => FILES.iter().filter_map(|path| read_usual(Path::new(path))).collect(),
    };
    let mut found = texts.iter().map(|text| parse(text, families));
    Ok(found.find(|found| !found.servers.is_empty()).map_or(Answer::Nobody, Answer::Servers))
}

fn unreadable(config: &Config, path: &Path, error: &io::Error) -> Error {
    Error::new(
        Class::Usage,
        format!("read the host's name servers in {}", path.display()),
        error,
        format!(
            "let resolv-conf in {} name a file of the form of resolv.conf(5), or leave it out",
            config.path.display()
        ),
    )
}

/// Where the configuration names none, a host need not have any of the files.
fn read_usual(path: &Path) -> Option<String> {
    match read(path) {
        Ok(text) => Some(text),
        Err(error) => {
            crate::log::debug(format_args!("cannot read {}: {error}", path.display()));
            None
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    String::from_utf8(small_file::read(path, MAX_FILE)?).map_err(io::Error::other)
}

/// What resolv.conf(5) says; the last line about search domains counts.
fn parse(text: &str, families: &[Family]) -> NameServers {
    let mut found = NameServers::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                let server = words.next().and_then(|server| server.parse().ok());
                let is_new = |server: &IpAddr| !found.servers.contains(server);
                let server = server.filter(is_new).filter(|server| is_for_containers(*server, families));
                found.servers.extend(server);
            }
            Some("search" | "domain") => {
                found.search = words.filter(|domain| is_name(domain)).map(str::to_owned).collect();
            }
            _ => {}
        }
    }
    found.servers.truncate(MAX_SERVERS);
    found.search.truncate(MAX_SEARCH);
    found
}

/// A loopback address is the container's own there, and an address of one link alone is on none of its links. The
/// link-local ones of IPv4 are not left out: clouds have their name servers there, behind the host as router.
fn is_for_containers(server: IpAddr, families: &[Family]) -> bool {
    let is_somewhere_else = match server {
        IpAddr::V4(address) => !address.is_broadcast(),
        IpAddr::V6(address) => !address.is_unicast_link_local() && address.to_ipv4_mapped().is_none(),
    };
    let is_nowhere = server.is_loopback() || server.is_unspecified() || server.is_multicast();
    is_somewhere_else && !is_nowhere && families.contains(&Family::of(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str, families: &[Family]) -> Vec<String> {
        parse(text, families).servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_container_cannot_ask_is_left_out() {
        for useless in [
            "127.0.0.53",
            "127.0.0.1",
            "127.1.2.3",
            "::1",
            "0.0.0.0",
            "::",
            "fe80::1%eth0",
            "fe80::1",
            "224.0.0.251",
            "255.255.255.255",
            "ff02::fb",
            "::ffff:127.0.0.1",
            "dns.example",
            "",
            "192.0.2.1.2",
        ] {
            assert_eq!(servers(&format!("nameserver {useless}\n"), &Family::ALL), [""; 0], "{useless}");
        }
        for useful in ["192.0.2.53", "169.254.169.253", "10.0.0.2", "2001:db8::53", "fd00::53"] {
            assert_eq!(servers(&format!("nameserver\t{useful} # first\r\n"), &Family::ALL), [useful]);
        }
        let both =
            "nameserver 2001:db8::53\nnameserver 192.0.2.53\nnameserver 192.0.2.53\n#nameserver 192.0.2.7\n";
        assert_eq!(servers(both, &Family::ALL), ["2001:db8::53", "192.0.2.53"]);
        assert_eq!(servers(both, &[Family::Ipv4]), ["192.0.2.53"]);
        assert_eq!(servers(both, &[Family::Ipv6]), ["2001:db8::53"]);
        let many: String = (1..9).map(|number| format!("nameserver 192.0.2.{number}\n")).collect();
        assert_eq!(servers(&many, &Family::ALL), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    }

    fn config_with(resolv_conf: &str) -> Config {
        crate::input::config::parse(&format!("resolv-conf = \"{resolv_conf}\"")).unwrap()
    }

    #[test]
    fn a_named_file_has_to_be_one() {
        for (path, says) in [
            (
                "/nonexistent/resolv.conf",
                "cannot read the host's name servers in /nonexistent/resolv.conf: No such file",
            ),
            ("/usr", "it is not an ordinary file"),
            ("/dev/zero", "it is not an ordinary file"),
        ] {
            let config = config_with(path);
            let error = name_servers(&config, &Family::ALL).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(says), "{error}");
            assert_eq!(name_servers(&config, &[]).unwrap(), Answer::Unasked);
        }
        assert_eq!(name_servers(&config_with(""), &Family::ALL).unwrap(), Answer::Unasked);
    }

    #[test]
    fn the_last_search_domains_count() {
        let search = |text| parse(text, &Family::ALL).search;
        assert_eq!(search("search a.example b.example\ndomain c.example\n"), ["c.example"]);
        assert_eq!(search("search . -x a\u{1b}b lan\n"), ["lan"]);
        assert_eq!(search(&format!("search {}", "x ".repeat(100))).len(), 32);
    }
}
