//! Honest programs at the ends of a connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, sendto, socket,
};

use super::netns::Netns;

const PAUSE: Duration = Duration::from_millis(1);

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
    stop: Arc<AtomicBool>,
    clients: Arc<Mutex<Vec<IpAddr>>>,
    thread: Option<JoinHandle<()>>,
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
        Self::run(name, move |name| {
            let (mut client, from) = listener.accept().ok()?;
            let from = from.ip().to_canonical();
            let _ = client.write_all(format!("{name} {from}\n").as_bytes());
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
        Self::run(name, move |name| {
            let (_, client) = socket.recv_from(&mut [0; 64]).ok()?;
            let from = client.ip().to_canonical();
            let _ = socket.send_to(format!("{name} {from}\n").as_bytes(), client);
            Some(from)
        })
    }

    fn run(name: &str, serve: impl Fn(&str) -> Option<IpAddr> + Send + 'static) -> Self {
        let (stop, clients) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (told, seen, name) = (Arc::clone(&stop), Arc::clone(&clients), name.to_owned());
        let thread = spawn(move || {
            while !told.load(Ordering::Relaxed) {
                match serve(&name) {
                    Some(client) => seen.lock().expect("no panic in a server").push(client),
                    None => sleep(PAUSE),
                }
            }
        });
        Self { stop, clients, thread: Some(thread) }
    }

    /// The clients so far, by the address that each was seen under.
    ///
    /// # Panics
    /// When the server did.
    #[must_use]
    pub fn clients(&self) -> Vec<IpAddr> {
        self.clients.lock().expect("no panic in a server").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Connects to a TCP port and reads what the server says. A refusal counts as no answer.
#[must_use]
pub fn ask_tcp(namespace: &Netns, address: SocketAddr, patience: Duration) -> Option<Answer> {
    namespace.within(|| {
        let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
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
        socket.set_read_timeout(Some((patience / 4).max(PAUSE))).ok()?;
        let mut buffer = [0; 128];
        match socket.recv(&mut buffer) {
            Ok(length) => return parse(&String::from_utf8_lossy(&buffer[..length])),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // An ICMP error is not the last word: the next datagram may be answered.
            Err(_) => sleep(patience / 8),
        }
        drop(sent);
    }
    None
}

fn parse(text: &str) -> Option<Answer> {
    let (from, seen_as) = text.trim_end().rsplit_once(' ')?;
    Some(Answer { from: from.to_owned(), seen_as: seen_as.parse().ok()? })
}

/// Tries until `check` holds, for at most two seconds.
pub fn until(mut check: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(2);
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
