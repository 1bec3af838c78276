//! What `net.driver=macvlan` refuses: one line, the exit code of its class, and nothing changed.

use ocinet_tests::lab::{DUAL, Lab, PEER4, PEER6, Server, full_size_ping, link_address, ping, until};

use crate::PATIENCE;
use crate::conflict::refused_as_it_is;
use crate::life::used;
use crate::macvlan::{IP, IP2, RANGE, on_lan, second_link, settles, with};
use crate::reach::reaches;

#[track_caller]
fn refused(lab: &Lab, annotations: &[(&str, &str)], code: i32, says: &str) {
    refused_as_it_is(lab, &with(annotations), code, says);
}

/// The same on a parent, for a new network.
#[track_caller]
fn refused_parent(lab: &Lab, parent: &str, code: i32, says: &str) {
    for mode in ["bridge", "private", "vepa", "passthru"] {
        refused(lab, &[("net.parent", parent), ("net.mode", mode), ("net.ip", IP)], code, says);
    }
}

#[test]
#[ignore = "needs root"]
fn a_parent_that_cannot_be_one_is_refused() {
    let lab = Lab::new();
    used(&lab);
    second_link(&lab, &["198.51.100.13/24", "2001:db8:1::13/64"]);
    refused_parent(&lab, "eth9", 4, "cannot use eth9 as the parent: there is no such link");
    refused_parent(&lab, "lo", 3, "\"lo\" is a reserved name; hint: name a link of this host");
    lab.host.batch("link set lo down\nlink set lo name loop0\nlink set loop0 up\n");
    refused_parent(&lab, "loop0", 4, "cannot use loop0 as the parent: it is a loopback");
    lab.host.batch("tuntap add mode tun name tun0\nlink set tun0 up\n");
    refused_parent(&lab, "tun0", 4, "cannot use tun0 as the parent: it is not an Ethernet link");
    lab.host.batch("link set eth1 down\n");
    refused_parent(&lab, "eth1", 4, "cannot use eth1 as the parent: it is down; hint: bring it up with");
    lab.host.batch("link add br0 type bridge\nlink set eth1 master br0 up\n");
    assert!(until(|| lab.host.link("eth1").is_up));
    refused_parent(&lab, "eth1", 4, "cannot use eth1 as the parent: it is a port of a bridge or bond");
    // The kernel takes a link's IPv6 addresses away when it goes down.
    lab.host.batch("link set eth1 nomaster\naddr add 2001:db8:1::13/64 dev eth1 nodad\n");
    let web = on_lan(&lab, "web", &[("net.parent", "eth1"), ("net.ip", IP)]);
    assert!(ping(&lab.peer, web.address(false), PATIENCE));
}

#[test]
#[ignore = "needs root"]
fn a_parent_that_is_a_containers_or_a_networks_is_refused() {
    let lab = Lab::new();
    let bridged = lab.attach("bridged", &[("net.driver", "bridge"), ("net.subnet", DUAL)]);
    let routed = lab.attach("routed", &[("net.driver", "veth"), ("net.subnet", "10.94.0.0/24")]);
    let web = on_lan(&lab, "web", &[("net.ip-range", RANGE), ("net.host-access", "true")]);
    let host_end = |record: &serde_json::Value| {
        record["attachments"][0]["host_interface"].as_str().expect("a name").to_owned()
    };
    refused_parent(&lab, &host_end(&bridged.record), 4, "it is a port of a bridge or bond");
    refused_parent(&lab, &host_end(&routed.record), 4, "it is a container's");
    refused_parent(&lab, "ocinet0", 4, "it is network default's");
    let hosts_own = lab.host.links_of_kind("macvlan");
    refused_parent(&lab, &hosts_own[0].name, 4, "it is network macvlan's");
    drop((bridged, routed, web));
}

/// What the parent is now counts, not what it was when the network was made.
#[test]
#[ignore = "needs root"]
fn a_parent_that_went_away_or_down_is_refused() {
    let lab = Lab::new();
    used(&lab);
    second_link(&lab, &["198.51.100.13/24", "2001:db8:1::13/64"]);
    let web = on_lan(&lab, "web", &[("net.parent", "eth1"), ("net.ip", IP)]);
    let late = [("net.parent", "eth1"), ("net.ip", IP2)];
    lab.host.batch("link set eth1 down\n");
    refused(&lab, &late, 4, "cannot use eth1 as the parent: it is down");
    lab.host.batch("link set eth1 up\n");
    settles(&lab, "eth1");
    let two = on_lan(&lab, "two", &late);
    assert!(ping(&lab.peer, two.address(true), PATIENCE));
    lab.host.batch("link del eth1\n");
    refused(&lab, &[("net.parent", "eth1"), ("net.ip", "198.51.100.52")], 4, "there is no such link");
    for container in [web, two] {
        lab.detach(container);
    }
    second_link(&lab, &["198.51.100.13/24", "2001:db8:1::13/64"]);
    let again = on_lan(&lab, "web", &late);
    assert!(ping(&lab.peer, again.address(true), PATIENCE));
}

#[test]
#[ignore = "needs root"]
fn an_mtu_above_the_parents_or_below_the_least_is_refused() {
    let lab = Lab::new();
    used(&lab);
    let says = "cannot use the annotation net.mtu: 1501 is more than the 1500 of eth0";
    refused(&lab, &[("net.ip", IP), ("net.mtu", "1501")], 3, says);
    let least = "1279 is less than the 1280 that IPv6 needs; hint: give at least 1280";
    refused(&lab, &[("net.ip", IP), ("net.mtu", "1279")], 3, least);
    let one = on_lan(&lab, "one", &[("net.ip", IP), ("net.mtu", "1400")]);
    refused(&lab, &[("net.ip", IP2), ("net.mtu", "1501")], 3, says);
    let two = on_lan(&lab, "two", &[("net.ip", IP2), ("net.mtu", "1500")]);
    for (ipv6, peer, header) in [(false, PEER4, 28), (true, PEER6, 48)] {
        assert!(full_size_ping(&two.net, peer, 1500 - header), "IPv6 {ipv6}");
        assert!(full_size_ping(&one.net, peer, 1400 - header), "IPv6 {ipv6}");
        assert!(!full_size_ping(&one.net, peer, 1401 - header), "IPv6 {ipv6}");
    }
}

#[test]
#[ignore = "needs root"]
fn addresses_that_are_somebodys_are_refused() {
    let lab = Lab::new();
    used(&lab);
    for (address, says) in [
        ("198.51.100.10", "198.51.100.10 is the host's own"),
        ("198.51.100.12", "198.51.100.12 is the host's own"),
        ("2001:db8:1::10", "2001:db8:1::10 is the host's own"),
        ("198.51.100.1", "198.51.100.1 is the gateway of network macvlan"),
        ("2001:db8:1::1", "2001:db8:1::1 is the gateway of network macvlan"),
        ("198.51.100.0", "is the network address"),
        ("198.51.100.255", "is the broadcast address"),
        ("203.0.113.7", "is outside the subnet"),
        ("fe80::7", "is a link-local address"),
    ] {
        refused(&lab, &[("net.ip", address)], 3, says);
    }
    let web = on_lan(&lab, "web", &[("net.ip", IP), ("net.mac", "02:00:00:00:00:07")]);
    for address in IP.split(',') {
        refused(&lab, &[("net.ip", address)], 4, "container web has it");
    }
    let twice = [("net.ip", IP2), ("net.mac", "02:00:00:00:00:07")];
    refused(
        &lab,
        &twice,
        4,
        "use the Ethernet address 02:00:00:00:00:07 on the parent eth0: container web has it",
    );
    let _server = Server::tcp(&web.net, 80, "web");
    for ipv6 in [false, true] {
        reaches(&lab.peer, web.address(ipv6), 80, "web");
    }
}

#[test]
#[ignore = "needs root"]
fn an_ethernet_address_that_is_the_parents_is_refused() {
    let lab = Lab::new();
    used(&lab);
    let own = link_address(&lab.host, "eth0").map(|byte| format!("{byte:02x}")).join(":");
    refused(&lab, &[("net.ip", IP), ("net.mac", &own)], 3, "is eth0's own");
}

#[test]
#[ignore = "needs root"]
fn ranges_and_networks_that_do_not_fit_are_refused() {
    let lab = Lab::new();
    used(&lab);
    let says = "nothing says which addresses of the LAN network macvlan may give out";
    refused(&lab, &[], 3, says);
    refused(&lab, &[("net.ip-range", "192.0.2.0/28")], 3, "192.0.2.0/28 is not a part of the subnet");
    refused(&lab, &[("net.ip-range", "198.51.0.0/16")], 3, "198.51.0.0/16 is not a part of the subnet");
    let reserved = [("net.ip-range", "198.51.100.10/32")];
    refused(&lab, &reserved, 4, "every address of 198.51.100.10/32 is taken");
    refused(&lab, &[("net.ip", IP), ("net.gateway", "10.0.0.1")], 3, "10.0.0.1 is outside");
    let web = on_lan(&lab, "web", &[("net.ip", IP)]);
    let other = [("net.network", "other"), ("net.ip", IP2)];
    refused(
        &lab,
        &other,
        4,
        "it overlaps the subnet of network macvlan; hint: a LAN is one network: share that network by net.network",
    );
    refused(&lab, &[("net.ip", IP2), ("net.mode", "private")], 4, "the network was made with bridge");
    lab.detach(web);
    let _other = on_lan(&lab, "other", &other);
    lab.host.batch("route del default\nroute del default via 2001:db8:1::1\n");
    let says = "the host has no default route whose link could be the parent";
    refused(&lab, &[("net.network", "third"), ("net.ip", IP)], 3, says);
    lab.host.batch("link add bare0 type bridge\nlink set bare0 up\n");
    let says = "bare0 has no address that would tell the LAN's subnet; hint: give";
    refused(&lab, &[("net.parent", "bare0"), ("net.ip", IP)], 3, says);
}

#[test]
#[ignore = "needs root"]
fn host_access_that_cannot_be_is_refused() {
    let lab = Lab::new();
    used(&lab);
    let access = ("net.host-access", "true");
    refused(&lab, &[access, ("net.ip", IP)], 3, "the host, too, needs an address of 198.51.100.0/24");
    for mode in ["private", "vepa"] {
        let says = "only in the mode bridge do macvlans on one parent reach each other";
        refused(&lab, &[access, ("net.ip-range", RANGE), ("net.mode", mode)], 3, says);
    }
    let full = [access, ("net.ip-range", "198.51.100.50/32"), ("net.ip", "198.51.100.50")];
    refused(&lab, &full, 3, "198.51.100.50/32 has no address left for the host");
    let without = on_lan(&lab, "without", &[("net.ip-range", RANGE)]);
    let says = "net.host-access asks for true, but the network was made with false";
    refused(&lab, &[access, ("net.ip-range", RANGE)], 4, says);
    lab.detach(without);
    let web = on_lan(&lab, "web", &[access, ("net.ip-range", RANGE)]);
    let hosts_own = [("net.ip", "198.51.100.71,2001:db8:1::46")];
    refused(&lab, &hosts_own, 3, "198.51.100.71 is the host's own");
    let _others: Vec<_> =
        (0..6).map(|number| on_lan(&lab, &format!("c{number}"), &[("net.ip-range", RANGE)])).collect();
    refused(&lab, &[("net.ip-range", RANGE)], 4, "every address of 198.51.100.64/29 is taken");
    lab.detach(web);
    let _next = on_lan(&lab, "next", &[("net.ip-range", RANGE)]);
}

/// Whatever a container asks for, the kernel's own patterns and the files of the host are not reached by it.
#[test]
#[ignore = "needs root"]
fn hostile_values_are_refused() {
    let lab = Lab::new();
    used(&lab);
    for parent in [
        "",
        ".",
        "..",
        "../eth0",
        "eth0/..",
        "eth%d",
        "eth0\nx",
        "eth 0",
        "eth0\u{0}",
        "all",
        "default",
        "é",
        "0123456789abcdef",
    ] {
        refused(&lab, &[("net.parent", parent), ("net.ip", IP)], 3, "net.parent");
    }
    for mode in ["", "Bridge", "source", "l2", "passthrough", "bridge,private"] {
        refused(&lab, &[("net.mode", mode), ("net.ip", IP)], 3, "net.mode");
    }
    for mac in
        ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:00:00:00:00:00", "2:0:0:0:0:7", "02-00-00-00-00-07"]
    {
        refused(&lab, &[("net.mac", mac), ("net.ip", IP)], 3, "net.mac");
    }
    for truth in ["", "TRUE", "1", "yes"] {
        refused(&lab, &[("net.host-access", truth), ("net.ip-range", RANGE)], 3, "net.host-access");
    }
    for range in
        ["198.51.100.65/29", "198.51.100.64", "198.51.100.64/33", "198.51.100.64/29,198.51.100.80/29"]
    {
        refused(&lab, &[("net.ip-range", range)], 3, "net.ip-range");
    }
    refused(&lab, &[("net.network", "../../etc"), ("net.ip", IP)], 3, "net.network");
}
