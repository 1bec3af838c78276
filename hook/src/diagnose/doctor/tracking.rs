//! Rules of other tables that keep packets from being tracked: what is not tracked is neither translated nor answered.

use nix::libc;
use ocinet_shared::kernel::nft::chains::Chain;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::port::PublishedPort;
use ocinet_shared::quoted::nft_name;

use super::context::DoctorContext;
use super::fate;
use super::finding::Finding;
use super::firewalls::{
    family_name, full_name, others, outside, priority, routed_places, serves, table_in_nft,
};
use super::packet::{Packet, Place, Transport};
use crate::error::Error;

// Numbers of linux/netfilter.h.
const NF_INET_PRE_ROUTING: u32 = libc::NF_INET_PRE_ROUTING.cast_unsigned();
const NF_INET_LOCAL_OUT: u32 = libc::NF_INET_LOCAL_OUT.cast_unsigned();
/// `NF_IP_PRI_CONNTRACK` of linux/netfilter_ipv4.h: a chain that is asked later is too late.
const TRACKED: i32 = -200;
/// How many packets a finding names.
const NAMED: usize = 4;

/// Rules that hit published ports, or what containers send.
pub(super) fn rules(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut hits: Vec<Hit> = Vec::new();
    for family in Family::ALL {
        let outside = context.default_link(family).map(outside);
        // The host reaches its own addresses by its loopback, whose index is 1.
        let own = Place { index: 1, name: "lo".to_owned(), group: 0 };
        for (what, transport) in published(context, family) {
            let packet = |from, to| Packet { is_ipv6: family == Family::Ipv6, from, to, transport };
            note(&mut hits, context, NF_INET_PRE_ROUTING, (&packet(outside.as_ref(), None), &what));
            note(&mut hits, context, NF_INET_LOCAL_OUT, (&packet(None, Some(&own)), &what));
        }
    }
    for (family, place, _) in routed_places(context) {
        let (is_ipv6, transport) = (family == Family::Ipv6, Transport::default());
        let packet = Packet { is_ipv6, from: Some(&place), to: None, transport };
        let what = format!("what containers send by {}", place.name);
        note(&mut hits, context, NF_INET_PRE_ROUTING, (&packet, &what));
    }
    Ok(hits.iter().map(finding).collect())
}

/// A rule, and which packets it hits.
struct Hit {
    table: String,
    /// The same in a command.
    in_nft: String,
    base: String,
    chain: String,
    handle: u64,
    is_certain: bool,
    packets: Vec<String>,
}

fn published(context: &DoctorContext, family: Family) -> Vec<(String, Transport)> {
    let ports = context.records.iter().flat_map(|record| record.ports().map(move |port| (record, port)));
    let served = ports.filter(|(_, port): &(_, &PublishedPort)| port.serves(family));
    let describe = |port: &PublishedPort| Transport {
        protocol: Some(port.protocol.number()),
        destination: Some(port.host_port),
        ..Transport::default()
    };
    served
        .map(|(record, port)| {
            (format!("port {}/{} of container {}", port.host_port, port.protocol, record.id), describe(port))
        })
        .collect()
}

fn note(hits: &mut Vec<Hit>, context: &DoctorContext, hook: u32, (packet, what): (&Packet<'_>, &str)) {
    let family = if packet.is_ipv6 { Family::Ipv6 } else { Family::Ipv4 };
    let early = |chain: &&Chain| priority(chain) < TRACKED && serves(chain, family);
    for base in others(context, hook).filter(early) {
        let Some((chain, handle, is_certain)) = fate::untracked_by(packet, base, &context.chains) else {
            continue;
        };
        let table = format!("{} {}", family_name(base.family), base.table);
        let same = |hit: &&mut Hit| (&hit.table, &hit.chain, hit.handle) == (&table, &chain, handle);
        match hits.iter_mut().find(same) {
            Some(hit) => {
                hit.is_certain |= is_certain;
                if !hit.packets.iter().any(|known| known == what) {
                    hit.packets.push(what.to_owned());
                }
            }
            None => hits.push(Hit {
                table,
                in_nft: table_in_nft(base),
                base: full_name(base),
                chain,
                handle,
                is_certain,
                packets: vec![what.to_owned()],
            }),
        }
    }
}

fn finding(hit: &Hit) -> Finding {
    let Hit { table, in_nft, base, chain, handle, is_certain, packets } = hit;
    let keeps = if *is_certain { "keeps" } else { "may keep" };
    let mut named = packets.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if packets.len() > NAMED {
        named += &format!(" and {} more", packets.len() - NAMED);
    }
    Finding::new(
        format!("rule {handle} of chain {table} {chain} {keeps} from connection tracking: {named}"),
        format!("{base} is asked before; what is not tracked is neither led to a container nor answered"),
        format!("nft delete rule {in_nft} {} handle {handle}", nft_name(chain)),
    )
}
