//! What was routed, masqueraded and published: the counters of nftables elements, by one dump a set.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use ocinet_shared::kernel::KernelError;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::nft::{self, Counter};
use ocinet_shared::model::element::{Set, Table};
use ocinet_shared::model::port_elements;
use ocinet_shared::model::record::Record;

use super::open;
use crate::scrape::monotonic::MonotonicCounter;
use crate::scrape::snapshot::{Container, Port, Routed, Tables};

/// How often the tables are read, if somebody replaces them meanwhile.
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
    /// The key alone: an IPv4 address takes a fifth of the time of all bytes.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.bytes[..usize::from(self.length).min(KEY_LENGTH)]);
    }
}

/// Which of a container's counters an element adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CounterOf {
    Sent,
    Received,
    Masqueraded,
    Connections(usize),
    PortReceived(usize),
    PortSent(usize),
}

/// The elements that count for a container, and what they have counted.
#[derive(Debug)]
pub struct ContainerElements {
    elements: Vec<(Set, Key, CounterOf)>,
    /// Whether anything is routed for it.
    is_routed: bool,
    /// Of all addresses together.
    routed: MonotonicCounter<5>,
    /// By published port.
    ports: Vec<MonotonicCounter<5>>,
}

impl ContainerElements {
    /// The elements of a container's record, which have counted nothing yet. A host port that two members of a pod publish
    /// is counted once, for the member that was first.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let own: HashSet<(Set, Key)> = record
            .elements()
            .filter_map(|element| Some((element.set, Key::new(&element.key_bytes())?)))
            .collect();
        let mut elements = Vec::new();
        for &(set, key) in &own {
            let of = match set {
                Set::Sent4 | Set::Sent6 => CounterOf::Sent,
                Set::Received4 | Set::Received6 => CounterOf::Received,
                Set::Masquerade4 | Set::Masquerade6 | Set::Snat4 | Set::Snat6 => CounterOf::Masqueraded,
                _ => continue,
            };
            elements.push((set, key, of));
        }
        let is_routed = !elements.is_empty();
        let attached = record.attachments.iter();
        let ports = attached.flat_map(|attached| attached.ports.iter().map(move |port| (attached, port)));
        for (index, (attached, port)) in ports.enumerate() {
            for cidr in attached.addresses.iter().filter(|cidr| port.serves(cidr.family())) {
                let of = [
                    CounterOf::Connections(index),
                    CounterOf::PortReceived(index),
                    CounterOf::PortSent(index),
                ];
                for (element, of) in port_elements::of_port(port, cidr).iter().zip(of) {
                    let found =
                        Key::new(&element.key_bytes()).filter(|key| own.contains(&(element.set, *key)));
                    elements.extend(found.map(|key| (element.set, key, of)));
                }
            }
        }
        let ports = vec![MonotonicCounter::default(); record.ports().count()];
        Self { elements, is_routed, routed: MonotonicCounter::default(), ports }
    }

    /// Whether a record has as many ports as these are of.
    #[must_use]
    pub fn has_ports_of(&self, record: &Record) -> bool {
        self.ports.len() == record.ports().count()
    }

    /// Goes on from what an earlier record's elements counted.
    pub fn continue_from(&mut self, earlier: Self) {
        self.routed = earlier.routed;
        self.ports = earlier.ports;
    }

    /// Gives the container what was counted, by the number of the table that counted it. Returns whether that can be about
    /// a living container.
    fn count(&mut self, counters: &[HashMap<Key, Counter>], table: u64, container: &mut Container) -> bool {
        let mut routed = Some([0; 5]);
        let mut ports = vec![Some([0; 5]); self.ports.len()];
        for (set, key, of) in &self.elements {
            let counter = counters.get(*set as usize).and_then(|counters| counters.get(key));
            let sum = match of {
                CounterOf::Sent | CounterOf::Received | CounterOf::Masqueraded => Some(&mut routed),
                CounterOf::Connections(port) | CounterOf::PortReceived(port) | CounterOf::PortSent(port) => {
                    ports.get_mut(*port)
                }
            };
            let Some(sum) = sum else { continue };
            // If one is missing, there is no sum.
            *sum = sum.zip(counter).map(|(sum, counter)| add(sum, *of, *counter));
        }
        let mut is_sound = true;
        if self.is_routed {
            let reading = self.routed.read(routed, table);
            is_sound &= reading.is_sound;
            let [sent_bytes, sent_packets, received_bytes, received_packets, masqueraded] = reading.values;
            container.routed = Some(Routed {
                sent: Counter { bytes: sent_bytes, packets: sent_packets },
                received: Counter { bytes: received_bytes, packets: received_packets },
                masqueraded,
            });
        }
        let ports = container.record.ports().zip(&mut self.ports).zip(ports);
        container.ports = ports
            .map(|((port, known), sum)| {
                let reading = known.read(sum, table);
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

/// What a dump of all needed sets showed.
struct SetDump {
    tables: Tables,
    /// The number of the table that the counters are of; nothing where it, or one of the sets, is not there.
    number: Option<u64>,
}

/// The counters of nftables elements.
#[derive(Default)]
pub struct NftSource {
    socket: Option<NetlinkSocket>,
    /// By set, in the order of [`Set::ALL`]; kept only to use their memory again.
    counters: Vec<HashMap<Key, Counter>>,
}

impl NftSource {
    /// Reads what was counted for the containers; all lists have them in the same order. Clears `is_sound` of each whose
    /// answers cannot be about a living container. Returns which tables there are, and whether everything was there.
    pub fn read(
        &mut self,
        living: &mut [&mut ContainerElements],
        containers: &mut [Container],
        is_sound: &mut [bool],
    ) -> (Option<Tables>, bool) {
        let needed = needed(living);
        let Ok(dump) = self.dump_again(&needed) else { return (None, false) };
        let Some(number) = dump.number else { return (Some(dump.tables), needed.is_empty()) };
        for ((known, container), is_sound) in living.iter_mut().zip(containers).zip(is_sound) {
            *is_sound &= known.count(&self.counters, number, container);
        }
        (Some(dump.tables), true)
    }

    fn dump_again(&mut self, needed: &[Set]) -> Result<SetDump, KernelError> {
        let mut last = KernelError::new("read nftables counters", Errno::EAGAIN);
        for _ in 0..ATTEMPTS {
            match self.dump(needed) {
                Ok(Some(dump)) => return Ok(dump),
                Ok(None) => {}
                // The rest of an answer may still arrive on this socket.
                Err(error) => {
                    self.socket = None;
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// One attempt; `None` if the table was replaced meanwhile.
    fn dump(&mut self, needed: &[Set]) -> Result<Option<SetDump>, KernelError> {
        let socket = open(&mut self.socket, NETLINK_NETFILTER)?;
        self.counters.resize_with(Set::ALL.len(), HashMap::new);
        self.counters.iter_mut().for_each(HashMap::clear);
        let before = nft::listing::table(socket, Table::Inet)?;
        let mut are_there = true;
        for &set in needed {
            let Some(counters) = self.counters.get_mut(set as usize) else { continue };
            are_there &= nft::listing::elements(socket, set, |bytes, counter| {
                if let Some(key) = Key::new(bytes) {
                    counters.insert(key, counter);
                }
            })?;
        }
        let after = nft::listing::table(socket, Table::Inet)?;
        if before != after {
            return Ok(None);
        }
        let tables =
            Tables { inet: after.is_some(), bridge: nft::listing::table(socket, Table::Bridge)?.is_some() };
        Ok(Some(SetDump { tables, number: after.filter(|_| are_there) }))
    }
}

/// A sum has bytes and packets that were sent, those that were received, and connections.
fn add(mut sum: [u64; 5], of: CounterOf, counter: Counter) -> [u64; 5] {
    let mut add = |at: usize, value: u64| sum[at] = sum[at].wrapping_add(value);
    match of {
        CounterOf::Sent | CounterOf::PortSent(_) => {
            add(0, counter.bytes);
            add(1, counter.packets);
        }
        CounterOf::Received | CounterOf::PortReceived(_) => {
            add(2, counter.bytes);
            add(3, counter.packets);
        }
        CounterOf::Masqueraded | CounterOf::Connections(_) => add(4, counter.packets),
    }
    sum
}

/// The sets that have an element of a container.
fn needed(living: &[&mut ContainerElements]) -> Vec<Set> {
    let mut is_needed = vec![false; Set::ALL.len()];
    for (set, ..) in living.iter().flat_map(|known| &known.elements) {
        if let Some(needed) = is_needed.get_mut(*set as usize) {
            *needed = true;
        }
    }
    Set::ALL.iter().copied().zip(is_needed).filter_map(|(set, needed)| needed.then_some(set)).collect()
}
