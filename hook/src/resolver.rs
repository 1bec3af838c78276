//! What a container's etc/resolv.conf and etc/hosts say, given what they said before. Pure.

use std::net::IpAddr;

/// Around the lines that ocinet adds to a hosts file, so that a container that starts again on the same root does not
/// get them twice.
const BEGIN: &str = "# ocinet begins";
const END: &str = "# ocinet ends";

/// The resolver's configuration (resolv.conf(5)): what is named replaces the lines about it, the other lines stay.
#[must_use]
pub fn resolv_conf(old: &str, servers: &[IpAddr], search: &[String]) -> String {
    let replaced = |line: &str| match line.split_whitespace().next() {
        Some("nameserver") => !servers.is_empty(),
        Some("search" | "domain") => !search.is_empty(),
        _ => false,
    };
    let mut text = lines(old.lines().filter(|line| !replaced(line)));
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    text + &lines(servers.iter().map(|server| format!("nameserver {server}")))
}

/// The hosts file (hosts(5)) with names added behind what it has.
#[must_use]
pub fn hosts(old: &str, added: &[(IpAddr, String)]) -> String {
    let mut ours = false;
    let kept = old.lines().filter(|line| {
        ours |= *line == BEGIN;
        let keep = !ours;
        ours &= *line != END;
        keep
    });
    let text = lines(kept);
    let added = lines(added.iter().map(|(address, name)| format!("{address}\t{name}")));
    format!("{text}{BEGIN}\n{added}{END}\n")
}

fn lines<T: AsRef<str>>(lines: impl Iterator<Item = T>) -> String {
    lines.map(|line| format!("{}\n", line.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_replaces_what_was_there() {
        let old = "options ndots:2\nnameserver 192.0.2.1\nsearch old.example";
        let (server, search) =
            (["2001:db8::53".parse().unwrap()], ["lan".to_owned(), "example.org".to_owned()]);
        assert_eq!(
            resolv_conf(old, &server, &search),
            "options ndots:2\nsearch lan example.org\nnameserver 2001:db8::53\n"
        );
        assert_eq!(
            resolv_conf(old, &[], &search),
            "options ndots:2\nnameserver 192.0.2.1\nsearch lan example.org\n"
        );
        assert_eq!(resolv_conf("", &server, &[]), "nameserver 2001:db8::53\n");
    }

    #[test]
    fn names_are_added_once() {
        let added = [("10.90.0.7".parse().unwrap(), "db".to_owned())];
        let once = hosts("127.0.0.1\tlocalhost", &added);
        assert_eq!(once, "127.0.0.1\tlocalhost\n# ocinet begins\n10.90.0.7\tdb\n# ocinet ends\n");
        assert_eq!(hosts(&once, &added), once);
    }
}
