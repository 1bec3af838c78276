//! What was routed, masqueraded and published: the counters of nftables elements, by one dump a set.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use ocinet_shared::kernel::KernelError;
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::nft::{Counter, counted as dump};
use ocinet_shared::model::counted;
use ocinet_shared::model::element::{Set, Table};
use ocinet_shared::model::record::Record;

use super::open;
use super::records::Known;
use crate::scrape::snapshot::{Container, Port, Routed, Tables};

/// How often the tables are read again that somebody made anew meanwhile.
const ATTEMPTS: usize = 3;
/// No key is longer: an IPv6 address, a protocol and two ports take 28 bytes.
const KEY_LENGTH: usize = 31;

/// An element's key as nf_tables holds it. All keys of a set have one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    length: u8,
    bytes: [u8; KEY_LENGTH],
}

impl Key {
    fn new(bytes: &[u8]) -> Option<Self> {
        let mut key = Self { length: u8::try_from(bytes.len()).ok()?, bytes: [0; KEY_LENGTH] };
        key.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(key)
    }
}

impl Hash for Key {
    /// The key alone: an IPv4 address takes a fifth of the time that all bytes would.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.bytes[..usize::from(self.length).min(KEY_LENGTH)]);
    }
}

/// Which of a container's counters an element adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Sent,
    Received,
    Masqueraded,
    Connections(usize),
    PortReceived(usize),
    PortSent(usize),
}

/// The elements that count for a container.
#[derive(Debug, Default)]
pub struct Counted {
    elements: Vec<(Set, Key, Of)>,
    /// Whether anything is routed for it.
    is_routed: bool,
}

impl Counted {
    /// The elements that a container's record says were added. What two members of a pod publish by one host port is
    /// counted once, and belongs to whoever was first.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let own: HashSet<(Set, Key)> = record
            .elements()
            .filter_map(|element| Some((element.set, Key::new(&element.key_bytes())?)))
            .collect();
        let mut counted = Self::default();
        for &(set, key) in &own {
            let of = match set {
                Set::Sent4 | Set::Sent6 => Of::Sent,
                Set::Received4 | Set::Received6 => Of::Received,
                Set::Masquerade4 | Set::Masquerade6 | Set::Snat4 | Set::Snat6 => Of::Masqueraded,
                _ => continue,
            };
            counted.is_routed = true;
            counted.elements.push((set, key, of));
        }
        let attached = record.attachments.iter();
        let ports = attached.flat_map(|attached| attached.ports.iter().map(move |port| (attached, port)));
        for (index, (attached, port)) in ports.enumerate() {
            for cidr in attached.addresses.iter().filter(|cidr| port.serves(cidr.family())) {
                let of = [Of::Connections(index), Of::PortReceived(index), Of::PortSent(index)];
                for (element, of) in counted::port_elements(port, cidr).iter().zip(of) {
                    let found =
                        Key::new(&element.key_bytes()).filter(|key| own.contains(&(element.set, *key)));
                    counted.elements.extend(found.map(|key| (element.set, key, of)));
                }
            }
        }
        counted
    }
}

/// What a dump of all needed sets showed.
struct Found {
    tables: Tables,
    /// The number of the table that the counters are of; nothing where it, or one of the sets, is not there.
    number: Option<u64>,
}

/// The counters of nftables elements.
#[derive(Default)]
pub struct NftSource {
    channel: Option<Channel>,
    /// By set, in the order of [`Set::ALL`]; kept for their memory alone.
    counters: Vec<HashMap<Key, Counter>>,
}

impl NftSource {
    /// Reads what was counted for the containers, which both lists have in the same order, and notes of each whether that
    /// is what it can be while the container lives. Returns which tables there are, and whether everything was there.
    pub fn read(
        &mut self,
        living: &mut [&mut Known],
        containers: &mut [Container],
        is_sound: &mut [bool],
    ) -> (Option<Tables>, bool) {
        let needed = needed(living);
        let Ok(found) = self.dump_again(&needed) else { return (None, false) };
        let Some(number) = found.number else { return (Some(found.tables), needed.is_empty()) };
        for ((known, container), is_sound) in living.iter_mut().zip(containers).zip(is_sound) {
            *is_sound &= self.fill(known, container, number);
        }
        (Some(found.tables), true)
    }

    fn dump_again(&mut self, needed: &[Set]) -> Result<Found, KernelError> {
        let mut last = KernelError::new("read nftables counters", Errno::EAGAIN);
        for _ in 0..ATTEMPTS {
            match self.dump(needed) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                // A part of an answer may still come by this socket.
                Err(error) => {
                    self.channel = None;
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// One attempt; nothing where the table was made anew meanwhile.
    fn dump(&mut self, needed: &[Set]) -> Result<Option<Found>, KernelError> {
        let channel = open(&mut self.channel, NETLINK_NETFILTER)?;
        self.counters.resize_with(Set::ALL.len(), HashMap::new);
        self.counters.iter_mut().for_each(HashMap::clear);
        let before = dump::table(channel, Table::Inet)?;
        let mut are_there = true;
        for &set in needed {
            let Some(counters) = self.counters.get_mut(set as usize) else { continue };
            are_there &= dump::elements(channel, set, |bytes, counter| {
                if let Some(key) = Key::new(bytes) {
                    counters.insert(key, counter);
                }
            })?;
        }
        let after = dump::table(channel, Table::Inet)?;
        if before != after {
            return Ok(None);
        }
        let tables = Tables { inet: after.is_some(), bridge: dump::table(channel, Table::Bridge)?.is_some() };
        Ok(Some(Found { tables, number: after.filter(|_| are_there) }))
    }

    fn fill(&self, known: &mut Known, container: &mut Container, table: u64) -> bool {
        let record = &known.record;
        let mut routed = Some([0; 5]);
        let mut ports = vec![Some([0; 5]); known.life.ports.len()];
        for (set, key, of) in &known.counted.elements {
            let counter = self.counters.get(*set as usize).and_then(|counters| counters.get(key));
            let group = match of {
                Of::Sent | Of::Received | Of::Masqueraded => Some(&mut routed),
                Of::Connections(port) | Of::PortReceived(port) | Of::PortSent(port) => ports.get_mut(*port),
            };
            let Some(group) = group else { continue };
            // One that is missing makes the sum nothing.
            *group = group.zip(counter).map(|(sum, counter)| add(sum, *of, *counter));
        }
        let mut is_sound = true;
        if known.counted.is_routed {
            let reading = known.life.routed.read(routed, table);
            is_sound &= reading.is_sound;
            let [sent_bytes, sent_packets, received_bytes, received_packets, masqueraded] = reading.values;
            container.routed = Some(Routed {
                sent: Counter { bytes: sent_bytes, packets: sent_packets },
                received: Counter { bytes: received_bytes, packets: received_packets },
                masqueraded,
            });
        }
        let counted = record.ports().zip(&mut known.life.ports).zip(ports);
        container.ports = counted
            .map(|((port, life), raw)| {
                let reading = life.read(raw, table);
                is_sound &= reading.is_sound;
                let [sent_bytes, sent_packets, received_bytes, received_packets, connections] =
                    reading.values;
                Port {
                    port: *port,
                    connections,
                    received: Counter { bytes: received_bytes, packets: received_packets },
                    sent: Counter { bytes: sent_bytes, packets: sent_packets },
                }
            })
            .collect();
        is_sound
    }
}

/// A group's counters are what was sent, what was received, and connections.
fn add(mut sum: [u64; 5], of: Of, counter: Counter) -> [u64; 5] {
    let mut add = |at: usize, value: u64| sum[at] = sum[at].wrapping_add(value);
    match of {
        Of::Sent | Of::PortSent(_) => {
            add(0, counter.bytes);
            add(1, counter.packets);
        }
        Of::Received | Of::PortReceived(_) => {
            add(2, counter.bytes);
            add(3, counter.packets);
        }
        Of::Masqueraded | Of::Connections(_) => add(4, counter.packets),
    }
    sum
}

/// The sets that have an element of a container.
fn needed(living: &[&mut Known]) -> Vec<Set> {
    let mut is_needed = vec![false; Set::ALL.len()];
    for (set, ..) in living.iter().flat_map(|known| &known.counted.elements) {
        if let Some(needed) = is_needed.get_mut(*set as usize) {
            *needed = true;
        }
    }
    Set::ALL.iter().copied().zip(is_needed).filter_map(|(set, needed)| needed.then_some(set)).collect()
}
