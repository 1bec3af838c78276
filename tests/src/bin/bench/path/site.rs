//! A host with one tool's containers, a neighbour on its LAN, and servers at both.

use std::any::Any;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ocinet_tests::lab::{Docker, Netns};

use crate::tool::{Bench, Tool};

/// Where a server sends back what it gets; the containers' published port.
pub const ECHO: u16 = 80;
/// Where a server counts what it gets.
pub const SINK: u16 = 1081;

/// The first port that Docker publishes.
const FIRST: u16 = 10_000;

const HOST: [&str; 2] = ["198.51.100.10", "2001:db8:1::10"];
const PEER: [&str; 2] = ["198.51.100.20", "2001:db8:1::20"];

/// A host of a tool's, with its two containers.
pub struct Site {
    /// The tool.
    pub name: String,
    /// The neighbour on the LAN.
    pub peer: Netns,
    /// The container with published ports.
    pub server: Netns,
    /// The other container.
    pub neighbour: Netns,
    /// How many bytes have arrived at the sinks of all three.
    pub arrived: Arc<AtomicU64>,
    addresses: [IpAddr; 2],
    /// Where the published port is, by family.
    published: [SocketAddr; 2],
    /// What has attached it, and takes it down with this value.
    _attached: Box<dyn Any>,
}

impl Site {
    /// Attaches two containers on a fresh host, the first with so many ports.
    pub fn new(tool: Box<dyn Tool>, folder: &Path, ports: u16) -> Self {
        let name = tool.name();
        eprintln!("{name}: {ports} ports");
        let (host, peer) = (Netns::new(), Netns::new());
        wire(&host, &peer);
        let is_translated = tool.is_translated();
        let folder = folder.join(format!("path-{ports}"));
        let mut bench = Bench::on(host, tool, &folder);
        let first = bench.next_container().with(ports);
        bench.up(&first);
        let second = bench.next_container().with(0);
        bench.up(&second);
        let (server, neighbour) = (first.sandbox.net(), second.sandbox.net());
        let addresses = first.addresses(bench.tool.prefix());
        let addresses = [0, 1].map(|family| addresses[family].parse().expect("an address"));
        let host: [IpAddr; 2] = HOST.map(|address| address.parse().expect("an address"));
        let published = [0, 1].map(|family| match is_translated {
            true => SocketAddr::new(host[family], first.port),
            false => SocketAddr::new(addresses[family], ECHO),
        });
        let nets = [peer, server, neighbour];
        Self::with(name, nets, (addresses, published), Box::new((bench, first, second)))
    }

    /// The same by Docker, of the programs of a folder.
    pub fn of_docker(programs: &Path, folder: &Path, ports: u16) -> Self {
        eprintln!("Docker: {ports} ports");
        let (host, peer) = (Netns::new(), Netns::new());
        wire(&host, &peer);
        let docker = Docker::start(&host, &folder.join(format!("path-{ports}")), programs);
        docker.network("bench", &["10.85.0.0/16", "fd00:85::/64"].map(str::to_owned), false);
        let of = |number: u8| {
            ["10.85.1.", "fd00:85::1:"].map(|prefix| format!("{prefix}{number}").parse().expect("an address"))
        };
        let last = ports - 1;
        let published = format!("{FIRST}-{}:{ECHO}-{}", FIRST + last, ECHO + last);
        let server = docker.run("web", "bench", &of(2), &[&published]);
        let neighbour = docker.run("other", "bench", &of(3), &[]);
        let published = HOST.map(|address| SocketAddr::new(address.parse().expect("an address"), FIRST));
        let name = format!("Docker {}", docker.version());
        Self::with(name, [peer, server, neighbour], (of(2), published), Box::new((docker, host)))
    }

    fn with(
        name: String,
        [peer, server, neighbour]: [Netns; 3],
        (addresses, published): ([IpAddr; 2], [SocketAddr; 2]),
        attached: Box<dyn Any>,
    ) -> Self {
        let arrived = Arc::new(AtomicU64::new(0));
        for net in [&peer, &server, &neighbour] {
            serve(net, &arrived);
        }
        Self { name, peer, server, neighbour, arrived, addresses, published, _attached: attached }
    }

    /// The published port.
    pub fn published(&self, ipv6: bool) -> SocketAddr {
        self.published[usize::from(ipv6)]
    }

    /// A port of the first container's own address.
    pub fn container(&self, ipv6: bool, port: u16) -> SocketAddr {
        SocketAddr::new(self.addresses[usize::from(ipv6)], port)
    }

    /// A port of the neighbour on the LAN.
    pub fn lan(&self, ipv6: bool, port: u16) -> SocketAddr {
        SocketAddr::new(PEER[usize::from(ipv6)].parse().expect("an address"), port)
    }
}

fn wire(host: &Netns, peer: &Netns) {
    let namespace = peer.path();
    host.batch(&format!("link add eth0 type veth peer name eth0 netns {namespace}\nlink set eth0 up\n"));
    peer.batch("link set eth0 up\n");
    for (net, [ipv4, ipv6], [other4, other6]) in [(host, HOST, PEER), (peer, PEER, HOST)] {
        net.batch(&format!(
            "addr add {ipv4}/24 dev eth0\naddr add {ipv6}/64 dev eth0 nodad\nroute add default via {other4}\nroute add ::/0 via {other6}\n"
        ));
    }
    host.sysctl("ipv4/ip_forward", "1");
    host.sysctl("ipv6/conf/all/forwarding", "1");
}

/// The servers end with this program.
fn serve(net: &Netns, arrived: &Arc<AtomicU64>) {
    let any = |port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    let echo = net.bind(|| TcpListener::bind(any(ECHO)));
    thread::spawn(move || {
        for mut stream in echo.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            let mut byte = [0; 1];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        }
    });
    let sink = net.bind(|| TcpListener::bind(any(SINK)));
    let count = Arc::clone(arrived);
    thread::spawn(move || {
        for stream in sink.incoming().flatten() {
            swallow(stream, &count);
        }
    });
    let datagrams = net.bind(|| UdpSocket::bind(any(SINK)));
    thread::spawn(move || {
        let mut buffer = [0; 64];
        // A connection is established once it is answered; what follows begins with another byte.
        while let Ok((_, from)) = datagrams.recv_from(&mut buffer) {
            if buffer[0] == 1 {
                let _ = datagrams.send_to(&[1], from);
            }
        }
    });
}

fn swallow(mut stream: TcpStream, count: &AtomicU64) {
    let mut buffer = vec![0; 1 << 17];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}
