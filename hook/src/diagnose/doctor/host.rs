//! The host's processes, and its table of connections.

use ocinet_shared::kernel::ports;
use ocinet_shared::kernel::ports::Bind;
use ocinet_shared::kernel::sysctl;
use ocinet_shared::model::cidr::Family;

use super::context::DoctorContext;
use super::finding::Finding;
use crate::error::Error;

/// How full a table of connections is where the next burst finds no room, in percent.
const FULL: u64 = 95;

/// The process that Docker has listen on a port that it publishes, so that nobody else takes it.
const DOCKER_PROXY: &str = "docker-proxy";
const ONLY_CONTAINER: &str = "clients reach the container, and never that process";

/// Published ports that a process of the host listens on as well.
pub(super) fn ports(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for record in &context.records {
        for port in record.ports() {
            let families = Family::ALL.into_iter().filter(|family| port.serves(*family));
            for address in families.map(|family| port.bound_address().unwrap_or(family.unspecified())) {
                if ports::probe(address, port.protocol, port.host_port)? != Bind::Taken {
                    continue;
                }
                let holder = ports::holder(address, port.protocol, port.host_port);
                let pid =
                    holder.as_deref().and_then(|holder| holder.rsplit_once("(pid ")?.1.strip_suffix(')'));
                let (why, fix) = match pid {
                    _ if holder.as_deref().is_some_and(|holder| holder.contains(DOCKER_PROXY)) => (
                        "Docker publishes it as well, and its rules may come first: stop its container, or publish another port",
                        format!("docker ps --filter publish={}/{}", port.host_port, port.protocol),
                    ),
                    Some(pid) => (ONLY_CONTAINER, format!("kill {pid}")),
                    None => (
                        ONLY_CONTAINER,
                        format!("ss --listening --processes --numeric 'sport = :{}'", port.host_port),
                    ),
                };
                let holder = holder.unwrap_or_else(|| "a process of the host".to_owned());
                findings.push(Finding::new(
                    format!(
                        "{holder} listens on port {}/{}, which container {} publishes",
                        port.host_port, port.protocol, record.id
                    ),
                    why,
                    fix,
                ));
                break;
            }
        }
    }
    Ok(findings)
}

/// Connections that the kernel has no room to remember are dropped.
pub(super) fn conntrack(_: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let number = |key: &str| sysctl::read(key)?.parse::<u64>().ok();
    let count = number("net/netfilter/nf_conntrack_count");
    let most = number("net/netfilter/nf_conntrack_max");
    Ok(count.zip(most).and_then(|(count, most)| crowded(count, most)).into_iter().collect())
}

fn crowded(count: u64, most: u64) -> Option<Finding> {
    // 0 is no limit.
    (most > 0 && count * 100 >= most * FULL).then(|| {
        Finding::new(
            format!("connection tracking is full: {count} of {most}"),
            "the kernel drops what would begin a new connection",
            format!("sysctl -w net.netfilter.nf_conntrack_max={}", most * 2),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_full_shortly_before_it_is() {
        assert_eq!([crowded(0, 100), crowded(94, 100), crowded(7, 0)], [None, None, None]);
        let found = crowded(95, 100).unwrap();
        assert_eq!(found.fix, ["sysctl -w net.netfilter.nf_conntrack_max=200"]);
    }
}
