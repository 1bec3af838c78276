//! Routing rules that choose packets by more than their destination (ip-rule(8)).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ocinet_tests::lab::{DUAL, HOST4, HOST6, Lab, Server, WAN4, WAN6, ask_tcp};

use super::Ward;
use crate::{PATIENCE, SILENCE};

/// Rules that end something of a container's, what `doctor` says, and what still arrives of [`Asker::ask`].
///
/// Of their tables, 52 is a VPN's, which knows no containers; 53 to 55 lead nowhere.
const RULES: [(&str, &str, [bool; 3]); 16] = [
    ("iif lo lookup 52", "100 leads what the host sends to ", [false, true, true]),
    (
        "iif lo to SUBNET prohibit",
        "100 (prohibit) ends what the host sends to container web",
        [false, true, true],
    ),
    ("uidrange 0-0 lookup 52", "100 leads what is for ", [false, false, false]),
    ("not to ELSEWHERE lookup 52", "100 leads what is for ", [false, false, false]),
    ("not iif eth0 lookup 52", "100 leads what is for ", [false, true, true]),
    ("not iif eth0 prohibit", "100 (prohibit) ends what container web sends", [false, false, false]),
    ("not from ELSEWHERE prohibit", "100 (prohibit) ends what container web sends", [false, false, false]),
    ("not fwmark 5/15 prohibit", "100 (prohibit) ends what container web sends", [false, false, false]),
    ("lookup main suppress_prefixlength LENGTH", "101 leads what is for ", [false, false, false]),
    ("goto 102", "102 leads what is for ", [false, false, false]),
    ("not iif lo lookup 52", "100 leads what comes by eth0 for ", [true, false, false]),
    (
        "iif eth0 to SUBNET prohibit",
        "100 (prohibit) ends what comes by eth0 for container web",
        [true, false, false],
    ),
    ("from SUBNET lookup 53", "100 leads what container web sends to table 53", [false, false, false]),
    ("iif ocinet0 lookup 54", "100 leads what container web sends to table 54", [true, false, false]),
    ("from SUBNET lookup 55", "100 leads what container web sends to table 55", [false, false, false]),
    ("not iif lo lookup 53", "100 leads what container web sends to table 53", [true, false, false]),
];

/// Rules that concern nobody's container.
const OF_OTHERS: [&str; 13] = [
    "from HOST lookup 52",
    "from HOST prohibit",
    "oif eth0 lookup 52",
    "oif ocinet0 prohibit",
    "uidrange 1234-1234 lookup 52",
    "uidrange 1234-1234 prohibit",
    "fwmark 5 lookup 52",
    "fwmark 5 to SUBNET prohibit",
    "fwmark 5/15 prohibit",
    "not fwmark 0/5 lookup 53",
    "iif eth0 to ELSEWHERE prohibit",
    "iif lo to SUBNET ipproto udp dport 9 prohibit",
    "to SUBNET lookup main suppress_prefixlength 0",
];

/// A container that is asked in one family, and asks.
struct Asker {
    ward: Ward,
    ipv6: bool,
    _outside: Server,
}

impl Asker {
    fn new(ipv6: bool) -> Self {
        let ward = Ward::new("bridge");
        let outside = Server::tcp(&ward.lab.wan, 81, "outside");
        let asker = Self { ward, ipv6, _outside: outside };
        let (lan, router) = if ipv6 { ("2001:db8:1::/64", WAN6) } else { ("198.51.100.0/24", WAN4) };
        asker.ip(&format!("route add {lan} dev eth0 table 52"));
        asker.ip(&format!("route add default via {router} dev eth0 table 52"));
        asker.ip("route add blackhole default table 53");
        asker.ip("route add unreachable default table 54");
        for half in if ipv6 { ["::/1", "8000::/1"] } else { ["0.0.0.0/1", "128.0.0.0/1"] } {
            asker.ip(&format!("route add blackhole {half} table 55"));
        }
        asker
    }

    fn ip(&self, words: &str) {
        let (family, subnet, length, elsewhere, host) = if self.ipv6 {
            ("-6", "fd00:90::/64", "64", "2001:db8:99::7", HOST6)
        } else {
            ("-4", "10.90.0.0/16", "16", "192.0.2.77", HOST4)
        };
        let words = words.replace("SUBNET", subnet).replace("LENGTH", length);
        let words = words.replace("ELSEWHERE", elsewhere).replace("HOST", &host.to_string());
        self.ward.lab.host.ok(&["sh", "-c", &format!("ip {family} {words}")]);
    }

    /// Whether the host reaches the container, the neighbour its published port, and the container the outside.
    fn ask(&self, patience: Duration) -> [bool; 3] {
        let ward = &self.ward;
        let (host, router) = if self.ipv6 { (HOST6, WAN6) } else { (HOST4, WAN4) };
        let ask = |from, to: IpAddr, port| ask_tcp(from, SocketAddr::new(to, port), patience).is_some();
        [
            ask(&ward.lab.host, ward.web.address(self.ipv6), 80),
            ask(&ward.lab.peer, host, 8080),
            ask(&ward.web.net, router, 81),
        ]
    }
}

#[test]
#[ignore = "needs root"]
fn a_rule_that_leads_past_the_network_by_more_than_a_destination() {
    for ipv6 in [false, true] {
        let asker = Asker::new(ipv6);
        for (rule, says, mut arrives) in RULES {
            // The host asks by an address of the subnet; of IPv6, it looks up the way before it chooses that.
            arrives[0] |= ipv6 && rule.starts_with("from ");
            asker.ip(&format!("rule add priority 100 {rule}"));
            if rule.starts_with("lookup main") {
                asker.ip("rule add priority 101 lookup 52");
            }
            if rule.starts_with("goto") {
                asker.ip("rule add priority 101 lookup main");
                asker.ip("rule add priority 102 lookup 52");
            }
            println!("{rule}, IPv6: {ipv6}");
            assert_eq!(asker.ask(SILENCE), arrives);
            let fix = asker.ward.finds(&format!("the routing rule {says}"));
            assert!(fix.iter().all(|command| !command.contains("route del")), "{fix:?}");
            asker.ward.fix(&fix);
            assert_eq!(asker.ask(PATIENCE), [true; 3]);
            asker.ip("rule flush");
            asker.ip("rule add priority 32766 lookup main");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn rules_that_concern_no_container() {
    for ipv6 in [false, true] {
        let asker = Asker::new(ipv6);
        for rule in OF_OTHERS {
            asker.ip(&format!("rule add priority 100 {rule}"));
        }
        assert_eq!(asker.ask(PATIENCE), [true; 3]);
        asker.ward.is_sound();
    }
}

/// A rule that passes over routes by their link's group is not one of those that `doctor` understands.
#[test]
#[ignore = "needs root"]
fn a_rule_that_doctor_does_not_understand() {
    for ipv6 in [false, true] {
        let asker = Asker::new(ipv6);
        let group = asker.ward.lab.host.link("ocinet0").group;
        asker.ip("rule add priority 101 lookup 52");
        asker.ip(&format!("rule add priority 100 lookup main suppress_ifgroup {group}"));
        assert_eq!(asker.ask(SILENCE), [false; 3]);
        let look = asker.ward.finds("a routing rule that ocinet does not understand leads what is for ");
        assert_eq!(look, [if ipv6 { "ip -6 rule" } else { "ip rule" }]);
    }
}

/// The host forwards nothing of an internal network, and itself sends from its subnet.
#[test]
#[ignore = "needs root"]
fn a_rule_for_what_an_internal_network_sends() {
    let lab = Lab::new();
    let web = lab.attach("web", &[("net.driver", "bridge"), ("net.subnet", DUAL), ("net.internal", "true")]);
    let _server = Server::tcp(&web.net, 80, "web");
    let asks = |patience| ask_tcp(&lab.host, SocketAddr::new(web.address(false), 80), patience).is_some();
    let ip = |words: &str| lab.host.ok(&["sh", "-c", &format!("ip {words}")]);
    ip("route add blackhole default table 53");
    ip("rule add iif ocinet0 prohibit");
    ip("rule add iif ocinet0 lookup 53");
    assert!(asks(PATIENCE));
    assert_eq!(lab.run(&["doctor"], "").code, 0);
    for rule in ["prohibit", "lookup 53"] {
        ip(&format!("rule add priority 100 from 10.90.0.0/16 {rule}"));
        assert!(!asks(SILENCE));
        let said = lab.run(&["doctor"], "");
        let fix = said.stdout.lines().find_map(|line| line.strip_prefix("  $ ")).expect("a command");
        lab.host.ok(&["sh", "-c", fix]);
        assert!(asks(PATIENCE));
        assert_eq!(lab.run(&["doctor"], "").code, 0);
    }
}
