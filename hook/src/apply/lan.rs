//! Whether somebody on a LAN has a container's address already: asked once, before the container says that it has it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ocinet_shared::ifname::IfName;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::probe::Probe;
use ocinet_shared::kernel::{neighbour, route};

use super::{Applier, Failure};
use crate::error::{Error, report};

/// How long the LAN has to answer, from the question on. A machine that is awake answers within a millisecond, one whose
/// processor is busy within one or two of its kernel's ticks, of 10 ms at most. The second that RFC 5227 and RFC 4862
/// wait would be four hundred times the rest of a start: who answers later is found by `ocinet doctor`.
const PATIENCE: Duration = Duration::from_millis(25);

/// A question that was asked on a LAN.
pub(super) struct Question {
    probe: Probe,
    parent: (IfName, u32),
    addresses: Vec<IpAddr>,
    deadline: Instant,
}

impl Applier<'_> {
    /// Asks by the parent, because the container's own interface is not there yet. Where nobody can be there to answer,
    /// nothing is asked.
    pub(super) fn ask_lan(
        &mut self,
        parent: &IfName,
        interface: &IfName,
        addresses: &[IpAddr],
    ) -> Result<(), Failure> {
        for address in addresses {
            if route::is_own(&mut self.route, *address)? {
                return Err(taken(parent, *address, "it is this host's own".to_owned()).into());
            }
        }
        let found = link::find(&mut self.route, parent)?.filter(|found| found.has_carrier);
        let Some(found) = found.filter(|found| found.kind != "dummy") else { return Ok(()) };
        let Some(mac) = found.mac else { return Ok(()) };
        let asked = Probe::open(found.index, mac).and_then(|probe| {
            addresses.iter().try_for_each(|address| probe.ask(*address))?;
            Ok(probe)
        });
        match asked {
            Ok(probe) => {
                let (addresses, deadline) = (addresses.to_vec(), Instant::now() + PATIENCE);
                let parent = (parent.clone(), found.index);
                let question = Question { probe, parent, addresses, deadline };
                self.questions.insert(interface.clone(), question);
            }
            // Without CAP_NET_RAW, say: the container is attached, as it would be where nobody answers.
            Err(error) => crate::log::warn(format_args!(
                "{error}: {parent}'s LAN was not asked for {interface}'s addresses"
            )),
        }
        Ok(())
    }

    /// Waits for what is left of the time to answer. A macvlan of this very host is none of the LAN's machines: it is
    /// one of a container that has ended, whose links the kernel has yet to remove.
    pub(super) fn hear_lan(&mut self, interface: &IfName) -> Result<(), Failure> {
        let Some(question) = self.questions.remove(interface) else { return Ok(()) };
        let Question { probe, parent: (parent, index), addresses, deadline } = question;
        let answers = probe.answers_until(deadline).filter(|(address, _)| addresses.contains(address));
        for (address, mac) in answers {
            if !neighbour::received_for(&mut self.route, index)?.contains(&mac) {
                let cause = format!("a machine of its LAN with the Ethernet address {mac} has it");
                return Err(taken(&parent, address, cause).into());
            }
        }
        Ok(())
    }
}

fn taken(parent: &IfName, address: IpAddr, cause: String) -> Error {
    Error::Conflict(report(
        format!("use {address} on {parent}"),
        cause,
        "give another net.ip, or a net.ip-range that nothing else on the LAN uses",
    ))
}
