//! What chains of other tables do to what containers send and receive. An `accept` of ocinet's ends only its own say, so
//! that a packet needs that of every other program's chains as well.

use nix::libc;
use ocinet_shared::kernel::nft::chains::{Chain, INET, IPV4, IPV6};
use ocinet_shared::kernel::sysctl;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::element::Set;
use ocinet_shared::model::record::Record;
use ocinet_shared::quoted::{nft, nft_name, word};

use super::context::DoctorContext;
use super::fate;
use super::fate::Fate;
use super::finding::{Finding, add};
use super::forwarding::name;
use super::packet::{Packet, Place, Transport};
use crate::error::Error;

// Numbers of linux/netfilter.h.
pub(super) const NF_INET_FORWARD: u32 = libc::NF_INET_FORWARD.cast_unsigned();
const NF_INET_POST_ROUTING: u32 = libc::NF_INET_POST_ROUTING.cast_unsigned();

/// Whether other forward chains drop what is for containers, or from them.
pub(super) fn forward(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for chain in others(context, NF_INET_FORWARD) {
        let (fate, links) = routed_by(context, chain);
        if fate > Fate::Passes {
            findings.push(Finding {
                what: format!("chain {} {} what containers send or receive", full_name(chain), verb(fate)),
                why: format!(
                    "it belongs to {}, and is asked besides ocinet's; ocinet keeps closed what is not published{}",
                    owner(context, chain),
                    trusted_zone_warning(chain)
                ),
                fix: links.iter().flat_map(|link| acceptance(context, chain, link)).collect(),
            });
        }
    }
    Ok(findings)
}

/// The worst that a forward chain does to what passes between containers and the outside, and by which links.
fn routed_by(context: &DoctorContext, chain: &Chain) -> (Fate, Vec<String>) {
    let mut worst = Fate::Passes;
    let mut links = Vec::new();
    for (family, place, lets_in) in routed_places(context) {
        let outside = context.default_link(family).map(outside);
        let (is_ipv6, outside) = (family == Family::Ipv6, outside.as_ref());
        let sent = Packet { is_ipv6, from: Some(&place), to: outside, transport: Transport::default() };
        let received = lets_in.iter().map(|is_published| Packet {
            is_ipv6,
            from: outside,
            to: Some(&place),
            transport: Transport { is_translated: *is_published, ..Transport::default() },
        });
        let packets: Vec<Packet> = received.chain([sent.clone()]).collect();
        let fate = worst_of(context, chain, family, &packets);
        if fate > Fate::Passes && !links.contains(&place.name) {
            links.push(place.name);
        }
        worst = worst.max(fate);
    }
    (worst, links)
}

fn verb(fate: Fate) -> &'static str {
    if fate == Fate::Drops { "drops" } else { "may drop" }
}

/// With `br_netfilter`, frames between two containers on one bridge pass the forward chains as well.
pub(super) fn bridged(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for family in Family::ALL {
        let setting = match family {
            Family::Ipv4 => "net/bridge/bridge-nf-call-iptables",
            Family::Ipv6 => "net/bridge/bridge-nf-call-ip6tables",
        };
        if sysctl::read(setting).as_deref() != Some("1") {
            continue;
        }
        let bridges: Vec<Place> = context
            .routed()
            .filter(|network| network.bridge().is_some() && network.subnet(family).is_some())
            .flat_map(|network| context.places(network))
            .collect();
        for chain in others(context, NF_INET_FORWARD) {
            // What lets routed packets through lets these through as well.
            if routed_by(context, chain).0 > Fate::Passes {
                continue;
            }
            let fates = bridges.iter().map(|bridge| {
                let (is_ipv6, at) = (family == Family::Ipv6, Some(bridge));
                let packet = Packet { is_ipv6, from: at, to: at, transport: Transport::default() };
                (worst_of(context, chain, family, &[packet]), &bridge.name)
            });
            if let Some((fate, bridge)) = fates.max().filter(|(fate, _)| *fate > Fate::Passes) {
                findings.push(Finding::new(
                    format!(
                        "chain {} {} {} between containers on {bridge}",
                        full_name(chain),
                        verb(fate),
                        name(family)
                    ),
                    "br_netfilter shows the host's forward chains also what a bridge does not route",
                    format!("sysctl -w {setting}=0"),
                ));
            }
        }
    }
    Ok(findings)
}

/// Whether a later chain takes the mark away by which ocinet's filters know what was let in.
pub(super) fn marks(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings: Vec<Finding> = Vec::new();
    let later = others(context, NF_INET_FORWARD).filter(|chain| priority(chain) > 0);
    for base in later.chain(others(context, NF_INET_POST_ROUTING)) {
        for (family, place, _) in routed_places(context) {
            let from = context.default_link(family).map(outside);
            let transport = Transport::default();
            let is_ipv6 = family == Family::Ipv6;
            let packet = Packet { is_ipv6, from: from.as_ref(), to: Some(&place), transport };
            if !serves(base, family) {
                continue;
            }
            let Some((chain, handle)) = fate::of(&packet, base, &context.chains).1 else { continue };
            let table = format!("{} {}", family_name(base.family), base.table);
            let finding = Finding::new(
                format!(
                    "rule {handle} of chain {table} {chain} takes away the mark of what is let in to {}",
                    place.name
                ),
                "the filters on containers' links let in only what has the bit 0x20000000 of the mark; a rule may set other bits, with a mask",
                format!("nft delete rule {} {} handle {handle}", table_in_nft(base), nft_name(&chain)),
            );
            add(&mut findings, finding);
        }
    }
    Ok(findings)
}

/// Base chains of others at a hook.
pub(super) fn others(context: &DoctorContext, hook: u32) -> impl Iterator<Item = &Chain> {
    context.chains.iter().filter(move |chain| {
        chain.table != "ocinet"
            && [INET, IPV4, IPV6].contains(&chain.family)
            && chain.hook.is_some_and(|at| at.number == hook)
    })
}

pub(super) fn priority(chain: &Chain) -> i32 {
    chain.hook.map_or(0, |hook| hook.priority)
}

/// Every link by which the host routes for containers, and what ocinet lets in by it: published ports (`true`), and
/// everything (`false`).
pub(super) fn routed_places(context: &DoctorContext) -> Vec<(Family, Place, Vec<bool>)> {
    let mut places = Vec::new();
    // Nothing passes between an internal network and the outside anyhow.
    for network in context.routed().filter(|network| !network.internal) {
        let mut lets_in = Vec::new();
        if context.records.iter().any(|record| record.ports().next().is_some()) {
            lets_in.push(true);
        }
        let is_on = |record: &&Record| record.attachments.iter().any(|own| own.network == network.name);
        let of_network = context.owners().filter(is_on).flat_map(Record::elements);
        if of_network.into_iter().any(|element| matches!(element.set, Set::Inbound4 | Set::Inbound6)) {
            lets_in.push(false);
        }
        for subnet in network.subnets() {
            let of_family = |place| (subnet.family(), place, lets_in.clone());
            places.extend(context.places(network).into_iter().map(of_family));
        }
    }
    places
}

pub(super) fn outside(link: &ocinet_shared::kernel::link::Link) -> Place {
    Place { index: link.index, name: link.name.clone(), group: 0 }
}

pub(super) fn serves(chain: &Chain, family: Family) -> bool {
    chain.family == INET || chain.family == if family == Family::Ipv4 { IPV4 } else { IPV6 }
}

fn worst_of(context: &DoctorContext, chain: &Chain, family: Family, packets: &[Packet]) -> Fate {
    if !serves(chain, family) {
        return Fate::Passes;
    }
    packets.iter().map(|packet| fate::of(packet, chain, &context.chains).0).max().unwrap_or(Fate::Passes)
}

pub(super) fn family_name(family: u8) -> &'static str {
    match family {
        IPV4 => "ip",
        IPV6 => "ip6",
        _ => "inet",
    }
}

pub(super) fn full_name(chain: &Chain) -> String {
    format!("{} {} {}", family_name(chain.family), chain.table, chain.name)
}

/// Its table as commands of nft name it.
pub(super) fn table_in_nft(chain: &Chain) -> String {
    format!("{} {}", family_name(chain.family), nft_name(&chain.table))
}

fn has(context: &DoctorContext, chain: &Chain, name: &str) -> bool {
    context
        .chains
        .iter()
        .any(|other| (other.family, &other.table, other.name.as_str()) == (chain.family, &chain.table, name))
}

fn is_iptables(chain: &Chain) -> bool {
    chain.table == "filter" && chain.name == "FORWARD" && chain.family != INET
}

fn is_ufw(context: &DoctorContext, chain: &Chain) -> bool {
    has(context, chain, "ufw-before-forward") || has(context, chain, "ufw6-before-forward")
}

fn owner(context: &DoctorContext, chain: &Chain) -> &'static str {
    if chain.table == "firewalld" {
        "firewalld"
    } else if !is_iptables(chain) {
        "another program or to the administrator"
    } else if is_ufw(context, chain) {
        "ufw"
    } else if has(context, chain, "DOCKER-USER") || has(context, chain, "DOCKER") {
        "Docker"
    } else {
        "iptables"
    }
}

/// What the commands open besides the way through the host.
fn trusted_zone_warning(chain: &Chain) -> &'static str {
    if chain.table == "firewalld" {
        ". In the zone trusted, the containers reach every service of the host; a zone or a policy of your own is narrower"
    } else {
        ""
    }
}

/// The commands by which the chain's owner lets a link's packets through.
fn acceptance(context: &DoctorContext, chain: &Chain, link: &str) -> Vec<String> {
    let both = |command: &dyn Fn(&str, &str) -> String| vec![command("in", link), command("out", link)];
    if chain.table == "firewalld" {
        // The one now, the other for every reload and boot; a reload would empty its tables meanwhile. A container's own link has
        // another name at every start.
        let is_of_one = context
            .attachments()
            .any(|(_, of)| of.host_interface.as_ref().is_some_and(|end| end.as_str() == link));
        let when = if is_of_one { &[""][..] } else { &["", "--permanent "] };
        return when
            .iter()
            .map(|when| format!("firewall-cmd {when}--zone=trusted --change-interface={}", word(link)))
            .collect();
    }
    if !is_iptables(chain) {
        let (table, name) = (table_in_nft(chain), nft_name(&chain.name));
        return both(&|direction, link| {
            let key = if direction == "in" { "iifname" } else { "oifname" };
            format!("nft insert rule {table} {name} {key} {} accept", nft(link))
        });
    }
    if is_ufw(context, chain) {
        return both(&|direction, link| format!("ufw route allow {direction} on {}", word(link)));
    }
    let program = if chain.family == IPV4 { "iptables" } else { "ip6tables" };
    let to = if has(context, chain, "DOCKER-USER") { "DOCKER-USER" } else { "FORWARD" };
    both(&|direction, link| format!("{program} -I {to} -{} {} -j ACCEPT", &direction[..1], word(link)))
}
