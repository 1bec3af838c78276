//! What the exporter tells of real containers, against what the containers themselves, their peers and the kernel say.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;

use ocinet_exporter::render::metrics::{Format, write};
use ocinet_exporter::scrape::collector::{Collector, Options, default_sources};
use ocinet_exporter::scrape::snapshot::{Container, LinkCounters, Port, Routed, Snapshot};
use ocinet_tests::lab::{
    Attached, DUAL, HOST_SECOND4, HOST4, HOST6, INTERNET4, INTERNET6, Lab, Netns, Sandbox, Server, ask_tcp,
    ask_udp, command, finish, transfer, until,
};

use crate::PATIENCE;

/// An exporter on a lab's host.
pub struct Exporter<'a> {
    lab: &'a Lab,
    pub options: Options,
    collector: Collector,
}

impl<'a> Exporter<'a> {
    pub fn new(lab: &'a Lab) -> Self {
        let mut enabled = default_sources();
        enabled.insert("conntrack");
        let options = Options { state: lab.state_dir(), enabled, cadvisor: true };
        Self { lab, collector: Collector::new(options.clone()), options }
    }

    pub fn scrape(&mut self) -> Snapshot {
        let collector = &mut self.collector;
        self.lab.host.within(|| collector.snapshot())
    }

    /// A scrape of which no source fails.
    #[track_caller]
    pub fn sound(&mut self) -> Snapshot {
        let snapshot = self.scrape();
        assert_eq!(failed(&snapshot), [""; 0]);
        snapshot
    }
}

pub fn failed(snapshot: &Snapshot) -> Vec<&'static str> {
    snapshot.sources.iter().filter(|source| !source.success).map(|source| source.name).collect()
}

pub fn ids(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.containers.iter().map(|container| container.record.id.as_str()).collect()
}

#[track_caller]
pub fn of<'a>(snapshot: &'a Snapshot, id: &str) -> &'a Container {
    let found = snapshot.containers.iter().find(|container| container.record.id.as_str() == id);
    found.unwrap_or_else(|| panic!("{id} is not among {:?}", ids(snapshot)))
}

/// What a container counts itself: the bytes and packets that each interface received and sent.
fn own_counters(net: &Netns) -> BTreeMap<String, [u64; 4]> {
    let text = net.ok(&["cat", "/proc/net/dev"]);
    let interface = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().map(|word| word.parse().unwrap()).collect();
        Some((name.trim().to_owned(), [numbers[0], numbers[1], numbers[8], numbers[9]]))
    };
    text.lines().filter_map(interface).collect()
}

pub fn exported_counters(container: &Container) -> BTreeMap<String, [u64; 4]> {
    let interfaces = container.interfaces.iter().map(|interface| {
        let name = container.record.attachments[interface.attachment].interface.to_string();
        let LinkCounters { received, sent } = interface.counters.unwrap_or_default();
        assert_eq!((received.errors, sent.errors), (0, 0), "{name}");
        (name, [received.bytes, received.packets, sent.bytes, sent.packets])
    });
    interfaces.collect()
}

/// The kernel's own chatter (neighbour discovery, multicast listeners) goes on: what is exported is compared where the
/// container counts the same before and after the scrape.
#[track_caller]
fn agree(exporter: &mut Exporter<'_>, attached: &Attached) -> BTreeMap<String, [u64; 4]> {
    let (mut exported, mut own) = (BTreeMap::new(), BTreeMap::new());
    let held_still = until(|| {
        let before = own_counters(&attached.net);
        exported = exported_counters(of(&exporter.sound(), attached.id()));
        own = own_counters(&attached.net);
        before == own
    });
    assert!(held_still, "{own:?}");
    own.retain(|name, _| exported.contains_key(name));
    assert_eq!(exported, own);
    exported
}

pub fn ports(snapshot: &Snapshot, id: &str) -> Vec<Port> {
    of(snapshot, id).ports.clone()
}

pub fn routed(snapshot: &Snapshot, id: &str) -> Routed {
    of(snapshot, id).routed.unwrap_or_else(|| panic!("nothing is routed for {id}"))
}

pub fn asks(from: &Netns, address: IpAddr, port: u16, times: u64) {
    for _ in 0..times {
        assert!(ask_tcp(from, SocketAddr::new(address, port), PATIENCE).is_some(), "{address} port {port}");
    }
}

pub fn dual(lab: &Lab, id: &str, more: &[(&str, &str)]) -> Attached {
    lab.attach(id, &[&[("net.driver", "bridge"), ("net.subnet", DUAL)], more].concat())
}

#[test]
#[ignore = "needs root"]
fn every_driver_counts_what_the_container_itself_counts() {
    let lab = Lab::new();
    let one = lab.another_host(1);
    let overlay = |ip| {
        [
            ("net.driver", "vxlan"),
            ("net.vni", "7"),
            ("net.subnet", "10.99.0.0/24"),
            ("net.ip", ip),
            ("net.peers", if ip == "10.99.0.2" { "198.51.100.31" } else { "198.51.100.10" }),
        ]
    };
    let bridge = dual(&lab, "bridge", &[]);
    let veth = lab.attach("veth", &[("net.driver", "veth"), ("net.subnet", "10.98.0.0/24,fd00:98::/64")]);
    let macvlan = lab.attach(
        "macvlan",
        &[("net.driver", "macvlan"), ("net.parent", "eth0"), ("net.ip", "198.51.100.50,2001:db8:1::50")],
    );
    let vxlan = lab.attach("vxlan", &overlay("10.99.0.2"));
    let far = one.attach("far", &overlay("10.99.0.3"));
    let mut exporter = Exporter::new(&lab);
    let before = exporter.sound();
    assert_eq!(ids(&before), ["bridge", "macvlan", "veth", "vxlan"]);
    for (container, client, ipv6) in [
        (&bridge, &lab.host, true),
        (&veth, &lab.host, true),
        (&macvlan, &lab.peer, true),
        (&vxlan, &far.net, false),
    ] {
        for ipv6 in [false, true].into_iter().filter(|six| ipv6 || !six) {
            let took = transfer(&container.net, client, container.at(ipv6, 7), 300_000);
            assert!(took.is_some(), "{}, IPv6 {ipv6}", container.id());
        }
        let exported = agree(&mut exporter, container);
        let bytes = if ipv6 { 600_000 } else { 300_000 };
        let [received, _, sent, _] = exported["eth0"];
        assert!(received > bytes && sent > bytes && received < 2 * bytes, "{}: {exported:?}", container.id());
    }
    for container in &exporter.sound().containers {
        let interface = &container.interfaces[0];
        let mtu = if container.record.id.as_str() == "vxlan" { 1450 } else { 1500 };
        assert_eq!((interface.up, interface.mtu), (Some(true), Some(mtu)), "{}", container.record.id);
        // The lab's eth0 is a veth, which says that it does 10 Gbit/s.
        let speed = (container.record.id.as_str() == "macvlan").then_some(10_000_000_000);
        assert_eq!(interface.speed, speed, "{}", container.record.id);
    }
    macvlan.net.batch("link set eth0 down\n");
    bridge.net.batch("link set eth0 mtu 1400\nlink set eth0 down\n");
    assert!(until(|| {
        let snapshot = exporter.sound();
        let up = |id| of(&snapshot, id).interfaces[0].up;
        [up("macvlan"), up("bridge"), up("veth")] == [Some(false), Some(false), Some(true)]
    }));
}

#[test]
#[ignore = "needs root"]
fn a_container_with_several_interfaces_counts_each() {
    let lab = Lab::new();
    let web = dual(
        &lab,
        "web",
        &[("net.eth1.driver", "macvlan"), ("net.eth1.parent", "eth0"), ("net.eth1.ip", "198.51.100.50")],
    );
    let mut exporter = Exporter::new(&lab);
    for (from, address) in [(&lab.host, web.address(false)), (&lab.peer, [198, 51, 100, 50].into())] {
        assert!(transfer(&web.net, from, SocketAddr::new(address, 7), 50_000).is_some());
    }
    let exported = agree(&mut exporter, &web);
    assert_eq!(exported.len(), 2);
    assert!(exported.values().all(|[received, ..]| (50_000..100_000).contains(received)), "{exported:?}");
}

#[test]
#[ignore = "needs root"]
fn connections_and_bytes_of_published_ports_and_nat() {
    let lab = Lab::new();
    let published = format!("8080:80,{HOST4}:53:5353/udp,{HOST_SECOND4}:53:5353/udp,8081:80");
    let web = dual(&lab, "web", &[("net.ports", &published)]);
    let quiet = dual(&lab, "quiet", &[("net.masquerade", "false")]);
    let lan =
        lab.attach("lan", &[("net.driver", "macvlan"), ("net.parent", "eth0"), ("net.ip", "198.51.100.50")]);
    let (_tcp, _udp) = (Server::tcp(&web.net, 80, "web"), Server::udp(&web.net, 5353, "web"));
    let (_internet, _quiet) = (Server::tcp(&lab.wan, 80, "internet"), Server::tcp(&quiet.net, 80, "quiet"));
    let mut exporter = Exporter::new(&lab);
    asks(&lab.peer, HOST4, 8080, 3);
    asks(&lab.peer, HOST6, 8080, 2);
    asks(&lab.host, HOST4, 8081, 1);
    for address in [HOST4, HOST_SECOND4, HOST_SECOND4] {
        assert!(ask_udp(&lab.peer, SocketAddr::new(address, 53), PATIENCE).is_some());
    }
    asks(&web.net, INTERNET4, 80, 4);
    asks(&web.net, INTERNET6, 80, 1);
    asks(&lab.host, quiet.address(false), 80, 2);
    let snapshot = exporter.sound();
    let counted = ports(&snapshot, "web");
    let connections: Vec<u64> = counted.iter().map(|port| port.connections).collect();
    assert_eq!(connections[0..2], [5, 1]);
    assert_eq!(connections[3], 1);
    // A datagram that is sent again by the same socket is the same connection.
    assert_eq!(connections[2], 2);
    for (index, connections) in [(0, 5), (3, 1)] {
        let port = counted[index];
        for packets in [port.received.packets, port.sent.packets] {
            // A connection with one short answer takes from 3 to 8 packets each way.
            assert!((3 * connections..=8 * connections).contains(&packets), "{port:?}");
        }
    }
    // Two host addresses of one port share what is counted: three datagrams and three answers at least.
    assert_eq!(counted[1].received, counted[2].received);
    assert!(counted[1].received.packets >= 3 && counted[1].sent.packets >= 3);
    assert_eq!(routed(&snapshot, "web").masqueraded, 5);
    let (sent, received) = (routed(&snapshot, "web").sent, routed(&snapshot, "web").received);
    assert!(sent.packets >= 15 && received.packets >= 15 && sent.bytes > 600, "{sent:?} {received:?}");
    assert_eq!(routed(&snapshot, "quiet"), Routed::default());
    assert_eq!(of(&snapshot, lan.id()).routed, None);
    assert_eq!(of(&snapshot, lan.id()).conntrack_entries, Some(0));
    let entries = of(&snapshot, "web").conntrack_entries.unwrap();
    assert!((9..=20).contains(&entries), "{entries} entries");
    let inspected = lab.counters("web");
    assert_eq!(inspected["ports"][0]["connections"], 5);
    assert_eq!(inspected["ports"][0]["in"]["bytes"], counted[0].received.bytes);
    assert_eq!(inspected["sent"]["bytes"], sent.bytes);
    // What nft says of the same counters, which knows nothing of containers.
    let own = [web.address(false).to_string(), web.address(true).to_string()];
    let of_web = |key: &[String]| own.contains(&key[0]);
    assert_eq!(counted_by_nft(&lab, ["sent4", "sent6"], of_web), [sent.packets, sent.bytes]);
    assert_eq!(counted_by_nft(&lab, ["received4", "received6"], of_web), [received.packets, received.bytes]);
    let of_port = |key: &[String]| own.contains(&key[0]) && key[1..] == ["tcp", "80", "8080"];
    for (sets, by_port) in
        [(["port_in4", "port_in6"], counted[0].received), (["port_out4", "port_out6"], counted[0].sent)]
    {
        assert_eq!(counted_by_nft(&lab, sets, of_port), [by_port.packets, by_port.bytes], "{sets:?}");
    }
}

/// The packets and bytes that nft tells of the elements of two sets whose keys are meant; both families have one.
#[track_caller]
fn counted_by_nft(lab: &Lab, sets: [&str; 2], is_meant: impl Fn(&[String]) -> bool) -> [u64; 2] {
    let elements = sets.map(|set| lab.host.elements(&format!("set inet ocinet {set}"))).concat();
    let meant: Vec<_> = elements.iter().filter(|element| is_meant(&element.key)).collect();
    assert_eq!(meant.len(), 2, "{sets:?}: {elements:?}");
    meant.iter().fold([0, 0], |[packets, bytes], element| [packets + element.packets, bytes + element.bytes])
}

/// The page of real containers, by the program that Prometheus' own authors check pages with.
#[test]
#[ignore = "needs root"]
fn promtool_has_no_complaint() {
    let lab = Lab::new();
    let web =
        dual(&lab, "web", &[("net.ports", "8080:80,127.0.0.1:53:53/udp"), ("ocinet.name", "the \"web\"\\")]);
    let _server = Server::tcp(&web.net, 80, "web");
    asks(&lab.peer, HOST4, 8080, 1);
    let mut exporter = Exporter::new(&lab);
    let mut page = String::new();
    write(&exporter.sound(), &exporter.options, Format::Text, &mut page);
    assert!(page.contains("name=\"the \\\"web\\\"\\\\\""), "{page}");
    assert!(page.contains("ocinet_hook_runs_total{stage=\"createRuntime\",result=\"ok\"} 1\n"), "{page}");
    let complaints = |page: &str| {
        let mut promtool = command("promtool");
        promtool
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let finished = finish(lab.host.spawn(promtool), page.as_bytes());
        (finished.code, finished.stdout + &finished.stderr)
    };
    assert_eq!(complaints(&page), (0, String::new()));
    // It does complain.
    assert_ne!(complaints(&page.replace("_packets_total", "_packets")).0, 0);
}

#[test]
#[ignore = "needs root"]
fn a_stopped_container_is_gone_from_the_next_scrape() {
    let lab = Lab::new();
    let (web, mut db) = (dual(&lab, "web", &[("net.ports", "8080:80")]), dual(&lab, "db", &[]));
    let mut exporter = Exporter::new(&lab);
    assert_eq!(ids(&exporter.sound()), ["db", "web"]);
    lab.detach(web);
    assert_eq!(ids(&exporter.sound()), ["db"]);
    // Killed, and no poststop yet.
    db.sandbox.end();
    assert_eq!(ids(&exporter.sound()), [""; 0]);
    let again = dual(&lab, "web", &[("net.ports", "8080:80")]);
    assert_eq!(ids(&exporter.sound()), ["web"]);
    assert_eq!(ports(&exporter.sound(), again.id())[0].connections, 0);
}

/// A dead process that nobody has waited for still has its pid, but no namespace.
#[test]
#[ignore = "needs root"]
fn a_container_that_is_dead_and_not_waited_for_is_gone_soon() {
    let lab = Lab::new();
    let (web, db) = (dual(&lab, "web", &[]), dual(&lab, "db", &[]));
    let mut exporter = Exporter::new(&lab);
    assert_eq!(ids(&exporter.sound()), ["db", "web"]);
    let pid = i32::try_from(web.sandbox.pid()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(until(|| ids(&exporter.sound()) == ["db"]));
    drop((web, db));
}

#[test]
#[ignore = "needs root"]
fn a_pods_interfaces_are_its_owners_and_its_ports_whose_they_are() {
    let lab = Lab::new();
    let mut owner = dual(&lab, "owner", &[("net.ports", "8080:80")]);
    let mut member = Sandbox::beside("member", &owner.net);
    let joined = lab.create(&member, &[("net.driver", "bridge"), ("net.ports", "9090:90")]);
    assert_eq!((joined.code, joined.stderr.as_str()), (0, ""));
    let _servers = [Server::tcp(&owner.net, 80, "owner"), Server::tcp(&owner.net, 90, "member")];
    let mut exporter = Exporter::new(&lab);
    asks(&lab.peer, HOST4, 8080, 2);
    asks(&lab.peer, HOST6, 9090, 3);
    agree(&mut exporter, &owner);
    let snapshot = exporter.sound();
    assert_eq!(ids(&snapshot), ["member", "owner"]);
    let connections = |id: &str| ports(&snapshot, id).iter().map(|port| port.connections).collect::<Vec<_>>();
    assert_eq!((connections("owner"), connections("member")), (vec![2], vec![3]));
    assert!(of(&snapshot, "member").interfaces.is_empty() && of(&snapshot, "member").routed.is_none());
    assert!(ports(&snapshot, "member")[0].received.bytes > 0);
    let before = routed(&snapshot, "owner");
    assert!(before.received.packets > 0);
    // The owner ends first; its interface is the pod's.
    owner.sandbox.end();
    assert_eq!(lab.poststop("owner").code, 0);
    asks(&lab.peer, HOST4, 9090, 1);
    let snapshot = exporter.sound();
    assert_eq!(ids(&snapshot), ["member", "owner"]);
    assert!(routed(&snapshot, "owner").received.packets > before.received.packets);
    member.end();
    assert_eq!(ids(&exporter.sound()), [""; 0]);
}
