//! That what the exporter says is what clients counted: connections exactly, bytes within what the headers of the packets
//! can be.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};
use ocinet_tests::lab::{
    Attached, DUAL, Exporter, HOST4, HOST6, INTERNET4, INTERNET6, Lab, Netns, iperf_bytes,
};

use crate::PATIENCE;

/// The least and the most that TCP's header has (RFC 9293, 3.1).
const TCP_HEADER: [u64; 2] = [20, 60];
/// The least and the most of a frame that carries no content: ARP's (RFC 826), and a report of many IPv6 groups.
const CHATTER: [u64; 2] = [42, 150];
/// What iperf3's second connection says at most in one direction.
const IPERF_TALK: u64 = 20_000;

/// What is counted in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    bytes: u64,
    packets: u64,
}

/// All that the exporter says of a container and of its one port of a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Said {
    connections: u64,
    port: [Counted; 2],
    masqueraded: u64,
    routed: [Counted; 2],
    interface: [Counted; 2],
}

/// A container of the lab, and its exporter.
struct Witness<'a> {
    exporter: &'a Exporter,
    container: &'a Attached,
    host_port: u16,
}

impl Witness<'_> {
    #[track_caller]
    fn says(&self) -> Said {
        let page = self.exporter.get("/metrics").body;
        let id = format!("id=\"{}\"", self.container.id());
        let host_port = format!("host_port=\"{}\"", self.host_port);
        let value = |metric: &str, label: &str| -> u64 {
            let begin = format!("{metric}{{");
            let mut lines = page
                .lines()
                .filter(|line| line.starts_with(&begin) && line.contains(&id) && line.contains(label));
            let line =
                lines.next().unwrap_or_else(|| panic!("{metric} of {id} {label} is not on the page\n{page}"));
            assert_eq!(lines.next(), None, "one series");
            line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok()).expect("a whole number")
        };
        let both = |of: &str, label: &str| {
            ["receive", "transmit"].map(|direction| Counted {
                bytes: value(&format!("ocinet_{of}_{direction}_bytes_total"), label),
                packets: value(&format!("ocinet_{of}_{direction}_packets_total"), label),
            })
        };
        Said {
            connections: value("ocinet_published_port_connections_total", &host_port),
            port: both("published_port", &host_port),
            masqueraded: value("ocinet_masqueraded_connections_total", ""),
            routed: both("routed", ""),
            interface: both("interface", "interface=\"eth0\""),
        }
    }

    /// What `work` added, and what it returned. The bytes that ends sent again, for want of an answer, are no content: so
    /// many more there may be.
    #[track_caller]
    fn during<T>(&self, ends: [&Netns; 2], work: impl FnOnce() -> T) -> (Said, T, u64) {
        let (before, sent_again) = (self.says(), ends.map(retransmitted));
        let done = work();
        let (after, now) = (self.says(), ends.map(retransmitted));
        let again: u64 = now.iter().zip(sent_again).map(|(now, before)| now - before).sum();
        (after.since(&before), done, again * 1_500)
    }
}

impl Said {
    fn since(&self, before: &Self) -> Self {
        let less = |now: [Counted; 2], before: [Counted; 2]| {
            [0, 1].map(|way| Counted {
                bytes: now[way].bytes - before[way].bytes,
                packets: now[way].packets - before[way].packets,
            })
        };
        Self {
            connections: self.connections - before.connections,
            port: less(self.port, before.port),
            masqueraded: self.masqueraded - before.masqueraded,
            routed: less(self.routed, before.routed),
            interface: less(self.interface, before.interface),
        }
    }
}

/// TCP segments that a namespace has sent more than once.
fn retransmitted(net: &Netns) -> u64 {
    let text = net.ok(&["cat", "/proc/net/snmp"]);
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut fields = names.split(' ').zip(values.split(' '));
    fields
        .find(|(name, _)| *name == "RetransSegs")
        .and_then(|(_, value)| value.parse().ok())
        .expect("RetransSegs")
}

/// `clients` connections one after the other, each of which sends `up` bytes and gets `down`. Returns the bytes that all
/// of them got.
#[track_caller]
fn converse(server: (&Netns, u16), client: (&Netns, SocketAddr), clients: u64, amounts: [usize; 2]) -> u64 {
    let [up, down] = amounts;
    let listener = server.0.bind(|| TcpListener::bind(("::", server.1)));
    // A client that cannot connect must not keep the server waiting for ever (socket(7): accept(2) has this time, too).
    let patience = TimeVal::seconds(PATIENCE.as_secs().cast_signed());
    setsockopt(&listener, sockopt::ReceiveTimeout, &patience).expect("a time-out");
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            for _ in 0..clients {
                let (mut stream, _) = listener.accept().expect("a client");
                stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
                let mut got = Vec::new();
                stream.read_to_end(&mut got).expect("all that the client sends");
                assert_eq!(got.len(), up);
                stream.write_all(&vec![1; down]).expect("a client that reads");
            }
        });
        let got = (0..clients).map(|_| {
            let connected = client.0.within(|| TcpStream::connect_timeout(&client.1, PATIENCE));
            let mut stream = connected.unwrap_or_else(|error| panic!("{}: {error}", client.1));
            stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
            stream.write_all(&vec![2; up]).expect("a server that reads");
            stream.shutdown(Shutdown::Write).expect("it is open");
            let mut got = Vec::new();
            stream.read_to_end(&mut got).expect("all that the server sends");
            u64::try_from(got.len()).expect("64 bits")
        });
        let got = got.sum();
        serving.join().expect("no panic in a server");
        got
    })
}

/// Whether IP packets with this content can have as many bytes.
#[track_caller]
fn fits(counted: Counted, content: u64, to: IpAddr, more: u64) {
    let ip_header = if to.is_ipv4() { 20 } else { 40 };
    let [least, most] = TCP_HEADER.map(|tcp| content + counted.packets * (ip_header + tcp));
    assert!(
        (least..=most + more).contains(&counted.bytes),
        "{counted:?}, {content} bytes of content to {to}"
    );
    assert!(counted.packets >= 3, "{counted:?}");
}

/// The same for Ethernet frames of an interface, which has its neighbours' chatter beside.
#[track_caller]
fn frames_fit(counted: Counted, content: u64, more: u64) {
    let [least, most] = CHATTER.map(|frame| content + counted.packets * frame);
    assert!((least..=most + more).contains(&counted.bytes), "{counted:?}, {content} bytes of content");
}

const CONNECTIONS: u64 = 7;
const UP: u64 = 123_457;
const DOWN: u64 = 654_321;
const AMOUNTS: [usize; 2] = [123_457, 654_321];

#[test]
#[ignore = "needs root"]
fn a_counting_client_of_a_published_port_counts_the_same() {
    let lab = Lab::new();
    let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "8080:80,8081:81")]);
    let exporter = lab.exporter(&[]);
    let witness = Witness { exporter: &exporter, container: &web, host_port: 8080 };
    let other = Witness { host_port: 8081, ..witness };
    for to in [HOST4, HOST6] {
        let untouched = other.says();
        let (said, got, again) = witness.during([&web.net, &lab.peer], || {
            converse((&web.net, 80), (&lab.peer, SocketAddr::new(to, 8080)), CONNECTIONS, AMOUNTS)
        });
        assert_eq!(got, CONNECTIONS * DOWN);
        assert_eq!((said.connections, said.masqueraded), (CONNECTIONS, 0), "{to}");
        for counted in [said.port, said.routed] {
            fits(counted[0], CONNECTIONS * UP, to, again);
            fits(counted[1], CONNECTIONS * DOWN, to, again);
        }
        assert_eq!(said.port, said.routed, "all that was routed came and went by the port");
        frames_fit(said.interface[0], CONNECTIONS * UP, again);
        frames_fit(said.interface[1], CONNECTIONS * DOWN, again);
        let after = other.says();
        assert_eq!((after.connections, after.port), (untouched.connections, untouched.port));
    }
}

#[test]
#[ignore = "needs root"]
fn a_counting_client_behind_masquerade_counts_the_same() {
    let lab = Lab::new();
    let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "8080:80")]);
    let exporter = lab.exporter(&[]);
    let witness = Witness { exporter: &exporter, container: &web, host_port: 8080 };
    for to in [INTERNET4, INTERNET6] {
        let (said, got, again) = witness.during([&web.net, &lab.wan], || {
            converse((&lab.wan, 80), (&web.net, SocketAddr::new(to, 80)), CONNECTIONS, AMOUNTS)
        });
        assert_eq!(got, CONNECTIONS * DOWN);
        assert_eq!((said.connections, said.masqueraded), (0, CONNECTIONS), "{to}");
        assert_eq!(said.port, [Counted::default(); 2]);
        fits(said.routed[0], CONNECTIONS * DOWN, to, again);
        fits(said.routed[1], CONNECTIONS * UP, to, again);
    }
}

/// What neighbours on one bridge say to each other passes no port and is not routed: only their interfaces count it.
#[test]
#[ignore = "needs root"]
fn a_counting_client_on_the_same_network_counts_the_same() {
    let lab = Lab::new();
    let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "8080:80")]);
    let db = lab.attach("db", &[("net.subnet", DUAL), ("net.ports", "9090:90")]);
    let exporter = lab.exporter(&[]);
    let witness = Witness { exporter: &exporter, container: &web, host_port: 8080 };
    let client = Witness { exporter: &exporter, container: &db, host_port: 9090 };
    for ipv6 in [false, true] {
        let before = client.says();
        let (said, got, again) = witness.during([&web.net, &db.net], || {
            converse((&web.net, 80), (&db.net, web.at(ipv6, 80)), CONNECTIONS, AMOUNTS)
        });
        assert_eq!(got, CONNECTIONS * DOWN);
        let of_client = client.says().since(&before);
        for said in [said, of_client] {
            assert_eq!((said.connections, said.masqueraded), (0, 0));
            assert_eq!([said.port, said.routed], [[Counted::default(); 2]; 2]);
        }
        for (counted, content) in [(said.interface, [UP, DOWN]), (of_client.interface, [DOWN, UP])] {
            frames_fit(counted[0], CONNECTIONS * content[0], again);
            frames_fit(counted[1], CONNECTIONS * content[1], again);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn iperf3_by_a_published_port_counts_the_same_in_both_directions() {
    const AMOUNT: u64 = 50_000_000;
    let lab = Lab::new();
    let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "5301:5201")]);
    let exporter = lab.exporter(&[]);
    let witness = Witness { exporter: &exporter, container: &web, host_port: 5301 };
    for (to, reverse) in [(HOST4, false), (HOST4, true), (HOST6, false), (HOST6, true)] {
        let (said, [received, sent], again) = witness.during([&web.net, &lab.peer], || {
            iperf_bytes(&web.net, &lab.peer, SocketAddr::new(to, 5301), AMOUNT, reverse)
        });
        assert!(sent >= AMOUNT && received > AMOUNT / 2, "{sent} {received}");
        // One connection for the content, one for what iperf3's two ends agree on.
        assert_eq!(said.connections, 2, "{to}, reverse {reverse}");
        let (content, other) = if reverse { (1, 0) } else { (0, 1) };
        fits(said.port[content], received, to, again + IPERF_TALK + sent.saturating_sub(received));
        fits(said.port[other], 0, to, again + IPERF_TALK);
        assert_eq!(said.port, said.routed);
    }
}
