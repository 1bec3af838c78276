//! The `net.*` annotations of a container: taken one by one, and what is left over is an error.

use std::collections::BTreeMap;

use crate::error::{Error, annotation};

/// What all of ocinet's annotations begin with.
const PREFIX: &str = "net.";

/// A key that ocinet knows.
#[derive(Debug)]
pub struct Key {
    /// Its name behind `net.`.
    pub name: &'static str,
    /// Whether this version does what it says.
    pub built: bool,
}

const fn built(name: &'static str) -> Key {
    Key { name, built: true }
}

const fn planned(name: &'static str) -> Key {
    Key { name, built: false }
}

/// Every key of the design; docs/annotations.md is tested against it.
pub const KEYS: &[Key] = &[
    built("driver"),
    built("network"),
    built("bridge"),
    built("subnet"),
    built("gateway"),
    built("ip-range"),
    built("ip"),
    built("mac"),
    built("mtu"),
    built("ifname"),
    built("ports"),
    built("masquerade"),
    built("internal"),
    built("isolate"),
    built("allow-inbound"),
    planned("snat"),
    planned("routes"),
    planned("dns"),
    planned("dns-search"),
    planned("hosts"),
    planned("aliases"),
    planned("rate-in"),
    planned("rate-out"),
    planned("sysctl"),
    planned("parent"),
    planned("mode"),
    planned("vni"),
    planned("port"),
    planned("local"),
    planned("peers"),
    planned("group"),
    planned("control"),
];

/// The annotations that nobody has taken yet.
#[derive(Debug, Clone)]
pub struct Annotations {
    left: BTreeMap<String, String>,
}

impl Annotations {
    /// Keeps those that begin with `net.`; the rest belong to others.
    pub fn new(all: impl IntoIterator<Item = (String, String)>) -> Self {
        let left =
            all.into_iter().filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?.to_owned(), value)));
        Self { left: left.collect() }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Takes the value of a key, without spaces around it.
    ///
    /// # Errors
    /// A value that is empty: every key says something.
    pub fn take(&mut self, name: &str) -> Result<Option<String>, Error> {
        debug_assert!(KEYS.iter().any(|key| key.name == name && key.built), "{name} is not in KEYS");
        let Some(value) = self.left.remove(name) else { return Ok(None) };
        let trimmed = value.trim();
        if trimmed.is_empty() {
            return Err(annotation(
                &format!("net.{name}"),
                "it is empty",
                "give it a value, or leave it out",
            ));
        }
        Ok(Some(trimmed.to_owned()))
    }

    /// Says what is left over.
    ///
    /// # Errors
    /// The first key, by name, that nobody took.
    pub fn finish(self) -> Result<(), Error> {
        match self.left.into_keys().next() {
            None => Ok(()),
            Some(key) => Err(left_over(&key)),
        }
    }
}

fn left_over(key: &str) -> Error {
    let full = format!("{PREFIX}{key}");
    let last = key.rsplit_once('.').map_or(key, |(_, last)| last);
    if let Some(known) = KEYS.iter().find(|known| known.name == last) {
        return if !known.built {
            annotation(
                &full,
                "this version does not have it yet",
                "leave it out, or wait for a later version",
            )
        } else {
            annotation(
                &full,
                "this version configures one interface a container",
                format!("use net.{last} and net.ifname"),
            )
        };
    }
    let nearest = KEYS
        .iter()
        .filter(|known| known.built)
        .min_by_key(|known| strsim::damerau_levenshtein(known.name, last))
        .map_or("driver", |known| known.name);
    annotation(&full, "there is no such key", format!("the nearest one is net.{nearest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_took_is_an_error_that_names_the_nearest_key() {
        let of = |key: &str| {
            Annotations::new([(key.to_owned(), "x".to_owned())]).finish().unwrap_err().to_string()
        };
        assert!(of("net.prots").ends_with("hint: the nearest one is net.ports"), "{}", of("net.prots"));
        assert!(of("net.eth1.driver").contains("one interface"), "{}", of("net.eth1.driver"));
        assert!(of("net.vni").contains("not have it yet"), "{}", of("net.vni"));
        assert!(Annotations::new([("org.x".to_owned(), String::new())]).finish().is_ok());
    }
}
