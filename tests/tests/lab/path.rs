//! How a packet passes the host: how many rules an established connection meets, and the shortcut past a bridge's ports.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use ocinet_tests::lab::{
    Attached, Background, Capture, DUAL, Endpoint, Frame, HOST4, HOST6, Lab, Netns, PEER4, PEER6, Server,
    ask_udp, command, link_address, send_frame,
};

use crate::PATIENCE;

/// What one packet met in ocinet's tables.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Met {
    /// Rules that were asked, whether they applied or not.
    rules: usize,
    /// Look-ups in sets and maps, counted where the rule names one.
    lookups: usize,
    /// The base chains.
    hooks: usize,
}

/// The rules of a chain, as nft prints them.
fn chain(host: &Netns, family: &str, name: &str) -> Vec<String> {
    let text = host.ok(&["nft", "list", "chain", family, "ocinet", name]);
    let is_rule = |line: &&str| {
        !line.is_empty() && !["table", "chain", "type", "}"].iter().any(|no| line.starts_with(no))
    };
    text.lines().map(str::trim).filter(is_rule).map(str::to_owned).collect()
}

/// Lets nft tell of each packet of a host, from when this is made.
struct Trace {
    lines: BufReader<std::process::ChildStdout>,
    _monitor: Background,
}

impl Trace {
    fn new(host: &Netns, wanted: &str) -> Self {
        let mut monitor = command("nft");
        monitor.args(["monitor", "trace"]).stdout(Stdio::piped());
        let mut child = host.spawn(monitor);
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        // Tracing begins in prerouting of inet: what the bridge's own table asked before is not seen.
        host.ok(&[
            "nft",
            &format!(
                "add table inet probe; add chain inet probe begin {{ type filter hook prerouting priority -500; }}; \
                 add rule inet probe begin {wanted} meta nftrace set 1"
            ),
        ]);
        Self { lines, _monitor: Background(child) }
    }

    /// What a packet met: the second that was traced, since nft may have begun to listen in the middle of the first.
    fn second(mut self, host: &Netns) -> Met {
        let mut ids: Vec<String> = Vec::new();
        let mut said = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).expect("read the trace") > 0, "nft ended: {said:?}");
            let words: Vec<&str> = line.split_whitespace().collect();
            let ["trace", "id", of, family, table, name, kind, ..] = words[..] else { continue };
            if ids.last().is_none_or(|last| last != of) {
                ids.push(of.to_owned());
            }
            match ids.len() {
                2 if table == "ocinet" => {
                    said.push((family.to_owned(), name.to_owned(), kind.to_owned(), line.trim().to_owned()));
                }
                3 => return count(host, &said),
                _ => {}
            }
        }
    }
}

/// A rule that applied, or the end of a chain.
type Said = (String, String, String, String);

/// nft tells of rules that applied alone: those above them in the same chain were asked as well, and did not. Of a chain whose rules
/// all did not apply it says nothing, nor of the rest of one that was gone to: its end is told as the base chain's policy.
fn count(host: &Netns, said: &[Said]) -> Met {
    let mut met = Met::default();
    // How far each chain that was entered was asked. A jump that came back goes on behind its rule.
    let mut asked: Vec<(String, usize)> = Vec::new();
    let mut last = (String::new(), Vec::new());
    for (index, (family, name, kind, line)) in said.iter().enumerate() {
        let place = format!("{family} {name}");
        let known = asked.iter().rposition(|(of, _)| *of == place);
        let from = known.map_or(0, |at| asked[at].1);
        let rules = chain(host, family, name);
        let mut to = match kind.as_str() {
            "rule" => {
                let told = line.split_once(" rule ").and_then(|(_, rule)| rule.rsplit_once(" (verdict "));
                let (rule, verdict) = told.unwrap_or_else(|| panic!("no rule in {line}"));
                let found = rules.iter().skip(from).position(|other| other == rule);
                let to =
                    from + found.unwrap_or_else(|| panic!("{rule} is not in {rules:#?} from {from}")) + 1;
                let next = verdict.trim_end_matches(')').split_once(' ').map(|(_, next)| next.to_owned());
                // Of a chain that was left by a goto, nothing more is asked.
                let left = if verdict.starts_with("goto") { rules.len() } else { to };
                met.add(&rules[from..to]);
                if let Some(next) =
                    next.filter(|next| said.get(index + 1).is_none_or(|(_, of, ..)| of != next))
                {
                    met.add(&chain(host, family, &next));
                }
                left
            }
            // The end of a chain, by its policy, or back to where it was jumped to from.
            "verdict" | "policy" => {
                met.add(&rules[from..]);
                rules.len()
            }
            _ => continue,
        };
        if kind == "policy" && last.0 != place {
            let (of, rest): &(String, Vec<String>) = &last;
            let at = asked.iter().rposition(|(place, _)| place == of).map_or(rest.len(), |at| asked[at].1);
            met.add(&rest[at..]);
        }
        let is_base = host.ok(&["nft", "list", "chain", family, "ocinet", name]).contains(" hook ");
        met.hooks += usize::from(known.is_none() && is_base);
        to = to.min(rules.len());
        match known {
            Some(at) => asked[at].1 = to,
            None => asked.push((place.clone(), to)),
        }
        // An accepted packet asks nothing more of the chains that led there.
        last = if line.ends_with("(verdict accept)") { Default::default() } else { (place, rules) };
    }
    met
}

impl Met {
    fn add(&mut self, rules: &[String]) {
        let parts = |rule: &String| rule.matches("@th,").count() + rule.matches("@nh,").count();
        self.rules += rules.len();
        self.lookups += rules.iter().map(|rule| rule.matches('@').count() - parts(rule)).sum::<usize>();
    }
}

fn web(lab: &Lab, driver: &str) -> Attached {
    let overlay = [("net.vni", "7"), ("net.ip", "10.90.0.7,fd00:90::7")];
    web_with(lab, driver, if driver == "vxlan" { &overlay } else { &[] })
}

fn web_with(lab: &Lab, driver: &str, more: &[(&str, &str)]) -> Attached {
    let annotations = [("net.driver", driver), ("net.subnet", DUAL), ("net.ports", "8080:80/udp")];
    lab.attach("web", &[&annotations, more].concat())
}

/// With a rate, a container has no shortcut.
const WITH_AND_WITHOUT_SHORTCUT: [&[(&str, &str)]; 2] = [&[], &[("net.rate-out", "100mbit")]];

fn hosts_end(attached: &Attached) -> &str {
    attached.record["attachments"][0]["host_interface"].as_str().unwrap()
}

/// What tc(8) says of the filters of what comes from a container.
fn filters(lab: &Lab, link: &str) -> String {
    lab.host.ok(&["tc", "filter", "show", "dev", link, "ingress"])
}

/// A socket of a connection that is established.
fn established(from: &Netns, to: SocketAddr) -> UdpSocket {
    let socket = from.within(|| {
        let socket = UdpSocket::bind(if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    });
    for _ in 0..2 {
        socket.send(b"hello").unwrap();
        socket.recv(&mut [0; 64]).unwrap_or_else(|error| panic!("{to}: {error}"));
    }
    socket
}

/// The ceilings are what was measured: a rule or a look-up more is a decision to be made, and to be measured
/// (docs/decisions/few-rules-for-established-packets.md).
#[test]
#[ignore = "needs root"]
fn an_established_packet_meets_few_rules() {
    let bridge =
        [[(8, 1, 3), (9, 3, 3), (12, 5, 3), (13, 3, 3)], [(9, 2, 3), (10, 4, 3), (15, 8, 3), (16, 6, 3)]];
    let veth =
        [[(13, 4, 4), (10, 4, 4), (13, 6, 4), (18, 6, 4)], [(15, 5, 4), (11, 5, 4), (16, 9, 4), (22, 9, 4)]];
    for (driver, ceilings) in [("bridge", bridge), ("veth", veth)] {
        let lab = Lab::new();
        let web = web(&lab, driver);
        let _servers = [Server::udp(&web.net, 80, "web"), Server::udp(&lab.peer, 7000, "peer")];
        for (ipv6, ceilings) in [false, true].into_iter().zip(ceilings) {
            let peer = SocketAddr::new(if ipv6 { PEER6 } else { PEER4 }, 7000);
            let published = SocketAddr::new(if ipv6 { HOST6 } else { HOST4 }, 8080);
            let [out, asks] = [established(&web.net, peer), established(&lab.peer, published)];
            let [out_port, ask_port] = [&out, &asks].map(|socket| socket.local_addr().unwrap().port());
            let ways = [
                ("out of a container", &out, format!("udp sport {out_port}")),
                ("the answer", &out, format!("udp dport {out_port}")),
                ("to a published port", &asks, format!("udp sport {ask_port}")),
                ("the port's answer", &asks, format!("udp dport {ask_port}")),
            ];
            for ((what, socket, wanted), (rules, lookups, hooks)) in ways.into_iter().zip(ceilings) {
                let most = Met { rules, lookups, hooks };
                let met = trace(&lab, &wanted, socket);
                println!("{driver}, IPv6 {ipv6}, {what}: {met:?}");
                let is_within =
                    met.rules <= most.rules && met.lookups <= most.lookups && met.hooks <= most.hooks;
                assert!(is_within, "{driver}, IPv6 {ipv6}, {what}: {met:?} is more than {most:?}");
                assert!(met.rules > 0 && met.hooks > 0, "nothing was traced");
            }
        }
    }
}

/// What a packet of a socket's connection meets, the one that is asked for or its answer.
fn trace(lab: &Lab, wanted: &str, socket: &UdpSocket) -> Met {
    let trace = Trace::new(&lab.host, wanted);
    let over = AtomicBool::new(false);
    let met = scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                socket.send(b"hello").unwrap();
                let _ = socket.recv(&mut [0; 64]);
                sleep(Duration::from_millis(20));
            }
        });
        let met = trace.second(&lab.host);
        over.store(true, Ordering::Relaxed);
        met
    });
    lab.host.ok(&["nft", "delete", "table", "inet", "probe"]);
    met
}

/// How many IP packets came by a bridge's ports for the bridge itself.
fn by_the_ports(lab: &Lab) -> u64 {
    let listed = lab.host.ok(&["nft", "list chain bridge probe ports"]);
    let packets = listed.split("packets ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::parse);
    packets.unwrap_or_else(|| panic!("{listed}")).unwrap()
}

#[test]
#[ignore = "needs root"]
fn what_a_container_sends_to_its_gateway_passes_no_port_of_the_bridge() {
    for driver in ["bridge", "vxlan"] {
        let lab = Lab::new();
        let web = web(&lab, driver);
        let _server = Server::udp(&lab.peer, 7000, "peer");
        lab.host.ok(&[
            "nft",
            "add table bridge probe; add chain bridge probe ports { type filter hook prerouting priority -300; }; \
             add rule bridge probe ports ether type { ip, ip6 } meta pkttype host counter",
        ]);
        for to in [PEER4, PEER6] {
            assert!(ask_udp(&web.net, SocketAddr::new(to, 7000), PATIENCE).is_some(), "{driver}, {to}");
        }
        assert_eq!(by_the_ports(&lab), 0, "{driver}");
        let link = hosts_end(&web);
        let listed = filters(&lab, link);
        let at = |handle| listed.find(handle).unwrap_or_else(|| panic!("{handle} is not in {listed}"));
        assert!(at("handle 0x2 ") < at("handle 0x1 "), "what takes the shortcut is judged once: {listed}");
        // The probe sees them where there is no shortcut.
        lab.host.ok(&["tc", "filter", "del", "dev", link, "ingress", "pref", "1", "handle", "2", "bpf"]);
        for to in [PEER4, PEER6] {
            assert!(ask_udp(&web.net, SocketAddr::new(to, 7000), PATIENCE).is_some(), "{driver}, {to}");
        }
        assert!(by_the_ports(&lab) >= 2, "{driver}");
    }
}

/// A bridge learns where a container is from what passes its ports, and forgets it. What it does not know it sends to all.
#[test]
#[ignore = "needs root"]
fn a_neighbour_never_gets_what_is_for_another_container() {
    for more in WITH_AND_WITHOUT_SHORTCUT {
        let lab = Lab::new();
        let web = web_with(&lab, "bridge", more);
        let neighbour = lab.attach("neighbour", &[("net.subnet", DUAL)]);
        let _server = Server::udp(&lab.peer, 7000, "peer");
        assert!(ask_udp(&web.net, SocketAddr::new(PEER4, 7000), PATIENCE).is_some());
        lab.host.ok(&["ip", "link", "set", "ocinet0", "type", "bridge", "ageing_time", "100"]);
        // Longer than the ageing time of one second: what the bridge has learned is forgotten.
        sleep(Duration::from_millis(2500));
        let seen = Capture::new(&neighbour.net);
        let published = SocketAddr::new(HOST4, 8080);
        for _ in 0..5 {
            assert!(ask_udp(&web.net, SocketAddr::new(PEER4, 7000), PATIENCE).is_some());
        }
        lab.peer.within(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"nobody answers", published).unwrap();
        });
        sleep(Duration::from_millis(100));
        let own: IpAddr = web.address(false);
        let strays = seen.drain().into_iter().filter(|frame| frame.source() == Some(PEER4)).count();
        assert_eq!(strays, 0, "{more:?}: the neighbour of {own} saw its packets");
    }
}

/// The bridge that the shortcut leads to may be another one of the same name by now.
#[test]
#[ignore = "needs root"]
fn a_shortcut_leads_to_the_bridge_that_is_there() {
    let lab = Lab::new();
    let old = web(&lab, "bridge");
    let _server = Server::udp(&lab.peer, 7000, "peer");
    lab.host.ok(&["ip", "link", "del", "ocinet0"]);
    let _new = lab.attach("new", &[("net.subnet", DUAL)]);
    let link = hosts_end(&old);
    lab.host.ok(&["ip", "link", "set", link, "master", "ocinet0"]);
    assert_eq!(lab.run(&["reload"], "").code, 0);
    for to in [PEER4, PEER6] {
        assert!(ask_udp(&old.net, SocketAddr::new(to, 7000), PATIENCE).is_some(), "{to}");
    }
}

/// A machine that an administrator put on a network's bridge.
fn on_the_bridge(lab: &Lab) -> Netns {
    let machine = Netns::new();
    lab.host.batch(&format!(
        "link add administrators type veth peer name eth0 netns {}\nlink set administrators master ocinet0 up\n",
        machine.path()
    ));
    machine.batch("link set eth0 up\n");
    machine
}

/// Who sends from a container's Ethernet address by another port of the bridge gets nothing that is meant for the container.
#[test]
#[ignore = "needs root"]
fn nobody_takes_a_containers_packets_by_sending_as_it() {
    for more in WITH_AND_WITHOUT_SHORTCUT {
        let lab = Lab::new();
        let web = web_with(&lab, "bridge", more);
        let _server = Server::udp(&lab.peer, 7000, "peer");
        let other = on_the_bridge(&lab);
        assert!(ask_udp(&web.net, SocketAddr::new(PEER4, 7000), PATIENCE).is_some());
        let mac = link_address(&web.net, "eth0");
        let (from, to) = (Endpoint::new(mac, web.address(false), 1), Endpoint::new([0xff; 6], PEER4, 1));
        let seen = Capture::new(&other);
        for _ in 0..3 {
            send_frame(&other, "eth0", &Frame::new(from, to).udp(b"here I am"));
            assert!(
                ask_udp(&web.net, SocketAddr::new(PEER4, 7000), PATIENCE).is_some(),
                "the container's answers"
            );
        }
        let taken = seen.drain().into_iter().filter(|frame| frame.source() == Some(PEER4)).count();
        assert_eq!(taken, 0, "packets for the container came");
    }
}

/// An older ocinet put the shortcut behind the filter that judges all.
#[test]
#[ignore = "needs root"]
fn the_shortcut_of_an_older_ocinet_stays() {
    let lab = Lab::new();
    let web = web(&lab, "bridge");
    let _server = Server::udp(&lab.peer, 7000, "peer");
    let link = hosts_end(&web);
    let listed = filters(&lab, link);
    let program =
        listed.split("handle 0x2 ").nth(1).and_then(|rest| rest.split('\'').nth(1)).expect("a program");
    lab.host.ok(&["tc", "filter", "del", "dev", link, "ingress", "pref", "1", "handle", "2", "bpf"]);
    let put = "tc filter add dev LINK ingress pref 3 protocol all bpf bytecode \"$0\" action mirred ingress redirect dev ocinet0";
    lab.host.ok(&["sh", "-c", &put.replace("LINK", link), program]);
    assert_eq!(lab.run(&["reload"], "").code, 0);
    let listed = filters(&lab, link);
    assert!(listed.contains("pref 3") && !listed.contains("handle 0x2 "), "{listed}");
    assert_eq!(lab.run(&["check"], "").stdout, "everything is as recorded\n");
    assert!(ask_udp(&web.net, SocketAddr::new(PEER4, 7000), PATIENCE).is_some());
}

/// An administrator may put a machine of their own on a network's bridge: its connections get their answers.
#[test]
#[ignore = "needs root"]
fn a_machine_that_an_administrator_put_on_the_bridge_gets_answers() {
    let lab = Lab::new();
    let _web = web(&lab, "bridge");
    let _server = Server::udp(&lab.peer, 7000, "peer");
    let other = on_the_bridge(&lab);
    other.batch("addr add 10.90.200.1/16 dev eth0\nroute add default via 10.90.0.1\n");
    lab.host.ok(&[
        "nft",
        "add table inet other; add chain inet other leave { type nat hook postrouting priority srcnat - 10; }; \
         add rule inet other leave ip saddr 10.90.200.1 oifname eth0 masquerade",
    ]);
    assert!(ask_udp(&other, SocketAddr::new(PEER4, 7000), PATIENCE).is_some());
}

/// What another program publishes at 127.0.0.1 is for the host alone. It may translate the address before any filter chain is asked.
#[test]
#[ignore = "needs root"]
fn what_others_publish_at_127_0_0_1_is_not_for_containers_by_the_rules_alone() {
    for driver in ["bridge", "veth"] {
        let lab = Lab::new();
        let web = web(&lab, driver);
        let server = Server::udp(&lab.peer, 7000, "peer");
        lab.host.ok(&[
            "nft",
            &format!(
                "add table ip other; add chain ip other publish {{ type nat hook prerouting priority dstnat - 10; }}; \
                 add rule ip other publish ip daddr 127.0.0.1 udp dport 7001 dnat to {PEER4}:7000"
            ),
        ]);
        let link = web.record["attachments"][0]["host_interface"].as_str().unwrap();
        lab.host.ok(&["tc", "qdisc", "del", "dev", link, "clsact"]);
        web.net.sysctl("ipv4/conf/all/route_localnet", "1");
        web.net.batch(
            "route del local 127.0.0.0/8 dev lo table local\nroute del local 127.0.0.1 dev lo table local\n\
             route add 127.0.0.0/8 via 10.90.0.1 dev eth0 onlink\n",
        );
        assert!(
            ask_udp(&web.net, SocketAddr::new(PEER4, 7000), PATIENCE).is_some(),
            "{driver}: the server answers"
        );
        let before = server.all_clients().len();
        let socket = web.net.bind(|| UdpSocket::bind("0.0.0.0:0"));
        for _ in 0..3 {
            socket.send_to(b"hello", ("127.0.0.1", 7001)).unwrap();
        }
        sleep(Duration::from_millis(50));
        assert_eq!(server.all_clients().len(), before, "{driver}");
    }
}
