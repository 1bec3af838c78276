//! Rules and filters cover for each other. Each holds the attacks alone, and each rule has a test that fails without it.

use std::collections::BTreeSet;
use std::process::Stdio;

use ocinet_tests::guards::{Held, Rule, base, read_page, rules};
use ocinet_tests::lab::{Forwarding, Lab, command};

use crate::disguise::Guards;
use crate::flushed::{Cast, no_hits};

/// Runs the attacks on hosts that forwarded before and not, with br_netfilter's hand on bridges and without.
fn attacks_on(driver: &str) {
    for guards in [Guards::Rules, Guards::Filters] {
        for forwarding in [Forwarding::Off, Forwarding::Unchecked] {
            for calls in ["1", "0"] {
                println!("{guards:?}, {forwarding:?}, bridge-nf-call {calls}");
                let lab = Lab::with(forwarding);
                lab.obey_source_routes();
                for setting in ["iptables", "ip6tables", "arptables"] {
                    lab.host.sysctl(&format!("bridge/bridge-nf-call-{setting}"), calls);
                }
                let cast = Cast::new(&lab, driver);
                guards.alone(&lab, &cast.links());
                no_way_back_is_checked(&lab);
                no_hits(&cast.stage(&lab), |round| round < 3);
            }
        }
    }
}

/// The kernel's own check of the way back would drop some of the lies, where it is on.
pub(crate) fn no_way_back_is_checked(lab: &Lab) {
    lab.host.ok(&[
        "sh",
        "-c",
        "for setting in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$setting; done",
    ]);
}

#[test]
#[ignore = "needs root"]
fn rules_and_filters_each_hold_the_attacks_alone_on_a_bridge() {
    attacks_on("bridge");
}

#[test]
#[ignore = "needs root"]
fn rules_and_filters_each_hold_the_attacks_alone_on_veths() {
    attacks_on("veth");
}

#[test]
#[ignore = "needs root"]
fn rules_and_filters_each_hold_the_attacks_alone_on_an_overlay() {
    attacks_on("vxlan");
}

/// `make mutants` runs these tests without the rules.
#[test]
fn every_rule_has_a_test_that_holds_it() {
    let guards = read_page();
    let of = |rule: &Rule| format!("{} {}: {}", rule.family, rule.chain, rule.text);
    let named: BTreeSet<String> = guards.iter().map(|guard| of(&guard.rule)).collect();
    let there: BTreeSet<String> = rules(&base()).iter().map(of).collect();
    let missing: Vec<_> = there.difference(&named).collect();
    let gone: Vec<_> = named.difference(&there).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not in docs/guards.md: {missing:#?}\nno rules: {gone:#?}"
    );
    let own = std::env::current_exe().unwrap();
    let listed = command(own).args(["--list", "--format=terse"]).stdout(Stdio::piped()).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let tests: BTreeSet<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    for guard in &guards {
        let is_there = match &guard.held {
            Held::By(test) => tests.contains(test.as_str()),
            // A reason has some words.
            Held::ByNone(reason) => reason.split(' ').count() > 5,
        };
        assert!(is_there, "{}: there is no {}", guard.rule.text, guard.held);
    }
}
