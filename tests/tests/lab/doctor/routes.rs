//! Routes and rules of the host that lead past containers, and answers that leave by another uplink than was asked.

use std::net::{IpAddr, SocketAddr};

use ocinet_tests::lab::{HOST4, HOST6, INTERNET4, INTERNET6, Server, ask_tcp, ping};

use super::{EVIL, Ward, does_nothing_else};
use crate::{PATIENCE, SILENCE};

#[test]
#[ignore = "needs root"]
fn a_rule_that_leads_past_the_network() {
    for driver in ["bridge", "veth"] {
        for (family, to) in [("-4", "10.0.0.0/8"), ("-6", "fd00::/8"), ("-4", "default")] {
            let ward = Ward::new(driver);
            let host = &ward.lab.host;
            host.batch("link add ts0 type bridge\nlink set ts0 up\n");
            host.ok(&["ip", family, "route", "add", to, "dev", "ts0", "table", "52"]);
            host.ok(&["ip", family, "rule", "add", "priority", "5270", "lookup", "52"]);
            ward.is_silent(family == "-6");
            let found = ward.finds("the routing rule 5270 leads what is for ");
            let fix: Vec<String> = found.into_iter().filter(|line| line.contains(" rule add to ")).collect();
            assert!(fix.iter().all(|line| line.ends_with(" lookup main")), "{fix:?}");
            if to == "default" {
                // The neighbour's own subnet is in the main table, which the command does not lead answers to.
                host.ok(&[
                    "ip",
                    "rule",
                    "add",
                    "priority",
                    "5000",
                    "to",
                    "198.51.100.0/24",
                    "lookup",
                    "main",
                ]);
            }
            ward.fix(&fix);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_route_that_leads_nowhere() {
    for (kind, ipv6) in
        [("blackhole", false), ("unreachable", true), ("prohibit", false), ("throw", false), ("throw", true)]
    {
        let ward = Ward::new("bridge");
        let own = ward.web.address(ipv6);
        ward.lab.host.batch(&format!("route add {kind} {own}\n"));
        ward.is_silent(ipv6);
        let fix = ward.finds(&format!("the host's {kind} route to {own}/"));
        ward.fix(&fix);
    }
}

/// The kernel finds such a route by its destination alone.
#[test]
#[ignore = "needs root"]
fn a_route_by_several_links_that_leads_past_the_network() {
    for (ipv6, ways) in [
        (false, "nexthop via 198.51.100.1 dev eth0 nexthop via 198.51.100.20 dev eth0"),
        (true, "nexthop via 2001:db8:1::1 dev eth0 nexthop via 2001:db8:1::20 dev eth0"),
        (false, "nhid 7"),
        (true, "nhid 8"),
    ] {
        let ward = Ward::new("bridge");
        let host = &ward.lab.host;
        host.batch(
            "nexthop add id 7 via 198.51.100.1 dev eth0\nnexthop add id 8 via 2001:db8:1::1 dev eth0\n",
        );
        let own = ward.web.address(ipv6);
        host.batch(&format!("route add {own} {ways}\n"));
        ward.is_silent(ipv6);
        let fix = ward.finds(&format!("the host's route to {own}/"));
        ward.fix(&fix);
    }
}

/// A VPN's rule, and the rule of the host's own addresses behind it.
#[test]
#[ignore = "needs root"]
fn a_rule_before_that_of_the_hosts_own_addresses() {
    let families =
        [("-4", "10.0.0.0/8", "10.90.0.1", INTERNET4), ("-6", "fd00::/8", "fd00:90::1", INTERNET6)];
    for ((family, to, gateway, elsewhere), is_first) in
        families.into_iter().flat_map(|family| [(family, true), (family, false)])
    {
        let ward = Ward::new("bridge");
        let ip = |words: &str| ward.lab.host.ok(&["sh", "-c", &format!("ip {family} {words}")]);
        ward.lab.host.batch("link add ts0 type bridge\nlink set ts0 up\n");
        ip("rule add pref 200 lookup local");
        ip("rule del pref 0");
        ip(&format!("route add {to} dev ts0 table 98"));
        if !is_first {
            ip(&format!("rule add pref 10 from {elsewhere} lookup 97"));
        }
        ip("rule add pref 51 lookup 98");
        ward.is_silent(family == "-6");
        let fix = ward.finds("the routing rule 51 leads what is for ");
        ward.fix(&fix);
        // The gateway is in the network, and is the host's own.
        assert!(ping(&ward.web.net, gateway.parse().unwrap(), PATIENCE));
    }
}

/// The commands for both are run as they are printed, one after the other.
#[test]
#[ignore = "needs root"]
fn two_further_uplinks_with_routes_by_source() {
    for (ipv6, family, source) in [(false, "-4", INTERNET4), (true, "-6", INTERNET6)] {
        let ward = Ward::new("bridge");
        let (host, wan) = (&ward.lab.host, &ward.lab.wan);
        let (ip, nodad) = if ipv6 { ("ip6", "nodad") } else { ("ip", "") };
        // The kernel's own route has the metric 0, of IPv6 256.
        let metric = if ipv6 { "1" } else { "0" };
        wan.ok(&["nft", "add table inet strict"]);
        wan.ok(&["nft", "add chain inet strict input { type filter hook input priority 0; }"]);
        let of = |number: u8| if ipv6 { format!("2001:db8:{number}::") } else { format!("192.0.{number}.") };
        let (length, ends) = if ipv6 { ("64", ["0", "10", "1"]) } else { ("24", ["0", "10", "1"]) };
        let mut owns: Vec<IpAddr> = Vec::new();
        for number in [2, 3] {
            let [subnet, own, router] = ends.map(|end| format!("{}{end}", of(number)));
            host.batch(&format!(
                "link add eth{number} type veth peer name back{number} netns {}\n\
                 addr add {own}/{length} dev eth{number} {nodad}\nlink set eth{number} up\n",
                wan.path()
            ));
            wan.batch(&format!(
                "addr add {router}/{length} dev back{number} {nodad}\nlink set back{number} up\n"
            ));
            let run = |net: &ocinet_tests::lab::Netns, words: String| drop(net.ok(&["sh", "-c", &words]));
            run(
                wan,
                format!(
                    "ip {family} route replace {subnet}/{length} dev back{number} src {source} metric {metric}"
                ),
            );
            run(wan, format!("nft add rule inet strict input iifname != back{number} {ip} saddr {own} drop"));
            run(host, format!("ip {family} rule add from {own} lookup 7{number}"));
            run(host, format!("ip {family} route add default via {router} dev eth{number} table 7{number}"));
            if !ipv6 {
                host.sysctl(&format!("ipv4/conf/eth{number}/rp_filter"), "0");
            }
            owns.push(own.parse().unwrap());
        }
        let asks = |own: IpAddr, patience| {
            let asked = SocketAddr::new(own, 8080);
            ask_tcp(wan, asked, patience).map(|answer| answer.from).as_deref() == Some("web")
        };
        assert!(owns.iter().all(|own| !asks(*own, SILENCE)));
        let fix = ward.finds("leave by eth0, and not by eth3");
        ward.fix(&fix);
        assert_eq!(owns.iter().map(|own| asks(*own, PATIENCE)).collect::<Vec<_>>(), [true, true]);
        // A mark that another uplink's rule has leads there.
        let marked = host.ok(&["sh", "-c", &format!("ip {family} rule | grep 'lookup 72' | grep fwmark")]);
        let mark = marked.split_whitespace().skip_while(|word| *word != "fwmark").nth(1).unwrap();
        host.ok(&[
            "sh",
            "-c",
            &format!(
                "ip {family} rule | grep 'lookup 73' | grep -o 'fwmark [^ ]*' | xargs ip {family} rule del"
            ),
        ]);
        host.ok(&["sh", "-c", &format!("ip {family} rule add fwmark {mark} lookup 73 priority 32765")]);
        ward.finds("leave by eth0, and not by eth3");
    }
}

/// The second uplink's router takes back what came by it alone: what leaves by the first is lost.
#[test]
#[ignore = "needs root"]
fn a_second_uplink_with_routes_by_source() {
    for (ipv6, family, uplink, own, router, internet) in [
        (false, "-4", "eth1", "192.0.2.10/24", "192.0.2.1/24", INTERNET4),
        (false, "-4", EVIL, "192.0.2.10/24", "192.0.2.1/24", INTERNET4),
        (true, "-6", "eth1", "2001:db8:2::10/64", "2001:db8:2::1/64", INTERNET6),
    ] {
        let subnet = if ipv6 { "2001:db8:2::/64" } else { "192.0.2.0/24" };
        let ward = Ward::new("bridge");
        let (host, wan) = (&ward.lab.host, &ward.lab.wan);
        let address = |cidr: &str| cidr.split('/').next().unwrap().parse::<IpAddr>().unwrap();
        let nodad = if ipv6 { "nodad" } else { "" };
        host.batch(&format!(
            "link add '{uplink}' type veth peer name back netns {}\naddr add {own} dev '{uplink}' {nodad}\n\
             link set '{uplink}' up\n",
            wan.path()
        ));
        wan.batch(&format!("addr add {router} dev back {nodad}\nlink set back up\n"));
        let source = internet.to_string();
        // The kernel's own route has the metric 0, of IPv6 256.
        let metric = if ipv6 { "1" } else { "0" };
        wan.ok(&["ip", family, "route", "replace", subnet, "dev", "back", "src", &source, "metric", metric]);
        let ip = if ipv6 { "ip6" } else { "ip" };
        wan.ok(&["nft", "add", "table", "inet", "strict"]);
        wan.ok(&["nft", "add chain inet strict input { type filter hook input priority 0; }"]);
        wan.ok(&[
            "nft",
            &format!("add rule inet strict input iifname != back {ip} saddr {} drop", address(own)),
        ]);
        let asks = |patience| {
            let asked = SocketAddr::new(address(own), 8080);
            ask_tcp(wan, asked, patience).map(|answer| answer.from).as_deref() == Some("web")
        };
        host.ok(&["ip", family, "rule", "add", "from", &address(own).to_string(), "lookup", "100"]);
        host.ok(&[
            "ip",
            family,
            "route",
            "add",
            "default",
            "via",
            &address(router).to_string(),
            "dev",
            uplink,
            "table",
            "100",
        ]);
        if !ipv6 {
            host.sysctl(&format!("ipv4/conf/{uplink}/rp_filter"), "0");
        }
        assert!(!asks(SILENCE));
        let fix = ward.finds(&format!("to who asks {} leave by eth0, and not by {uplink}", address(own)));
        ward.fix(&fix);
        does_nothing_else();
        assert!(asks(PATIENCE));
    }
}

/// Of the actions that refuse, whichever way a packet goes.
#[test]
#[ignore = "needs root"]
fn a_routing_rule_that_refuses() {
    for (family, kind, ipv6, by) in [
        ("-4", "blackhole", false, "from 10.90.0.0/16"),
        ("-4", "unreachable", false, "to 10.90.0.0/16"),
        ("-4", "prohibit", false, "iif LINK"),
        ("-6", "blackhole", true, "to fd00:90::/64"),
        ("-6", "unreachable", true, "from fd00:90::/64"),
        ("-6", "prohibit", true, "from fd00::/8"),
    ] {
        let driver = if kind == "prohibit" { "veth" } else { "bridge" };
        let ward = Ward::new(driver);
        let host = &ward.lab.host;
        let link = ward.web.record["attachments"][0]["host_interface"].as_str().unwrap();
        let by = by.replace("LINK", link);
        // These concern nobody here.
        let elsewhere = if ipv6 { "2001:db8:99::/48" } else { "192.0.2.0/24" };
        host.ok(&["ip", family, "rule", "add", "from", elsewhere, kind]);
        ward.is_sound();
        host.ok(&["sh", "-c", &format!("ip {family} rule add priority 777 {by} {kind}")]);
        assert!(
            ask_tcp(&ward.lab.peer, SocketAddr::new(if ipv6 { HOST6 } else { HOST4 }, 8080), SILENCE)
                .is_none()
        );
        let fix = ward.finds(&format!("the routing rule 777 ({kind}) ends what container web "));
        ward.fix(&fix);
    }
}

/// The table of a second uplink has a way out, and no way to containers.
#[test]
#[ignore = "needs root"]
fn a_rule_by_link_that_leads_past_the_network() {
    for driver in ["bridge", "veth", "vxlan"] {
        for (ipv6, family, own, router, elsewhere) in [
            (false, "-4", "192.0.2.10/24", "192.0.2.1/24", "10.44.0.0/16"),
            (true, "-6", "2001:db8:2::10/64", "2001:db8:2::1/64", "fd00:44::/64"),
        ] {
            let ward = Ward::new(driver);
            let (host, wan) = (&ward.lab.host, &ward.lab.wan);
            let address = |cidr: &str| cidr.split('/').next().unwrap().parse::<IpAddr>().unwrap();
            let nodad = if ipv6 { "nodad" } else { "" };
            host.batch(&format!(
                "link add eth1 type veth peer name back netns {}\naddr add {own} dev eth1 {nodad}\n\
                 link set eth1 up\nlink add podman0 type bridge\nlink set podman0 up\n",
                wan.path()
            ));
            wan.batch(&format!("addr add {router} dev back {nodad}\nlink set back up\n"));
            let ip = |words: &str| host.ok(&["sh", "-c", &format!("ip {family} {words}")]);
            let _server = Server::tcp(wan, 81, "wan");
            // By the published port, and the other way.
            let ask = |patience| {
                let inwards = ask_tcp(wan, SocketAddr::new(address(own), 8080), patience);
                let outwards = ask_tcp(&ward.web.net, SocketAddr::new(address(router), 81), patience);
                [inwards, outwards].map(|answer| answer.is_some())
            };
            ip(&format!("route add default via {} dev eth1 table 200", address(router)));
            ip(&format!("route add {elsewhere} dev eth1 table 201"));
            // These concern nobody here.
            for rule in [
                "iif podman0 lookup 200",
                "iif absent0 lookup 200",
                "iif eth1 lookup 201",
                "iif eth1 fwmark 5 lookup 200",
                "iif eth1 lookup 200 priority 40000",
                &format!("iif eth1 to {elsewhere} lookup 200"),
            ] {
                ip(&format!("rule add {rule}"));
            }
            assert_eq!(ask(PATIENCE), [true, true]);
            ward.is_sound();
            // Nothing can be put before a rule of the priority 0.
            for (priority, end) in
                [("100", " lookup main priority 99"), ("0", " rule del priority 0 iif eth1 lookup 200")]
            {
                ip(&format!("rule add iif eth1 lookup 200 priority {priority}"));
                assert_eq!(ask(SILENCE), [false, false]);
                let fix = ward.finds(&format!("the routing rule {priority} leads what comes by eth1 for "));
                assert!(fix.len() == 1 && fix[0].ends_with(end), "{fix:?}");
                ward.fix(&fix);
                assert_eq!(ask(PATIENCE), [true, true]);
            }
        }
    }
}
