//! Interfaces: one dump for the host's ends of containers' links, and one question for each link that only a container
//! has.

use std::collections::HashMap;

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::kernel::KernelError;
use ocinet_shared::kernel::counters::{self, LinkCounters, LinkState};
use ocinet_shared::kernel::device::Devices;
use ocinet_shared::kernel::link::LinkWatch;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::record::Record;

use super::open;
use super::records::Known;
use crate::scrape::snapshot::{Container, Direction, Interface};

/// How often a dump is tried, each time with another socket.
const ATTEMPTS: usize = 2;

/// The counters of interfaces.
#[derive(Default)]
pub struct LinkSource {
    socket: Option<NetlinkSocket>,
    devices: Option<Devices>,
    watch: Option<LinkWatch>,
    /// The state of the host's ends, by index; valid until a link changes.
    states: HashMap<u32, LinkState>,
    /// By index; kept only to use its memory again.
    host: HashMap<u32, LinkCounters>,
}

/// A container's interface whose link is inside.
struct Inside {
    container: usize,
    attachment: usize,
}

impl LinkSource {
    /// Reads the containers' interfaces; all lists have the containers in the same order. Clears `is_sound` of each whose
    /// answers cannot be about a living container, and returns whether everything could be asked.
    pub fn read(
        &mut self,
        living: &mut [&mut Known],
        containers: &mut [Container],
        is_sound: &mut [bool],
    ) -> bool {
        let outside = self.read_host(living, containers);
        let inside = self.read_inside(living, containers);
        let states = self.read_states(living, containers);
        for ((known, container), is_sound) in living.iter_mut().zip(containers).zip(is_sound) {
            // A counter that could not be asked for is not missing.
            *is_sound &= keep_monotonic(known, container) || outside.is_err() || inside.is_err();
        }
        [outside, inside, states].iter().all(Result::is_ok)
    }

    fn read_host(&mut self, living: &[&mut Known], containers: &mut [Container]) -> Result<(), KernelError> {
        let has_host_end =
            |known: &&mut Known| own(&known.record).any(|attachment| attachment.host_ifindex != 0);
        if !living.iter().any(has_host_end) {
            return Ok(());
        }
        let mut dumped = Ok(());
        for _ in 0..ATTEMPTS {
            self.host.clear();
            dumped = open(&mut self.socket, NETLINK_ROUTE).and_then(|socket| {
                counters::of_host(socket, |index, counters| {
                    self.host.insert(index, counters);
                })
            });
            if dumped.is_ok() {
                break;
            }
            self.socket = None;
        }
        dumped?;
        for (known, container) in living.iter().zip(containers) {
            for (attachment, interface) in own(&known.record).zip(&mut container.interfaces) {
                interface.counters =
                    self.host.get(&attachment.host_ifindex).map(|counters| counters.mirrored());
            }
        }
        Ok(())
    }

    fn read_inside(
        &mut self,
        living: &[&mut Known],
        containers: &mut [Container],
    ) -> Result<(), KernelError> {
        let mut wanted: Vec<(i32, &IfName)> = Vec::new();
        let mut places = Vec::new();
        for (container, known) in living.iter().enumerate() {
            let Some(number) = known.record.netns_number else { continue };
            for (index, attachment) in own(&known.record).enumerate() {
                if attachment.host_interface.is_none() {
                    wanted.push((number, &attachment.interface));
                    places.push(Inside { container, attachment: index });
                }
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let asked = open(&mut self.socket, NETLINK_ROUTE).and_then(|socket| {
            counters::inside(socket, &wanted, |index, counters, state| {
                let place = places.get(index);
                let interface = place.and_then(|place| interface(containers, place));
                if let Some(interface) = interface {
                    interface.counters = Some(counters);
                    interface.up = Some(state.up);
                    interface.mtu = Some(state.mtu);
                }
            })
        });
        if asked.is_err() {
            self.socket = None;
        }
        asked
    }

    fn read_states(
        &mut self,
        living: &[&mut Known],
        containers: &mut [Container],
    ) -> Result<(), KernelError> {
        let watch = match &mut self.watch {
            Some(watch) => watch,
            none => none.insert(LinkWatch::open()?),
        };
        let devices = match &mut self.devices {
            Some(devices) => devices,
            none => none.insert(Devices::open()?),
        };
        let is_whole = watch.changes(|index| {
            self.states.remove(&index);
        });
        if !is_whole {
            self.states.clear();
        }
        let mut failed = Ok(());
        let mut speeds: HashMap<&IfName, Option<u64>> = HashMap::new();
        for (known, container) in living.iter().zip(containers) {
            for (attachment, interface) in own(&known.record).zip(&mut container.interfaces) {
                match (&attachment.host_interface, &attachment.parent) {
                    (Some(link), _) => {
                        match state(&mut self.states, devices, attachment.host_ifindex, link) {
                            Ok(state) => {
                                interface.up = state.map(|state| state.up);
                                interface.mtu = state.map(|state| state.mtu);
                            }
                            Err(error) => failed = Err(error),
                        }
                    }
                    (None, Some(parent)) => {
                        interface.speed = *speeds.entry(parent).or_insert_with(|| devices.speed(parent));
                    }
                    (None, None) => {}
                }
            }
        }
        failed
    }
}

/// The state of a link of the host, as it is known or from the kernel.
fn state(
    known: &mut HashMap<u32, LinkState>,
    devices: &Devices,
    index: u32,
    link: &IfName,
) -> Result<Option<LinkState>, KernelError> {
    if let Some(state) = known.get(&index) {
        return Ok(Some(*state));
    }
    let state = devices.state(link)?;
    // No link has the index 0.
    known.extend(state.filter(|_| index != 0).map(|state| (index, state)));
    Ok(state)
}

/// The attachments that are the container's own.
fn own(record: &Record) -> impl Iterator<Item = &ocinet_shared::model::record::Attachment> {
    record.attachments.iter().filter(|_| record.shares.is_none())
}

fn interface<'a>(containers: &'a mut [Container], place: &Inside) -> Option<&'a mut Interface> {
    containers.get_mut(place.container)?.interfaces.get_mut(place.attachment)
}

/// Makes counters that never fall of those that were read. Returns whether all of them were there and none fell.
fn keep_monotonic(known: &mut Known, container: &mut Container) -> bool {
    let mut is_sound = true;
    for (counters, interface) in known.interfaces.iter_mut().zip(&mut container.interfaces) {
        let Some(LinkCounters { received, sent }) = interface.counters else {
            is_sound = false;
            continue;
        };
        let numbers = |one: Direction| [one.bytes, one.packets, one.errors, one.drops];
        let ([a, b, c, d], [e, f, g, h]) = (numbers(received), numbers(sent));
        let reading = counters.read(Some([a, b, c, d, e, f, g, h]), 0);
        is_sound &= reading.is_sound;
        let [a, b, c, d, e, f, g, h] = reading.values;
        let direction =
            |[bytes, packets, errors, drops]: [u64; 4]| Direction { bytes, packets, errors, drops };
        interface.counters =
            Some(LinkCounters { received: direction([a, b, c, d]), sent: direction([e, f, g, h]) });
    }
    is_sound
}
