//! The rules here are made of the expressions that `nft --debug=netlink` shows for the rule in the comment or the name
//! of the case. Numbers are those of linux/netfilter/nf_tables.h, written out: a wrong constant above must show.

mod expressions;
mod marks;

use ocinet_shared::kernel::nft::chains::{Hook, INET};

use super::*;
use crate::diagnose::doctor::packet::Transport;
use expressions::*;

/// Nobody knows here from where a packet is: `ip saddr 192.0.2.1`.
fn of_somebody() -> [Expression; 2] {
    [payload(1, 12, 4), cmp(0, &[192, 0, 2, 1])]
}

/// A condition that may hold or not, and then something.
fn perhaps(then: Expression) -> Vec<Expression> {
    of_somebody().into_iter().chain([then]).collect()
}

/// A chain of `table inet filter`, whose rules are numbered from 1.
fn chain(name: &str, rules: &[Vec<Expression>]) -> Chain {
    let rules = rules
        .iter()
        .zip(1..)
        .map(|(expressions, handle)| Rule { handle, expressions: expressions.clone() })
        .collect();
    Chain { family: INET, table: "filter".to_owned(), name: name.to_owned(), hook: None, rules }
}

fn base(drops: bool, rules: &[Vec<Expression>]) -> Chain {
    Chain { hook: Some(Hook { number: 2, priority: 0, drops }), ..chain("forward", rules) }
}

fn from() -> Place {
    Place { index: 4, name: "ocinet0".to_owned(), group: 7 }
}

fn to() -> Place {
    Place { index: 2, name: "eth0".to_owned(), group: 0 }
}

/// What becomes of the packet that the cases look at: a connection's first, from `ocinet0` to `eth0`.
fn fate_of(transport: Transport, is_ipv6: bool, base: &Chain, others: &[Chain]) -> Fate {
    let (from, to) = (from(), to());
    let packet = Packet { is_ipv6, from: Some(&from), to: Some(&to), transport };
    of(&packet, base, others).0
}

fn fate(rules: &[Vec<Expression>]) -> Fate {
    fate_of(Transport::default(), false, &base(false, rules), &[])
}

#[test]
fn what_no_rule_decides_is_for_the_policy() {
    for (drops, expected) in [(false, Fate::Passes), (true, Fate::Drops)] {
        for rules in [&[][..], &[vec![numbers("counter", &[])]], &[vec![is_known(false), drop()]]] {
            let found = fate_of(Transport::default(), false, &base(drops, rules), &[]);
            assert_eq!(found, expected, "{rules:?}");
        }
        // A chain that is only jumped to has no policy.
        assert_eq!(fate_of(Transport::default(), false, &chain("other", &[]), &[]), Fate::Passes);
    }
}

/// What `iptables-nft` writes for `-m frag`, which a connection's first packet never is, or for a comment.
fn is_known(holds: bool) -> Expression {
    xtables("match", if holds { "comment" } else { "frag" }, &[0; 4])
}

#[test]
fn a_condition_holds_does_not_or_may() {
    let name = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(16, 0);
        bytes
    };
    for (says, conditions, expected) in [
        ("meta mark 0x20000000", vec![meta(3), is(0x2000_0000)], Fate::Drops),
        ("meta mark 7", vec![meta(3), is(7)], Fate::Passes),
        ("meta mark & 0xff 0", vec![meta(3), bitwise(0xff, 0), is(0)], Fate::Drops),
        (
            "meta mark | 1 != 0x20000001",
            vec![meta(3), bitwise(!1, 1), cmp(1, &[1, 0, 0, 0x20])],
            Fate::Passes,
        ),
        ("iif 4", vec![meta(4), is(4)], Fate::Drops),
        ("iif 2", vec![meta(4), is(2)], Fate::Passes),
        ("oif 2", vec![meta(5), is(2)], Fate::Drops),
        ("oif 4", vec![meta(5), is(4)], Fate::Passes),
        ("iifname \"ocinet0\"", vec![meta(6), cmp(0, &name("ocinet0"))], Fate::Drops),
        ("iifname \"ocinet\"", vec![meta(6), cmp(0, &name("ocinet"))], Fate::Passes),
        ("iifname \"ocinet*\"", vec![meta(6), cmp(0, b"ocinet")], Fate::Drops),
        ("iifname != \"docker*\"", vec![meta(6), cmp(1, b"docker")], Fate::Drops),
        ("oifname \"eth0\"", vec![meta(7), cmp(0, &name("eth0"))], Fate::Drops),
        ("oifname \"ocinet0\"", vec![meta(7), cmp(0, &name("ocinet0"))], Fate::Passes),
        ("iifgroup 7", vec![meta(20), is(7)], Fate::MayDrop),
        ("iifgroup 7", vec![meta(21), is(7)], Fate::Drops),
        ("iifgroup 0", vec![meta(21), is(0)], Fate::Passes),
        ("oifgroup 0", vec![meta(22), is(0)], Fate::Drops),
        ("oifgroup 7", vec![meta(22), is(7)], Fate::Passes),
        ("meta skuid 0", vec![meta(10), is(0)], Fate::MayDrop),
        ("mark > 5", vec![meta(3), cmp(4, &[0; 4])], Fate::MayDrop),
        ("ip saddr 192.0.2.1", of_somebody().to_vec(), Fate::MayDrop),
        ("ip saddr @somebody", vec![payload(1, 12, 4), numbers("lookup", &[(2, 8)])], Fate::MayDrop),
        ("what nobody here has heard of", vec![numbers("novelty", &[(1, 8)])], Fate::MayDrop),
        ("limit rate 5/second", vec![numbers("limit", &[(2, 5)])], Fate::MayDrop),
        ("counter log", vec![numbers("counter", &[]), numbers("log", &[])], Fate::Drops),
        ("two of which one does not hold", vec![of_somebody()[0].clone(), meta(4), is(2)], Fate::Passes),
        ("-m comment", vec![is_known(true)], Fate::Drops),
        ("-m frag", vec![is_known(false)], Fate::Passes),
        ("-m string", vec![xtables("match", "string", &[])], Fate::MayDrop),
    ] {
        let rule = conditions.into_iter().chain([drop()]).collect();
        assert_eq!(fate(&[rule]), expected, "{says}");
    }
}

/// The number of the connection's mark is 3; 1 is its direction.
#[test]
fn a_new_connection_has_no_mark_and_an_established_one_has_any() {
    let established = Transport { is_established: true, ..Transport::default() };
    let translated = Transport { is_translated: true, ..Transport::default() };
    let masked = |key, mask| vec![ct(key), bitwise(mask, 0), cmp(1, &[0; 4]), drop()];
    for (says, rule, [new, of_established, of_translated]) in [
        ("ct mark 7", vec![ct(3), is(7), drop()], [Fate::Passes, Fate::MayDrop, Fate::Passes]),
        ("ct mark 0", vec![ct(3), is(0), drop()], [Fate::Drops, Fate::MayDrop, Fate::Drops]),
        ("ct direction original", vec![ct(1), is(0), drop()], [Fate::MayDrop; 3]),
        ("ct state new", masked(0, 8), [Fate::Drops, Fate::Passes, Fate::Drops]),
        ("ct state established,related", masked(0, 6), [Fate::Passes, Fate::Drops, Fate::Passes]),
        ("ct state invalid", masked(0, 1), [Fate::Passes; 3]),
        ("ct status dnat", masked(2, 0x20), [Fate::Passes, Fate::MayDrop, Fate::Drops]),
        ("ct expiration", vec![ct(5), is(0), drop()], [Fate::MayDrop; 3]),
    ] {
        let base = base(false, &[rule]);
        let of = |transport| fate_of(transport, false, &base, &[]);
        assert_eq!(of(Transport::default()), new, "{says}");
        assert_eq!(of(established), of_established, "{says}, established");
        assert_eq!(of(translated), of_translated, "{says}, translated");
    }
}

#[test]
fn a_rule_of_one_family_does_not_meet_packets_of_the_other() {
    let base = base(false, &[vec![meta(15), cmp(0, &[10]), drop()]]);
    for (is_ipv6, expected) in [(true, Fate::Drops), (false, Fate::Passes)] {
        assert_eq!(fate_of(Transport::default(), is_ipv6, &base, &[]), expected);
    }
    let base = self::base(false, &[vec![meta(15), cmp(0, &[2]), drop()]]);
    for (is_ipv6, expected) in [(true, Fate::Passes), (false, Fate::Drops)] {
        assert_eq!(fate_of(Transport::default(), is_ipv6, &base, &[]), expected);
    }
    // `rt type 0`, and a question whether the header is there, and an option of TCP.
    let header = |flags: &[(u16, u32)]| {
        let fixed = [(1, 8), (2, 43), (3, 2), (4, 1)];
        fate(&[vec![numbers("exthdr", &[&fixed, flags].concat()), cmp(0, &[0]), drop()]])
    };
    assert_eq!(header(&[]), Fate::Passes);
    assert_eq!(header(&[(5, 1)]), Fate::MayDrop);
    assert_eq!(header(&[(6, 1)]), Fate::MayDrop);
}

#[test]
fn a_rule_about_a_port_meets_packets_to_that_port() {
    let to_port = |protocol, port| Transport {
        protocol: Some(protocol),
        destination: Some(port),
        ..Transport::default()
    };
    // `tcp dport 80 drop`
    let rule = vec![meta(16), cmp(0, &[6]), payload(2, 2, 2), cmp(0, &80_u16.to_be_bytes()), drop()];
    let base = base(false, &[rule]);
    for (transport, expected) in [
        (to_port(6, 80), Fate::Drops),
        (to_port(6, 81), Fate::Passes),
        (to_port(17, 80), Fate::Passes),
        (Transport::default(), Fate::MayDrop),
    ] {
        assert_eq!(fate_of(transport, false, &base, &[]), expected, "{transport:?}");
    }
    // `th sport 80` and `ip saddr` are not about the destination.
    for other in [payload(2, 0, 2), payload(1, 2, 2), payload(2, 2, 4)] {
        let base = self::base(false, &[vec![other, cmp(0, &80_u16.to_be_bytes()), drop()]]);
        assert_eq!(fate_of(to_port(6, 80), false, &base, &[]), Fate::MayDrop);
    }
}

#[test]
fn the_first_rule_that_decides_ends_the_chain() {
    let drops = || vec![drop()];
    for (says, rules, [open, closed]) in [
        ("accept", vec![vec![accept()], drops()], [Fate::Passes; 2]),
        ("drop", vec![drops(), vec![accept()]], [Fate::Drops; 2]),
        ("perhaps accept, drop", vec![perhaps(accept()), drops()], [Fate::MayDrop; 2]),
        ("perhaps accept", vec![perhaps(accept())], [Fate::Passes, Fate::MayDrop]),
        ("perhaps drop", vec![perhaps(drop())], [Fate::MayDrop, Fate::Drops]),
        ("perhaps drop, accept", vec![perhaps(drop()), vec![accept()]], [Fate::MayDrop; 2]),
        ("return", vec![vec![leave()], drops()], [Fate::Passes, Fate::Drops]),
        ("continue", vec![vec![decide(-1, "")], drops()], [Fate::Drops; 2]),
        (
            "a map of verdicts",
            vec![vec![numbers("lookup", &[(2, 8), (3, 0)])]],
            [Fate::Passes, Fate::MayDrop],
        ),
        ("reject", vec![vec![reject(0, 1)]], [Fate::Drops; 2]),
        ("masquerade", vec![vec![numbers("masq", &[])], drops()], [Fate::Passes; 2]),
        ("-j DROP", vec![vec![xtables("target", "DROP", &[])]], [Fate::Drops; 2]),
        ("-j REJECT", vec![vec![xtables("target", "REJECT", &[])]], [Fate::Drops; 2]),
        ("-j DNAT", vec![vec![xtables("target", "DNAT", &[])], drops()], [Fate::Passes; 2]),
        ("-j LOG", vec![vec![xtables("target", "LOG", &[])], drops()], [Fate::Drops; 2]),
    ] {
        let of = |policy| fate_of(Transport::default(), false, &base(policy, &rules), &[]);
        assert_eq!([of(false), of(true)], [open, closed], "{says}");
    }
}

#[test]
fn a_jump_comes_back_and_a_goto_does_not() {
    let chains = [
        chain("drops", &[vec![drop()]]),
        chain("accepts", &[vec![accept()]]),
        chain("returns", &[vec![leave()], vec![drop()]]),
        chain("nothing", &[]),
        chain("through", &[vec![jump("drops")]]),
        chain("itself", &[vec![jump("itself")]]),
    ];
    for (says, first, expected) in [
        ("jump drops", vec![jump("drops")], Fate::Drops),
        ("jump accepts", vec![jump("accepts")], Fate::Passes),
        ("jump returns", vec![jump("returns")], Fate::Drops),
        ("jump nothing", vec![jump("nothing")], Fate::Drops),
        ("jump through", vec![jump("through")], Fate::Drops),
        ("jump to itself", vec![jump("itself")], Fate::Drops),
        ("jump to nowhere", vec![jump("nowhere")], Fate::Drops),
        ("goto accepts", vec![goto("accepts")], Fate::Passes),
        ("goto nothing", vec![goto("nothing")], Fate::Passes),
        ("goto returns", vec![goto("returns")], Fate::Passes),
        ("perhaps jump accepts", perhaps(jump("accepts")), Fate::MayDrop),
    ] {
        let base = base(false, &[first, vec![drop()]]);
        assert_eq!(fate_of(Transport::default(), false, &base, &chains), expected, "{says}");
    }
    let base = base(false, &[perhaps(jump("through"))]);
    assert_eq!(fate_of(Transport::default(), false, &base, &chains), Fate::MayDrop);
}

#[test]
fn what_stands_behind_a_rule_that_may_leave_the_chain_may_decide() {
    let chains = [
        chain("leaves", &[perhaps(leave()), vec![drop()]]),
        chain("nothing", &[]),
        chain("drops", &[vec![drop()]]),
    ];
    let drops = || vec![drop()];
    for (says, rules, [open, closed]) in [
        ("perhaps return, drop", vec![perhaps(leave()), drops()], [Fate::MayDrop, Fate::Drops]),
        ("perhaps return, accept", vec![perhaps(leave()), vec![accept()]], [Fate::Passes, Fate::MayDrop]),
        (
            "perhaps return, accept, drop",
            vec![perhaps(leave()), vec![accept()], drops()],
            [Fate::Passes, Fate::MayDrop],
        ),
        ("jump leaves", vec![vec![jump("leaves")]], [Fate::MayDrop, Fate::Drops]),
        ("jump leaves, accept", vec![vec![jump("leaves")], vec![accept()]], [Fate::MayDrop; 2]),
        ("perhaps goto drops, drop", vec![perhaps(goto("drops")), drops()], [Fate::Drops; 2]),
        ("perhaps goto nothing, drop", vec![perhaps(goto("nothing")), drops()], [Fate::MayDrop, Fate::Drops]),
        (
            "perhaps return, goto leaves",
            vec![perhaps(leave()), vec![goto("leaves")]],
            [Fate::MayDrop, Fate::Drops],
        ),
        ("queue", vec![vec![numbers("queue", &[(1, 0)])]], [Fate::MayDrop; 2]),
        ("queue, drop", vec![vec![numbers("queue", &[(1, 0)])], drops()], [Fate::MayDrop; 2]),
        ("-j NFQUEUE", vec![vec![xtables("target", "NFQUEUE", &[])], drops()], [Fate::MayDrop; 2]),
    ] {
        let of = |policy| fate_of(Transport::default(), false, &base(policy, &rules), &chains);
        assert_eq!([of(false), of(true)], [open, closed], "{says}");
    }
}

#[test]
fn a_jump_stays_in_its_own_table() {
    let other = Chain { table: "other".to_owned(), ..chain("next", &[vec![drop()]]) };
    let ipv6 = Chain { family: IPV6, ..chain("next", &[vec![drop()]]) };
    let own = chain("next", &[vec![accept()]]);
    let base = base(false, &[vec![jump("next")]]);
    assert_eq!(fate_of(Transport::default(), false, &base, &[other.clone(), ipv6.clone()]), Fate::Passes);
    let drops = chain("next", &[vec![drop()]]);
    assert_eq!(fate_of(Transport::default(), false, &base, &[other.clone(), drops]), Fate::Drops);
    assert_eq!(fate_of(Transport::default(), false, &base, &[other, ipv6, own]), Fate::Passes);
}

/// firewalld rejects IPv4 addresses inside of IPv6's so. Containers have none of these.
#[test]
fn an_answer_that_nobody_is_there_is_for_addresses_that_nobody_has() {
    for (rule, is_ipv6, expected) in [
        (perhaps(reject(0, 3)), true, Fate::Passes),
        (perhaps(reject(0, 3)), false, Fate::MayDrop),
        (perhaps(reject(0, 1)), true, Fate::MayDrop),
        (perhaps(reject(1, 3)), true, Fate::MayDrop),
        (vec![reject(0, 3)], true, Fate::Drops),
    ] {
        let base = base(false, std::slice::from_ref(&rule));
        assert_eq!(fate_of(Transport::default(), is_ipv6, &base, &[]), expected, "{rule:?}");
    }
}

/// `iifname map { … }` puts what it finds where the name was.
#[test]
fn what_nobody_knows_about_is_not_what_was_in_the_register_before() {
    for unknown in [numbers("lookup", &[(2, 8), (3, 8)]), numbers("byteorder", &[(1, 8), (2, 8)])] {
        assert_eq!(fate(&[vec![meta(4), unknown.clone(), is(4), drop()]]), Fate::MayDrop);
        assert_eq!(fate(&[vec![meta(4), unknown, is(5), drop()]]), Fate::MayDrop);
    }
}

#[test]
fn the_first_rule_that_keeps_a_packet_from_tracking_is_told() {
    let notrack = || numbers("notrack", &[]);
    let other = chain("other", &[vec![], vec![notrack()]]);
    for (says, rules, expected) in [
        ("none", vec![vec![accept()]], None),
        ("notrack", vec![vec![notrack()], vec![notrack()]], Some(("forward", 1, true))),
        ("perhaps", vec![vec![], perhaps(notrack())], Some(("forward", 2, false))),
        ("perhaps return, notrack", vec![perhaps(leave()), vec![notrack()]], Some(("forward", 2, false))),
        ("perhaps jump other", vec![perhaps(jump("other"))], Some(("other", 2, false))),
        ("iif eth0 notrack", vec![vec![meta(4), is(2), notrack()]], None),
        ("jump other", vec![vec![jump("other")]], Some(("other", 2, true))),
        ("accept, notrack", vec![vec![accept()], vec![notrack()]], None),
        ("-j CT --notrack", vec![vec![xtables("target", "CT", &[1, 0])]], Some(("forward", 1, true))),
        ("-j CT --zone 1", vec![vec![xtables("target", "CT", &[0, 0])]], None),
        ("-j NOTRACK", vec![vec![xtables("target", "NOTRACK", &[])]], Some(("forward", 1, true))),
    ] {
        let packet =
            Packet { is_ipv6: false, from: Some(&from()), to: None, transport: Transport::default() };
        let found = untracked_by(&packet, &base(false, &rules), std::slice::from_ref(&other));
        let expected = expected.map(|(chain, handle, is_sure)| (chain.to_owned(), handle, is_sure));
        assert_eq!(found, expected, "{says}");
    }
}

#[test]
fn every_rule_that_offloads_a_connection_is_told() {
    let offload = |name: &str| expression("flow_offload", |request| request.with_text(1, name));
    let rules = [vec![offload("fast")], perhaps(offload("slow")), vec![meta(4), is(2), offload("none")]];
    let packet = Packet { is_ipv6: false, from: Some(&from()), to: None, transport: Transport::default() };
    let found = offloaded_by(&packet, &base(false, &rules), &[]);
    let hit = |handle, is_sure| ("forward".to_owned(), handle, is_sure);
    assert_eq!(found, [(hit(1, true), "fast".to_owned()), (hit(2, false), "slow".to_owned())]);
}

#[test]
fn a_link_that_is_not_known_is_not_compared() {
    let packet = Packet { is_ipv6: false, from: None, to: None, transport: Transport::default() };
    for key in [4, 5, 6, 7, 21, 22] {
        let base = base(false, &[vec![meta(key), is(0), drop()]]);
        assert_eq!(of(&packet, &base, &[]).0, Fate::MayDrop, "{key}");
    }
}

/// Four registers of 4 bytes are one of 16 bytes: register 1 is also number 8.
#[test]
fn a_register_is_found_by_both_of_its_numbers() {
    let into_first = numbers("meta", &[(1, 1), (2, 4)]);
    assert_eq!(fate(&[vec![into_first, is(4), drop()]]), Fate::Drops);
    let into_second = numbers("meta", &[(1, 2), (2, 4)]);
    assert_eq!(fate(&[vec![into_second, is(4), drop()]]), Fate::MayDrop);
}
