//! What other programs' rules do.

use ocinet_tests::lab::{Server, ask_tcp, reaches_nobody};

use super::Ward;
use crate::PATIENCE;

fn load(ward: &Ward, rules: &str) {
    ward.lab.host.ok(&["nft", &rules.replace("} ", "}\n")]);
}

#[test]
#[ignore = "needs root"]
fn a_forward_chain_of_another_table_that_drops() {
    for (driver, policy) in [("bridge", "drop"), ("veth", "drop"), ("bridge", "accept")] {
        let ward = Ward::new(driver);
        let last = if policy == "drop" { "" } else { "reject;" };
        load(
            &ward,
            &format!(
                "table inet site {{ chain forward {{ type filter hook forward priority 10; policy {policy}; \
                 ct state established,related accept; ct state invalid drop; iifname \"lo\" accept; {last} }} }}"
            ),
        );
        ward.is_silent(false);
        ward.is_silent(true);
        let fix = ward.finds("chain inet site forward drops");
        assert_eq!(fix.len(), 2, "{fix:?}");
        ward.fix(&fix);
    }
}

#[test]
#[ignore = "needs root"]
fn a_chain_that_drops_nothing_of_containers_is_no_finding() {
    let ward = Ward::new("bridge");
    load(
        &ward,
        "table inet site { chain forward { type filter hook forward priority 0; policy accept; ct state invalid drop; \
         iifname \"docker0\" oifname != \"docker0\" jump apart; iifname \"docker0\" drop; meta mark set meta mark or 1; \
         ct mark 7 drop; } \
         chain apart { oifname \"ocinet0\" drop; } }",
    );
    ward.is_sound();
    // The same rule for everything that comes in by the LAN is one.
    load(&ward, "insert rule inet site forward iifname eth0 tcp dport 80 drop");
    ward.is_silent(false);
    let fix = ward.finds("chain inet site forward may drop");
    ward.fix(&fix);
}

#[test]
#[ignore = "needs root"]
fn dockers_forward_chain_that_drops() {
    let ward = Ward::new("bridge");
    for program in ["iptables", "ip6tables"] {
        for arguments in
            ["-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-A FORWARD -j DOCKER-USER", "-P FORWARD DROP"]
        {
            ward.lab.host.ok(&["sh", "-c", &format!("{program} {arguments}")]);
        }
    }
    ward.is_silent(false);
    ward.is_silent(true);
    let fix = ward.finds("chain ip filter FORWARD drops");
    assert!(fix.contains(&"iptables -I DOCKER-USER -i ocinet0 -j ACCEPT".to_owned()), "{fix:?}");
    ward.fix(&fix);
}

/// Rules as firewalld and ufw of Debian 12 had made them, before and after doctor's commands.
fn rules(name: &str) -> String {
    format!("{}/tests/lab/doctor/rules/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
#[ignore = "needs root"]
fn chains_of_firewalld_and_ufw_are_told_with_their_own_commands() {
    let ward = Ward::new("bridge");
    let run = |words: &[&str]| drop(ward.lab.host.ok(words));
    run(&["nft", "-f", &rules("firewalld-1.3.3.nft")]);
    // A published port is let through there, and what containers send is not.
    assert!(ward.answers(false) && ward.answers(true));
    let fix = ward.finds("chain inet firewalld filter_FORWARD may drop");
    assert_eq!(
        fix,
        [
            "firewall-cmd --zone=trusted --change-interface=ocinet0",
            "firewall-cmd --permanent --zone=trusted --change-interface=ocinet0"
        ]
    );
    assert_eq!(ward.finds("the containers reach every service of the host; a zone or a policy of"), fix);
    run(&["nft", "delete", "table", "inet", "firewalld"]);
    run(&["nft", "-f", &rules("firewalld-1.3.3-trusted.nft")]);
    ward.is_sound();
    run(&["nft", "delete", "table", "inet", "firewalld"]);
    run(&["iptables-restore", &rules("ufw-0.36.2.iptables")]);
    run(&["ip6tables-restore", &rules("ufw-0.36.2.ip6tables")]);
    ward.is_silent(false);
    ward.is_silent(true);
    let fix = ward.finds("it belongs to ufw");
    let of_both = ["ufw route allow in on ocinet0", "ufw route allow out on ocinet0"];
    assert_eq!(fix, [of_both, of_both].concat());
    // What these two commands come to.
    for (program, chain) in [("iptables", "ufw-user-forward"), ("ip6tables", "ufw6-user-forward")] {
        for option in ["-i", "-o"] {
            run(&[program, "-A", chain, option, "ocinet0", "-j", "ACCEPT"]);
        }
    }
    ward.is_sound();
}

#[test]
#[ignore = "needs root"]
fn br_netfilter_shows_a_bridges_frames_to_another_chain() {
    let ward = Ward::new("bridge");
    let other = ward.lab.attach("other", &[("net.driver", "bridge")]);
    let _server = Server::tcp(&other.net, 81, "other");
    load(
        &ward,
        "table ip site { chain forward { type filter hook forward priority 10; iifname ocinet0 oifname ocinet0 drop; } }",
    );
    reaches_nobody(&ward.web.net, other.at(false, 81));
    let fix = ward.finds("chain ip site forward drops IPv4 between containers on ocinet0");
    ward.fix(&fix);
    assert!(ask_tcp(&ward.web.net, other.at(false, 81), PATIENCE).is_some());
}

#[test]
#[ignore = "needs root"]
fn a_rule_that_sets_the_whole_mark() {
    let ward = Ward::new("bridge");
    load(
        &ward,
        "table inet shape { chain out { type filter hook postrouting priority mangle; meta mark set meta mark or 4; } }",
    );
    ward.is_sound();
    load(&ward, "add rule inet shape out oifname ocinet0 meta mark set 4");
    ward.is_silent(false);
    ward.is_silent(true);
    let fix = ward.finds("takes away the mark of what is let in to ocinet0");
    ward.fix(&fix);
    // The same by iptables.
    ward.lab.host.ok(&["iptables", "-t", "mangle", "-A", "POSTROUTING", "-j", "MARK", "--set-mark", "4"]);
    ward.is_silent(false);
    let fix = ward.finds("takes away the mark of what is let in to ocinet0");
    ward.fix(&fix);
}

#[test]
#[ignore = "needs root"]
fn a_rule_that_keeps_a_published_port_from_connection_tracking() {
    let ward = Ward::new("bridge");
    load(
        &ward,
        "table inet site { chain early { type filter hook prerouting priority raw; iifname \"eth0\" tcp dport 8081 notrack; \
         iifname \"eth0\" udp dport 8080 notrack; \
         iifname \"docker0\" notrack; } chain late { type filter hook prerouting priority 0; tcp dport 8080 notrack; } }",
    );
    let silenced = |rule: &[&str]| {
        ward.lab.host.ok(rule);
        ward.is_silent(false);
        let fix = ward.finds("keeps from connection tracking: port 8080/tcp of container");
        ward.fix(&fix);
    };
    silenced(&["nft", "add rule inet site early tcp dport 8080 notrack"]);
    silenced(&["iptables", "-t", "raw", "-A", "PREROUTING", "-i", "eth0", "-j", "CT", "--notrack"]);
}

#[test]
#[ignore = "needs root"]
fn a_rule_that_keeps_what_containers_send_from_connection_tracking() {
    for driver in ["bridge", "veth"] {
        let ward = Ward::new(driver);
        load(
            &ward,
            "table inet site { chain early { type filter hook prerouting priority raw; iifname != \"eth0\" notrack; } }",
        );
        ward.is_silent(false);
        let fix = ward.finds("keeps from connection tracking: what containers send by");
        ward.fix(&fix);
    }
}

#[test]
#[ignore = "needs root"]
fn the_older_iptables_forward_chain_that_drops() {
    for driver in ["bridge", "veth"] {
        let ward = Ward::new(driver);
        for program in ["iptables-legacy", "ip6tables-legacy"] {
            ward.lab.host.ok(&[program, "-A", "FORWARD", "-p", "icmp", "-j", "ACCEPT"]);
        }
        ward.is_sound();
        for program in ["iptables-legacy", "ip6tables-legacy"] {
            ward.lab.host.ok(&[program, "-P", "FORWARD", "DROP"]);
        }
        ward.is_silent(false);
        ward.is_silent(true);
        let fix = ward.finds("chain FORWARD of iptables-legacy drops");
        assert_eq!(fix.len(), 4, "{fix:?}");
        ward.fix(&fix);
    }
}
