//! Echo requests, and packets of a chosen size.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, sendmsg,
    setsockopt, socket, sockopt,
};

use super::frame::checksum;
use super::netns::Netns;

const PAUSE: Duration = Duration::from_millis(1);
/// A request is repeated: the first one may be lost while a neighbour or a tunnel's far end is still unknown.
const REPEAT: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);
/// What ping(8) sends.
const USUAL: usize = 56;
static NEXT: AtomicU16 = AtomicU16::new(1);

/// Sends echo requests of the usual size until one is answered.
///
/// # Panics
/// Without root.
#[must_use]
pub fn ping(from: &Netns, to: IpAddr, patience: Duration) -> bool {
    echo(from, to, USUAL, patience)
}

/// Sends echo requests with this many bytes after the ICMP header, in packets that must not be fragmented (28 bytes more
/// than the payload in IPv4, 48 in IPv6). The answer may come in fragments: the other way is tested by a ping from there.
///
/// # Panics
/// Without root.
#[must_use]
pub fn full_size_ping(from: &Netns, to: IpAddr, payload_bytes: usize) -> bool {
    echo(from, to, payload_bytes, PATIENCE)
}

/// Sends IPv6 echo requests with this many bytes after the ICMP header, in fragments where they are larger than the link.
///
/// # Panics
/// Without root, or when the receiver is not IPv6.
#[must_use]
pub fn ping_of(from: &Netns, to: IpAddr, payload_bytes: usize) -> bool {
    assert!(to.is_ipv6(), "{to} is not IPv6");
    let sockets = from.within(|| sockets(to));
    setsockopt(&sockets.0, sockopt::Ipv6DontFrag, &false).expect("a socket that fragments");
    echo_by(&sockets, to, payload_bytes, PATIENCE)
}

fn echo(from: &Netns, to: IpAddr, payload: usize, patience: Duration) -> bool {
    echo_by(&from.within(|| sockets(to)), to, payload, patience)
}

fn echo_by((out, back): &(OwnedFd, OwnedFd), to: IpAddr, payload: usize, patience: Duration) -> bool {
    let message = request(to, NEXT.fetch_add(1, Ordering::Relaxed), payload);
    let header = header(to);
    let target = SockaddrStorage::from(SocketAddr::new(to, 0));
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let parts = [IoSlice::new(&header), IoSlice::new(&message)];
        let sent = sendmsg(out.as_raw_fd(), &parts, &[], MsgFlags::empty(), Some(&target));
        // Too large for the first link already. Any other error, such as a missing neighbour, may pass.
        if sent == Err(Errno::EMSGSIZE) {
            return false;
        }
        if answered(back, to, &message, deadline.min(Instant::now() + REPEAT)) {
            return true;
        }
    }
    false
}

/// One socket to send by, which never fragments, and one that hears every ICMP message of the namespace.
fn sockets(to: IpAddr) -> (OwnedFd, OwnedFd) {
    let (family, out, back) = match to {
        // What is sent through a socket of this protocol has its IPv4 header already, with "don't fragment" in it.
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Raw, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, SockProtocol::IcmpV6),
    };
    let open = |protocol| {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        socket(family, SockType::Raw, flags, protocol).expect("a raw socket (the lab needs root)")
    };
    let (out, back) = (open(out), open(back));
    if to.is_ipv6() {
        setsockopt(&out, sockopt::Ipv6DontFrag, &true).expect("a socket that does not fragment");
    }
    (out, back)
}

/// The IPv4 header, in which the kernel fills in length, identification, checksum and sender. It makes IPv6's whole.
fn header(to: IpAddr) -> Vec<u8> {
    let IpAddr::V4(to) = to else { return Vec::new() };
    let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 1, 0, 0, 0, 0, 0, 0];
    header.extend(to.octets());
    header
}

fn request(to: IpAddr, identifier: u16, payload: usize) -> Vec<u8> {
    let mut message = vec![if to.is_ipv4() { 8 } else { 128 }, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend([0, 1]);
    message.extend((0..=u8::MAX).cycle().take(payload));
    // The kernel fills in ICMPv6's checksum, which covers the sender's address.
    if to.is_ipv4() {
        let sum = checksum(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// Waits for the answer that repeats all of a request but its type and its checksum.
fn answered(back: &OwnedFd, to: IpAddr, request: &[u8], deadline: Instant) -> bool {
    let (header, kind) = if to.is_ipv4() { (20, 0) } else { (0, 129) };
    let mut buffer = vec![0; 0x1_0000];
    loop {
        match recvfrom::<SockaddrStorage>(back.as_raw_fd(), &mut buffer) {
            Ok((length, from)) => {
                let message = buffer[..length].get(header..).unwrap_or_default();
                if from.is_some_and(|from| address(&from) == Some(to))
                    && message.first() == Some(&kind)
                    && message.get(4..) == request.get(4..)
                {
                    return true;
                }
            }
            Err(_) if Instant::now() >= deadline => return false,
            Err(_) => sleep(PAUSE),
        }
    }
}

fn address(from: &SockaddrStorage) -> Option<IpAddr> {
    let four = from.as_sockaddr_in().map(|from| from.ip().into());
    four.or_else(|| from.as_sockaddr_in6().map(|from| from.ip().into()))
}
