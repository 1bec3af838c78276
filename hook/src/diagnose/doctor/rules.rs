//! ocinet's own tables, elements and filters.

use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::nft;
use ocinet_shared::kernel::nft::Flaw;
use ocinet_shared::model::element::{Element, Table};
use ocinet_shared::model::record::{Attachment, Record};
use ocinet_shared::quoted::word;

use super::context::DoctorContext;
use super::finding::Finding;
use crate::diagnose::check::NOT_REACHED;
use crate::diagnose::flaw;
use crate::error::Error;
use crate::host::observed::Lack;
use crate::lifecycle::restore;
use crate::plan::elements;
use crate::plan::link_filters::with_filters;

/// What puts the rules back.
pub(super) const RELOAD: &str = "ocinet reload";

/// Somebody's flush takes both tables; containers are then apart, and unreachable, until they are put back.
pub(super) fn tables(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    // A container on the LAN needs no rules, nor does one without a network.
    if context.records.iter().all(|record| record.elements().next().is_none()) {
        return Ok(findings);
    }
    for (table, name) in [(Table::Inet, "inet ocinet"), (Table::Bridge, "bridge ocinet")] {
        if !context.found.has(table) {
            findings.push(Finding::new(
                format!("table {name} is gone"),
                "something flushed the rules: no published port works, and nothing is let in to containers",
                RELOAD,
            ));
            continue;
        }
        let flaws = nft::flaws(context.found.nft.socket(), table)?;
        if flaws.is_empty() {
            continue;
        }
        // A reload wakes a dormant table before nft looks at it.
        let fix = if !flaws.contains(&Flaw::Dormant) && nft::refusal().is_ok_and(|why| why.is_some()) {
            restore::anew(&[table])
        } else {
            vec![RELOAD.to_owned()]
        };
        findings.extend(flaws.iter().map(|flaw| of_flaw(flaw, name, &fix)));
    }
    Ok(findings)
}

fn of_flaw(flaw: &Flaw, table: &str, fix: &[String]) -> Finding {
    let (what, why) = match flaw {
        Flaw::Dormant => (
            format!("table {table} is dormant"),
            "somebody put it to sleep: no published port works, and nothing is let in to containers",
        ),
        Flaw::Lacks(chain) => (
            format!("chain {chain} of table {table} lacks rules"),
            "something flushed or deleted them: what they let through does not pass, and what they drop does",
        ),
        Flaw::Others(chain) => (
            format!("chain {chain} of table {table} has other rules than ocinet's"),
            "somebody added or replaced them: what they drop does not pass, and what they accept does",
        ),
        Flaw::Policy(chain) => (
            format!("chain {chain} of table {table} drops what no rule decides"),
            "somebody changed its policy: what is not ocinet's does not pass either",
        ),
        Flaw::Foreign(chain) => {
            return Finding::new(
                format!("chain {chain} of table {table} is not ocinet's, and decides about packets"),
                "somebody added it, so that a reload leaves it there",
                flaw::deletion(chain, table),
            );
        }
    };
    Finding { what, why: why.to_owned(), fix: fix.to_vec() }
}

/// Elements that records and networks name, and the tables do not have, or have with another value.
pub(super) fn elements(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let of_networks: Vec<Element> = context.networks.iter().flat_map(elements::network_elements).collect();
    let of_containers = context.records.iter().flat_map(Record::elements);
    let missing: Vec<&Element> = context.found.missing(of_networks.iter().chain(of_containers)).collect();
    let mut findings = Vec::new();
    if let Some(first) = missing.first() {
        findings.push(Finding::new(
            format!("{} elements of ocinet's tables are gone, such as {first}", missing.len()),
            "something deleted them: what they let through does not pass",
            RELOAD,
        ));
    }
    for record in &context.records {
        let elements: Vec<Element> = record.elements().cloned().collect();
        findings.extend(context.found.led_elsewhere(&elements)?.into_iter().map(|element| Finding {
            what: format!("the element {element} of container {} leads elsewhere", record.id),
            why: format!(
                "another state folder's container took the port while the rules were gone, or somebody changed the element: \
                 {NOT_REACHED}; publish another port, or stop what holds this one and run `ocinet reload`"
            ),
            fix: Vec::new(),
        }));
    }
    Ok(findings)
}

/// The filters on the host's ends of containers' links, which hold senders to their addresses.
pub(super) fn filters(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let attachments: Vec<(Record, Attachment)> =
        context.attachments().map(|(record, own)| (record.clone(), own.clone())).collect();
    for (record, attachment) in &attachments {
        let network = context.networks.iter().find(|network| network.name == attachment.network);
        let link = attachment.host_interface.as_ref().and_then(|end| context.link(end)).cloned();
        let Some((network, link)) = network.zip(link) else { continue };
        let found = &mut context.found;
        let missing = with_filters(network, attachment, |filters| found.missing_filters(link.index, filters));
        if missing.is_some_and(|missing| !missing.is_empty()) {
            findings.push(Finding::new(
                format!("{}, the host's end of container {}'s link, does not have its filters", link.name, record.id),
                "somebody deleted them, or the kernel has no cls_bpf (CONFIG_NET_CLS_BPF, `modprobe cls_bpf`): the rules \
                 alone keep this container to its addresses, until somebody flushes them",
                RELOAD,
            ));
        }
        if let Some(bridge) = link.controller {
            let lacks = found.port_lacks((network, attachment), &link, bridge);
            findings.extend(lacks.into_iter().map(|lack| of_port(lack, &link, record)));
        }
    }
    Ok(findings)
}

fn of_port(lack: Lack, link: &Link, record: &Record) -> Finding {
    let end = format!("{}, the host's end of container {}'s link,", link.name, record.id);
    match lack {
        Lack::Address(wanted) => Finding::new(
            format!("{end} has another Ethernet address than its bridge"),
            "somebody changed it: the host drops what the container sends to its gateway",
            format!("ip link set dev {} address {wanted}", word(&link.name)),
        ),
        Lack::Entry(own) => Finding::new(
            format!("{end} has no entry for {own} on its bridge"),
            "somebody deleted or replaced it: its neighbours may see what is for the container, or get it in its place",
            RELOAD,
        ),
    }
}
