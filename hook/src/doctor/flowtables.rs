//! Rules of other tables that put containers' connections into a flowtable, which takes their packets past ocinet's rules.

use ocinet_shared::cidr::Family;
use ocinet_shared::kernel::nft::chains::{Chain, text};
use ocinet_shared::kernel::nft::flowtables::{self, Flowtable};
use ocinet_shared::kernel::raw::Attributes;
use ocinet_shared::quoted::nft_name;

use super::fate::{self, Hit, Packet, Transport};
use super::firewalls::{NF_INET_FORWARD, family_name, others, outside, routed_places, serves, table_in_nft};
use super::{Finding, Surroundings, add};
use crate::error::Error;

/// `NFTA_FLOW_TABLE_NAME` of linux/netfilter/nf_tables.h.
const NFTA_FLOW_TABLE_NAME: u16 = 1;

/// Rules by which a connection between a container and the outside gets into a flowtable that takes what comes by the link of
/// either.
pub(super) fn rules(around: &mut Surroundings) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let flowtables = flowtables::list(around.found.nft.channel())?;
    if flowtables.is_empty() {
        return Ok(findings);
    }
    for (family, place, _) in routed_places(around) {
        let Some(uplink) = around.way_out(family).map(outside) else { continue };
        let (is_ipv6, transport) =
            (family == Family::Ipv6, Transport { is_established: true, ..Transport::default() });
        let takes = |of: &&Flowtable| of.links.contains(&uplink.name) || of.links.contains(&place.name);
        for (from, to) in [(&uplink, &place), (&place, &uplink)] {
            let packet = Packet { is_ipv6, from: Some(from), to: Some(to), transport };
            for base in others(around, NF_INET_FORWARD).filter(|base| serves(base, family)) {
                let Some(hit) = fate::offloaded_by(&packet, base, &around.chains) else { continue };
                let of_rule = flowtable_of(&around.chains, &flowtables, base, &hit);
                if let Some(flowtable) = of_rule.filter(takes) {
                    add(&mut findings, finding(base, &hit, flowtable));
                }
            }
        }
    }
    Ok(findings)
}

/// The flowtable that a rule names; it is in the rule's own table.
fn flowtable_of<'a>(
    chains: &[Chain],
    flowtables: &'a [Flowtable],
    base: &Chain,
    (chain, handle, _): &Hit,
) -> Option<&'a Flowtable> {
    let own =
        chains.iter().find(|own| (own.family, &own.table, &own.name) == (base.family, &base.table, chain))?;
    let rule = own.rules.iter().find(|rule| rule.handle == *handle)?;
    let (_, data) = rule.expressions.iter().find(|(name, _)| name == "flow_offload")?;
    let name = Attributes::new(data).find(NFTA_FLOW_TABLE_NAME).map(text)?;
    flowtables.iter().find(|of| (of.family, &of.table, &of.name) == (base.family, &base.table, &name))
}

fn finding(base: &Chain, (chain, handle, is_certain): &Hit, flowtable: &Flowtable) -> Finding {
    let puts = if *is_certain { "puts" } else { "may put" };
    Finding::new(
        format!(
            "rule {handle} of chain {} {} {chain} {puts} containers' connections into the flowtable {}",
            family_name(base.family),
            base.table,
            flowtable.name
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

    use super::super::fate::Place;
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// An expression with numbers as its attributes, from 1 on, and behind them data.
    fn expression(name: &str, numbers: &[u32], data: &[&[u8]]) -> (String, Vec<u8>) {
        let numbers = numbers.iter().map(|number| number.to_be_bytes().to_vec());
        let data = data.iter().map(|bytes| attribute(1, bytes));
        let attributes = (1..).zip(numbers.chain(data)).flat_map(|(kind, value)| attribute(kind, &value));
        (name.to_owned(), attributes.collect())
    }

    /// Numbers of linux/netfilter/nf_tables.h: the first register, a property and a mask of it, and what it is not.
    fn is_not(load: (&str, u32), mask: u32, other: u32) -> [(String, Vec<u8>); 3] {
        let [mask, zero, other] = [mask, 0, other].map(u32::to_ne_bytes);
        [
            expression(load.0, &[1, load.1], &[]),
            expression("bitwise", &[1, 1, 4], &[&mask, &zero]),
            expression("cmp", &[1, 1], &[&other]),
        ]
    }

    fn offload() -> (String, Vec<u8>) {
        ("flow_offload".to_owned(), attribute(1, b"fast\0"))
    }

    fn forward(expressions: Vec<(String, Vec<u8>)>) -> Chain {
        Chain {
            family: INET,
            table: "router".to_owned(),
            name: "forward".to_owned(),
            hook: Some(Hook { number: NF_INET_FORWARD, priority: 0, drops: false }),
            rules: vec![Rule { handle: 5, expressions }],
        }
    }

    fn hit(chain: &Chain, is_established: bool) -> Option<Hit> {
        let uplink = Place { index: 2, name: "eth0".to_owned(), group: 0 };
        let bridge = Place { index: 3, name: "ocinet0".to_owned(), group: 0x6f00_0001 };
        let transport = Transport { is_established, ..Transport::default() };
        let packet = Packet { is_ipv6: false, from: Some(&uplink), to: Some(&bridge), transport };
        fate::offloaded_by(&packet, chain, std::slice::from_ref(chain))
    }

    #[test]
    fn a_rule_that_puts_containers_connections_into_a_flowtable() {
        let established = || is_not(("ct", 0), 2, 0).to_vec();
        let chain = forward([established(), vec![offload()]].concat());
        assert_eq!(hit(&chain, false), None, "a connection's first packet");
        let found = hit(&chain, true).expect("an established connection's packet");
        assert_eq!(found, ("forward".to_owned(), 5, true));
        let of = |name: &str| Flowtable {
            family: INET,
            table: "router".to_owned(),
            name: name.to_owned(),
            links: vec!["eth0".to_owned()],
        };
        let flowtables = [of("slow"), of("fast")];
        let named = flowtable_of(std::slice::from_ref(&chain), &flowtables, &chain, &found);
        assert_eq!(named, Some(&flowtables[1]));
        let told = finding(&chain, &found, &flowtables[1]);
        assert_eq!(told.mend, ["nft delete rule inet router forward handle 5"]);
        // What doctor tells to begin the rule with.
        let exempt = is_not(("meta", 22), 0xff00_0000, 0x6f00_0000).to_vec();
        assert_eq!(hit(&forward([exempt, established(), vec![offload()]].concat()), true), None);
    }
}
