//! What the host's own routes and rules mean for a new network: its subnet, its parent, its MTU.

use std::net::Ipv6Addr;

use ocinet_tests::lab::{
    Attached, INTERNET4, INTERNET6, Lab, PEER4, PEER6, Server, WAN4, WAN6, link_address,
};

use crate::conflict::refused_as_it_is as refused;
use crate::ipvlan::kernel_has_ipvlan;
use crate::life::used;
use crate::networks::configured;
use crate::options::{BRIDGE, MACVLAN, VETH, has_mtu, with};
use crate::reach::reaches;

/// A link of the host by which a VPN would lead somewhere.
fn vpn(lab: &Lab, mtu: u32) {
    lab.host.batch(&format!("link add vpn0 mtu {mtu} type bridge\nlink set vpn0 up\n"));
}

#[track_caller]
fn reaches_the_internet(lab: &Lab, of: &Attached) {
    let _server = Server::tcp(&lab.wan, 80, "internet");
    for (ipv6, internet) in [(false, INTERNET4), (true, INTERNET6)] {
        if of.record["attachments"][0]["addresses"].as_array().unwrap().len() > usize::from(ipv6) {
            reaches(&of.net, internet, 80, "internet");
        }
    }
}

fn first_address(of: &Attached) -> String {
    of.address(false).to_string()
}

#[test]
#[ignore = "needs root"]
fn the_halves_that_a_vpn_leads_are_a_default_route() {
    let lab = Lab::new();
    lab.host.batch(&format!(
        "route add 0.0.0.0/1 via {WAN4}\nroute add 128.0.0.0/1 via {WAN4}\n\
         route add ::/1 via {WAN6}\nroute add 8000::/1 via {WAN6}\nroute add 2000::/3 via {WAN6}\nroute add fc00::/7 via {WAN6}\n"
    ));
    for asked in [
        BRIDGE,
        VETH,
        &[("net.network", "named"), ("net.subnet", "10.95.0.0/24,fd00:95::/64")],
        &[("net.network", "chosen")],
    ] {
        let web = lab.attach("web", asked);
        reaches_the_internet(&lab, &web);
        lab.detach(web);
    }
    // Without a default route of its own, the parent is the link of the halves.
    lab.host.batch("route del default\n");
    let web = lab.attach("web", MACVLAN);
    reaches_the_internet(&lab, &web);
}

/// Packets to everywhere leave by the VPN, and the LAN is where the true default route leads.
#[test]
#[ignore = "needs root"]
fn the_mtu_is_that_of_a_vpn_that_leads_everywhere() {
    for halves in [["0.0.0.0/1", "128.0.0.0/1"], ["::/1", "8000::/1"]] {
        let lab = Lab::new();
        vpn(&lab, 1400);
        lab.host.batch(&halves.map(|half| format!("route add {half} dev vpn0\n")).concat());
        let family = if halves[0].contains(':') { "fd00:95::/64" } else { "10.95.0.0/24" };
        let web = lab.attach("web", &[("net.network", "n"), ("net.subnet", family)]);
        has_mtu(&web.net, "eth0", 1400);
        let lan = lab.attach("lan", MACVLAN);
        assert_eq!(lan.record["attachments"][0]["parent"], "eth0");
        has_mtu(&lan.net, "eth0", 1500);
    }
}

#[test]
#[ignore = "needs root"]
fn a_wide_route_by_a_gateway_leaves_its_parts() {
    let lab = Lab::new();
    used(&lab);
    lab.host.batch(&format!(
        "route add 10.0.0.0/8 via {WAN4}\nroute add 172.16.0.0/12 via {WAN4}\nroute add fd00::/8 via {WAN6}\n"
    ));
    let named = lab.attach("named", &[("net.network", "n"), ("net.subnet", "10.95.0.0/24,fd00:95::/64")]);
    let overlay = with(
        &[("net.driver", "vxlan"), ("net.vni", "7"), ("net.ip", "172.20.0.7")],
        &[("net.subnet", "172.20.0.0/24"), ("net.peers", "198.51.100.31")],
    );
    let default = lab.attach("default", BRIDGE);
    let chosen = lab.attach("chosen", &[("net.network", "chosen")]);
    let far = lab.attach("far", &overlay);
    for web in [&named, &default, &chosen, &far] {
        reaches_the_internet(&lab, web);
        let _server = Server::tcp(&web.net, 80, "web");
        reaches(&lab.host, web.address(false), 80, "web");
    }
    assert!(first_address(&chosen).starts_with("10.91.0."), "{}", chosen.record);
    for (subnet, route) in [
        ("10.96.0.0/16", "10.96.7.0/24"),
        ("10.97.0.0/24", "10.97.0.0/24"),
        ("fd00:96::/64", "fd00:96::/64"),
        ("10.98.0.0/24", "10.98.0.128/25"),
    ] {
        let gateway = if route.contains(':') { WAN6 } else { WAN4 };
        lab.host.batch(&format!("route add {route} via {gateway}\n"));
        let says = format!("it overlaps the host's route to {route}");
        refused(&lab, &[("net.network", "m"), ("net.subnet", subnet)], 4, &says);
    }
}

/// A subnet is chosen beside what a gateway leads to, as long as the pool has room.
#[test]
#[ignore = "needs root"]
fn a_chosen_subnet_keeps_clear_of_routes_inside_the_pool() {
    let lab = Lab::new();
    lab.host.batch(&format!("route add 10.91.0.0/17 via {WAN4}\nroute add blackhole 10.91.128.0/24\n"));
    let chosen = lab.attach("chosen", &[("net.network", "chosen")]);
    assert!(first_address(&chosen).starts_with("10.91.129."), "{}", chosen.record);
    lab.host.batch(&format!("route add 10.91.128.0/17 via {WAN4}\n"));
    refused(&lab, &[("net.network", "full")], 4, "all 256 of the pool 10.91.0.0/16 are in use, most by");
    refused(&lab, &[("net.network", "full")], 4, "the host's route to 10.91.0.0/17");
}

#[test]
#[ignore = "needs root"]
fn a_lan_as_wide_as_a_private_range() {
    let lab = Lab::new();
    lab.host.batch("addr add 10.1.2.3/8 dev eth0\n");
    lab.host.batch("route add 203.0.113.64/26 via 10.200.0.1\n");
    refused(&lab, &[("net.network", "n")], 4, "the host's route to 10.0.0.0/8");
    refused(&lab, &[("net.driver", "bridge")], 4, "it overlaps the host's route to 10.0.0.0/8");
    let given = |subnet| [("net.network", "n"), ("net.subnet", subnet)];
    refused(&lab, &given("10.1.0.0/16"), 4, "it overlaps the host's own address 10.1.2.3");
    refused(
        &lab,
        &given("10.200.0.0/24"),
        4,
        "10.200.0.1, the gateway of the host's route to 203.0.113.64/26",
    );
    refused(&lab, &given("10.0.0.0/8"), 4, "the host's route to 10.0.0.0/8");
    let web = lab.attach("web", &given("10.201.0.0/24"));
    reaches_the_internet(&lab, &web);
}

/// What the configuration names is named, as what an annotation does: also the value that is built in.
#[test]
#[ignore = "needs root"]
fn a_lan_as_wide_as_a_private_range_leaves_what_the_configuration_names() {
    let file = |text: &str| {
        let lab = configured(text);
        lab.host.batch("addr add 10.1.2.3/8 dev eth0\n");
        let path = lab.config_path().display().to_string();
        (lab, path)
    };
    for (text, asked, wanted) in [
        ("default-subnets = [\"10.90.0.0/16\"]\n", &[("net.driver", "bridge")][..], "10.90."),
        ("default-subnets = [\"10.92.0.0/16\"]\n", &[("net.driver", "bridge")], "10.92."),
        ("[network.default]\nsubnet = \"10.90.0.0/16\"\n", &[("net.driver", "bridge")], "10.90."),
        ("[network.web]\nsubnet = \"10.93.0.0/24\"\n", &[("net.network", "web")], "10.93.0."),
        ("subnet-pool = \"10.91.0.0/16\"\n", &[("net.network", "n")], "10.91.0."),
    ] {
        let (lab, _) = file(text);
        let web = lab.attach("web", asked);
        assert!(first_address(&web).starts_with(wanted), "{text}: {}", web.record);
        reaches_the_internet(&lab, &web);
    }
    // What cannot be is fixed where it was named.
    let bridge = [("net.driver", "bridge")];
    let (lab, path) = file("default-subnets = [\"10.1.0.0/16\"]\n");
    let hint = format!(
        "set free default-subnets in the configuration {path}, or give the network a free net.subnet"
    );
    refused(&lab, &bridge, 4, &format!("it overlaps the host's own address 10.1.2.3; hint: {hint}"));
    let (lab, path) = file("[network.web]\nsubnet = \"10.1.0.0/16\"\n");
    let hint = format!("set a free subnet of network web in the configuration {path}");
    refused(&lab, &[("net.network", "web")], 4, &format!("10.1.2.3; hint: {hint}"));
    let (lab, path) = file("");
    let hint = format!(
        "give the network a free net.subnet, or set free default-subnets in the configuration {path}"
    );
    refused(&lab, &bridge, 4, &format!("it overlaps the host's route to 10.0.0.0/8; hint: {hint}"));
}

/// As a VPN's own daemon does: a table that a rule leads to before the main one.
fn table_of_a_vpn(lab: &Lab, routes: &[&str]) {
    vpn(lab, 1280);
    lab.host
        .batch(&routes.iter().map(|to| format!("route add {to} dev vpn0 table 52\n")).collect::<String>());
    for family in ["-4", "-6"] {
        lab.host.ok(&["ip", family, "rule", "add", "priority", "5270", "lookup", "52"]);
    }
}

#[test]
#[ignore = "needs root"]
fn a_default_route_of_another_table_is_not_the_hosts() {
    let lab = Lab::new();
    table_of_a_vpn(&lab, &["default", "2000::/3"]);
    lab.host.ok(&["ip", "-6", "route", "add", "default", "dev", "vpn0", "table", "52"]);
    for asked in [BRIDGE, VETH] {
        let web = lab.attach("web", asked);
        has_mtu(&web.net, "eth0", 1500);
        lab.detach(web);
    }
    let lan = lab.attach("lan", MACVLAN);
    assert_eq!(lan.record["attachments"][0]["parent"], "eth0");
    has_mtu(&lan.net, "eth0", 1500);
    reaches_the_internet(&lab, &lan);
}

/// Neither another table's default route counts, nor one with a greater metric, nor one that leads nowhere.
#[test]
#[ignore = "needs root"]
fn the_least_metric_of_the_main_table_is_the_way_out() {
    let lab = Lab::new();
    vpn(&lab, 1280);
    lab.host.batch(&format!(
        "addr add 192.0.2.10/24 dev vpn0\nroute del default\nroute add default via {WAN4} metric 100\n\
         route add default via 192.0.2.1 dev vpn0 metric 200\nroute add blackhole default metric 4000\n\
         route add default via 192.0.2.1 dev vpn0 table 52\n"
    ));
    let web = lab.attach("web", &[("net.driver", "bridge")]);
    has_mtu(&web.net, "eth0", 1500);
    lab.detach(web);
    // Of several links that share the way, the one with the least MTU counts.
    lab.host.batch(&format!(
        "route add default metric 7 nexthop via {WAN4} dev eth0 nexthop via 192.0.2.1 dev vpn0\n"
    ));
    let web = lab.attach("web", &[("net.driver", "bridge")]);
    has_mtu(&web.net, "eth0", 1280);
}

#[test]
#[ignore = "needs root"]
fn a_route_of_another_table_counts_where_a_rule_leads_there() {
    let lab = Lab::new();
    used(&lab);
    table_of_a_vpn(&lab, &["100.64.7.0/24", "10.91.0.0/24"]);
    lab.host.batch("route add 10.95.0.0/24 dev vpn0 table 77\n");
    let says = "it overlaps the host's route to 100.64.7.0/24 in table 52";
    refused(&lab, &[("net.network", "n"), ("net.subnet", "100.64.0.0/16")], 4, says);
    let chosen = lab.attach("chosen", &[("net.network", "chosen")]);
    assert!(first_address(&chosen).starts_with("10.91.1."), "{}", chosen.record);
    let _named = lab.attach("named", &[("net.network", "n"), ("net.subnet", "10.95.0.0/24")]);
}

/// The link-local address of the LAN's router.
fn link_local(lab: &Lab) -> String {
    let [a, b, c, d, e, f] = link_address(&lab.wan, "eth0");
    let a = a ^ 2;
    format!("fe80::{a:02x}{b:02x}:{c:02x}ff:fe{d:02x}:{e:02x}{f:02x}")
        .parse::<Ipv6Addr>()
        .unwrap()
        .to_string()
}

/// IPv4 by an IPv6 next hop (RFC 5549): the parent is found, and the next hop is no router of IPv6.
#[test]
#[ignore = "needs root"]
fn a_default_route_by_a_next_hop_of_ipv6() {
    let lab = Lab::new();
    let router = link_local(&lab);
    lab.host.ok(&["ip", "-4", "route", "replace", "default", "via", "inet6", &router, "dev", "eth0"]);
    lab.host.ok(&["ip", "-6", "route", "del", "default"]);
    for asked in [BRIDGE, VETH] {
        let web = lab.attach("web", asked);
        let _server = Server::tcp(&lab.wan, 80, "internet");
        reaches(&web.net, INTERNET4, 80, "internet");
        lab.detach(web);
    }
    let web = lab.attach("web", MACVLAN);
    assert_eq!(web.record["attachments"][0]["parent"], "eth0");
    assert_eq!(web.net.default_routes(true), []);
    let _server = Server::tcp(&lab.peer, 80, "peer");
    for to in [PEER4, PEER6] {
        reaches(&web.net, to, 80, "peer");
    }
}

/// The container asks that next hop as the host does, and by IPv6; one without IPv6 cannot, and is not left without a way.
#[test]
#[ignore = "needs root"]
fn a_lans_container_leaves_by_the_hosts_next_hop_of_ipv6() {
    let mut drivers = vec!["macvlan"];
    drivers.extend(kernel_has_ipvlan().then_some("ipvlan"));
    for (driver, next_hop) in drivers.iter().flat_map(|driver| [(driver, true), (driver, false)]) {
        let lab = Lab::new();
        used(&lab);
        let router = if next_hop { link_local(&lab) } else { WAN6.to_string() };
        lab.host.ok(&["ip", "-4", "route", "replace", "default", "via", "inet6", &router, "dev", "eth0"]);
        let (four, six) = (("net.ip", "198.51.100.65"), ("net.ip", "198.51.100.65,2001:db8:1::6465"));
        let asked =
            |ip, more: &[(&'static str, &'static str)]| [&[("net.driver", *driver), ip], more].concat();
        let says = format!(
            "the host's default route of IPv4 is by {router}, which eth0 without an IPv6 address does not reach; hint: give the LAN's IPv4 router"
        );
        refused(&lab, &asked(four, &[]), 3, &says);
        let server = Server::tcp(&lab.wan, 80, "internet");
        let web = lab.attach("web", &asked(six, &[]));
        reaches(&web.net, INTERNET4, 80, "internet");
        assert_eq!(lab.run(&["check"], "").code, 0);
        // Whoever is root in the container takes the route away: it is missed, and comes back by the command that is shown.
        web.net.ok(&["ip", "-4", "route", "del", "default"]);
        let missing = lab.run(&["check"], "").stdout;
        assert!(missing.contains(&format!("its default route by {router} is missing")), "{missing}");
        let found = lab.run(&["doctor"], "").stdout;
        let fix = found.lines().find_map(|line| Some(&line[line.find("nsenter ")?..]));
        let fix = fix.unwrap_or_else(|| panic!("a command: {found}"));
        assert!(fix.ends_with(&format!("default via inet6 {router} dev eth0 onlink")), "{found}");
        lab.host.ok(&["sh", "-c", fix]);
        reaches(&web.net, INTERNET4, 80, "internet");
        lab.detach(web);
        let web = lab.attach("web", &asked(four, &[("net.gateway", "198.51.100.1")]));
        reaches(&web.net, INTERNET4, 80, "internet");
        lab.detach(web);
        assert_eq!(server.clients().len(), 3);
        // Beside a bridge, each interface answers by its own way.
        let two = [
            ("net.eth0.driver", "bridge"),
            ("net.eth1.driver", *driver),
            ("net.eth1.ip", six.1),
            ("net.default-route", "eth1"),
        ];
        let web = lab.attach("web", &two);
        reaches(&web.net, INTERNET4, 80, "internet");
    }
}
