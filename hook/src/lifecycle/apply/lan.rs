//! Whether somebody on a LAN has a container's address already, or one that the host is to have beside it: asked once, before
//! either says that it is its own. And the announcement of an ipvlan's addresses.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::probe::Probe;
use ocinet_shared::kernel::{KernelError, neighbour, route};
use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::quoted::word;

use super::applier::{Applier, Failure, Question};
use crate::error::{Class, Error};
use crate::lifecycle::teardown::DEPARTURE;
use crate::plan::step::AskLan;

/// How long the LAN has to answer, from the question on. A machine that is awake answers within a millisecond, one whose
/// processor is busy within one or two of its kernel's ticks, of 10 ms at most. The second that RFC 5227 and RFC 4862
/// wait would be four hundred times the rest of a start: who answers later is found by `ocinet doctor`.
const PATIENCE: Duration = Duration::from_millis(25);

impl Applier<'_> {
    /// Asks by the parent, because the container's own interface is not there yet. Where nobody can be there to answer,
    /// nothing is asked.
    pub(super) fn ask_lan(&mut self, asked: &AskLan) -> Result<(), Failure> {
        let AskLan { parent, interface, addresses, for_host } = asked;
        for address in addresses {
            if route::is_own(&mut self.route, *address)? {
                return Err(taken(parent, *address, "it is this host's own".to_owned()).into());
            }
        }
        let found = link::find(&mut self.route, parent)?.filter(|found| found.has_carrier);
        let Some(found) = found.filter(|found| found.kind != "dummy") else { return Ok(()) };
        let Some(mac) = found.mac else { return Ok(()) };
        let mut not_yet_own = Vec::new();
        for address in for_host {
            if !route::is_own(&mut self.route, *address)? {
                not_yet_own.push(*address);
            }
        }
        let for_host = not_yet_own;
        let asked = Probe::open(found.index, mac).and_then(|probe| {
            addresses.iter().chain(&for_host).try_for_each(|address| probe.ask(*address))?;
            Ok(probe)
        });
        match asked {
            Ok(probe) => {
                let (addresses, deadline) = (addresses.to_vec(), Instant::now() + PATIENCE);
                let parent = (parent.clone(), found.index);
                let question = Question { probe, parent, addresses, for_host, deadline };
                self.questions.insert(interface.clone(), question);
            }
            Err(error) => warn_unasked(&error, parent),
        }
        Ok(())
    }

    /// Waits for what is left of the time to answer before the container has its addresses.
    pub(super) fn hear_lan(&mut self, interface: &IfName) -> Result<(), Failure> {
        let Some(question) = self.questions.remove(interface) else { return Ok(()) };
        self.hear(&question)
    }

    /// Waits for the answers about the host's own addresses, before its link beside the containers' gets them.
    pub(super) fn hear_lan_for_host(&mut self, addresses: &[IpAddr]) -> Result<(), Failure> {
        let is_about = |question: &Question| question.for_host.iter().any(|own| addresses.contains(own));
        let found = self.questions.iter().find(|(_, question)| is_about(question));
        let Some(interface) = found.map(|(interface, _)| interface.clone()) else { return Ok(()) };
        let Some(question) = self.questions.remove(&interface) else { return Ok(()) };
        self.hear(&question)?;
        // The host has its addresses from now on, and may answer for them.
        self.questions.insert(interface, Question { for_host: Vec::new(), ..question });
        Ok(())
    }

    /// A macvlan on the parent is none of the LAN's machines: it is one of a container that has ended, whose links the kernel
    /// has yet to remove.
    fn hear(&mut self, question: &Question) -> Result<(), Failure> {
        let Question { probe, parent: (parent, index), addresses, for_host, deadline } = question;
        let is_asked_for = |address: &IpAddr| addresses.contains(address) || for_host.contains(address);
        let (mut deadline, latest) = (*deadline, Instant::now() + DEPARTURE);
        while let Some((address, mac)) =
            probe.answers_until(deadline).find(|(address, _)| is_asked_for(address))
        {
            if neighbour::received_for(&mut self.route, *index)?.contains(&mac) {
                continue;
            }
            // Another start, which made the network since, gave it to the host: any of the host's links answers for it now.
            if for_host.contains(&address) && route::is_own(&mut self.route, address)? {
                continue;
            }
            let cause = match link::list(&mut self.route)?.into_iter().find(|link| link.mac == Some(mac)) {
                Some(_) if departs(probe, (address, mac), latest) => {
                    // What others answered meanwhile was passed over: all are asked again.
                    let asked = addresses.iter().chain(for_host).try_for_each(|address| probe.ask(*address));
                    if let Err(error) = asked {
                        warn_unasked(&error, parent);
                        return Ok(());
                    }
                    deadline = Instant::now() + PATIENCE;
                    continue;
                }
                Some(link) => format!("something on this host's link {} has it", word(&link.name)),
                None => format!("a machine of its LAN with the Ethernet address {mac} has it"),
            };
            let is_hosts = for_host.contains(&address);
            let taken = if is_hosts { taken_for_host } else { taken };
            return Err(taken(parent, address, cause).into());
        }
        Ok(())
    }
}

/// Without CAP_NET_RAW, say: the container is attached, as it would be where nobody answers.
fn warn_unasked(error: &KernelError, parent: &IfName) {
    crate::log::warn(format_args!("{error}: {parent}'s LAN was not asked for the container's addresses"));
}

/// Whether who answered soon answers no more. An ipvlan, and a macvlan in mode passthru, has the Ethernet address of its
/// parent, which may be another link of this host, and that of a container that has ended is there until the kernel
/// removes it.
fn departs(probe: &Probe, answer: (IpAddr, Mac), latest: Instant) -> bool {
    // On a busy host an answer may be late.
    const SILENCES: usize = 3;
    let mut silences = 0;
    while silences < SILENCES {
        if Instant::now() >= latest {
            return false;
        }
        // A link that is down for a moment carries no question, and no answer either.
        let is_asked = probe.ask(answer.0).is_ok();
        let is_answered = probe.answers_until(Instant::now() + PATIENCE).any(|again| again == answer);
        silences = if is_asked && !is_answered { silences + 1 } else { 0 };
    }
    true
}

/// An ipvlan has its parent's Ethernet address, and none that could be set for the kernel to announce: the parent's own frames
/// say where its addresses are.
pub(super) fn announce_by_parent(link: &Link, mac: Mac, addresses: &[Cidr]) {
    let unknown = || KernelError::new("find the parent of an ipvlan", Errno::ENODEV);
    let opened = link.peer.ok_or_else(unknown).and_then(|parent| Probe::open(parent, mac));
    let announced =
        opened.and_then(|probe| addresses.iter().try_for_each(|address| probe.announce(address.address())));
    match announced {
        // Nobody is there to hear it.
        Ok(()) | Err(KernelError { errno: Errno::ENETDOWN, .. }) => {}
        Err(error) => crate::log::warn(format_args!(
            "{error}: who knew {}'s addresses elsewhere may be late to learn where they are",
            link.name
        )),
    }
}

fn taken_for_host(parent: &IfName, address: IpAddr, cause: String) -> Error {
    Error::new(
        Class::Conflict,
        format!("use {address} on {parent} for the host"),
        cause,
        "give the network a net.ip-range that nothing else on the LAN uses, or leave net.host-access out",
    )
}

fn taken(parent: &IfName, address: IpAddr, cause: String) -> Error {
    Error::new(
        Class::Conflict,
        format!("use {address} on {parent}"),
        cause,
        "give another net.ip, or a net.ip-range that nothing else on the LAN uses",
    )
}
