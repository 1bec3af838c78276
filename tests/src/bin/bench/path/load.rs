//! What is measured: connections, questions and answers, streams, small packets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use ocinet_tests::lab::Netns;

use super::site::{ECHO, SINK, Site};

/// How long one turn sends.
const TURN: Duration = Duration::from_millis(150);
/// Of a UDP packet: with the headers of UDP, IPv4 and Ethernet, 64 bytes. With those of IPv6, 84.
const DATAGRAM: [u8; 22] = [0; 22];
/// How many connections or questions are timed as one.
const AT_ONCE: u32 = 50;

/// What a row counts.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    /// Microseconds for one.
    Microseconds,
    /// How many in a second.
    PerSecond,
    /// Thousands in a second.
    Thousands,
    /// Gigabits in a second.
    Gigabits,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    /// connect(2) to the published port.
    Connect,
    /// A connection with a byte each way, and its reset.
    Connections,
    /// A byte each way, again and again.
    Requests,
    /// connect(2) between neighbours.
    ConnectNeighbour,
    /// One stream between neighbours.
    StreamNeighbour,
    /// One stream out of the container.
    StreamOut,
    /// Small packets between neighbours.
    PacketsNeighbour,
    /// Small packets out of the container.
    PacketsOut,
}

impl Load {
    /// All rows.
    pub const ALL: [Self; 8] = [
        Self::Connect,
        Self::Connections,
        Self::Requests,
        Self::ConnectNeighbour,
        Self::StreamNeighbour,
        Self::StreamOut,
        Self::PacketsNeighbour,
        Self::PacketsOut,
    ];

    /// What is measured.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect by the published port, µs",
            Self::Connections => "connections a second (connect, one byte each way, reset)",
            Self::Requests => "requests a second on one connection (published)",
            Self::ConnectNeighbour => "connect, neighbour to neighbour, µs",
            Self::StreamNeighbour => "TCP, neighbour to neighbour, Gbit/s",
            Self::StreamOut => "TCP, container to LAN, Gbit/s",
            Self::PacketsNeighbour => "UDP, neighbour to neighbour, thousands a second",
            Self::PacketsOut => "UDP, container to LAN, thousands a second",
        }
    }

    /// The unit of its figures.
    pub fn unit(self) -> Unit {
        match self {
            Self::Connect | Self::ConnectNeighbour => Unit::Microseconds,
            Self::Connections | Self::Requests => Unit::PerSecond,
            Self::StreamNeighbour | Self::StreamOut => Unit::Gigabits,
            Self::PacketsNeighbour | Self::PacketsOut => Unit::Thousands,
        }
    }

    /// One turn.
    pub fn measure(self, site: &Site, ipv6: bool) -> f64 {
        let published = site.published(ipv6);
        match self {
            Self::Connect => connects(&site.peer, published),
            Self::Connections => cycles(&site.peer, published),
            Self::Requests => requests(&site.peer, published),
            Self::ConnectNeighbour => connects(&site.neighbour, site.container(ipv6, ECHO)),
            Self::StreamNeighbour => stream(&site.arrived, &site.neighbour, site.container(ipv6, SINK)),
            Self::StreamOut => stream(&site.arrived, &site.server, site.lan(ipv6, SINK)),
            Self::PacketsNeighbour => packets(&site.neighbour, &site.server, site.container(ipv6, SINK)),
            Self::PacketsOut => packets(&site.server, &site.peer, site.lan(ipv6, SINK)),
        }
    }
}

/// The last processor: the servers' threads mostly find another.
fn pin() {
    let mut set = CpuSet::new();
    let last = std::thread::available_parallelism().map_or(0, |count| count.get() - 1);
    set.set(last).expect("a processor");
    let _ = sched_setaffinity(Pid::from_raw(0), &set);
}

fn connected(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5));
    let stream = stream.unwrap_or_else(|error| panic!("{to}: {error}"));
    // A reset at its end leaves no state behind that would slow the next down.
    setsockopt(&stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })
        .expect("set SO_LINGER");
    stream
}

/// Runs something until the turn is over, and returns the seconds of one.
fn repeat(mut once: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < TURN {
        (0..AT_ONCE).for_each(|_| once());
        count += AT_ONCE;
    }
    begun.elapsed().as_secs_f64() / f64::from(count)
}

fn connects(from: &Netns, to: SocketAddr) -> f64 {
    from.within(|| {
        pin();
        let mut took = Duration::ZERO;
        let mut count = 0;
        let begun = Instant::now();
        while begun.elapsed() < TURN {
            let asked = Instant::now();
            let stream = connected(to);
            took += asked.elapsed();
            count += 1;
            drop(stream);
        }
        took.as_secs_f64() * 1e6 / f64::from(count)
    })
}

fn cycles(from: &Netns, to: SocketAddr) -> f64 {
    from.within(|| {
        pin();
        1.0 / repeat(|| {
            let mut stream = connected(to);
            let mut byte = [1];
            stream.write_all(&byte).and_then(|()| stream.read_exact(&mut byte)).expect("an answer");
        })
    })
}

fn requests(from: &Netns, to: SocketAddr) -> f64 {
    from.within(|| {
        pin();
        let mut stream = connected(to);
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        1.0 / repeat(|| {
            let mut byte = [1];
            stream.write_all(&byte).and_then(|()| stream.read_exact(&mut byte)).expect("an answer");
        })
    })
}

fn stream(arrived: &AtomicU64, from: &Netns, to: SocketAddr) -> f64 {
    let block = vec![0; 1 << 17];
    from.within(|| {
        let mut stream = connected(to);
        let write = |stream: &mut TcpStream, time: Duration| {
            let begun = Instant::now();
            while begun.elapsed() < time {
                stream.write_all(&block).expect("write");
            }
        };
        // The window opens first.
        write(&mut stream, TURN / 3);
        let (before, begun) = (arrived.load(Ordering::Relaxed), Instant::now());
        write(&mut stream, TURN);
        let bytes = arrived.load(Ordering::Relaxed) - before;
        bytes as f64 * 8e-9 / begun.elapsed().as_secs_f64()
    })
}

fn packets(from: &Netns, at: &Netns, to: SocketAddr) -> f64 {
    let arrived =
        || at.within(|| std::fs::read_to_string("/proc/thread-self/net/dev").expect("read the counters"));
    let socket = from.within(|| {
        let socket = UdpSocket::bind(if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }).expect("a socket");
        socket.connect(to).expect("connect");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set a timeout");
        socket.send(&[1]).expect("send");
        socket.recv(&mut [0]).unwrap_or_else(|error| panic!("{to}: {error}"));
        socket
    });
    let before = received(&arrived());
    let took = from.within(|| {
        pin();
        let begun = Instant::now();
        while begun.elapsed() < TURN {
            (0..AT_ONCE).for_each(|_| drop(socket.send(&DATAGRAM)));
        }
        begun.elapsed()
    });
    (received(&arrived()) - before) / took.as_secs_f64() / 1e3
}

/// The packets that eth0 has received (proc_net_dev: bytes first, then packets).
fn received(table: &str) -> f64 {
    let line = table.lines().find_map(|line| line.trim().strip_prefix("eth0:")).expect("the link eth0");
    line.split_whitespace().nth(1).and_then(|count| count.parse().ok()).expect("a number")
}
