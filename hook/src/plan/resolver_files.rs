//! What a container's etc/resolv.conf and etc/hosts say, given what they said before. Pure.

use std::net::IpAddr;

use ocinet_shared::model::names::{NameServers, ToldHosts, ToldResolver};

/// Around the lines that ocinet adds by itself, so that a container that starts again on the same root does not get them
/// twice.
const BEGIN: &str = "# ocinet begins";
const END: &str = "# ocinet ends";

/// What ocinet tells a container by itself, where nothing else does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostNames {
    /// The host's name servers, as far as the container may reach them.
    pub host: Option<NameServers>,
    /// Whether the host was asked, and has none that the container could ask.
    pub has_none: bool,
    /// The container's own name.
    pub own: Option<String>,
}

/// The resolver's configuration (resolv.conf(5)): what is asked for replaces the lines about it, the other lines stay. The
/// host's name servers are added where there is none that answers in a container. `None` where all may stay.
#[must_use]
pub fn resolv_conf(old: Option<&str>, told: &ToldResolver) -> Option<String> {
    let ToldResolver { asked, host } = told;
    let kept = without_ours(old.unwrap_or_default());
    let host = host.as_ref().filter(|_| asked.servers.is_empty() && !has_server(&kept));
    let has_search = kept.iter().any(|line| matches!(first_word(line), Some("search" | "domain")));
    let replaced = |line: &str| match first_word(line) {
        Some("nameserver") => !asked.servers.is_empty() || host.is_some(),
        Some("search" | "domain") => !asked.search.is_empty(),
        _ => false,
    };
    let mut text = lines(kept.into_iter().filter(|line| !replaced(line)));
    text += &text_of(&asked.search, &asked.servers);
    if let Some(host) = host {
        let search = if has_search || !asked.search.is_empty() { &[][..] } else { &host.search };
        text += &format!("{BEGIN}\n{}{END}\n", text_of(search, &host.servers));
    }
    (old.unwrap_or_default() != text).then_some(text)
}

/// The same for a file that somebody else may have written since: `None` where it still says what was told, however else
/// it is written.
#[must_use]
pub fn resolv_conf_again(text: &str, told: &ToldResolver) -> Option<String> {
    let ToldResolver { asked, host } = told;
    let all: Vec<&str> = text.lines().collect();
    let values = |key: &'static str| {
        let lines = all.iter().filter(move |line| first_word(line) == Some(key));
        lines.map(|line| line.split_whitespace().skip(1).collect::<Vec<&str>>())
    };
    let servers = values("nameserver").map(|words| words.first()?.parse::<IpAddr>().ok());
    let has_servers = asked.servers.is_empty() || servers.eq(asked.servers.iter().copied().map(Some));
    let has_search =
        asked.search.is_empty() || values("search").next_back().is_some_and(|words| words == asked.search);
    let has_host = host.is_none() || has_server(&all);
    if has_servers && has_search && has_host { None } else { resolv_conf(Some(text), told) }
}

/// Whether a container with this file has a name server to ask.
#[must_use]
pub fn names_server(text: Option<&str>) -> bool {
    has_server(&text.unwrap_or_default().lines().collect::<Vec<&str>>())
}

fn has_server(lines: &[&str]) -> bool {
    lines.iter().any(|line| server_of(line).is_some_and(|server| !server.is_loopback()))
}

fn text_of(search: &[String], servers: &[IpAddr]) -> String {
    let search = (!search.is_empty()).then(|| format!("search {}\n", search.join(" ")));
    search.unwrap_or_default() + &lines(servers.iter().map(|server| format!("nameserver {server}")))
}

/// The name server that a line names; one with a scope (`fe80::1%eth0`) is one that answers.
fn server_of(line: &str) -> Option<Server> {
    let mut words = line.split_whitespace();
    let text = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
    Some(text.parse().map_or(Server::Scoped, Server::At))
}

enum Server {
    At(IpAddr),
    Scoped,
}

impl Server {
    /// Whether the container would ask itself (resolver(5): the unspecified address is this machine, too).
    fn is_loopback(&self) -> bool {
        matches!(self, Self::At(address) if address.is_loopback() || address.is_unspecified())
    }
}

/// The hosts file (hosts(5)) with the names that are asked for behind what it has. The container's own name is added where
/// no address but a loopback one has it, and taken from there with its aliases. `None` where all may stay.
#[must_use]
pub fn hosts(old: Option<&str>, told: &ToldHosts) -> Option<String> {
    let mut kept: Vec<String> =
        without_ours(old.unwrap_or_default()).into_iter().map(str::to_owned).collect();
    let mut ours = String::new();
    if let Some(own) =
        told.own.as_ref().filter(|own| !kept.iter().any(|line| names_elsewhere(line, &own.name)))
    {
        if !kept.iter().any(|line| names_of(line).1.contains(&"localhost")) {
            ours += "127.0.0.1\tlocalhost\n";
        }
        let names = take_from_loopback(&mut kept, &own.name).join(" ");
        ours += &lines(own.addresses.iter().map(|address| format!("{address}\t{names}")));
    }
    ours += &lines(told.asked.iter().map(|(address, name)| format!("{address}\t{name}")));
    let text = lines(kept.iter());
    let text = if ours.is_empty() { text } else { format!("{text}{BEGIN}\n{ours}{END}\n") };
    (old.unwrap_or_default() != text).then_some(text)
}

/// The same for a file that somebody else may have written since: `None` where it still says what was told, however else
/// it is written.
#[must_use]
pub fn hosts_again(text: &str, told: &ToldHosts) -> Option<String> {
    let has = |address: &IpAddr, name: &str| {
        text.lines().map(names_of).any(|(at, names)| at == Some(*address) && names.contains(&name))
    };
    let has_own =
        told.own.as_ref().is_none_or(|own| text.lines().any(|line| names_elsewhere(line, &own.name)));
    let has_asked = told.asked.iter().all(|(address, name)| has(address, name));
    if has_own && has_asked { None } else { hosts(Some(text), told) }
}

/// The address and the names of a line.
fn names_of(line: &str) -> (Option<IpAddr>, Vec<&str>) {
    let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
    let address = words.next().and_then(|address| address.parse().ok());
    (address, words.collect())
}

fn names_elsewhere(line: &str, name: &str) -> bool {
    let (address, names) = names_of(line);
    address.is_some_and(|address: IpAddr| !address.is_loopback()) && names.contains(&name)
}

/// Takes a name, and its aliases, from the lines of the loopback: engines give a container without a network its name
/// there. The name comes first.
fn take_from_loopback(kept: &mut Vec<String>, name: &str) -> Vec<String> {
    let mut taken = vec![name.to_owned()];
    kept.retain_mut(|line| {
        let (address, names) = names_of(line);
        let Some(address) = address.filter(IpAddr::is_loopback) else { return true };
        if !names.contains(&name) {
            return true;
        }
        let is_local = |name: &&&str| name.starts_with("localhost") || name.starts_with("ip6-");
        let local: Vec<&str> = names.iter().filter(is_local).copied().collect();
        for alias in names.iter().filter(|name| !is_local(name)) {
            if !taken.iter().any(|has| has == alias) {
                taken.push((*alias).to_owned());
            }
        }
        let rest = format!("{address}\t{}", local.join(" "));
        let stays = !local.is_empty();
        *line = rest;
        stays
    });
    taken
}

/// The lines of a file but for those that ocinet added.
fn without_ours(text: &str) -> Vec<&str> {
    let mut ours = false;
    text.lines()
        .filter(|line| {
            ours |= *line == BEGIN;
            let keep = !ours;
            ours &= *line != END;
            keep
        })
        .collect()
}

fn first_word(line: &str) -> Option<&str> {
    line.split_whitespace().next()
}

fn lines<T: AsRef<str>>(lines: impl Iterator<Item = T>) -> String {
    lines.map(|line| format!("{}\n", line.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocinet_shared::model::names::OwnName;

    fn servers(servers: &[&str], search: &[&str]) -> NameServers {
        NameServers {
            servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
            search: search.iter().map(|domain| (*domain).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_named_replaces_what_was_there() {
        let old = "options ndots:2\nnameserver 192.0.2.1\nsearch old.example";
        let conf = |old, asked: &NameServers| {
            let told = ToldResolver { asked: asked.clone(), host: None };
            let text = resolv_conf(Some(old), &told).unwrap();
            assert_eq!(resolv_conf_again(old, &told).as_ref(), Some(&text), "it says something else");
            assert_eq!(resolv_conf_again(&format!("{text}options edns0\n"), &told), None, "it says so");
            text
        };
        assert_eq!(
            conf(old, &servers(&["2001:db8::53"], &["lan", "example.org"])),
            "options ndots:2\nsearch lan example.org\nnameserver 2001:db8::53\n"
        );
        assert_eq!(
            conf(old, &servers(&[], &["lan", "example.org"])),
            "options ndots:2\nnameserver 192.0.2.1\nsearch lan example.org\n"
        );
        assert_eq!(conf("", &servers(&["2001:db8::53"], &[])), "nameserver 2001:db8::53\n");
    }

    #[test]
    fn the_hosts_name_servers_are_added_where_there_is_none() {
        let host = servers(&["192.0.2.53"], &["example.org"]);
        let told = |asked| ToldResolver { asked, host: Some(host.clone()) };
        let conf = |old: Option<&str>, search: &[&str]| {
            let told = told(servers(&[], search));
            let text = resolv_conf(old, &told);
            let again = old.and_then(|old| resolv_conf_again(old, &told));
            assert_eq!(again, text.clone().filter(|_| old.is_some()), "{old:?}");
            text
        };
        let block = "# ocinet begins\nsearch example.org\nnameserver 192.0.2.53\n# ocinet ends\n";
        assert_eq!(conf(None, &[]).unwrap(), block);
        assert_eq!(conf(Some(""), &[]).unwrap(), block);
        assert_eq!(conf(Some(block), &[]), None, "it is there already");
        for useless in ["127.0.0.1", "127.0.0.53", "::1", "0.0.0.0", "::"] {
            let old = format!("options ndots:2\nnameserver {useless}\n");
            assert_eq!(conf(Some(&old), &[]).unwrap(), format!("options ndots:2\n{block}"), "{useless}");
        }
        for useful in ["192.0.2.1", "169.254.169.253", "fe80::1%eth0", "2001:db8::1"] {
            assert_eq!(conf(Some(&format!("nameserver {useful}\n")), &[]), None, "{useful}");
        }
        let only_servers = "# ocinet begins\nnameserver 192.0.2.53\n# ocinet ends\n";
        assert_eq!(conf(Some("search lan\n"), &[]).unwrap(), format!("search lan\n{only_servers}"));
        assert_eq!(conf(None, &["lan"]).unwrap(), format!("search lan\n{only_servers}"));
        assert_eq!(
            resolv_conf(Some(block), &told(servers(&["192.0.2.1"], &[]))).unwrap(),
            "nameserver 192.0.2.1\n",
            "what is asked for takes its place"
        );
        assert_eq!(resolv_conf(Some(block), &ToldResolver::default()).unwrap(), "", "the host has none now");
    }

    #[test]
    fn names_are_added_once() {
        let asked = vec![("10.90.0.7".parse().unwrap(), "db".to_owned())];
        let told = ToldHosts { own: None, asked };
        let once = hosts(Some("127.0.0.1\tlocalhost"), &told).unwrap();
        assert_eq!(once, "127.0.0.1\tlocalhost\n# ocinet begins\n10.90.0.7\tdb\n# ocinet ends\n");
        assert_eq!(hosts(Some(&once), &told), None);
    }

    #[test]
    fn a_containers_own_name_is_its_address() {
        let told = ToldHosts { own: Some(own()), asked: Vec::new() };
        let with = |old: &str| hosts(Some(old), &told);
        let local = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n";
        let block =
            |names: &str| format!("# ocinet begins\n10.90.0.7\t{names}\nfd00::7\t{names}\n# ocinet ends\n");
        assert_eq!(with(local).unwrap(), format!("{local}{}", block("web")));
        // podman gives the name and its alias to the loopback of a container without a network.
        let podman = format!("{local}127.0.0.1\tweb x1 # both\n");
        let named = with(&podman).unwrap();
        assert_eq!(named, format!("{local}{}", block("web x1")));
        assert_eq!(with(&named).unwrap(), format!("{local}{}", block("web")));
        assert_eq!(
            with("127.0.0.1\tlocalhost web\n").unwrap(),
            format!("127.0.0.1\tlocalhost\n{}", block("web"))
        );
        for named in ["10.88.0.2\tweb\n", "10.88.0.2 other web # x\n"] {
            assert_eq!(with(named), None, "{named}");
        }
        assert!(with("").unwrap().contains("127.0.0.1\tlocalhost\n10.90.0.7\tweb\n"));
        assert!(with("127.0.0.1 localhost\n10.88.0.2 # web\n10.88.0.3 webs\n").is_some());
    }

    #[test]
    fn a_file_that_says_what_was_told_stays_however_it_says_it() {
        let asked = vec![("2001:db8::7".parse().unwrap(), "db".to_owned())];
        let told = ToldHosts { own: Some(own()), asked };
        let local = "127.0.0.1\tlocalhost\n";
        // What podman 5 writes after the hooks of `create`.
        let podman = format!("{local}192.0.2.1\thost.containers.internal\n127.0.0.1\tweb x1\n");
        let again = hosts_again(&podman, &told).unwrap();
        assert_eq!(Some(&again), hosts(Some(&podman), &told).as_ref());
        assert!(again.contains("\n10.90.0.7\tweb x1\nfd00::7\tweb x1\n2001:db8::7\tdb\n"), "{again}");
        assert_eq!(hosts_again(&again, &told), None);
        assert_eq!(hosts_again(&format!("{again}192.0.2.9\tadded\n"), &told), None, "by its program since");
        assert_eq!(hosts_again("10.90.0.7 web\n2001:DB8:0::7 x db # ours\n", &told), None);
        for wrong in ["10.90.0.7 web\n", "10.90.0.7 web\n2001:db8::8 db\n", "127.0.0.1 web\n2001:db8::7 db\n"]
        {
            assert!(hosts_again(wrong, &told).is_some(), "{wrong}");
        }
    }

    fn own() -> OwnName {
        let addresses = vec!["10.90.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        OwnName { name: "web".to_owned(), addresses }
    }
}
