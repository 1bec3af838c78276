//! The `net.*` annotations of a container: taken one by one, and what is left over is an error.

use std::collections::BTreeMap;

use ocinet_shared::model::ifname::IfName;

use crate::error::{Class, Error, annotation};
use crate::input::nearest::{called_elsewhere, near};
pub use crate::model::driver_spec::Subject;

/// What all of ocinet's annotations begin with.
pub const PREFIX: &str = "net.";

/// A key that ocinet knows.
#[derive(Debug)]
pub struct Key {
    /// Its name behind `net.`, or behind `net.IFNAME.`.
    pub name: &'static str,
    /// What it is about.
    pub subject: Subject,
    /// Whether a network of the configuration may set it.
    pub of_networks: bool,
}

const fn own(name: &'static str, subject: Subject) -> Key {
    Key { name, subject, of_networks: false }
}

const fn shared(name: &'static str, subject: Subject) -> Key {
    Key { name, subject, of_networks: true }
}

/// Every key of the design; docs/annotations.md is tested against it.
pub const KEYS: &[Key] = &[
    shared("driver", Subject::Attachment),
    own("network", Subject::Attachment),
    own("ifname", Subject::Attachment),
    shared("bridge", Subject::Bridge),
    shared("subnet", Subject::Addresses),
    shared("gateway", Subject::Addresses),
    shared("ip-range", Subject::Addresses),
    own("ip", Subject::Addresses),
    own("mac", Subject::Ethernet),
    shared("mtu", Subject::Addresses),
    shared("routes", Subject::Addresses),
    own("ports", Subject::Routing),
    shared("masquerade", Subject::Routing),
    shared("snat", Subject::Routing),
    shared("internal", Subject::Routing),
    shared("isolate", Subject::Routing),
    shared("allow-inbound", Subject::Routing),
    shared("rate-in", Subject::Rates),
    shared("rate-out", Subject::Rates),
    shared("parent", Subject::Parent),
    shared("mode", Subject::Mode),
    shared("host-access", Subject::HostAccess),
    shared("vni", Subject::Tunnel),
    shared("port", Subject::Tunnel),
    shared("local", Subject::Tunnel),
    shared("peers", Subject::Tunnel),
    shared("group", Subject::Tunnel),
    own("default-route", Subject::Container),
    shared("dns", Subject::Container),
    shared("dns-search", Subject::Container),
    own("hosts", Subject::Container),
    own("sysctl", Subject::Container),
    own("aliases", Subject::Later),
    own("control", Subject::Later),
];

/// The key of a name.
#[must_use]
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// What to say to somebody who names a key that there is not: the one that was meant, as `shown`, or where they all are.
#[must_use]
pub fn instead_of(name: &str, shown: impl Fn(&str) -> String) -> String {
    let known = KEYS.iter().filter(|key| key.subject != Subject::Later).map(|key| key.name);
    match called_elsewhere(name).or_else(|| near(name, known)) {
        Some(key) => format!("the nearest one is {}", shown(key)),
        None => "docs/annotations.md has all that there are".to_owned(),
    }
}

/// A value, and what of it says so, if it is no annotation.
#[derive(Debug, Clone)]
struct Value {
    text: String,
    of: Option<String>,
}

/// The annotations of one attachment, or of the container as a whole, that nobody has taken yet.
#[derive(Debug, Clone, Default)]
pub struct Annotations {
    interface: Option<IfName>,
    left: BTreeMap<String, Value>,
}

/// A container's annotations, sorted by what they are about.
#[derive(Debug, Clone, Default)]
pub struct Sorted {
    /// Those about the container as a whole.
    pub container: Annotations,
    /// Those of each attachment; the one without an interface's name in its keys comes first.
    pub attachments: Vec<Annotations>,
}

impl Sorted {
    /// Sorts those that begin with `net.`; the rest belong to others. `None` where there is none.
    ///
    /// # Errors
    /// A key for an interface that no interface can be named.
    pub fn new(all: impl IntoIterator<Item = (String, String)>) -> Result<Option<Self>, Error> {
        let mut sorted = Self::default();
        let mut first = Annotations::default();
        let mut named: BTreeMap<IfName, Annotations> = BTreeMap::new();
        let mut is_empty = true;
        for (full, text) in all {
            let Some(name) = full.strip_prefix(PREFIX) else { continue };
            is_empty = false;
            let value = Value { text, of: None };
            let (of, name) = match name.rsplit_once('.') {
                Some((interface, name)) => {
                    let interface: IfName = interface.parse().map_err(|error| {
                        annotation(&full, error, "name the interface between the dots, as in net.eth1.driver")
                    })?;
                    let entry =
                        || Annotations { interface: Some(interface.clone()), ..Annotations::default() };
                    (named.entry(interface.clone()).or_insert_with(entry), name)
                }
                None if is_about_the_container(name) => (&mut sorted.container, name),
                None => (&mut first, name),
            };
            of.left.insert(name.to_owned(), value);
        }
        if is_empty {
            return Ok(None);
        }
        if !first.left.is_empty() || named.is_empty() {
            sorted.attachments.push(first);
        }
        sorted.attachments.extend(named.into_values());
        Ok(Some(sorted))
    }
}

fn is_about_the_container(name: &str) -> bool {
    key(name).is_some_and(|key| key.subject == Subject::Container)
}

impl Annotations {
    /// The interface that its keys name.
    #[must_use]
    pub fn interface(&self) -> Option<&IfName> {
        self.interface.as_ref()
    }

    /// Lets something else say what the annotations do not: a network of the configuration. `of` is what a message calls
    /// it.
    pub fn or_else<'a>(&mut self, of: &str, values: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (name, text) in values {
            let value = || Value { text: text.to_owned(), of: Some(of.to_owned()) };
            self.left.entry(name.to_owned()).or_insert_with(value);
        }
    }

    /// Whether a key is given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    /// The text of a key, which stays to be taken.
    #[must_use]
    pub fn peek(&self, name: &str) -> Option<&str> {
        self.left.get(name).map(|value| value.text.trim())
    }

    /// Takes the value of a key, without spaces around it, and what to call the key in a message.
    ///
    /// # Errors
    /// A value that is empty: every key says something.
    pub fn take(&mut self, name: &str) -> Result<Option<(String, Label)>, Error> {
        debug_assert!(key(name).is_some(), "{name} is not in KEYS");
        if !self.left.contains_key(name) {
            return Ok(None);
        }
        let label = self.label(name);
        let Some(value) = self.left.remove(name) else { return Ok(None) };
        match value.text.trim() {
            "" => Err(label.error("it is empty", "give it a value, or leave it out")),
            text => Ok(Some((text.to_owned(), label))),
        }
    }

    /// What to call a key in a message: an annotation, unless something else said it.
    #[must_use]
    pub fn label(&self, name: &str) -> Label {
        self.names().label(name)
    }

    /// What to call each key in a message, also once it is taken.
    #[must_use]
    pub fn names(&self) -> Names {
        let said = self.left.iter().filter_map(|(name, value)| Some((name.clone(), value.of.clone()?)));
        Names { interface: self.interface.clone(), said: said.collect() }
    }

    /// A key as it is written here: about this interface, if it can be about one.
    fn in_full(&self, name: &str) -> String {
        let is_of_container = key(name).is_some_and(|key| key.subject == Subject::Container);
        match &self.interface {
            Some(interface) if !is_of_container => format!("{PREFIX}{interface}.{name}"),
            _ => format!("{PREFIX}{name}"),
        }
    }

    /// Says what is left over.
    ///
    /// # Errors
    /// The first key, by name, that nobody took; `driver` is the one that did not support it.
    pub fn finish(self, driver: &str) -> Result<(), Error> {
        let Some(name) = self.left.keys().next() else { return Ok(()) };
        let label = self.label(name);
        Err(match key(name).map(|key| key.subject) {
            None => label.error("there is no such key", instead_of(name, |key| self.in_full(key))),
            Some(Subject::Later) => {
                label.error("this version does not have it yet", "leave it out, or wait for a later version")
            }
            Some(Subject::Container) => label.error(
                "it is about the container, not about one of its interfaces",
                format!("use {PREFIX}{name}"),
            ),
            Some(_) if name == "ifname" && self.interface.is_some() => label.error(
                "the key names the interface already",
                format!("leave it out, or use {PREFIX}{name} without an interface's name"),
            ),
            Some(_) => label.error(format!("the driver {driver} does not support it"), hint_for_unused(name)),
        })
    }
}

/// What to do about a key that the driver does not support.
fn hint_for_unused(name: &str) -> &'static str {
    match name {
        // `net.port` is often a typing error for `net.ports`.
        "port" => "net.ports publishes ports; net.port is the UDP port of vxlan's tunnels",
        _ => "leave it out, or use another net.driver",
    }
}

/// What the keys of an attachment are called in messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    interface: Option<IfName>,
    /// What says the value of a key that is no annotation.
    said: BTreeMap<String, String>,
}

impl Names {
    /// What to call a key.
    #[must_use]
    pub fn label(&self, name: &str) -> Label {
        let (key, is_annotation) = match (self.said.get(name), &self.interface) {
            (Some(of), _) => (format!("{name} of {of}"), false),
            (None, Some(interface)) => (format!("{PREFIX}{interface}.{name}"), true),
            (None, None) => (format!("{PREFIX}{name}"), true),
        };
        Label { key, is_annotation }
    }
}

/// What a key is called in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The key, and what says it.
    pub key: String,
    /// Whether that is an annotation, and not the configuration.
    pub is_annotation: bool,
}

impl Label {
    /// An error about the key's value.
    pub fn error(&self, cause: impl std::fmt::Display, hint: impl Into<String>) -> Error {
        if self.is_annotation {
            annotation(&self.key, cause, hint)
        } else {
            Error::new(Class::Usage, format!("use {}", self.key), cause, hint)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_over(key: &str) -> String {
        let sorted = Sorted::new([(key.to_owned(), "x".to_owned())]).unwrap().unwrap();
        sorted.attachments[0].clone().finish("host").unwrap_err().to_string()
    }

    #[test]
    fn what_nobody_took_is_an_error_that_names_the_nearest_key() {
        assert!(left_over("net.prots").ends_with("hint: the nearest one is net.ports"));
        assert!(left_over("net.publish").ends_with("hint: the nearest one is net.ports"));
        assert!(left_over("net.dns_servers").ends_with("hint: the nearest one is net.dns"));
        assert!(left_over("net.colour").ends_with("hint: docs/annotations.md has all that there are"));
        assert!(left_over("net.eth1.prots").starts_with("cannot use the annotation net.eth1.prots:"));
        assert!(left_over("net.control").contains("not have it yet"));
        assert!(left_over("net.vni").contains("the driver host does not support it"));
        assert!(left_over("net.eth1.dns").contains("about the container"));
        assert!(Sorted::new([("org.x".to_owned(), String::new())]).unwrap().is_none());
    }

    #[test]
    fn keys_are_sorted_by_interface() {
        let keys = ["net.ip", "net.eth1.ip", "net.eth0.7.ip", "net.dns"];
        let sorted = Sorted::new(keys.map(|key| (key.to_owned(), "x".to_owned()))).unwrap().unwrap();
        let names: Vec<_> = sorted.attachments.iter().map(|a| a.interface().map(IfName::as_str)).collect();
        assert_eq!(names, [None, Some("eth0.7"), Some("eth1")]);
        assert!(sorted.container.has("dns"));
        let alone = Sorted::new([("net.eth1.ip".to_owned(), "x".to_owned())]).unwrap().unwrap();
        assert_eq!(alone.attachments.len(), 1);
    }
}
