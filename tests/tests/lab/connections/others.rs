//! A published port ends no connection of others: not of another program's machines, and not the host's own.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use ocinet_tests::lab::{Attached, DUAL, Forwarding, HOST4, HOST6, Lab, Netns, PEER4, PEER6, Server, until};

use super::{Client, crowd};
use crate::PATIENCE;

/// The port of the neighbour that is asked.
const ASKED: u16 = 6000;
/// The port that the other program's machine asks from, and keeps.
const ASKING: u16 = 5000;

/// The rules of the other program, as libvirt's of a network in NAT mode.
const MASQUERADES: &str = "
    table ip libvirt { chain post { type nat hook postrouting priority srcnat; \
        ip saddr 172.20.0.0/24 oifname \"eth0\" masquerade; }; }
    table ip6 libvirt { chain post { type nat hook postrouting priority srcnat; \
        ip6 saddr fd00:172::/64 oifname \"eth0\" masquerade; }; }
";
/// Of the host itself and of what it forwards, nothing begins outside but connections to containers.
const STATEFUL: &str = "table inet fw {
    chain input { type filter hook input priority 0; policy drop; iifname \"lo\" accept; icmpv6 type { 133-137 } accept; \
        ct state established,related accept; }
    chain forward { type filter hook forward priority 0; policy drop; iifname \"virbr0\" accept; ct status dnat accept; \
        ct state established,related accept; }
}";

/// A machine of another program's behind a bridge of its own.
fn machine(lab: &Lab) -> Netns {
    let net = Netns::new();
    net.sysctl("ipv6/conf/default/accept_dad", "0");
    lab.host.sysctl("ipv6/conf/default/accept_dad", "0");
    lab.host.batch(&format!(
        "link add virbr0 type bridge\naddr add 172.20.0.1/24 dev virbr0\naddr add fd00:172::1/64 dev virbr0 nodad\n\
         link set virbr0 up\nlink add vnet0 type veth peer name eth0 netns {}\n\
         link set vnet0 master virbr0 up\n",
        net.path()
    ));
    net.batch(
        "addr add 172.20.0.2/24 dev eth0\naddr add fd00:172::2/64 dev eth0 nodad\nlink set eth0 up\n\
         route add default via 172.20.0.1\nroute add default via fd00:172::1\n",
    );
    net
}

/// Its addresses.
fn machines_own() -> [IpAddr; 2] {
    ["172.20.0.2", "fd00:172::2"].map(|own| own.parse().unwrap())
}

/// A connection that somebody began, and on which the far side goes on sending.
struct Stream {
    near: UdpSocket,
    far: UdpSocket,
    seen_as: SocketAddr,
}

impl Stream {
    /// From an address of somebody's, at a port or at any, to a port of the neighbour's.
    fn new(lab: &Lab, net: &Netns, from: IpAddr, port: u16) -> Self {
        let peer = if from.is_ipv6() { PEER6 } else { PEER4 };
        let near = net.bind(|| UdpSocket::bind((from, port)));
        let far = lab.peer.bind(|| UdpSocket::bind((peer, ASKED)));
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        near.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 8];
        let mut seen_as = None;
        for _ in 0..2 {
            near.send_to(b"?", (peer, ASKED)).unwrap();
            seen_as = Some(far.recv_from(&mut buffer).unwrap().1);
        }
        let stream = Self { near, far, seen_as: seen_as.unwrap() };
        stream.goes_on("before");
        stream
    }

    /// The far side alone speaks.
    #[track_caller]
    fn goes_on(&self, when: &str) {
        let mut buffer = [0; 128];
        for _ in 0..3 {
            self.far.send_to(when.as_bytes(), self.seen_as).unwrap();
            let (length, _) = self.near.recv_from(&mut buffer).unwrap_or_else(|error| {
                panic!("{when}: {} gets nothing: {error}", self.seen_as);
            });
            assert_eq!(&buffer[..length], when.as_bytes());
        }
    }
}

/// The ways to publish a port: alone, on the host's first addresses, and on a host that has many connections.
fn published(port: u16) -> [(String, bool); 3] {
    let alone = format!("{port}:80/udp");
    let bound = format!("{HOST4}:{port}:80/udp,[{HOST6}]:{port}:80/udp");
    [(alone.clone(), false), (bound, false), (alone, true)]
}

/// The container answers new clients, and has heard of no others.
#[track_caller]
fn is_served(lab: &Lab, web: &Attached, port: u16) {
    for host in [HOST4, HOST6] {
        let served = Server::udp(&web.net, 80, "web");
        let client = Client::new(&lab.peer, 4020, SocketAddr::new(host, port));
        assert!(until(|| client.ask().as_deref() == Some("web")), "{host}");
        assert!(!served.all_clients().is_empty());
    }
}

/// A start, reloads, `gc` and a stop pass over the streams, of which the container hears nothing.
fn pass_over(lab: &Lab, streams: impl Fn() -> Vec<Stream>, ports: &str, port: u16) {
    let attach = || lab.attach("web", &[("net.subnet", DUAL), ("net.ports", ports)]);
    let go_on = |streams: &[Stream], when: &str| {
        streams.iter().for_each(|stream| stream.goes_on(&format!("{when}, {ports}")));
    };
    for container_first in [false, true] {
        let early = container_first.then(attach);
        let streams = streams();
        let web = early.unwrap_or_else(attach);
        let hears = web.net.bind(|| UdpSocket::bind("[::]:80"));
        go_on(&streams, "beside a container");
        for command in ["reload", "gc"] {
            let finished = lab.run(&[command], "");
            assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
            go_on(&streams, command);
        }
        for table in ["inet", "bridge"] {
            lab.host.ok(&["nft", "delete", "table", table, "ocinet"]);
        }
        assert_eq!(lab.run(&["reload"], "").code, 0);
        go_on(&streams, "after lost rules");
        hears.set_nonblocking(true).unwrap();
        let heard = hears.recv_from(&mut [0; 64]);
        assert!(heard.is_err(), "the container heard {heard:?}");
        drop(hears);
        is_served(lab, &web, port);
        go_on(&streams, "beside another client");
        lab.detach(web);
        go_on(&streams, "after a stop");
    }
}

/// The machine keeps the port that it leaves by, for whom it talks to.
#[test]
#[ignore = "needs root"]
fn another_programs_connection_that_leaves_by_a_published_port_goes_on() {
    for (ports, crowded) in published(ASKING) {
        let lab = Lab::with(Forwarding::Unchecked);
        let guest = machine(&lab);
        lab.host.ok(&["nft", MASQUERADES]);
        let _other = lab.attach("other", &[("net.subnet", DUAL)]);
        if crowded {
            crowd(&lab);
        }
        let streams = || {
            let streams = machines_own().map(|own| Stream::new(&lab, &guest, own, ASKING));
            assert!(streams.iter().all(|stream| stream.seen_as.port() == ASKING), "the port is kept");
            streams.into()
        };
        pass_over(&lab, streams, &ports, ASKING);
    }
}

/// The firewall lets in what answers a connection, and the far side may be the only one that speaks for long.
#[test]
#[ignore = "needs root"]
fn the_hosts_own_connection_to_the_same_port_number_elsewhere_goes_on() {
    for (ports, crowded) in published(ASKED) {
        let lab = Lab::with(Forwarding::Unchecked);
        lab.host.ok(&["nft", STATEFUL]);
        let _other = lab.attach("other", &[("net.subnet", DUAL)]);
        if crowded {
            crowd(&lab);
        }
        let streams = || [HOST4, HOST6].map(|own| Stream::new(&lab, &lab.host, own, 0)).into();
        pass_over(&lab, streams, &ports, ASKED);
    }
}

#[test]
#[ignore = "needs root"]
fn an_untranslated_connection_through_the_host_to_the_same_port_number_goes_on() {
    for (ports, crowded) in published(ASKED) {
        let lab = Lab::with(Forwarding::Unchecked);
        let guest = machine(&lab);
        lab.host.ok(&["nft", STATEFUL]);
        lab.peer
            .batch(&format!("route add 172.20.0.0/24 via {HOST4}\nroute add fd00:172::/64 via {HOST6}\n"));
        let _other = lab.attach("other", &[("net.subnet", DUAL)]);
        if crowded {
            crowd(&lab);
        }
        let streams = || machines_own().map(|own| Stream::new(&lab, &guest, own, 0)).into();
        pass_over(&lab, streams, &ports, ASKED);
    }
}
