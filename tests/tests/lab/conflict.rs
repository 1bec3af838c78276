//! What is taken: one line that names the holder, exit code 4, and nothing changed.

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use ocinet_tests::lab::{
    DUAL, Endpoint, Frame, HOST4, HOST6, HeldPort, Lab, PEER4, PEER6, Sandbox, Server, Snapshot,
    link_address, send_frame, until,
};

use crate::faults::inject;
use crate::networks::configured;
use crate::reach::reaches;

#[track_caller]
fn refused(lab: &Lab, annotations: &[(&str, &str)], code: i32, says: &str) {
    let mut all = vec![("net.driver", "bridge")];
    all.extend(annotations);
    refused_as_it_is(lab, &all, code, says);
}

/// A start with these annotations and no others: one line with `says` in it, the exit code, and nothing changed.
#[track_caller]
pub(crate) fn refused_as_it_is(lab: &Lab, annotations: &[(&str, &str)], code: i32, says: &str) {
    let before = Snapshot::of(lab);
    let sandbox = Sandbox::new("late");
    let finished = lab.create(&sandbox, annotations);
    assert_eq!(
        (finished.code, finished.stderr.lines().count()),
        (code, 1),
        "{annotations:?}: {}",
        finished.stderr
    );
    assert!(
        finished.stderr.starts_with("ocinet: cannot ") && finished.stderr.contains("; hint: "),
        "{}",
        finished.stderr
    );
    assert!(finished.stderr.contains(says), "{annotations:?}: {}", finished.stderr);
    before.assert_is_back(lab, "a refusal");
}

#[test]
#[ignore = "needs root"]
fn a_port_that_another_container_holds() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "8080:80,90-95:90-95/udp")]);
    let held = "container web holds it";
    refused(&lab, &[("net.ports", "8080:81")], 4, held);
    refused(&lab, &[("net.ports", "7000:1,85-92:85-92/udp")], 4, held);
    refused(&lab, &[("net.ports", &format!("{HOST4}:8080:80"))], 4, held);
    refused(&lab, &[("net.ports", "127.0.0.1:8080:80")], 4, held);
    refused(&lab, &[("net.network", "other"), ("net.ports", "8080:80")], 4, held);
    // Another protocol's port of the same number is another port.
    let _udp = lab.attach("udp", &[("net.driver", "bridge"), ("net.ports", "8080:80/udp")]);
}

#[test]
#[ignore = "needs root"]
fn a_port_that_another_container_holds_on_one_address() {
    let lab = Lab::new();
    let _local = lab.attach("local", &[("net.subnet", DUAL), ("net.ports", "127.0.0.1:8080:80")]);
    refused(&lab, &[("net.ports", "127.0.0.1:8080:81")], 4, "container local holds it");
    refused(&lab, &[("net.ports", "8080:81")], 4, "container local holds it");
    refused(&lab, &[("net.ports", "0.0.0.0:8080:81")], 4, "container local holds it");
    let _lan = lab.attach("lan", &[("net.driver", "bridge"), ("net.ports", &format!("{HOST4}:8080:80"))]);
    let _v6 = lab.attach("v6", &[("net.driver", "bridge"), ("net.ports", "[::]:8080:80")]);
}

#[test]
#[ignore = "needs root"]
fn a_port_that_a_process_of_the_host_holds() {
    let lab = Lab::new();
    let tcp = HeldPort::tcp(&lab.host, Ipv4Addr::UNSPECIFIED, 8080);
    refused(&lab, &[("net.ports", "8080:80")], 4, &tcp.named());
    let local = HeldPort::tcp(&lab.host, Ipv4Addr::LOCALHOST, 8081);
    refused(&lab, &[("net.ports", "8081:80")], 4, &local.named());
    refused(&lab, &[("net.ports", "127.0.0.1:8081:80")], 4, &local.named());
    let udp = HeldPort::udp(&lab.host, Ipv4Addr::UNSPECIFIED, 53);
    refused(&lab, &[("net.ports", "53:53/udp")], 4, &udp.named());
    drop((tcp, local, udp));
    let _web = lab.attach("web", &[("net.driver", "bridge"), ("net.ports", "8080:80,8081:80,53:53/udp")]);
}

/// A connection's own packets are told from those that begin one.
#[test]
#[ignore = "needs root"]
fn a_connection_that_the_host_began_holds_no_port() {
    let lab = Lab::new();
    let _server = Server::tcp(&lab.peer, 80, "peer");
    let connect = |peer: IpAddr| lab.host.within(|| TcpStream::connect((peer, 80)).unwrap());
    let streams = [connect(PEER4), connect(PEER6)];
    let [own, own6] = streams.each_ref().map(|stream| stream.local_addr().unwrap().port());
    let ports = format!("{own}:80,[::]:{own6}:80");
    let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", &ports)]);
    let _web = Server::tcp(&web.net, 80, "web");
    reaches(&lab.peer, HOST4, own, "web");
    reaches(&lab.peer, HOST6, own6, "web");
    assert_eq!(lab.run(&["doctor"], "").code, 0);
}

#[test]
#[ignore = "needs root"]
fn a_port_on_an_address_of_the_loopback_link() {
    let lab = Lab::new();
    let (four, six): (IpAddr, IpAddr) = ([192, 0, 2, 77].into(), "2001:db8:77::77".parse().unwrap());
    lab.host.batch(&format!("addr add {four}/32 dev lo\naddr add {six}/128 dev lo nodad\n"));
    lab.peer.batch(&format!("route add {four} via {HOST4}\nroute add {six} via {HOST6}\n"));
    let ports = format!("{four}:8080:80,[{six}]:8080:80");
    let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", &ports)]);
    let _web = Server::tcp(&web.net, 80, "web");
    for address in [four, six] {
        reaches(&lab.peer, address, 8080, "web");
    }
}

#[test]
#[ignore = "needs root"]
fn a_port_on_an_address_that_no_host_has_for_itself() {
    let lab = Lab::new();
    let _first = lab.attach("first", &[("net.driver", "bridge"), ("net.subnet", DUAL)]);
    for address in ["255.255.255.255", "240.0.0.1", "0.1.2.3", "224.0.0.1", "[ff02::1]", "[fe80::1]"] {
        let says = "cannot be published on that address";
        for protocol in ["tcp", "udp"] {
            refused(&lab, &[("net.ports", &format!("{address}:8080:80/{protocol}"))], 3, says);
        }
    }
    for (address, says) in [
        ("198.51.100.255", "198.51.100.255 is a broadcast address of this host's networks"),
        ("10.90.255.255", "10.90.255.255 is a broadcast address of this host's networks"),
        ("127.255.255.255", "127.255.255.255 is a broadcast address of this host's networks"),
        ("198.51.100.0", "198.51.100.0 is"),
        ("10.90.0.77", "10.90.0.77 is not an address of this host"),
        ("[2001:db8:1::]", "2001:db8:1:: is"),
        ("[fd00:90::]", "fd00:90:: is"),
    ] {
        for protocol in ["tcp", "udp"] {
            let port = format!("{address}:8080:80/{protocol}");
            let asked = [("net.subnet", DUAL), ("net.ip", "10.90.0.77"), ("net.ports", port.as_str())];
            refused(&lab, &asked, 4, says);
        }
    }
}

/// An address that IPv6 still asks for, as at boot, and one that another machine has.
#[test]
#[ignore = "needs root"]
fn an_address_that_the_host_cannot_use_yet() {
    let lab = Lab::new();
    lab.host.sysctl("ipv6/conf/eth0/accept_dad", "1");
    lab.host.sysctl("ipv6/conf/eth0/dad_transmits", "20");
    lab.host.batch(&format!("addr add 2001:db8:1::77/64 dev eth0\naddr add {PEER6}/64 dev eth0\n"));
    let is_known = || lab.host.all_addresses().iter().any(|address| address.is_taken);
    assert!(until(is_known));
    for (address, says) in [
        (
            "2001:db8:1::77".to_owned(),
            "this host is still asking whether another machine has 2001:db8:1::77".to_owned(),
        ),
        (PEER6.to_string(), format!("another machine has {PEER6} as well")),
    ] {
        let port = format!("[{address}]:8080:80");
        refused(&lab, &[("net.subnet", DUAL), ("net.ports", port.as_str())], 4, &says);
        refused(&lab, &[("net.subnet", DUAL), ("net.snat", address.as_str())], 4, &says);
    }
}

#[test]
#[ignore = "needs root"]
fn a_port_on_an_address_that_the_host_does_not_have() {
    let lab = Lab::new();
    refused(&lab, &[("net.ports", "192.0.2.1:80:80")], 4, "192.0.2.1 is not an address of this host");
}

#[test]
#[ignore = "needs root"]
fn an_address_that_is_taken() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.subnet", DUAL), ("net.ip", "10.90.0.7,fd00:90::7")]);
    refused(&lab, &[("net.ip", "10.90.0.7")], 4, "container web has it");
    refused(&lab, &[("net.ip", "fd00:90::7")], 4, "container web has it");
}

#[test]
#[ignore = "needs root"]
fn a_bridge_that_is_something_else() {
    let lab = Lab::new();
    lab.host.batch("link add docker0 type bridge\n");
    refused(&lab, &[("net.bridge", "eth0")], 4, "eth0 exists and is not a bridge");
    refused(&lab, &[("net.bridge", "docker0")], 4, "docker0 exists and is a bridge that ocinet did not make");
    let _web = lab.attach("web", &[("net.driver", "bridge")]);
    refused(&lab, &[("net.network", "other"), ("net.bridge", "ocinet0")], 4, "ocinet0");
}

#[test]
#[ignore = "needs root"]
fn a_subnet_that_the_host_routes() {
    let lab = configured("[policy]\nsubnets = [\"198.51.0.0/16\", \"2001:db8::/32\"]\n");
    let says = "it overlaps the host's route to 198.51.100.0/24";
    refused(&lab, &[("net.network", "n"), ("net.subnet", "198.51.0.0/16")], 4, says);
    refused(&lab, &[("net.network", "n"), ("net.subnet", "198.51.100.128/25")], 4, says);
    refused(&lab, &[("net.network", "n"), ("net.subnet", "2001:db8:1::/48")], 4, "2001:db8:1::/64");
}

#[test]
#[ignore = "needs root"]
fn a_namespace_that_is_the_hosts_or_has_an_interface() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.driver", "bridge")]);
    let shared = |pid: u32| format!(r#"{{"id":"late","pid":{pid},"annotations":{{"net.driver":"bridge"}}}}"#);
    let before = Snapshot::of(&lab);
    let other = Sandbox::new("other");
    other.net().batch("link add eth0 type bridge\n");
    let late = lab.run(&["createRuntime"], &shared(other.pid()));
    assert_eq!(late.code, 4);
    assert!(late.stderr.contains("its network namespace has an interface eth0 already"), "{}", late.stderr);
    assert!(late.stderr.contains("without interfaces (podman: --network=none)"), "{}", late.stderr);
    let mut sleep = ocinet_tests::lab::command("sleep");
    sleep.arg("60");
    let mut process = lab.host.spawn(sleep);
    let host = lab.run(&["createRuntime"], &shared(process.id()));
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(host.code, 2);
    assert!(host.stderr.contains("it shares the host's network namespace"), "{}", host.stderr);
    let dead = lab.run(&["createRuntime"], &shared(process.id()));
    assert_eq!(dead.code, 2, "{}", dead.stderr);
    before.assert_is_back(&lab, "a refusal");
}

/// A host that lives by router advertisements would lose its route by forwarding: it is told what to set instead.
#[test]
#[ignore = "needs root"]
fn a_host_that_lives_by_router_advertisements_is_not_made_a_router() {
    let lab = Lab::new();
    let _first = lab.attach("first", &[("net.driver", "bridge")]);
    lab.host.batch(
        "route del default via 2001:db8:1::1\nroute add default via 2001:db8:1::1 dev eth0 proto ra\n",
    );
    let dual = [("net.network", "n"), ("net.subnet", "10.95.0.0/24,fd00:95::/64")];
    refused(&lab, &dual, 5, "from a router advertisement");
    refused(&lab, &dual, 5, "accept_ra=2");
    refused(&lab, &dual, 5, "run `sysctl -w net/ipv6/conf/eth0/accept_ra=2`");
    lab.host.sysctl("ipv6/conf/all/forwarding", "1");
    let _dual = lab.attach("dual", &dual);
}

/// With `accept_ra` at 2 the kernel goes on learning once it forwards; at 0 it never did, and whoever learned in its place goes
/// on; at 1 it learns again after the last network.
#[test]
#[ignore = "needs root"]
fn router_advertisements_that_forwarding_does_not_end_are_no_reason_to_refuse() {
    for accept_ra in ["2", "1", "0"] {
        let lab = Lab::new();
        lab.host.sysctl("ipv6/conf/eth0/accept_ra", accept_ra);
        lab.host.batch("route del default via 2001:db8:1::1\n");
        let hears = || {
            let _ = lab.host.run(&["ip", "-6", "route", "del", "2001:db8:77::/64", "dev", "eth0"]);
            let router = Endpoint::new(link_address(&lab.wan, "eth0"), "fe80::5".parse().unwrap(), 0);
            let all = Endpoint::new([0x33, 0x33, 0, 0, 0, 1], "ff02::1".parse().unwrap(), 0);
            send_frame(
                &lab.wan,
                "eth0",
                &Frame::new(router, all).router_advertisement("2001:db8:77::".parse().unwrap()),
            );
            let prefix = Some(("2001:db8:77::".parse().unwrap(), 64));
            until(|| lab.host.routes(true).iter().any(|route| route.to == prefix))
        };
        if accept_ra == "2" {
            assert!(hears());
        } else if accept_ra == "0" {
            lab.host.batch("route add default via 2001:db8:1::1 dev eth0 proto ra\n");
        }
        let has_default = || !lab.host.default_routes(true).is_empty();
        let dual = lab.attach("dual", &[("net.subnet", DUAL)]);
        assert_eq!(has_default(), accept_ra != "1");
        assert!(accept_ra != "2" || hears(), "an advertisement is heard while the host forwards");
        lab.detach(dual);
        assert!(accept_ra == "0" || hears(), "an advertisement is heard after the last network");
        assert!(has_default());
    }
}

/// A start plans with what is free, another is quicker, and its stop gives it back before the first looks who has it.
#[test]
#[ignore = "needs root"]
fn what_is_given_back_in_the_middle_of_a_start_is_free() {
    const STEP: Duration = Duration::from_secs(2);
    // The first link(2) makes the record, the next ones take the address, the Ethernet address and the port.
    let asked = [
        ("net.ip", "10.90.0.7", 2),
        ("net.mac", "02:00:5e:10:00:07", 3),
        ("net.ports", "127.0.0.1:8080:80", 4),
    ];
    let delay = STEP.as_micros();
    for (key, value, nth) in asked {
        let lab = Lab::new();
        let annotations = [("net.driver", "bridge"), ("net.subnet", "10.90.0.0/16"), (key, value)];
        let _friend = lab.attach("friend", &annotations[..2]);
        let slow = Sandbox::new("slow");
        let words = inject("linkat", nth, &format!("delay_enter={delay}:delay_exit={delay}"));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let started = thread::scope(|scope| {
            let start =
                scope.spawn(|| lab.run_under(&words, &["createRuntime"], &lab.state_of(&slow, &annotations)));
            assert!(until(|| lab.record("slow").is_some()));
            let began = Instant::now();
            let quick = lab.attach("quick", &annotations);
            thread::sleep((STEP + STEP / 2).saturating_sub(began.elapsed()));
            lab.detach(quick);
            start.join().unwrap()
        });
        assert_eq!((started.code, started.stderr.as_str()), (0, ""), "{key}");
    }
}
