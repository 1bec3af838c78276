//! Steps to the kernel and the state folder. What fails is undone from the record, as after a kill.
//!
//! | file | does |
//! |---|---|
//! | `applier.rs` | what one set-up works with, and why it fails |
//! | `network.rs` `tunnel.rs` | makes and shares networks; joins them to other hosts' |
//! | `claims.rs` `elements.rs` | leases, claims and shares; elements |
//! | `links.rs` `routes.rs` | the container's link, and the host as its router |
//! | `container.rs` `names.rs` | what happens in the container's namespace, and in its root |
//! | `lan.rs` | asks others on a LAN for a container's addresses |

mod applier;
mod claims;
mod container;
mod elements;
mod lan;
mod links;
pub mod names;
pub mod network;
mod routes;
mod tunnel;

pub use applier::{Applier, Failure, Target};

use ocinet_shared::kernel::link;

use crate::plan::Plan;
use crate::plan::step::Step;

impl Applier<'_> {
    /// Takes every step of a plan.
    ///
    /// # Errors
    /// The first step's that fails. [`Self::into_teardown`] then undoes the steps before it, and what the failed
    /// one did.
    pub fn apply(&mut self, plan: &Plan) -> Result<(), Failure> {
        plan.steps.iter().try_for_each(|step| {
            self.step(step)?;
            self.target.phases.end(step.phase());
            Ok(())
        })
    }

    fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::JoinNetwork(network) => self.join_network(network),
            Step::TakeLease { network, address } => self.take_lease(network, *address),
            Step::ClaimPort(port) => self.claim_port(port),
            Step::AskLan(asked) => self.ask_lan(asked),
            Step::ClaimMac { on, mac } => self.claim_mac(on, *mac),
            Step::Forward(family) => self.forward(*family),
            Step::AddElements(elements) => self.add_elements(elements),
            Step::MakeVeth(veth) => self.make_veth(veth),
            Step::FilterHostEnd(filters) => self.filter_host_end(filters),
            Step::MakeChild(child) => self.make_child(child),
            Step::LimitRates(limits) => self.limit_rates(limits),
            Step::RouteToContainer(to) => self.route_to_container(to),
            Step::RouteFromHost(route) => self.route_from_host(route),
            Step::ConfigureInterface(interface) => self.configure_interface(interface),
            Step::WriteSysctls(sysctls) => self.write_sysctls(sysctls),
            Step::WriteResolver(told) => self.write_resolver(told),
            Step::WarnWithoutNameServer => {
                self.warn_without_name_server();
                Ok(())
            }
            Step::WriteHosts(told) => self.write_hosts(told),
            Step::Share(owner) => self.share(owner),
            Step::BringUpLoopback => Ok(self.inside()?.change(vec![link::up(link::LOOPBACK)], |_| {
                "bring up the container's loopback".to_owned()
            })?),
        }
    }
}
