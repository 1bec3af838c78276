//! Rules of other tables that put containers' connections into a flowtable, which takes their packets past ocinet's rules.

use ocinet_shared::kernel::nft::chains::Chain;
use ocinet_shared::kernel::nft::flowtables;
use ocinet_shared::kernel::nft::flowtables::Flowtable;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::quoted::nft_name;

use super::context::DoctorContext;
use super::fate;
use super::fate::Hit;
use super::finding::{Finding, add};
use super::firewalls::{NF_INET_FORWARD, family_name, others, outside, routed_places, serves, table_in_nft};
use super::packet::{Packet, Place, Transport};
use crate::error::Error;

/// Rules that put a connection between a container and the outside into a flowtable which has the uplink: what comes by it needs the
/// mark of ocinet's rules, and does not pass them.
pub(super) fn rules(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let flowtables = flowtables::list(context.found.nft.socket())?;
    if flowtables.is_empty() {
        return Ok(findings);
    }
    for (family, place, _) in routed_places(context) {
        let Some(uplink) = context.default_link(family).map(outside) else { continue };
        for base in others(context, NF_INET_FORWARD).filter(|base| serves(base, family)) {
            for hit in hits(base, &context.chains, &flowtables, (family, &uplink, &place)) {
                add(&mut findings, finding(base, &hit));
            }
        }
    }
    Ok(findings)
}

/// The rules of a base chain that put packets of both directions into a flowtable that takes what comes by the uplink.
fn hits(
    base: &Chain,
    chains: &[Chain],
    flowtables: &[Flowtable],
    (family, uplink, place): (Family, &Place, &Place),
) -> Vec<(Hit, String)> {
    let transport = Transport { is_established: true, ..Transport::default() };
    let takes = |(_, name): &(Hit, String)| {
        flowtables.iter().any(|of| {
            (of.family, &of.table, &of.name) == (base.family, &base.table, name) && of.takes(&uplink.name)
        })
    };
    let ways = [(uplink, place), (place, uplink)].into_iter();
    ways.flat_map(|(from, to)| {
        let packet = Packet { is_ipv6: family == Family::Ipv6, from: Some(from), to: Some(to), transport };
        fate::offloaded_by(&packet, base, chains)
    })
    .filter(takes)
    .collect()
}

fn finding(base: &Chain, ((chain, handle, is_certain), flowtable): &(Hit, String)) -> Finding {
    let puts = if *is_certain { "puts" } else { "may put" };
    Finding::new(
        format!(
            "rule {handle} of chain {} {} {chain} {puts} containers' connections into the flowtable {flowtable}",
            family_name(base.family),
            base.table,
        ),
        "what is in a flowtable passes the host before ocinet's rules let it in, and the filters on containers' links drop it: a \
         connection stops after its first packets. To keep the rule for other connections, begin it with \
         `iifgroup & 0xff000000 != 0x6f000000 oifgroup & 0xff000000 != 0x6f000000`",
        format!("nft delete rule {} {} handle {handle}", table_in_nft(base), nft_name(chain)),
    )
}

#[cfg(test)]
mod tests {
    use ocinet_shared::kernel::nft::chains::{Hook, INET, Rule};
    use ocinet_shared::kernel::raw::{HEADER_LENGTH, NetlinkRequest};

    use super::*;

    type Expression = (String, Vec<u8>);

    fn expression(name: &str, of: impl FnOnce(NetlinkRequest) -> NetlinkRequest) -> Expression {
        let mut message = Vec::new();
        of(NetlinkRequest::new(0, &[])).write(0, 0, &mut message);
        (name.to_owned(), message.split_off(HEADER_LENGTH))
    }

    /// A condition, in the first register: a property and a mask of it, and what it is not. The numbers are those of
    /// linux/netfilter/nf_tables.h, in its order.
    fn is_not((name, key): (&str, u32), mask: u32, other: u32) -> Vec<Expression> {
        let number = |of: NetlinkRequest, kind, number: u32| of.with(kind, &number.to_be_bytes());
        let value = |of: NetlinkRequest, kind, value: u32| {
            of.with_nested(kind, |of| of.with(1, &value.to_ne_bytes()))
        };
        vec![
            expression(name, |of| number(number(of, 1, 1), 2, key)),
            expression("bitwise", |of| {
                value(value(number(number(number(of, 1, 1), 2, 1), 3, 4), 4, mask), 5, 0)
            }),
            expression("cmp", |of| value(number(number(of, 1, 1), 2, 1), 3, other)),
        ]
    }

    fn established() -> Vec<Expression> {
        is_not(("ct", 0), 2, 0)
    }

    fn offload(name: &str) -> Vec<Expression> {
        vec![expression("flow_offload", |of| of.with_text(1, name))]
    }

    fn found(rules: &[Vec<Vec<Expression>>]) -> Vec<(u64, bool, String)> {
        let rules = (5..).zip(rules).map(|(handle, parts)| Rule { handle, expressions: parts.concat() });
        let chain = Chain {
            family: INET,
            table: "router".to_owned(),
            name: "forward".to_owned(),
            hook: Some(Hook { number: NF_INET_FORWARD, priority: 0, drops: false }),
            rules: rules.collect(),
        };
        let of = |name: &str, link: &str| Flowtable {
            family: INET,
            table: "router".to_owned(),
            name: name.to_owned(),
            links: vec![link.to_owned()],
            prefixes: Vec::new(),
        };
        let flowtables = [of("lan", "eth1"), of("fast", "eth0")];
        let uplink = Place { index: 2, name: "eth0".to_owned(), group: 0 };
        let bridge = Place { index: 3, name: "ocinet0".to_owned(), group: 0x6f00_0001 };
        let hits = hits(&chain, std::slice::from_ref(&chain), &flowtables, (Family::Ipv4, &uplink, &bridge));
        let told = |((_, handle, is_certain), name): (Hit, String)| (handle, is_certain, name);
        let mut told: Vec<_> = hits.into_iter().map(told).collect();
        told.dedup();
        told
    }

    #[test]
    fn a_rule_that_puts_containers_connections_into_a_flowtable() {
        let fast = |handle, is_certain| vec![(handle, is_certain, "fast".to_owned())];
        assert_eq!(found(&[vec![established(), offload("fast")]]), fast(5, true));
        // The first rule's flowtable does not have the uplink.
        let two = [vec![established(), offload("lan")], vec![established(), offload("fast")]];
        assert_eq!(found(&two), fast(6, true));
        // What a connection is marked with is not known.
        assert_eq!(found(&[vec![is_not(("ct", 1), 1, 0), offload("fast")]]), fast(5, false));
        let is_new = is_not(("ct", 0), 8, 0);
        assert_eq!(found(&[vec![is_new, offload("fast")]]), []);
    }

    #[test]
    fn the_condition_that_is_told_leaves_containers_connections_alone() {
        let group = |key| is_not(("meta", key), 0xff00_0000, 0x6f00_0000);
        let (from, to) = (group(21), group(22));
        assert_eq!(found(&[vec![from.clone(), to.clone(), established(), offload("fast")]]), []);
        for half in [from, to] {
            assert_eq!(found(&[vec![half, established(), offload("fast")]]).len(), 1);
        }
    }
}
