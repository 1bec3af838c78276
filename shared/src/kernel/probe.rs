//! Whether others on a link have an address as well: questions that leave nobody's neighbour cache changed, as a machine
//! asks before it takes an address (RFC 5227, section 2.1.1; RFC 4862, section 5.4.2). And the announcement that it has one,
//! which changes them.

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, sock_filter, sock_fprog, sockaddr_ll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::KernelError;
use super::frame::{
    ETH_P_ARP, ETH_P_IPV6, ICMPV6, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, SKF_AD_PKTTYPE,
    SKF_AD_VLAN_TAG_PRESENT,
};
use crate::model::mac::Mac;

/// An Ethernet header: the receiver's address, the sender's, the protocol.
const ETHERNET: usize = 14;
/// Ethernet, IPv4, and the lengths of their addresses (RFC 826).
const ARP: [u8; 6] = [0, 1, 8, 0, 6, 4];
/// The fixed header of RFC 8200.
const IPV6: usize = 40;
/// The longest answer with all its options is shorter.
const LONGEST: usize = 2048;

/// More frames than a socket's buffer holds (`net.core.rmem_default`, of which a frame takes some hundred bytes at least).
const QUEUED: usize = 1024;

/// The group that a machine answers whose asker has no address yet (RFC 4291, section 2.7.1: all nodes).
const ALL_NODES: [u8; 8] = [0x33, 0x33, 0, 0, 0, 1, 0, 0];
/// The flag of an advertisement that what was known before is to be overridden (RFC 4861, section 4.4).
const OVERRIDE: u8 = 0x20;
/// The option that says an address's Ethernet address, one unit of 8 bytes long (RFC 4861, section 4.6.1).
const TARGET_LINK_LAYER: [u8; 2] = [2, 1];
// Instructions of classic BPF: load a byte, half a word, a word; compare; return.
const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ) as u16;
const RETURN: u16 = libc::BPF_RET as u16;

const fn load(code: u32, at: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k: at }
}

/// Goes on where the value is `k`, and otherwise skips so many instructions.
const fn only(k: u32, skip: u8) -> sock_filter {
    sock_filter { code: JUMP_EQUAL, jt: 0, jf: skip, k }
}

const fn give_back(length: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k: length }
}

/// What is heard: ARP, and neighbour advertisements. A link may carry more than the socket's buffer holds, frames of
/// VLANs, whose addresses are other networks', and what this very host sends by it.
const HEARD: [sock_filter; 14] = [
    load(LOAD_WORD, SKF_AD_PKTTYPE),
    sock_filter { code: JUMP_EQUAL, jt: 11, jf: 0, k: libc::PACKET_OUTGOING as u32 },
    load(LOAD_WORD, SKF_AD_VLAN_TAG_PRESENT),
    only(0, 9),
    load(LOAD_HALF, 12),
    sock_filter { code: JUMP_EQUAL, jt: 6, jf: 0, k: ETH_P_ARP },
    only(ETH_P_IPV6, 6),
    load(LOAD_BYTE, (ETHERNET + 6) as u32),
    only(ICMPV6, 4),
    load(LOAD_BYTE, (ETHERNET + IPV6) as u32),
    only(NEIGHBOUR_ADVERTISEMENT, 2),
    give_back(LONGEST as u32),
    give_back(LONGEST as u32),
    give_back(0),
];

/// A packet socket on the wire of one interface.
#[derive(Debug)]
pub struct Probe {
    socket: OwnedFd,
    mac: Mac,
}

impl Probe {
    /// Opens one for an interface of the network namespace that this thread is in, by its index and Ethernet address.
    ///
    /// # Errors
    /// Those of packet(7), which needs `CAP_NET_RAW`.
    pub fn open(index: u32, mac: Mac) -> Result<Self, KernelError> {
        let refused = |errno| KernelError::new("listen to a link", errno);
        // Nothing is heard until the filter is there and the interface is told.
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).map_err(refused)?;
        hear(&socket, index).map_err(refused)?;
        Ok(Self { socket, mac })
    }

    /// Asks once who else has an address.
    ///
    /// # Errors
    /// Those of send(2).
    pub fn ask(&self, address: IpAddr) -> Result<(), KernelError> {
        let frame = match address {
            IpAddr::V4(address) => arp_request(self.mac, Ipv4Addr::UNSPECIFIED, address),
            IpAddr::V6(address) => solicitation(self.mac, address),
        };
        self.send(&frame).map_err(|errno| KernelError::new(format!("ask who has {address}"), errno))
    }

    /// Says once that an address is at this interface, so that whoever knew it elsewhere learns that (RFC 5227, section 3;
    /// RFC 4861, section 7.2.6).
    ///
    /// # Errors
    /// Those of send(2).
    pub fn announce(&self, address: IpAddr) -> Result<(), KernelError> {
        let frame = match address {
            IpAddr::V4(address) => arp_request(self.mac, address, address),
            IpAddr::V6(address) => advertisement(self.mac, address),
        };
        self.send(&frame).map_err(|errno| KernelError::new(format!("announce {address}"), errno))
    }

    fn send(&self, frame: &[u8]) -> Result<(), Errno> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).map(drop)
    }

    /// Who has said until now that an address is theirs. Called once more, it goes on with what came since.
    pub fn answers(&self) -> impl Iterator<Item = (IpAddr, Mac)> {
        self.answers_until(Instant::now())
    }

    /// Who says until a moment that an address is theirs. It ends then, whatever the link goes on to carry.
    pub fn answers_until(&self, deadline: Instant) -> impl Iterator<Item = (IpAddr, Mac)> {
        let mut queued = 0..QUEUED;
        let mut frame = [0; LONGEST];
        std::iter::from_fn(move || {
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                let received = if left.is_zero() {
                    // What came in time may not have been read yet.
                    queued.next()?;
                    recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT)
                } else {
                    self.receive_within(left, &mut frame)
                };
                match received {
                    Ok(length) => {
                        let claim = claim(&frame[..length]).filter(|(_, mac)| *mac != self.mac);
                        if claim.is_some() {
                            return claim;
                        }
                    }
                    Err(Errno::EAGAIN | Errno::EINTR) if !left.is_zero() => {}
                    Err(_) => return None,
                }
            }
        })
    }

    fn receive_within(&self, left: Duration, frame: &mut [u8]) -> Result<usize, Errno> {
        // 0 would be for ever.
        let left = TimeVal::microseconds(i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1));
        setsockopt(&self.socket, sockopt::ReceiveTimeout, &left)?;
        recv(self.socket.as_raw_fd(), frame, MsgFlags::empty())
    }
}

/// Filters what a socket hears, joins the group that answers go to, and binds it to an interface.
fn hear(socket: &OwnedFd, index: u32) -> Result<(), Errno> {
    let mut program = HEARD;
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = sock_fprog { len: length, filter: program.as_mut_ptr() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
    let number = index.cast_signed();
    let group = libc::packet_mreq {
        mr_ifindex: number,
        mr_type: u16::try_from(libc::PACKET_MR_MULTICAST).map_err(|_| Errno::EINVAL)?,
        mr_alen: 6,
        mr_address: ALL_NODES,
    };
    set(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &group)?;
    let family = u16::try_from(libc::AF_PACKET).map_err(|_| Errno::EINVAL)?;
    let protocol = u16::try_from(libc::ETH_P_ALL).map_err(|_| Errno::EINVAL)?.to_be();
    let place = sockaddr_ll {
        sll_family: family,
        sll_protocol: protocol,
        sll_ifindex: number,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of::<sockaddr_ll>()).map_err(|_| Errno::EINVAL)?;
    #[expect(unsafe_code, reason = "nix has no way to make a packet socket's address")]
    // SAFETY: the kernel reads `length` bytes, which `place` has.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const place).cast(), length) };
    Errno::result(bound).map(drop)
}

fn set<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| Errno::EINVAL)?;
    #[expect(unsafe_code, reason = "setsockopt(2) of packet sockets' options has no safe wrapper")]
    // SAFETY: the kernel reads `length` bytes, which `value` has, and copies the filter that it points to.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length)
    };
    Errno::result(result).map(drop)
}

fn ethernet(to: [u8; 6], from: Mac, protocol: u32) -> Vec<u8> {
    [&to[..], &from.0, &(protocol as u16).to_be_bytes()].concat()
}

/// Where the sender's IP address is all zero, nobody learns it.
fn arp_request(mac: Mac, sender: Ipv4Addr, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet([0xff; 6], mac, ETH_P_ARP);
    frame.extend(ARP);
    frame.extend(1_u16.to_be_bytes());
    frame.extend(mac.0);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

fn solicitation(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = address.octets();
    let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let message = [&[NEIGHBOUR_SOLICITATION as u8, 0, 0, 0, 0, 0, 0, 0][..], &address.octets()].concat();
    discovery(mac, [Ipv6Addr::UNSPECIFIED, to], message)
}

fn advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let header = [NEIGHBOUR_ADVERTISEMENT as u8, 0, 0, 0, OVERRIDE, 0, 0, 0];
    let message = [&header[..], &address.octets(), &TARGET_LINK_LAYER, &mac.0].concat();
    discovery(mac, [address, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)], message)
}

/// A message of neighbour discovery to a group, whose Ethernet address ends as its own does (RFC 2464, section 7).
fn discovery(mac: Mac, [from, to]: [Ipv6Addr; 2], mut message: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or_default();
    let ends = [from.octets(), to.octets()].concat();
    // The pseudo-header of RFC 8200, section 8.1.
    let sum = checksum([&ends[..], &length.to_be_bytes(), &[0, ICMPV6 as u8], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let [.., a, b, c, d] = to.octets();
    let mut frame = ethernet([0x33, 0x33, a, b, c, d], mac, ETH_P_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([ICMPV6 as u8, 255]);
    frame.extend(ends);
    frame.extend(message);
    frame
}

/// The checksum of RFC 1071.
fn checksum(bytes: Vec<u8>) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What address a frame says is whose: ARP's sender, or what a neighbour advertisement is about.
fn claim(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    let (header, body) = frame.split_at_checked(ETHERNET)?;
    let bytes = |at: usize, length: usize| body.get(at..at.checked_add(length)?);
    let byte = |at: usize| body.get(at).copied().map(u32::from);
    match u32::from(u16::from_be_bytes([header[12], header[13]])) {
        ETH_P_ARP if body.starts_with(&ARP) => {
            let mac = Mac(bytes(8, 6)?.try_into().ok()?);
            let address: [u8; 4] = bytes(14, 4)?.try_into().ok()?;
            Some((address.into(), mac))
        }
        ETH_P_IPV6 if byte(6) == Some(ICMPV6) && byte(IPV6) == Some(NEIGHBOUR_ADVERTISEMENT) => {
            let address: [u8; 16] = bytes(IPV6 + 8, 16)?.try_into().ok()?;
            Some((address.into(), Mac(header[6..12].try_into().ok()?)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    #[test]
    fn the_question_claims_nothing() {
        let frame = arp_request(MAC, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(192, 0, 2, 7));
        assert_eq!(frame.len(), ETHERNET + 28);
        assert_eq!(claim(&frame), Some((Ipv4Addr::UNSPECIFIED.into(), MAC)));
        assert_eq!(claim(&solicitation(MAC, "2001:db8::7".parse().unwrap())), None);
    }

    #[test]
    fn an_announcement_claims_the_address_and_overrides() {
        let own = Ipv4Addr::new(192, 0, 2, 7);
        let frame = arp_request(MAC, own, own);
        assert_eq!(claim(&frame), Some((own.into(), MAC)));
        assert_eq!(frame[ETHERNET + 24..], own.octets());
        let own: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let frame = advertisement(MAC, own);
        assert_eq!(claim(&frame), Some((own.into(), MAC)));
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        let packet = &frame[ETHERNET..];
        assert_eq!(packet[..8], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(packet[8..24], own.octets());
        assert_eq!((packet[IPV6 + 4], &packet[IPV6 + 24..]), (0x20, &[2, 1, 2, 0, 0, 0, 0, 7][..]));
        let whole = [&packet[8..40], &[0, 32, 0, 58], &packet[40..]].concat();
        assert_eq!(checksum(whole), 0);
    }

    /// By the fields of RFC 4861, section 4.3, and RFC 4291, section 2.7.1.
    #[test]
    fn a_solicitation_goes_to_those_who_may_have_the_address() {
        let frame = solicitation(MAC, "2001:db8::12:3456".parse().unwrap());
        let header = [0x33, 0x33, 0xff, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 7, 0x86, 0xdd];
        assert_eq!(frame[..ETHERNET], header);
        let packet = &frame[ETHERNET..];
        assert_eq!(packet[..8], [0x60, 0, 0, 0, 0, 24, 58, 255]);
        let to: [u8; 16] = packet[24..40].try_into().unwrap();
        assert_eq!(Ipv6Addr::from(to), "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
        // Summed with its own checksum, a packet comes to zero.
        let whole = [&packet[8..40], &[0, 24, 0, 58], &packet[40..]].concat();
        assert_eq!(checksum(whole), 0);
    }

    #[test]
    fn what_is_cut_off_is_no_claim() {
        let address: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let mut frame = solicitation(MAC, address);
        frame[ETHERNET + IPV6] = NEIGHBOUR_ADVERTISEMENT as u8;
        assert_eq!(claim(&frame), Some((address.into(), MAC)));
        for length in 0..frame.len() {
            assert_eq!(claim(&frame[..length]), None);
        }
    }
}
