//! The older iptables, beside nftables: both are asked about every packet.

use ocinet_shared::kernel::legacy_iptables;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::ifname::IfName;

use super::context::DoctorContext;
use super::finding::Finding;
use crate::error::Error;

/// A policy that drops what no rule accepts. Rules are not analysed further than for such as the printed ones.
pub(super) fn policy(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for (family, program) in [(Family::Ipv4, "iptables-legacy"), (Family::Ipv6, "ip6tables-legacy")] {
        let Some(chain) = legacy_iptables::forward_chain(family)?.filter(|chain| chain.drops) else {
            continue;
        };
        let routed = context.routed().filter(|network| !network.internal && network.subnet(family).is_some());
        let links: Vec<IfName> = routed.flat_map(|network| context.routers(network)).collect();
        let missing = |accepted: &[String], option: &str| {
            let missing = links.iter().filter(|link| !accepted.iter().any(|name| name == link.as_str()));
            missing.map(|link| format!("{program} -I FORWARD {option} {link} -j ACCEPT")).collect::<Vec<_>>()
        };
        let mut fix = missing(&chain.accepted_from, "-i");
        fix.extend(missing(&chain.accepted_to, "-o"));
        if !fix.is_empty() {
            findings.push(Finding {
                what: format!("chain FORWARD of {program} drops what no rule of it accepts"),
                why: format!("`{program} -S FORWARD` shows its rules; `nft list ruleset` does not"),
                fix,
            });
        }
    }
    Ok(findings)
}
