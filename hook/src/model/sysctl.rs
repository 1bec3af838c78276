//! A sysctl of a container's network namespace.

use std::fmt;

/// A sysctl of the container's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// Its path below /proc/sys, which begins with `net/`.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// A sysctl's path below /proc/sys, where it is one of the network namespace. As sysctl(8) reads a key, the separator that comes
/// first separates, the other one belongs to an interface's name.
#[must_use]
pub fn sysctl_path(key: &str) -> Option<String> {
    let first = key.find(['.', '/']).map(|at| &key[at..=at])?;
    let path = if first == "." {
        key.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect()
    } else {
        key.to_owned()
    };
    let is_part = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    let parts: Vec<&str> = path.split('/').collect();
    (parts.len() >= 3 && parts[0] == "net" && parts.iter().all(|part| is_part(part))).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_keys_stay_below_net() {
        assert_eq!(sysctl_path("net.core.somaxconn").unwrap(), "net/core/somaxconn");
        assert_eq!(sysctl_path("net/ipv4/conf/eth0.7/rp_filter").unwrap(), "net/ipv4/conf/eth0.7/rp_filter");
        assert_eq!(sysctl_path("net.ipv4.conf.eth0/7.rp_filter").unwrap(), "net/ipv4/conf/eth0.7/rp_filter");
        for bad in [
            "",
            "net",
            "net.",
            "net.core",
            "kernel.hostname",
            "net/../kernel/hostname",
            "net.ipv4..x",
            "netx.core.a",
            "net/./core/a",
            "net/core/..",
            "net/core/a b",
            "net/core/a\n",
        ] {
            assert!(sysctl_path(bad).is_none(), "{bad}");
        }
    }
}
