//! Compares what is recorded with what there is. `network.rs` and `container.rs` compare.

mod container;
mod network;

use std::fmt;

use ocinet_shared::kernel::nft;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::element::{Element, Table};
use ocinet_shared::model::network::Network;
use ocinet_shared::model::record::Record;
use ocinet_shared::state::{StateDir, StateError};

use crate::diagnose::flaw;
use crate::error::Error;
use crate::host::forwarding;
use crate::host::observed::{Inside, ObservedHost};
use crate::lifecycle::restore;
use crate::plan::elements;
use crate::state::forwarding::turned;
use crate::state::networks::Networks;
use crate::state::pod_members;

/// What is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Host,
    /// One container and its networks.
    Container(ContainerId),
}

/// What follows where the element of a published port leads to another container.
pub(crate) const NOT_REACHED: &str = "what is sent there does not reach the container";

/// Something that is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Whose it is: `container web`.
    pub of: String,
    /// What differs: `the link oc-abc is missing`.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.of, self.what)
    }
}

/// Everything that is not as recorded. A record that cannot be read is one such thing.
///
/// # Errors
/// What cannot be asked of the kernel or the state folder at all.
pub fn differences(state: &StateDir, scope: &Scope, boot_id: &str) -> Result<Vec<Difference>, Error> {
    let mut differences = Vec::new();
    let records = state.records()?;
    let networks = Networks::read(state)?;
    let of_folder =
        |error: &StateError| Difference { of: "the state folder".to_owned(), what: error.to_string() };
    if *scope == Scope::Host {
        differences.extend(networks.faults().map(of_folder));
        differences.extend(state.faulty_folders().iter().map(of_folder));
    }
    let mut found = ObservedHost::ask()?;
    // Who comes, goes or changes meanwhile is not compared.
    let later = Networks::read(state)?.readable;
    let networks: Vec<Network> =
        networks.readable.into_iter().filter(|network| later.contains(network)).collect();
    let is_same = |record: &Record| {
        restore::is_attached(state, record, boot_id)
            && state.read_record(&record.id).is_ok_and(|now| now.as_ref() == Some(record))
    };
    let mut compared: Vec<Record> = Vec::new();
    let mut wanted: Vec<Element> = Vec::new();
    for record in records {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                if *scope == Scope::Host {
                    differences.push(of_folder(&error));
                }
                continue;
            }
        };
        let is_meant = *scope == Scope::Host || *scope == Scope::Container(record.id.clone());
        if !is_meant || !is_same(&record) {
            continue;
        }
        let inside = Inside::of(&record, pod_members::pid_within(state, &record, boot_id));
        let of = format!("container {}", record.id);
        let mut whats = container::differences(&record, &networks, &mut found, &inside);
        whats.extend(container::missing_files(state, &record)?);
        // What ended while it was looked at has no differences.
        if !whats.is_empty() && !is_same(&record) {
            continue;
        }
        differences.extend(whats.into_iter().map(|what| Difference { of: of.clone(), what }));
        differences.extend(missing(&found, &of, record.elements()));
        differences.extend(led_elsewhere(&mut found, &of, &record)?);
        wanted.extend(record.elements().cloned());
        compared.push(record);
    }
    let (of_networks, elements) = of_networks(&networks, &compared, &mut found, is_same);
    differences.extend(of_networks);
    wanted.extend(elements);
    if *scope == Scope::Host {
        differences.extend(turned(state)?.err().iter().map(of_folder));
        let elements = forwarding::missing(state, &found)?;
        let whats = elements.iter().map(|element| format!("the element {element} is missing"));
        differences.extend(whats.map(|what| Difference { of: "this host".to_owned(), what }));
    }
    differences.extend(of_tables(&wanted, &mut found)?);
    Ok(differences)
}

/// What differs of the tables that what was compared has elements in.
fn of_tables(wanted: &[Element], found: &mut ObservedHost) -> Result<Vec<Difference>, Error> {
    let mut whats = Vec::new();
    let is_used = |table: &Table| wanted.iter().any(|element| element.set.place().0 == *table);
    for table in [Table::Inet, Table::Bridge].into_iter().filter(is_used) {
        let name = format!("table {} ocinet", table.family());
        if !found.has(table) {
            whats.push(format!("the {name} is missing: `ocinet reload` puts it back"));
            continue;
        }
        whats.extend(nft::flaws(found.nft.socket(), table)?.iter().map(|flaw| flaw::in_words(flaw, &name)));
    }
    Ok(whats.into_iter().map(|what| Difference { of: "this host".to_owned(), what }).collect())
}

/// What differs of the networks that have one of the compared containers, and the elements that they want. A network is
/// complete once it has a container that is.
fn of_networks(
    networks: &[Network],
    compared: &[Record],
    found: &mut ObservedHost,
    is_same: impl Fn(&Record) -> bool,
) -> (Vec<Difference>, Vec<Element>) {
    let (mut differences, mut wanted) = (Vec::new(), Vec::new());
    for network in networks {
        let is_user =
            |record: &&Record| record.attachments.iter().any(|attachment| attachment.network == network.name);
        if !compared.iter().any(|record| is_user(&record)) {
            continue;
        }
        let of = format!("network {}", network.name);
        let whats = network::differences(network, found);
        if !whats.is_empty() && !compared.iter().filter(is_user).any(&is_same) {
            continue;
        }
        differences.extend(whats.into_iter().map(|what| Difference { of: of.clone(), what }));
        let elements = elements::network_elements(network);
        differences.extend(missing(found, &of, elements.iter()));
        wanted.extend(elements);
    }
    (differences, wanted)
}

fn led_elsewhere(found: &mut ObservedHost, of: &str, record: &Record) -> Result<Vec<Difference>, Error> {
    let elements: Vec<Element> = record.elements().cloned().collect();
    let what = |element: String| format!("the element {element} leads elsewhere: {NOT_REACHED}");
    let elsewhere = found.led_elsewhere(&elements)?.into_iter();
    Ok(elsewhere.map(|element| Difference { of: of.to_owned(), what: what(element) }).collect())
}

/// Where a table is missing, one line says so, instead of one for each of its elements.
fn missing<'a>(
    found: &'a ObservedHost,
    of: &'a str,
    elements: impl Iterator<Item = &'a Element> + 'a,
) -> impl Iterator<Item = Difference> + 'a {
    let what = |element: &Element| format!("the element {element} is missing");
    found.missing(elements).map(move |element| Difference { of: of.to_owned(), what: what(element) })
}
