//! ocinet's own tables, elements and filters.

use ocinet_shared::element::Table;
use ocinet_shared::kernel::nft::{Nft, counted};

use super::{Finding, Surroundings};
use crate::error::Error;
use crate::filters::with_filters;
use crate::nat;

/// What puts the rules back.
const RELOAD: &str = "ocinet reload";

/// Somebody's flush takes both tables; containers are then apart, and unreachable, until they are put back.
pub(super) fn tables(around: &mut Surroundings) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    // A container on the LAN needs no rules, nor does one without a network.
    if around.records.iter().all(|record| record.elements().next().is_none()) {
        return Ok(findings);
    }
    for (table, name) in [(Table::Inet, "inet ocinet"), (Table::Bridge, "bridge ocinet")] {
        if counted::table(&mut around.netfilter, table)?.is_none() {
            findings.push(Finding::new(
                format!("table {name} is gone"),
                "something flushed the rules: no published port works, and nothing is let in to containers",
                RELOAD,
            ));
        }
    }
    Ok(findings)
}

/// Elements that records and networks name, and the tables do not have.
pub(super) fn elements(around: &mut Surroundings) -> Result<Vec<Finding>, Error> {
    for table in [Table::Inet, Table::Bridge] {
        // That is a finding of its own.
        if counted::table(&mut around.netfilter, table)?.is_none() {
            return Ok(Vec::new());
        }
    }
    let mut nft = Nft::open()?;
    let mut missing = Vec::new();
    let of_networks = around.networks.iter().flat_map(nat::network_elements);
    let of_containers = around.records.iter().flat_map(|record| record.elements().cloned());
    for element in of_networks.chain(of_containers) {
        if nft.get(&element)?.is_none() {
            missing.push(element.to_string());
        }
    }
    let Some(first) = missing.first() else { return Ok(Vec::new()) };
    Ok(vec![Finding::new(
        format!("{} elements of ocinet's tables are gone, such as {first}", missing.len()),
        "something deleted them: what they let through does not pass",
        RELOAD,
    )])
}

/// The filters on the host's ends of containers' links, which hold senders to their addresses.
pub(super) fn filters(around: &mut Surroundings) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let (links, networks, records) = (&around.links, &around.networks, &around.records);
    let attachments =
        records.iter().flat_map(|record| record.attachments.iter().map(move |own| (record, own)));
    for (record, attachment) in attachments {
        let network = networks.iter().find(|network| network.name == attachment.network);
        let end = attachment.host_interface.as_ref();
        let link = end.and_then(|end| links.iter().find(|link| link.name == end.as_str()));
        let Some((network, link)) = network.zip(link) else { continue };
        let channel = &mut around.route;
        let asked = with_filters(network, attachment, |filters| {
            filters.iter().map(|filter| filter.is_on(channel, link.index)).collect::<Result<Vec<bool>, _>>()
        });
        if asked.transpose()?.is_some_and(|are_on| are_on.contains(&false)) {
            findings.push(Finding::new(
                format!("{}, the host's end of container {}'s link, does not have its filters", link.name, record.id),
                "somebody deleted them, or the kernel has no cls_bpf (CONFIG_NET_CLS_BPF, `modprobe cls_bpf`): the rules \
                 alone keep this container to its addresses, until somebody flushes them",
                RELOAD,
            ));
        }
    }
    Ok(findings)
}
