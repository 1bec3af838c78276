//! Ethernet frames, built byte by byte: what no honest program would send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;

/// One end of a frame: its MAC, its address, its port.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// The Ethernet address.
    pub mac: [u8; 6],
    /// The IP address.
    pub ip: IpAddr,
    /// The port, where the protocol has ports.
    pub port: u16,
}

impl Endpoint {
    /// An end with a port.
    #[must_use]
    pub fn new(mac: [u8; 6], ip: IpAddr, port: u16) -> Self {
        Self { mac, ip, port }
    }
}

/// Builds frames from one end to another.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// Who claims to send.
    pub from: Endpoint,
    /// Who is to receive.
    pub to: Endpoint,
}

impl Frame {
    /// A frame from one end to another.
    #[must_use]
    pub fn new(from: Endpoint, to: Endpoint) -> Self {
        Self { from, to }
    }

    /// A UDP datagram.
    #[must_use]
    pub fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + payload.len()).expect("a short datagram");
        let mut segment = ports(self.from.port, self.to.port);
        segment.extend(length.to_be_bytes());
        segment.extend([0, 0]);
        segment.extend(payload);
        self.ip(UDP, segment, 6)
    }

    /// The first segment of a TCP connection.
    #[must_use]
    pub fn tcp_syn(&self) -> Vec<u8> {
        self.tcp(2, b"")
    }

    /// A neighbour advertisement: `target` is at `mac`.
    #[must_use]
    pub fn neighbour_advertisement(&self, target: Ipv6Addr, mac: [u8; 6]) -> Vec<u8> {
        let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
        message.extend(target.octets());
        message.extend([2, 1]);
        message.extend(mac);
        self.ip(ICMP6, message, 2)
    }

    /// A router advertisement that makes the sender the default router and hands out a prefix.
    #[must_use]
    pub fn router_advertisement(&self, prefix: Ipv6Addr) -> Vec<u8> {
        let mut message = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend([3, 4, 64, 0xc0, 0, 0, 0xe, 0x10, 0, 0, 0xe, 0x10, 0, 0, 0, 0]);
        message.extend(prefix.octets());
        message.extend([1, 1]);
        message.extend(self.from.mac);
        self.ip(ICMP6, message, 2)
    }

    /// The ICMP error that nobody listens at a port, about a packet (without its Ethernet header).
    #[must_use]
    pub fn port_unreachable(&self, packet: &[u8]) -> Vec<u8> {
        self.icmp_error(([3, 3, 0, 0, 0, 0, 0, 0], [1, 4, 0, 0, 0, 0, 0, 0]), packet)
    }

    /// The ICMP error that a packet was too big for a link of so many bytes.
    #[must_use]
    pub fn too_big(&self, packet: &[u8], mtu: u16) -> Vec<u8> {
        let [high, low] = mtu.to_be_bytes();
        self.icmp_error(([3, 4, 0, 0, 0, 0, high, low], [2, 0, 0, 0, 0, 0, high, low]), packet)
    }

    /// An ICMP error with the header of the family, IPv4 first.
    ///
    /// # Panics
    /// When the ends are of different families.
    fn icmp_error(&self, (header4_of, header6_of): ([u8; 8], [u8; 8]), packet: &[u8]) -> Vec<u8> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (self.from.ip, self.to.ip) else {
            return self.ipv6(ICMP6, &self.icmp6([&header6_of, packet].concat()));
        };
        let mut message = [&header4_of, packet].concat();
        let sum = checksum(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let length = u16::try_from(message.len()).expect("a short packet");
        [self.ethernet(0x0800), header4(from, to, ICMP, length), message].concat()
    }

    /// An ICMPv6 message whose checksum is right wherever in the packet it is.
    #[must_use]
    pub fn icmp6(&self, mut message: Vec<u8>) -> Vec<u8> {
        let length = u16::try_from(message.len()).expect("a short packet");
        let sum = checksum(&[&pseudo_header(self.from.ip, self.to.ip, ICMP6, length), &message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }

    /// An IPv6 packet with that next header and all that is behind the header.
    ///
    /// # Panics
    /// When an end is not IPv6.
    #[must_use]
    pub fn ipv6(&self, next: u8, behind: &[u8]) -> Vec<u8> {
        let (IpAddr::V6(from), IpAddr::V6(to)) = (self.from.ip, self.to.ip) else { panic!("IPv6 ends") };
        let mut frame = self.ethernet(0x86dd);
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(u16::try_from(behind.len()).expect("a short packet").to_be_bytes());
        frame.extend([next, 255]);
        frame.extend(from.octets());
        frame.extend(to.octets());
        frame.extend(behind);
        frame
    }

    /// An ICMPv6 echo request.
    #[must_use]
    pub fn echo6(&self) -> Vec<u8> {
        self.ip(ICMP6, vec![128, 0, 0, 0, 0x0c, 0x1e, 0, 1], 2)
    }

    /// An echo request of either family, whose identifier is the sender's port.
    #[must_use]
    pub fn echo(&self, payload: &[u8]) -> Vec<u8> {
        let [high, low] = self.from.port.to_be_bytes();
        let mut message = [&[8, 0, 0, 0, high, low, 0, 1][..], payload].concat();
        if self.from.ip.is_ipv6() {
            message[0] = 128;
            return self.ip(ICMP6, message, 2);
        }
        let sum = checksum(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.packet(ICMP, &message)
    }

    /// A TCP segment with those flags.
    #[must_use]
    pub fn tcp(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut segment = ports(self.from.port, self.to.port);
        segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        self.ip(TCP, segment, 16)
    }

    /// A packet of any protocol, without a checksum.
    ///
    /// # Panics
    /// When the ends are of different families.
    #[must_use]
    pub fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (self.from.ip, self.to.ip) else {
            return self.ipv6(protocol, payload);
        };
        let length = u16::try_from(payload.len()).expect("a short packet");
        [&self.ethernet(0x0800)[..], &header4(from, to, protocol, length), payload].concat()
    }

    /// An ARP message: 1 asks, 2 answers.
    ///
    /// # Panics
    /// When an end is not IPv4.
    #[must_use]
    pub fn arp(&self, operation: u8, claimed_mac: [u8; 6]) -> Vec<u8> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (self.from.ip, self.to.ip) else {
            panic!("ARP is IPv4's");
        };
        let mut frame = self.ethernet(0x0806);
        frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend(claimed_mac);
        frame.extend(from.octets());
        frame.extend(self.to.mac);
        frame.extend(to.octets());
        frame.resize(60, 0);
        frame
    }

    /// The Ethernet header of a protocol, or of a length.
    #[must_use]
    pub fn ethernet(&self, kind: u16) -> Vec<u8> {
        let mut frame = self.to.mac.to_vec();
        frame.extend(self.from.mac);
        frame.extend(kind.to_be_bytes());
        frame
    }

    fn ip(&self, protocol: u8, mut payload: Vec<u8>, checksum_at: usize) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("a short packet");
        let pseudo = pseudo_header(self.from.ip, self.to.ip, protocol, length);
        let sum = checksum(&[&pseudo, &payload]);
        payload[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        let mut frame = match (self.from.ip, self.to.ip) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut frame = self.ethernet(0x0800);
                frame.extend(header4(from, to, protocol, length));
                frame
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut frame = self.ethernet(0x86dd);
                frame.extend([0x60, 0, 0, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([protocol, 255]);
                frame.extend(from.octets());
                frame.extend(to.octets());
                frame
            }
            (from, to) => panic!("no packet goes from {from} to {to}"),
        };
        frame.extend(payload);
        frame
    }
}

fn ports(from: u16, to: u16) -> Vec<u8> {
    let mut segment = from.to_be_bytes().to_vec();
    segment.extend(to.to_be_bytes());
    segment
}

fn header4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: u16) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend((20 + payload).to_be_bytes());
    header.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, length: u16) -> Vec<u8> {
    let mut pseudo = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => pseudo.extend(address.octets()),
            IpAddr::V6(address) => pseudo.extend(address.octets()),
        }
    }
    pseudo.extend([0, protocol]);
    pseudo.extend(length.to_be_bytes());
    pseudo
}

/// The Internet checksum of parts whose lengths are even, the last one's excepted.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}
