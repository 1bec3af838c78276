//! Honest programs at the ends of a connection.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, sendto, socket,
};

use super::netns::Netns;

const PAUSE: Duration = Duration::from_millis(1);
/// How long a client asks that is to reach nobody.
const SILENCE: Duration = Duration::from_millis(300);
/// How long a datagram's answer is waited for before the next is sent.
const REPEAT: Duration = Duration::from_millis(250);
/// How long a server may take on a busy machine until it has served a client that has arrived.
const SERVED: Duration = Duration::from_secs(20);

/// What a server said to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The server's name.
    pub from: String,
    /// The address that the server saw the client under.
    pub seen_as: IpAddr,
}

/// A server that tells every client its own name, and the client's address as it sees it.
#[derive(Debug)]
pub struct Server {
    visits: Arc<Visits>,
    thread: Option<JoinHandle<()>>,
}

/// Who came at a server.
#[derive(Debug)]
struct Visits {
    namespace: Netns,
    address: SocketAddr,
    transport: Transport,
    stop: AtomicBool,
    clients: Mutex<Vec<SocketAddr>>,
    /// The server's own clients, by which it shows that it has served whoever came before.
    markers: Mutex<Vec<SocketAddr>>,
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    Tcp,
    Udp,
}

thread_local! {
    /// The servers that the running test has started: each test has a thread of its own.
    static SERVERS: RefCell<Vec<Weak<Visits>>> = const { RefCell::new(Vec::new()) };
}

impl Server {
    /// Serves a TCP port on every address of both families.
    #[must_use]
    #[track_caller]
    pub fn tcp(namespace: &Netns, port: u16, name: &str) -> Self {
        Self::tcp_at(namespace, SocketAddr::new("::".parse().expect("an address"), port), name)
    }

    /// Serves a TCP port of one address.
    #[must_use]
    #[track_caller]
    pub fn tcp_at(namespace: &Netns, address: SocketAddr, name: &str) -> Self {
        let listener = namespace.bind(|| TcpListener::bind(address));
        listener.set_nonblocking(true).expect("a socket that does not block");
        Self::run(namespace, address, (Transport::Tcp, name), move |name| {
            let (mut client, from) = listener.accept().ok()?;
            let _ = client.write_all(format!("{name} {}\n", from.ip().to_canonical()).as_bytes());
            Some(from)
        })
    }

    /// Serves a UDP port on every address of both families.
    #[must_use]
    #[track_caller]
    pub fn udp(namespace: &Netns, port: u16, name: &str) -> Self {
        Self::udp_at(namespace, SocketAddr::new("::".parse().expect("an address"), port), name)
    }

    /// Serves a UDP port of one address.
    #[must_use]
    #[track_caller]
    pub fn udp_at(namespace: &Netns, address: SocketAddr, name: &str) -> Self {
        let socket = namespace.bind(|| UdpSocket::bind(address));
        socket.set_nonblocking(true).expect("a socket that does not block");
        Self::run(namespace, address, (Transport::Udp, name), move |name| {
            let (_, from) = socket.recv_from(&mut [0; 64]).ok()?;
            let _ = socket.send_to(format!("{name} {}\n", from.ip().to_canonical()).as_bytes(), from);
            Some(from)
        })
    }

    fn run(
        namespace: &Netns,
        address: SocketAddr,
        (transport, name): (Transport, &str),
        serve: impl Fn(&str) -> Option<SocketAddr> + Send + 'static,
    ) -> Self {
        let visits = Arc::new(Visits {
            namespace: namespace.again(),
            address,
            transport,
            stop: AtomicBool::new(false),
            clients: Mutex::default(),
            markers: Mutex::default(),
        });
        SERVERS.with_borrow_mut(|servers| servers.push(Arc::downgrade(&visits)));
        let (seen, name) = (Arc::clone(&visits), name.to_owned());
        let thread = spawn(move || {
            while !seen.stop.load(Ordering::Relaxed) {
                match serve(&name) {
                    Some(client) => seen.clients.lock().expect("no panic in a server").push(client),
                    None => sleep(PAUSE),
                }
            }
        });
        Self { visits, thread: Some(thread) }
    }

    /// The clients so far, by the address that each was seen under.
    ///
    /// # Panics
    /// When the server did.
    #[must_use]
    pub fn clients(&self) -> Vec<IpAddr> {
        self.visits.strangers().iter().map(|client| client.ip().to_canonical()).collect()
    }

    /// The clients so far, and every one whose packets arrived before this question, however busy the machine is.
    ///
    /// # Panics
    /// When the server does not answer a client beside it.
    #[must_use]
    #[track_caller]
    pub fn all_clients(&self) -> Vec<IpAddr> {
        self.visits.settle();
        self.clients()
    }
}

impl Visits {
    /// Everyone but the server's own clients.
    fn strangers(&self) -> Vec<SocketAddr> {
        let own = self.markers.lock().expect("no panic in a test").clone();
        let clients = self.clients.lock().expect("no panic in a server");
        clients.iter().filter(|client| !own.contains(client)).copied().collect()
    }

    /// Waits until the server has served a client of its own: whoever arrived before was served before.
    #[track_caller]
    fn settle(&self) {
        let to = if self.address.ip().is_unspecified() {
            let loopback: IpAddr =
                if self.address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            SocketAddr::new(loopback, self.address.port())
        } else {
            self.address
        };
        let deadline = Instant::now() + SERVED;
        let marker = self.namespace.within(|| match self.transport {
            Transport::Tcp => TcpStream::connect_timeout(&to, SERVED)?.local_addr(),
            Transport::Udp => {
                let socket = UdpSocket::bind((to.ip(), 0))?;
                let from = socket.local_addr()?;
                socket.send_to(b"hello", to).map(|_| from)
            }
        });
        let marker = marker.unwrap_or_else(|error| panic!("a client beside the server at {to}: {error}"));
        self.markers.lock().expect("no panic in a test").push(marker);
        while !self.clients.lock().expect("no panic in a server").contains(&marker) {
            assert!(Instant::now() < deadline, "the server at {to} does not serve its own client");
            sleep(PAUSE);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.visits.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Holds that a TCP connection reaches none of the test's servers. The servers say who came: a client that got no answer
/// may merely not have waited for long enough.
///
/// # Panics
/// When it reaches one.
#[track_caller]
pub fn reaches_nobody(from: &Netns, to: SocketAddr) {
    let servers: Vec<_> = SERVERS.with_borrow(|servers| servers.iter().filter_map(Weak::upgrade).collect());
    let came = || {
        servers.iter().for_each(|server| server.settle());
        servers.iter().map(|server| server.strangers()).collect::<Vec<_>>()
    };
    let before = came();
    assert_eq!(ask_tcp(from, to, SILENCE), None, "TCP to {to}");
    assert_eq!(came(), before, "TCP to {to} was not answered in time, and arrived");
}

/// Connects to a TCP port and reads what the server says. A refusal counts as no answer. A neighbour that the kernel has not
/// found within its three seconds is asked for again: on a busy machine a broadcast comes late.
#[must_use]
pub fn ask_tcp(namespace: &Netns, address: SocketAddr, patience: Duration) -> Option<Answer> {
    namespace.within(|| {
        let deadline = Instant::now() + patience;
        let mut stream = loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(PAUSE);
            match TcpStream::connect_timeout(&address, left) {
                Err(error) if error.kind() == ErrorKind::HostUnreachable && Instant::now() < deadline => {
                    sleep(PAUSE)
                }
                connected => break connected.ok()?,
            }
        };
        stream.set_read_timeout(Some(patience)).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        parse(&text)
    })
}

/// Sends a datagram, several times within `patience`, and reads what the server says.
#[must_use]
pub fn ask_udp(namespace: &Netns, address: SocketAddr, patience: Duration) -> Option<Answer> {
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = namespace.within(|| UdpSocket::bind((any, 0))).expect("bind");
    socket.connect(address).ok()?;
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let sent = socket.send(b"hello");
        socket.set_read_timeout(Some((patience / 4).clamp(PAUSE, REPEAT))).ok()?;
        let mut buffer = [0; 128];
        match socket.recv(&mut buffer) {
            Ok(length) => return parse(&String::from_utf8_lossy(&buffer[..length])),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // An ICMP error is not the last word: the next datagram may be answered.
            Err(_) => sleep((patience / 8).min(REPEAT)),
        }
        drop(sent);
    }
    None
}

fn parse(text: &str) -> Option<Answer> {
    let (from, seen_as) = text.trim_end().rsplit_once(' ')?;
    Some(Answer { from: from.to_owned(), seen_as: seen_as.parse().ok()? })
}

/// Tries until `check` holds, for at most ten seconds: on a busy machine what must come comes late.
pub fn until(mut check: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if check() {
            return true;
        }
        sleep(PAUSE);
    }
    check()
}

/// Opens an SCTP association by hand, as the kernel may lack SCTP: INIT from `client` to `target` (port 36412 to `port`),
/// INIT ACK back from whichever port of `server` it arrived on. True where both arrived.
///
/// # Panics
/// Without root.
#[must_use]
pub fn sctp_exchange(client: &Netns, server: &Netns, target: SocketAddr, inside: u16) -> bool {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let header = if target.is_ipv4() { 20 } else { 0 };
    let open = || {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        socket(family, SockType::Raw, flags, SockProtocol::Sctp).expect("a raw socket")
    };
    let (near, far) = (client.within(open), server.within(open));
    let init = sctp_packet(SCTP_CLIENT, target.port(), 1);
    let to = SockaddrStorage::from(SocketAddr::new(target.ip(), 0));
    if sendto(near.as_raw_fd(), &init, &to, MsgFlags::empty()).is_err() {
        return false;
    }
    let Some(from) = sctp_arrival(&far, header, inside) else { return false };
    let reply = sctp_packet(inside, SCTP_CLIENT, 2);
    let sent = from.is_some_and(|from| sendto(far.as_raw_fd(), &reply, &from, MsgFlags::empty()).is_ok());
    sent && sctp_arrival(&near, header, SCTP_CLIENT).is_some()
}

const SCTP_CLIENT: u16 = 36412;

fn sctp_arrival(socket: &OwnedFd, header: usize, port: u16) -> Option<Option<SockaddrStorage>> {
    let mut found = None;
    let arrived = until(|| {
        let mut buffer = [0; 256];
        let Ok((length, from)) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer) else {
            return false;
        };
        found = from;
        buffer[..length].get(header + 2..header + 4) == Some(&port.to_be_bytes())
    });
    arrived.then_some(found)
}

/// An INIT (1) or INIT ACK (2) chunk in a packet of its own.
fn sctp_packet(from: u16, to: u16, chunk: u8) -> Vec<u8> {
    let mut packet = from.to_be_bytes().to_vec();
    packet.extend(to.to_be_bytes());
    // The verification tag: none in an INIT, the initiator's in its answer.
    packet.extend(if chunk == 1 { [0; 4] } else { [0, 0, 0, 7] });
    packet.extend([0; 4]);
    packet.extend([chunk, 0, 0, 20, 0, 0, 0, 7, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1]);
    let sum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&sum);
    packet
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (if crc & 1 == 1 { 0x82f6_3b78 } else { 0 });
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    #[ignore = "needs root"]
    fn a_client_that_does_not_wait_for_an_answer_has_come() {
        let net = Netns::new();
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let (tcp, udp) = (Server::tcp_at(&net, address, "tcp"), Server::udp_at(&net, address, "udp"));
        net.within(|| drop(TcpStream::connect(address).unwrap()));
        net.within(|| UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"hello", address).unwrap());
        assert_eq!(tcp.all_clients(), [address.ip()]);
        assert_eq!(udp.all_clients(), [address.ip()]);
    }

    #[test]
    #[ignore = "needs root"]
    fn whoever_is_answered_has_reached_somebody() {
        let net = Netns::new();
        let _server = Server::tcp(&net, 80, "server");
        let reached = |port| {
            catch_unwind(AssertUnwindSafe(|| reaches_nobody(&net, (Ipv4Addr::LOCALHOST, port).into())))
        };
        assert!(reached(80).is_err());
        assert!(reached(81).is_ok());
    }
}
