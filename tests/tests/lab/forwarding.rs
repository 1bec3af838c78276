//! Others' networks on the host are never cut off, the host's own uplinks stay apart, and forwarding ends with the last
//! network.

mod beside;
mod bridged;

use std::fs;
use std::net::{IpAddr, SocketAddr};

use ocinet_tests::lab::{
    Attached, DUAL, HOST4, HOST6, INTERNET4, INTERNET6, Lab, Netns, Server, Snapshot, ask_tcp, until,
};

use crate::life::used;
use crate::reach::{does_not_reach, reaches};
use crate::{PATIENCE, SILENCE};

const FORWARDING: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

/// A container of another program's: a bridge, a veth pair, a table with masquerade and a published port.
struct Guest {
    net: Netns,
    _server: Server,
}

impl Guest {
    fn new(lab: &Lab) -> Self {
        let net = Netns::new();
        net.sysctl("ipv6/conf/default/accept_dad", "0");
        lab.host.sysctl("ipv6/conf/default/accept_dad", "0");
        lab.host.batch(&format!(
            "link add podman0 type bridge\naddr add 10.88.0.1/16 dev podman0\n\
             addr add fd00:88::1/64 dev podman0 nodad\nlink set podman0 up\n\
             link add veth0 type veth peer name eth0 netns {}\nlink set veth0 master podman0 up\n",
            net.path()
        ));
        net.batch(
            "addr add 10.88.0.2/16 dev eth0\naddr add fd00:88::2/64 dev eth0 nodad\nlink set eth0 up\n\
             route add default via 10.88.0.1\nroute add default via fd00:88::1\n",
        );
        // As netavark does with each container.
        lab.host.sysctl("ipv4/ip_forward", "1");
        lab.host.sysctl("ipv6/conf/all/forwarding", "1");
        lab.host.ok(&["nft", RULES]);
        let server = Server::tcp(&net, 80, "guest");
        let guest = Self { net, _server: server };
        assert!(until(|| ask_tcp(&guest.net, SocketAddr::new(INTERNET6, 80), SILENCE).is_some()));
        guest
    }

    /// It reaches the internet and is reached by its published port.
    #[track_caller]
    fn is_not_cut_off(&self, lab: &Lab) {
        for (host, internet) in [(HOST4, INTERNET4), (HOST6, INTERNET6)] {
            reaches(&self.net, internet, 80, "internet");
            reaches(&lab.peer, host, 9090, "guest");
        }
    }

    fn end(self, lab: &Lab) {
        lab.host.batch("link del veth0\nlink del podman0\n");
        lab.host.ok(&["nft", "delete table inet netavark"]);
    }
}

const RULES: &str = "
    add table inet netavark
    add chain inet netavark post { type nat hook postrouting priority srcnat; }
    add rule inet netavark post ip saddr 10.88.0.0/16 oifname != \"podman0\" masquerade
    add rule inet netavark post ip6 saddr fd00:88::/64 oifname != \"podman0\" masquerade
    add chain inet netavark pre { type nat hook prerouting priority dstnat; }
    add rule inet netavark pre fib daddr type local meta nfproto ipv4 tcp dport 9090 dnat ip to 10.88.0.2:80
    add rule inet netavark pre fib daddr type local meta nfproto ipv6 tcp dport 9090 dnat ip6 to [fd00:88::2]:80
";

fn internet(lab: &Lab) -> Server {
    Server::tcp(&lab.wan, 80, "internet")
}

fn dual(lab: &Lab, id: &str) -> Attached {
    lab.attach(id, &[("net.subnet", DUAL), ("net.ports", "8080:80")])
}

/// What the families' forwarding is set to.
pub(crate) fn forwards(lab: &Lab) -> [String; 2] {
    FORWARDING.map(|key| setting(lab, key))
}

fn setting(lab: &Lab, key: &str) -> String {
    let path = format!("/proc/sys/{key}");
    lab.host.within(|| fs::read_to_string(&path)).unwrap().trim().to_owned()
}

/// The neighbour takes the host for a router.
fn neighbour_routes_by_host(lab: &Lab) {
    lab.peer.batch(&format!("route add {INTERNET4} via {HOST4}\nroute add {INTERNET6} via {HOST6}\n"));
}

#[track_caller]
fn uplinks_are_apart(lab: &Lab) {
    for internet in [INTERNET4, INTERNET6] {
        does_not_reach(&lab.peer, internet, 80);
    }
}

#[track_caller]
fn runs(lab: &Lab, arguments: &[&str]) -> String {
    let finished = lab.run(arguments, "");
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{arguments:?}: {}", finished.stdout);
    finished.stdout
}

#[test]
#[ignore = "needs root"]
fn another_programs_network_is_never_cut_off_whichever_came_first() {
    for guest_first in [false, true] {
        let lab = Lab::new();
        let _internet = internet(&lab);
        let early = guest_first.then(|| Guest::new(&lab));
        let web = dual(&lab, "web");
        let _server = Server::tcp(&web.net, 80, "web");
        let guest = early.unwrap_or_else(|| Guest::new(&lab));
        guest.is_not_cut_off(&lab);
        neighbour_routes_by_host(&lab);
        if !guest_first {
            uplinks_are_apart(&lab);
        }
        assert_eq!(runs(&lab, &["doctor"]).lines().last(), Some("nothing is wrong"));
        for arguments in [&["reload"][..], &["gc"], &["check"]] {
            runs(&lab, arguments);
            guest.is_not_cut_off(&lab);
            reaches(&lab.peer, HOST4, 8080, "web");
        }
        lab.host.ok(&["nft", "delete table inet ocinet"]);
        runs(&lab, &["reload"]);
        guest.is_not_cut_off(&lab);
        if !guest_first {
            uplinks_are_apart(&lab);
        }
        lab.detach(web);
        guest.is_not_cut_off(&lab);
        for arguments in [&["reload"][..], &["gc"], &["check"]] {
            runs(&lab, arguments);
            guest.is_not_cut_off(&lab);
        }
        // A host that was a router before is one again, and no other becomes one.
        if guest_first {
            assert!(ask_tcp(&lab.peer, SocketAddr::new(INTERNET4, 80), PATIENCE).is_some());
            assert!(ask_tcp(&lab.peer, SocketAddr::new(INTERNET6, 80), PATIENCE).is_some());
        } else {
            uplinks_are_apart(&lab);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn forwarding_ends_with_the_last_network() {
    let lab = Lab::new();
    let _internet = internet(&lab);
    lab.host.sysctl("ipv4/conf/all/accept_redirects", "0");
    used(&lab);
    let before = Snapshot::of(&lab);
    assert_eq!(forwards(&lab), ["0", "0"]);
    neighbour_routes_by_host(&lab);
    let red = lab.attach("red", &[("net.network", "red"), ("net.subnet", "10.93.0.0/24")]);
    assert_eq!(forwards(&lab), ["1", "0"]);
    let web = dual(&lab, "web");
    assert_eq!(forwards(&lab), ["1", "1"]);
    uplinks_are_apart(&lab);
    lab.detach(web);
    assert_eq!(forwards(&lab), ["1", "0"]);
    reaches(&red.net, INTERNET4, 80, "internet");
    uplinks_are_apart(&lab);
    lab.detach(red);
    assert_eq!(forwards(&lab), ["0", "0"]);
    assert_eq!(setting(&lab, "net/ipv4/conf/all/accept_redirects"), "0");
    before.assert_is_back(&lab, "two networks");
    // An internal network on a bridge needs none.
    let inner = lab.attach("inner", &[("net.subnet", DUAL), ("net.internal", "true")]);
    assert_eq!(forwards(&lab), ["0", "0"]);
    lab.detach(inner);
    before.assert_is_back(&lab, "an internal network");
}

#[test]
#[ignore = "needs root"]
fn forwarding_that_was_on_before_stays_on_and_is_not_filtered() {
    let lab = Lab::new();
    let _internet = internet(&lab);
    lab.host.sysctl("ipv4/ip_forward", "1");
    lab.host.sysctl("ipv6/conf/all/forwarding", "1");
    neighbour_routes_by_host(&lab);
    let routes = || {
        for internet in [INTERNET4, INTERNET6] {
            reaches(&lab.peer, internet, 80, "internet");
        }
    };
    routes();
    let web = dual(&lab, "web");
    routes();
    lab.detach(web);
    routes();
    runs(&lab, &["gc"]);
    routes();
    assert_eq!(forwards(&lab), ["1", "1"]);
}

#[test]
#[ignore = "needs root"]
fn a_family_that_was_forwarded_before_is_not_filtered_beside_the_other() {
    for (setting, is_ipv6) in [("ipv4/ip_forward", false), ("ipv6/conf/all/forwarding", true)] {
        let lab = Lab::new();
        let _internet = internet(&lab);
        lab.host.sysctl(setting, "1");
        neighbour_routes_by_host(&lab);
        let _web = dual(&lab, "web");
        for internet in [INTERNET4, INTERNET6] {
            if internet.is_ipv6() == is_ipv6 {
                reaches(&lab.peer, internet, 80, "internet");
            } else {
                does_not_reach(&lab.peer, internet, 80);
            }
        }
    }
}

/// A link that forwarded by itself does so again, and a link that did not does not.
#[test]
#[ignore = "needs root"]
fn what_forwarding_overwrote_is_given_back() {
    let lab = Lab::new();
    lab.host.batch("link add own0 type bridge\nlink add own1 type bridge\n");
    for family in ["ipv4", "ipv6"] {
        lab.host.sysctl(&format!("{family}/conf/own0/forwarding"), "1");
    }
    let web = dual(&lab, "web");
    assert_eq!(setting(&lab, "net/ipv4/conf/own1/forwarding"), "1");
    lab.detach(web);
    assert_eq!(forwards(&lab), ["0", "0"]);
    for family in ["ipv4", "ipv6"] {
        for (link, is) in [("own0", "1"), ("own1", "0"), ("eth0", "0"), ("default", "0")] {
            assert_eq!(setting(&lab, &format!("net/{family}/conf/{link}/forwarding")), is, "{family} {link}");
        }
    }
    assert_eq!(setting(&lab, "net/ipv4/conf/all/accept_redirects"), "1");
}

#[test]
#[ignore = "needs root"]
fn forwarding_is_left_on_for_another_programs_network_and_ends_after_it() {
    let lab = Lab::new();
    let _internet = internet(&lab);
    let web = dual(&lab, "web");
    let guest = Guest::new(&lab);
    lab.detach(web);
    neighbour_routes_by_host(&lab);
    let is_left_on = || {
        assert_eq!(forwards(&lab), ["1", "1"]);
        guest.is_not_cut_off(&lab);
        // The host was no router before.
        uplinks_are_apart(&lab);
    };
    is_left_on();
    // A second life beside it changes nothing, and neither does a flush.
    let web = dual(&lab, "web");
    is_left_on();
    lab.detach(web);
    is_left_on();
    runs(&lab, &["gc"]);
    for table in ["inet", "bridge"] {
        lab.host.ok(&["nft", "delete", "table", table, "ocinet"]);
    }
    runs(&lab, &["reload", "--if-missing"]);
    is_left_on();
    assert_eq!(runs(&lab, &["check"]), "everything is as recorded\n");
    guest.end(&lab);
    let said = lab.run(&["check"], "");
    let idle = |family| {
        format!("{family} forwarding, which ocinet turned on, was not given back: `ocinet gc` fixes it\n")
    };
    assert_eq!((said.code, said.stdout), (1, idle("IPv4") + &idle("IPv6")));
    let said = lab.run(&["doctor"], "");
    assert!(said.code == 1 && said.stdout.contains("ocinet gc"), "{}", said.stdout);
    assert!(runs(&lab, &["gc"]).contains("IPv6 forwarding"));
    assert_eq!(forwards(&lab), ["0", "0"]);
    assert_eq!(runs(&lab, &["check"]), "everything is as recorded\n");
}

/// A stop that is killed while it turns forwarding off leaves the rest to the next.
#[test]
#[ignore = "needs root"]
fn a_stop_killed_half_way_is_finished_by_gc() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let web = dual(&lab, "web");
    let file = lab.state_dir().join("forwarding.json");
    let written = fs::read_to_string(&file).unwrap();
    lab.detach(web);
    for (left, is_on) in [("both", "1"), ("the file", "0")] {
        fs::write(&file, &written).unwrap();
        lab.host.sysctl("ipv4/ip_forward", is_on);
        lab.host.sysctl("ipv6/conf/all/forwarding", is_on);
        lab.host.ok(&["nft", "add element inet ocinet no_transit { ipv4, ipv6 }"]);
        runs(&lab, &["gc"]);
        assert_eq!(forwards(&lab), ["0", "0"], "{left}");
        before.assert_is_back(&lab, left);
    }
}

#[test]
#[ignore = "needs root"]
fn a_start_beside_the_last_stop_has_forwarding() {
    let lab = Lab::new();
    let _internet = internet(&lab);
    std::thread::scope(|scope| {
        for (id, network, subnet) in
            [("a", "red", "10.93.0.0/24,fd00:93::/64"), ("b", "blue", "10.94.0.0/24,fd00:94::/64")]
        {
            let lab = &lab;
            scope.spawn(move || {
                for _ in 0..12 {
                    let one = lab.attach(id, &[("net.network", network), ("net.subnet", subnet)]);
                    for to in [INTERNET4, INTERNET6] {
                        reaches(&one.net, to, 80, "internet");
                    }
                    lab.detach(one);
                }
            });
        }
    });
    assert_eq!(forwards(&lab), ["0", "0"]);
}

/// A second link to another router, `eth1`.
fn second_uplink(lab: &Lab) -> Netns {
    let net = Netns::new();
    lab.host.batch(&format!(
        "link add eth1 type veth peer name eth0 netns {}\naddr add 192.0.2.10/24 dev eth1\n\
         addr add 2001:db8:2::10/64 dev eth1 nodad\nlink set eth1 up\n\
         route add default via 192.0.2.1 dev eth1 metric 100\n",
        net.path()
    ));
    net.batch(
        "addr add 192.0.2.1/24 dev eth0\naddr add 2001:db8:2::1/64 dev eth0 nodad\nlink set eth0 up\n\
         route add default via 192.0.2.10\nroute add default via 2001:db8:2::10\n",
    );
    net
}

#[test]
#[ignore = "needs root"]
fn the_hosts_uplinks_are_apart_and_a_new_one_is_named() {
    let lab = Lab::new();
    let early = second_uplink(&lab);
    let _early_server = Server::tcp(&early, 80, "second");
    lab.peer.batch(&format!("route add 192.0.2.0/24 via {HOST4}\n"));
    let web = dual(&lab, "web");
    let second: IpAddr = [192, 0, 2, 1].into();
    does_not_reach(&lab.peer, second, 80);
    reaches(&web.net, second, 80, "second");
    // It ends, and another takes its place later: nobody told ocinet.
    lab.host.batch("link del eth1\n");
    drop(early);
    let late = second_uplink(&lab);
    let _late_server = Server::tcp(&late, 80, "second");
    does_not_reach(&lab.peer, second, 80);
    lab.host.batch("link del eth1\n");
    drop(late);
    assert!(until(|| lab.run(&["check"], "").code == 1), "an element of a link that is no uplink any more");
    runs(&lab, &["gc"]);
    let later = second_uplink(&lab);
    let _later_server = Server::tcp(&later, 80, "second");
    let said = lab.run(&["check"], "");
    let missing = "this host: the element inet ocinet uplinks { \"eth1\" } is missing\n";
    assert_eq!((said.code, said.stdout.as_str()), (1, missing));
    let said = lab.run(&["doctor"], "");
    assert!(said.code == 1 && said.stdout.contains("ocinet reload"), "{}", said.stdout);
    runs(&lab, &["reload"]);
    assert_eq!(runs(&lab, &["doctor"]).lines().last(), Some("nothing is wrong"));
    does_not_reach(&lab.peer, second, 80);
    reaches(&web.net, second, 80, "second");
    lab.detach(web);
    assert_eq!(forwards(&lab), ["0", "0"]);
}
