//! Why packets do not arrive: what is wrong on the host, and the commands that fix it.
//!
//! | file | looks at |
//! |---|---|
//! | `forwarding.rs` | whether the host forwards, keeps its uplinks apart, answers ARP, and takes packets from where it would not send them |
//! | `firewalls.rs` `fate.rs` `conditions.rs` | what other tables' chains do to containers' packets; the same of the older iptables' in `legacy.rs` |
//! | `tracking.rs` `flowtables.rs` | other tables' rules that keep packets from connection tracking, or take connections past the rules |
//! | `rules.rs` | ocinet's own tables and elements, and the filters on links |
//! | `links.rs` | links, their addresses and MTU, neighbours of containers |
//! | `routes.rs` `refusals.rs` `answers.rs` | routes and rules that lead elsewhere, rules that refuse, answers that leave by another uplink; which of them decides in `decisions.rs` |
//! | `lan.rs` `tunnels.rs` | other machines with a container's address; the MTU that an overlay's underlay leaves |
//! | `host.rs` | ports that processes of the host hold, a connection table that is full |
//! | `inside.rs` `names.rs` | the container's own namespace, and whether it has a name server |
//!
//! `context.rs` has what several checks read, once; `finding.rs` what a check finds; `packet.rs` the packets whose fate is asked.
//!
//! Nothing is changed: what is asked of a LAN leaves nobody's neighbour cache changed. Each row of [`CHECKS`] is described in docs/doctor.md.

mod answers;
mod conditions;
mod context;
mod decisions;
mod fate;
mod finding;
mod firewalls;
mod flowtables;
mod forwarding;
mod host;
mod inside;
mod lan;
mod legacy;
mod links;
mod names;
mod packet;
mod refusals;
mod routes;
mod rules;
mod tracking;
mod tunnels;

pub(crate) use context::DoctorContext;
pub(crate) use finding::Finding;

use crate::error::Error;

/// A check: its name, and what it finds.
type Check = (&'static str, fn(&mut DoctorContext) -> Result<Vec<Finding>, Error>);

/// All checks, in the order of a packet's way.
pub(crate) const CHECKS: &[Check] = &[
    ("tables", rules::tables),
    ("elements", rules::elements),
    ("filters", rules::filters),
    ("forwarding", forwarding::forwarding),
    ("uplinks", forwarding::uplinks),
    ("arp", forwarding::gateways_answer),
    ("rp_filter", forwarding::reverse_path),
    ("firewalls", firewalls::forward),
    ("br_netfilter", firewalls::bridged),
    ("legacy iptables", legacy::policy),
    ("marks", firewalls::marks),
    ("notrack", tracking::rules),
    ("flowtables", flowtables::rules),
    ("links", links::states),
    ("bridges", links::bridges),
    ("gateways", links::gateways),
    ("addresses", links::clashes),
    ("lan", lan::clashes),
    ("routes", routes::to_containers),
    ("routing rules", refusals::rules),
    ("answers", answers::answers),
    ("neighbours", links::neighbours),
    ("mtu", links::mtu),
    ("tunnels", tunnels::mtu),
    ("ports", host::ports),
    ("conntrack", host::conntrack),
    ("containers", inside::interfaces),
    ("name servers", names::servers),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_in_the_reference() {
        let page = include_str!("../../../../docs/doctor.md");
        let rows: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let names: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
        assert_eq!(rows, names);
    }
}
