//! Networks that several containers share: named in the configuration, or made by the first that names one.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use ocinet_tests::lab::{
    Attached, HOST_SECOND4, HOST_SECOND6, HOST4, HOST6, INTERNET4, INTERNET6, Lab, PEER4, PEER6, Runtime,
    Sandbox, Server, Snapshot, ask_tcp, link_address, until,
};

use crate::PATIENCE;
use crate::conflict::refused_as_it_is as refused;
use crate::life::used;
use crate::options::{BRIDGE, VETH, VXLAN, with};
use crate::reach::{does_not_reach, reaches};

/// What a container says of its network: its name.
pub(crate) const WEB: [(&str, &str); 1] = [("net.network", "web")];
/// The internet and the host's addresses, for either family.
const FAMILIES: [(bool, IpAddr, [IpAddr; 2]); 2] =
    [(false, INTERNET4, [HOST4, HOST_SECOND4]), (true, INTERNET6, [HOST6, HOST_SECOND6])];

pub(crate) const ON_A_BRIDGE: &str = r#"
[network.web]
driver = "bridge"
subnet = ["10.81.0.0/24", "fd00:81::/64"]
"#;
const ON_LINES: &str = r#"
[network.web]
driver = "veth"
subnet = "10.81.0.0/24,fd00:81::/64"
"#;
const ON_THE_LAN: &str = r#"
[network.web]
driver = "macvlan"
parent = "eth0"
ip-range = ["198.51.100.64/27", "2001:db8:1::6400/120"]
"#;

pub(crate) fn configured(text: &str) -> Lab {
    let lab = Lab::new();
    lab.configure(text);
    lab
}

pub(crate) fn driver(of: &Attached) -> &str {
    of.record["attachments"][0]["driver"].as_str().unwrap()
}

/// Two containers that say nothing but the network's name, of each driver whose containers the host routes for.
fn routed_by_its_name(config: &str, wanted: &str) {
    let lab = configured(config);
    let (web, app) = (lab.attach("web", &WEB), lab.attach("app", &[WEB[0], ("net.ports", "8080:80")]));
    assert_eq!((driver(&web), driver(&app)), (wanted, wanted));
    let _servers = [Server::tcp(&app.net, 80, "app"), Server::tcp(&lab.wan, 80, "internet")];
    for (ipv6, internet, hosts) in FAMILIES {
        let network = if ipv6 { "fd00:81::" } else { "10.81.0." };
        assert!(web.address(ipv6).to_string().starts_with(network), "{}", web.record);
        reaches(&web.net, app.address(ipv6), 80, "app");
        reaches(&lab.peer, hosts[0], 8080, "app");
        let answer = ask_tcp(&web.net, SocketAddr::new(internet, 80), PATIENCE).expect("an answer");
        assert!(hosts.contains(&answer.seen_as), "{answer:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_named_bridge_network_is_all_a_container_needs() {
    routed_by_its_name(ON_A_BRIDGE, "bridge");
}

#[test]
#[ignore = "needs root"]
fn a_named_veth_network_is_all_a_container_needs() {
    routed_by_its_name(ON_LINES, "veth");
}

#[test]
#[ignore = "needs root"]
fn a_named_macvlan_network_is_all_a_container_needs() {
    let lab = configured(ON_THE_LAN);
    let (web, app) = (lab.attach("web", &WEB), lab.attach("app", &WEB));
    assert_eq!(driver(&web), "macvlan");
    let _servers = [
        Server::tcp(&app.net, 80, "app"),
        Server::tcp(&lab.peer, 80, "peer"),
        Server::tcp(&lab.wan, 80, "internet"),
    ];
    for (ipv6, peer, internet) in [(false, PEER4, INTERNET4), (true, PEER6, INTERNET6)] {
        reaches(&web.net, app.address(ipv6), 80, "app");
        reaches(&lab.peer, app.address(ipv6), 80, "app");
        for (to, who) in [(peer, "peer"), (internet, "internet")] {
            let answer = ask_tcp(&web.net, SocketAddr::new(to, 80), PATIENCE);
            let seen = answer.map(|answer| (answer.from, answer.seen_as));
            assert_eq!(seen, Some((who.to_owned(), web.address(ipv6))));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_named_vxlan_network_is_all_a_container_needs() {
    let lab = Lab::new();
    let one = lab.another_host(1);
    let overlay = |peer: IpAddr, range4: &str, range6: &str| {
        format!(
            "[network.web]\ndriver = \"vxlan\"\nvni = 7\npeers = [\"{peer}\"]\n\
             subnet = [\"10.81.0.0/24\", \"fd00:81::/64\"]\nip-range = [\"{range4}\", \"{range6}\"]\n"
        )
    };
    lab.configure(&overlay(one.address(false), "10.81.0.64/26", "fd00:81::1:0/112"));
    one.configure(&overlay(HOST4, "10.81.0.128/26", "fd00:81::2:0/112"));
    let (near, far) = (lab.attach("near", &WEB), one.attach("far", &WEB));
    assert_eq!(driver(&near), "vxlan");
    let _servers = [Server::tcp(&far.net, 80, "far"), Server::tcp(&lab.wan, 80, "internet")];
    for (ipv6, internet, hosts) in FAMILIES {
        let answer = ask_tcp(&near.net, far.at(ipv6, 80), PATIENCE);
        assert_eq!(
            answer.map(|answer| (answer.from, answer.seen_as)),
            Some(("far".to_owned(), near.address(ipv6)))
        );
        let answer = ask_tcp(&near.net, SocketAddr::new(internet, 80), PATIENCE).expect("an answer");
        assert!(hosts.contains(&answer.seen_as), "{answer:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn every_runtime_takes_a_named_network() {
    for runtime in Runtime::ALL {
        let lab = configured(&format!("{ON_A_BRIDGE}dns = \"192.0.2.53\"\ndns-search = [\"web.example\"]\n"));
        let web = runtime.start(&lab, "web", &WEB).unwrap_or_else(|said| panic!("{}", said.stderr));
        let record = lab.record(&web.id).expect("a record");
        assert_eq!(record["attachments"][0]["network"], "web", "{runtime:?}");
        let told = fs::read_to_string(format!("/proc/{}/root/etc/resolv.conf", web.pid)).unwrap();
        assert!(told.contains("nameserver 192.0.2.53") && told.contains("search web.example"), "{told}");
        {
            let net = web.net();
            let _server = Server::tcp(&lab.wan, 80, "internet");
            reaches(&net, INTERNET4, 80, "internet");
        }
        web.stop();
    }
}

#[test]
#[ignore = "needs root"]
fn two_containers_that_name_one_network_share_it() {
    let lab = Lab::new();
    let blue = [("net.network", "blue")];
    let (a, b) = (lab.attach("a", &blue), lab.attach("b", &blue));
    let other = lab.attach("other", &[("net.network", "green")]);
    let default = lab.attach("default", &[("net.driver", "bridge")]);
    let _servers = [Server::tcp(&a.net, 80, "a"), Server::tcp(&other.net, 80, "other")];
    reaches(&b.net, a.address(false), 80, "a");
    for apart in [&other, &default] {
        does_not_reach(&apart.net, a.address(false), 80);
        does_not_reach(&a.net, other.address(false), 80);
    }
    // By the same driver's own default, too, when it is not named.
    let routed =
        [("net.driver", "veth"), ("net.network", "lines"), ("net.subnet", "10.84.0.0/24,fd00:84::/64")];
    let (c, d) = (lab.attach("c", &routed), lab.attach("d", &[("net.network", "lines")]));
    let _server = Server::tcp(&c.net, 80, "c");
    for ipv6 in [false, true] {
        reaches(&d.net, c.address(ipv6), 80, "c");
    }
    does_not_reach(&b.net, c.address(false), 80);
}

/// Each key that belongs to a network, said otherwise than the network was made: both are shown, and nothing changes.
#[test]
#[ignore = "needs root"]
fn what_contradicts_a_living_network_is_refused() {
    let lab = Lab::new();
    let host = lab.another_host(1).address(false).to_string();
    let _routed = lab.attach("routed", &[("net.network", "v"), ("net.driver", "veth")]);
    let made = [
        ("net.network", "b"),
        ("net.subnet", "10.85.0.0/24,fd00:85::/64"),
        ("net.bridge", "br-b"),
        ("net.gateway", "10.85.0.254"),
    ];
    let _bridged = lab.attach("bridged", &made);
    let lan = [("net.network", "m"), ("net.driver", "macvlan"), ("net.ip", "198.51.100.50")];
    let _lan = lab.attach("lan", &lan);
    let overlay = [
        ("net.network", "x"),
        ("net.driver", "vxlan"),
        ("net.vni", "7"),
        ("net.subnet", "10.86.0.0/24"),
        ("net.ip", "10.86.0.7"),
        ("net.peers", host.as_str()),
    ];
    let _overlay = lab.attach("overlay", &overlay);
    assert!(until(|| !lab.host.links().iter().any(|link| link.lacks_carrier)));
    for (network, key, asked, has) in [
        ("b", "subnet", "10.85.0.0/24", "10.85.0.0/24,fd00:85::/64"),
        ("b", "subnet", "10.87.0.0/24", "10.85.0.0/24,fd00:85::/64"),
        ("b", "driver", "veth", "bridge"),
        ("v", "driver", "bridge", "veth"),
        ("b", "bridge", "br-c", "br-b"),
        ("b", "internal", "true", "false"),
        ("b", "isolate", "false", "true"),
        ("b", "gateway", "10.85.0.1", "10.85.0.254,fd00:85::1"),
        ("m", "mode", "private", "bridge"),
        ("m", "parent", "eth1", "eth0"),
        ("m", "host-access", "true", "false"),
        ("x", "vni", "8", "7"),
        ("x", "port", "4790", "4789"),
        ("x", "local", "198.51.100.10", "none"),
        ("x", "group", "239.1.1.1", "none"),
        ("x", "peers", "198.51.100.32", "198.51.100.31"),
    ] {
        let key = format!("net.{key}");
        let mut asked_for = vec![("net.network", network), (key.as_str(), asked)];
        asked_for.extend((network == "m").then_some(("net.ip", "198.51.100.51")));
        asked_for.extend((network == "x").then_some(("net.ip", "10.86.0.8")));
        let says = format!(
            "cannot join network {network}: {key} asks for {asked}, but the network was made with {has}; hint: leave {key} out"
        );
        refused(&lab, &asked_for, 4, &says);
        // The same of another interface than the first.
        let of_second: Vec<(String, &str)> =
            asked_for.iter().map(|(key, value)| (key.replace("net.", "net.eth1."), *value)).collect();
        let mut of_second: Vec<(&str, &str)> =
            of_second.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        of_second.push(("net.driver", "bridge"));
        refused(&lab, &of_second, 4, &says.replace("net.", "net.eth1."));
    }
    // What is repeated is no contradiction.
    let repeated =
        [made.as_slice(), &[("net.internal", "false"), ("net.isolate", "true"), ("net.driver", "bridge")]];
    let _again = lab.attach("again", &repeated.concat());
}

#[test]
#[ignore = "needs root"]
fn a_network_goes_with_its_last_container() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let file = lab.state_dir().join("networks/blue.json");
    let first = lab.attach("a", &[("net.network", "blue"), ("net.subnet", "10.85.0.0/24")]);
    let second = lab.attach("b", &[("net.network", "blue")]);
    lab.detach(first);
    assert!(file.exists());
    let third = lab.attach("c", &[("net.network", "blue")]);
    let _server = Server::tcp(&third.net, 80, "c");
    reaches(&second.net, third.address(false), 80, "c");
    drop(_server);
    lab.detach(second);
    assert!(file.exists());
    lab.detach(third);
    assert!(!file.exists());
    before.assert_is_back(&lab, "the last container of a network");
    // Its name is free for another network.
    let other = [("net.network", "blue"), ("net.driver", "veth"), ("net.subnet", "10.86.0.0/24")];
    let next = lab.attach("d", &other);
    assert!(next.address(false).to_string().starts_with("10.86.0."));
}

/// Between the last lease and the lock of the network, a stop waits for nobody.
#[test]
#[ignore = "needs root"]
fn who_joins_while_the_last_leaves_keeps_the_network() {
    let lab = Lab::new();
    let blue = [("net.network", "blue"), ("net.subnet", "10.85.0.0/24")];
    let (file, leases) = (lab.state_dir().join("networks/blue.json"), lab.state_dir().join("leases/blue"));
    let mut last = lab.attach("last", &blue);
    drop(last.net);
    last.sandbox.end();
    let slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=rmdir:delay_exit=1500000"];
    let (stopped, next) = thread::scope(|scope| {
        let stop = scope.spawn(|| lab.run_under(&slow, &["poststop"], r#"{"id":"last"}"#));
        assert!(until(|| !leases.exists()));
        let next = lab.attach("next", &blue);
        assert!(!stop.is_finished(), "the stop was over first");
        (stop.join().unwrap(), next)
    });
    assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""));
    assert!(file.exists() && leases.exists());
    assert_eq!(lab.run(&["check"], "").stdout, "everything is as recorded\n");
    let _server = Server::tcp(&lab.wan, 80, "internet");
    reaches(&next.net, INTERNET4, 80, "internet");
}

/// The links of a container that has just ended may still be there.
#[test]
#[ignore = "needs root"]
fn a_network_is_made_anew_at_once() {
    for asked in [BRIDGE, VETH, VXLAN] {
        let lab = Lab::new();
        for round in 0..10 {
            let name = format!("c{round}");
            let web = lab.attach(&name, &with(asked, &[("net.ports", "8080:80")]));
            let _server = Server::tcp(&web.net, 80, &name);
            for host in [HOST4, HOST6] {
                reaches(&lab.peer, host, 8080, &name);
            }
            drop(_server);
            if round % 2 == 0 {
                lab.detach(web);
                continue;
            }
            // The next start takes it back.
            let Attached { mut sandbox, net, .. } = web;
            drop(net);
            sandbox.end();
        }
    }
}

/// The gateway's Ethernet address is the network's: no container can be it.
#[test]
#[ignore = "needs root"]
fn a_network_keeps_its_own_addresses() {
    let lab = Lab::new();
    let blue = [("net.network", "blue"), ("net.subnet", "10.85.0.0/24,fd00:85::/64")];
    let web = lab.attach("web", &blue);
    let bridge = link_address(&lab.host, "oc-blue").map(|byte| format!("{byte:02x}")).join(":");
    refused(&lab, &[blue[0], ("net.mac", &bridge)], 3, &format!("{bridge} is that of oc-blue"));
    refused(&lab, &[blue[0], ("net.ip", "10.85.0.1")], 3, "10.85.0.1 is the gateway of network blue");
    let gone = Sandbox::new("gone");
    assert!(until(|| lab.create(&gone, &blue).code == 0));
    let _server = Server::tcp(&web.net, 80, "web");
    reaches(&gone.net(), web.address(true), 80, "web");
}
