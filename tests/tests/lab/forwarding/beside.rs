//! The host's own macvlan, by which it reaches containers on a LAN (`net.host-access`), makes no router of it.

use ocinet_tests::lab::{Attached, Capture, HOST4, HOST6, INTERNET4, INTERNET6, Lab, Server, link_address};

use super::{dual, forwards, internet, neighbour_routes_by_host, runs, second_uplink, uplinks_are_apart};
use crate::macvlan::{RANGE, hosts_own, text};
use crate::reach::{does_not_reach, reaches};

/// A container on the LAN that the host reaches by a macvlan of its own, and that answers the second uplink's network by it.
fn beside(lab: &Lab) -> (Attached, Server) {
    let web =
        lab.attach("lan", &[("net.driver", "macvlan"), ("net.ip-range", RANGE), ("net.host-access", "true")]);
    let [four, six] = [false, true].map(hosts_own);
    web.net.batch(&format!("route add 192.0.2.0/24 via {four}\nroute add 2001:db8:2::/64 via {six}\n"));
    let server = Server::tcp(&web.net, 80, "lan");
    // The neighbour sends what it has for the host to that link.
    let links = lab.host.links_of_kind("macvlan");
    let to = format!("lladdr {} dev eth0 nud permanent", text(link_address(&lab.host, &links[0].name)));
    lab.peer.batch(&format!("neigh replace {HOST4} {to}\nneigh replace {HOST6} {to}\n"));
    (web, server)
}

/// Nothing is missing and nothing is left over.
#[track_caller]
fn is_content(lab: &Lab) {
    assert_eq!(runs(lab, &["check"]), "everything is as recorded\n");
    assert_eq!(runs(lab, &["doctor"]).lines().last(), Some("nothing is wrong"));
}

/// Neither by the link nor to it does the host forward for others.
#[test]
#[ignore = "needs root"]
fn the_hosts_own_macvlan_is_apart_like_its_uplink() {
    for lan_first in [false, true] {
        let lab = Lab::new();
        let _internet = internet(&lab);
        let second = second_uplink(&lab);
        neighbour_routes_by_host(&lab);
        let mut early = lan_first.then(|| beside(&lab));
        is_content(&lab);
        let app = dual(&lab, "app");
        is_content(&lab);
        for arguments in [None, Some("reload"), Some("gc")] {
            if let Some(command) = arguments {
                runs(&lab, &[command]);
            }
            let (lan, server) = early.take().unwrap_or_else(|| beside(&lab));
            is_content(&lab);
            uplinks_are_apart(&lab);
            let arrivals = Capture::new(&lan.net);
            for ipv6 in [false, true] {
                does_not_reach(&second, lan.address(ipv6), 80);
            }
            assert!(!arrivals.drain().iter().any(|seen| seen.is_syn_to(80)), "nor is it asked");
            for ipv6 in [false, true] {
                reaches(&lab.host, lan.address(ipv6), 80, "lan");
                reaches(&app.net, lan.address(ipv6), 80, "lan");
            }
            drop(server);
            lab.detach(lan);
            is_content(&lab);
        }
        let late = beside(&lab);
        runs(&lab, &["reload"]);
        lab.detach(app);
        is_content(&lab);
        lab.detach(late.0);
        is_content(&lab);
        assert_eq!(forwards(&lab), ["0", "0"]);
    }
}

#[test]
#[ignore = "needs root"]
fn a_host_that_was_a_router_before_forwards_by_its_own_macvlan() {
    let lab = Lab::new();
    let _internet = internet(&lab);
    let second = second_uplink(&lab);
    lab.host.sysctl("ipv4/ip_forward", "1");
    lab.host.sysctl("ipv6/conf/all/forwarding", "1");
    neighbour_routes_by_host(&lab);
    let _app = dual(&lab, "app");
    let (lan, _server) = beside(&lab);
    for (ipv6, internet) in [(false, INTERNET4), (true, INTERNET6)] {
        reaches(&lab.peer, internet, 80, "internet");
        reaches(&second, lan.address(ipv6), 80, "lan");
    }
}
