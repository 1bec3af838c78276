//! The marks of a packet and of its connection.

use super::*;

#[test]
fn the_first_rule_that_takes_the_mark_is_told() {
    let words = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_ne_bytes()).collect::<Vec<_>>();
    let mark = |mark, mask| vec![xtables("target", "MARK", &words(&[mark, mask]))];
    let connmark = |mask, mode| vec![xtables("target", "CONNMARK", &words(&[0, u32::MAX, mask, mode]))];
    let set = |mask, xor| vec![meta(3), bitwise(mask, xor), set_meta(3)];
    let perhaps_set = |mask, xor| of_somebody().into_iter().chain(set(mask, xor)).collect();
    let save = || vec![load(0x2000_0000), numbers("ct", &[(2, 3), (4, 8)])];
    for (says, rules, expected) in [
        ("no rule", vec![], None),
        ("mark set 1", vec![vec![], vec![load(1), set_meta(3)]], Some(2)),
        ("mark set mark | 1", vec![set(!1, 1)], None),
        ("mark set mark & 1", vec![set(1, 0), vec![load(0), set_meta(3)]], Some(1)),
        ("mark set ct mark", vec![vec![ct(3), set_meta(3)]], Some(1)),
        ("priority set 0", vec![vec![load(0), set_meta(2)]], None),
        ("iif eth0 mark set 1", vec![vec![meta(4), is(2), load(1), set_meta(3)]], None),
        ("-j MARK --set-mark 1", vec![mark(1, u32::MAX)], Some(1)),
        ("-j MARK --or-mark 1", vec![mark(1, 1)], None),
        ("-j MARK --xor-mark 0x20000000", vec![mark(0x2000_0000, 0)], Some(1)),
        ("ct mark set 0x20000000, -j CONNMARK --restore-mark", vec![save(), connmark(u32::MAX, 2)], None),
        ("perhaps mark | 1, perhaps mark | 2", vec![perhaps_set(!1, 1), perhaps_set(!2, 2)], None),
        ("perhaps mark | 1, -j MARK --or-mark 2", vec![perhaps_set(!1, 1), mark(2, 2)], None),
        ("-j CONNMARK --restore-mark", vec![connmark(u32::MAX, 2)], Some(1)),
        ("-j CONNMARK --restore-mark --nfmask 1", vec![connmark(1, 2)], None),
        ("-j CONNMARK --save-mark", vec![connmark(u32::MAX, 1)], None),
        ("accept, mark set 0", vec![vec![accept()], vec![load(0), set_meta(3)]], None),
    ] {
        let (from, to, base) = (from(), to(), base(false, &rules));
        let transport = Transport::default();
        let packet = Packet { is_ipv6: false, from: Some(&from), to: Some(&to), transport };
        let (_, unmarked) = of(&packet, &base, &[]);
        assert_eq!(unmarked, expected.map(|handle| ("forward".to_owned(), handle)), "{says}");
    }
}

#[test]
fn a_mark_that_a_rule_has_set_is_what_later_rules_see() {
    let rules = |mark| [vec![load(7), set_meta(3)], vec![meta(3), is(mark), drop()]];
    assert_eq!(fate(&rules(7)), Fate::Drops);
    assert_eq!(fate(&rules(0x2000_0000)), Fate::Passes);
}

#[test]
fn a_mark_that_a_rule_may_have_set_is_not_known() {
    let five = || vec![load(5), set_meta(3)];
    let marks = || of_somebody().into_iter().chain(five()).collect();
    let of_connection = || vec![load(7), numbers("ct", &[(2, 3), (4, 8)])];
    let is_marked = |load: fn(u32) -> Expression, mark| vec![load(3), is(mark), drop()];
    let chains = [chain("fives", &[five()]), chain("leaves", &[perhaps(leave()), five()])];
    for (says, rules, expected) in [
        ("perhaps mark set 5, mark 5", vec![marks(), is_marked(meta, 5)], Fate::MayDrop),
        ("perhaps mark set 5, mark 6", vec![marks(), is_marked(meta, 6)], Fate::MayDrop),
        ("perhaps jump fives, mark 5", vec![perhaps(jump("fives")), is_marked(meta, 5)], Fate::MayDrop),
        ("jump fives, mark 5", vec![vec![jump("fives")], is_marked(meta, 5)], Fate::Drops),
        ("leaves, marks 5, mark 5", vec![vec![jump("leaves")], is_marked(meta, 5)], Fate::MayDrop),
        ("ct mark set 7, ct mark 7", vec![of_connection(), is_marked(ct, 7)], Fate::Drops),
        ("ct mark set 7, ct mark 0", vec![of_connection(), is_marked(ct, 0)], Fate::Passes),
        (
            "perhaps ct mark set 7, ct mark 0",
            vec![of_somebody().into_iter().chain(of_connection()).collect(), is_marked(ct, 0)],
            Fate::MayDrop,
        ),
    ] {
        let found = fate_of(Transport::default(), false, &base(false, &rules), &chains);
        assert_eq!(found, expected, "{says}");
    }
}
