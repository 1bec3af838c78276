//! What arrives in a namespace, seen before any of its rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};

use super::netns::Netns;
use super::raw::packet_socket;

const OUTGOING: u8 = 4;
const LOOPBACK: u16 = 772;
/// Some ten thousand frames: one that found no room would count as one that did not arrive.
const BUFFER: usize = 16 << 20;

/// A frame that arrived.
#[derive(Debug, Clone)]
pub struct Seen(Vec<u8>);

/// Frames that arrive on the Ethernet interfaces of a namespace, from when this is made.
#[derive(Debug)]
pub struct Capture(OwnedFd);

impl Capture {
    /// Starts to watch.
    ///
    /// # Panics
    /// Without root.
    #[must_use]
    pub fn new(namespace: &Netns) -> Self {
        let socket = namespace.within(packet_socket);
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).expect("a larger buffer (the lab needs root)");
        Self(socket)
    }

    /// Frames that arrived and were not read yet.
    #[must_use]
    pub fn drain(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(frame) = self.next() {
            seen.push(frame);
        }
        seen
    }

    /// Waits for a frame that `wanted` accepts, and gives every frame that arrived until then.
    ///
    /// # Panics
    /// When none arrives within ten seconds.
    #[track_caller]
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut seen = Vec::new();
        while Instant::now() < deadline {
            match self.next() {
                Some(frame) if wanted(&frame) => {
                    seen.push(frame);
                    return seen;
                }
                Some(frame) => seen.push(frame),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        panic!("{what} did not arrive");
    }

    fn next(&self) -> Option<Seen> {
        let mut buffer = [0; 2048];
        loop {
            match recvfrom_now(&self.0, &mut buffer) {
                Ok((length, Some(from))) if from.pkttype() != OUTGOING && from.hatype() != LOOPBACK => {
                    return Some(Seen(buffer[..length].to_vec()));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }
}

fn recvfrom_now(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<(usize, Option<LinkAddr>)> {
    let mut buffers = [std::io::IoSliceMut::new(buffer)];
    let message = recvmsg(socket.as_raw_fd(), &mut buffers, None, MsgFlags::MSG_DONTWAIT)?;
    Ok((message.bytes, message.address))
}

impl Seen {
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at + N)?.try_into().ok()
    }

    /// The bytes of the frame, of a very long one only the first 2,048.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// Whether these are the last bytes of the frame.
    #[must_use]
    pub fn ends_with(&self, bytes: &[u8]) -> bool {
        self.0.ends_with(bytes)
    }

    fn ethertype(&self) -> Option<u16> {
        self.bytes(12).map(u16::from_be_bytes)
    }

    /// The sender's MAC.
    #[must_use]
    pub fn source_mac(&self) -> Option<[u8; 6]> {
        self.bytes(6)
    }

    /// The protocol of an IP packet, and where in the frame its payload starts.
    fn payload(&self) -> Option<(u8, usize)> {
        match self.ethertype()? {
            0x0800 => Some((*self.0.get(23)?, 14 + 4 * usize::from(self.0[14] & 15))),
            0x86dd => Some((*self.0.get(20)?, 54)),
            _ => None,
        }
    }

    /// The sender of an IP packet.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        match self.ethertype()? {
            0x0800 => self.bytes(26).map(|octets: [u8; 4]| Ipv4Addr::from(octets).into()),
            0x86dd => self.bytes(22).map(|octets: [u8; 16]| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }

    /// The receiver of an IP packet.
    #[must_use]
    pub fn destination(&self) -> Option<IpAddr> {
        match self.ethertype()? {
            0x0800 => self.bytes(30).map(|octets: [u8; 4]| Ipv4Addr::from(octets).into()),
            0x86dd => self.bytes(38).map(|octets: [u8; 16]| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }

    /// The network identifier and the frame that a VXLAN packet (RFC 7348) to that UDP port carries.
    #[must_use]
    pub fn tunnelled(&self, port: u16) -> Option<(u32, Self)> {
        let (_, at) = self.payload().filter(|_| self.is_udp_to(port))?;
        let identifier: [u8; 3] = self.bytes(at + 12)?;
        let [high, middle, low] = identifier;
        Some((u32::from_be_bytes([0, high, middle, low]), Self(self.0.get(at + 16..)?.to_vec())))
    }

    /// The sender's port, where the protocol has ports.
    #[must_use]
    pub fn source_port(&self) -> Option<u16> {
        let (_, at) = self.payload().filter(|(protocol, _)| [6, 17, 132].contains(protocol))?;
        self.bytes(at).map(u16::from_be_bytes)
    }

    /// Whether this opens a TCP connection to that port.
    #[must_use]
    pub fn is_syn_to(&self, port: u16) -> bool {
        self.is_to(6, port) && self.payload().is_some_and(|(_, at)| self.0.get(at + 13) == Some(&2))
    }

    /// Whether this is a UDP datagram to that port.
    #[must_use]
    pub fn is_udp_to(&self, port: u16) -> bool {
        self.is_to(17, port)
    }

    /// Whether this is an ICMPv6 message of that type.
    #[must_use]
    pub fn is_icmp6(&self, kind: u8) -> bool {
        self.payload().is_some_and(|(protocol, at)| protocol == 58 && self.0.get(at) == Some(&kind))
    }

    /// Whether this is the ICMP error that a destination cannot be reached.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.payload()
            .is_some_and(|(protocol, at)| matches!((protocol, self.0.get(at)), (1, Some(3)) | (58, Some(1))))
    }

    /// The ICMPv6 type that is in the frame behind extension headers; `Some(None)` where the type is in another fragment.
    /// What is not a packet's first fragment has none.
    #[must_use]
    pub fn hidden_icmp6(&self) -> Option<Option<u8>> {
        let (mut next, mut at) = self.payload().filter(|_| self.ethertype() == Some(0x86dd))?;
        let mut headers = 0;
        while let 0 | 43 | 44 | 51 | 60 = next {
            let Some([following, length]) = self.bytes(at) else { return Some(None) };
            let offset = self.bytes(at + 2).map(u16::from_be_bytes);
            if next == 44 && offset.is_some_and(|offset| offset & !7 != 0) {
                return None;
            }
            at += match next {
                44 => 8,
                51 => 4 * (usize::from(length) + 2),
                _ => 8 * (usize::from(length) + 1),
            };
            next = following;
            headers += 1;
        }
        (next == 58 && headers > 0).then(|| self.0.get(at).copied())
    }

    /// What a neighbour advertisement speaks of.
    #[must_use]
    pub fn advertised(&self) -> Option<IpAddr> {
        let (_, at) = self.payload().filter(|_| self.is_icmp6(136))?;
        self.bytes(at + 8).map(|octets: [u8; 16]| Ipv6Addr::from(octets).into())
    }

    /// Whether an ARP packet asks (1) or answers (2).
    #[must_use]
    pub fn arp_operation(&self) -> Option<u8> {
        (self.0.get(12..14)? == [8, 6]).then(|| self.0.get(21).copied())?
    }

    /// The MAC and address that an ARP message claims for its sender.
    #[must_use]
    pub fn arp_claim(&self) -> Option<([u8; 6], IpAddr)> {
        let address: [u8; 4] = self.bytes(28).filter(|_| self.ethertype() == Some(0x0806))?;
        Some((self.bytes(22)?, Ipv4Addr::from(address).into()))
    }

    /// Whom an ARP request or a neighbour solicitation asks for.
    #[must_use]
    pub fn asked_for(&self) -> Option<IpAddr> {
        match self.ethertype()? {
            0x0806 if self.bytes(20) == Some([0, 1]) => {
                self.bytes(38).map(|octets: [u8; 4]| Ipv4Addr::from(octets).into())
            }
            _ if self.is_icmp6(135) => {
                let (_, at) = self.payload()?;
                self.bytes(at + 8).map(|octets: [u8; 16]| Ipv6Addr::from(octets).into())
            }
            _ => None,
        }
    }

    fn is_to(&self, protocol: u8, port: u16) -> bool {
        self.payload()
            .is_some_and(|(found, at)| found == protocol && self.bytes(at + 2) == Some(port.to_be_bytes()))
    }
}
