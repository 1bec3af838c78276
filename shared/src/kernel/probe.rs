//! Whether others on a link have an address as well: questions that leave nobody's neighbour cache changed, as a machine
//! asks before it takes an address (RFC 5227, section 2.1.1; RFC 4862, section 5.4.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike as _, recv, sendto,
    socket,
};

use super::KernelError;
use crate::ifname::IfName;
use crate::mac::Mac;

// Protocols of frames (linux/if_ether.h).
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_IPV6: u16 = 0x86dd;
/// An Ethernet header: the receiver's address, the sender's, the protocol.
const ETHERNET: usize = 14;
/// Ethernet, IPv4, and the lengths of their addresses (RFC 826).
const ARP: [u8; 6] = [0, 1, 8, 0, 6, 4];
/// The fixed header of RFC 8200.
const IPV6: usize = 40;
const ICMPV6: u8 = 58;
// Types of ICMPv6 (RFC 4861).
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// The longest answer with all its options is shorter.
const LONGEST: usize = 2048;

/// A packet socket on the wire of one interface.
#[derive(Debug)]
pub struct Probe {
    socket: OwnedFd,
    link: LinkAddr,
    mac: Mac,
}

impl Probe {
    /// Opens one for an interface of the network namespace that this thread is in.
    ///
    /// # Errors
    /// An interface that is not there, or has no Ethernet address; those of packet(7), which needs `CAP_NET_RAW`.
    pub fn open(interface: &IfName) -> Result<Self, KernelError> {
        let refused = |errno| KernelError::new(format!("listen on {interface}"), errno);
        let of_link = |entry: nix::ifaddrs::InterfaceAddress| {
            let address = entry.address.filter(|_| entry.interface_name == interface.as_str())?;
            let is_link = address.family() == Some(AddressFamily::Packet);
            is_link.then(|| address.as_link_addr().copied()).flatten()
        };
        let link = getifaddrs().map_err(refused)?.find_map(of_link).ok_or_else(|| refused(Errno::ENODEV))?;
        let mac = Mac(link.addr().ok_or_else(|| refused(Errno::EADDRNOTAVAIL))?);
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).map_err(refused)?;
        Ok(Self { socket, link, mac })
    }

    /// Asks once who else has an address.
    ///
    /// # Errors
    /// Those of sendto(2).
    pub fn ask(&self, address: IpAddr) -> Result<(), KernelError> {
        let frame = match address {
            IpAddr::V4(address) => arp_probe(self.mac, address),
            IpAddr::V6(address) => solicitation(self.mac, address),
        };
        let sent = sendto(self.socket.as_raw_fd(), &frame, &self.link, MsgFlags::empty());
        sent.map(drop).map_err(|errno| KernelError::new(format!("ask who has {address}"), errno))
    }

    /// Who has said until now that an address is theirs. Called once more, it goes on with what came since.
    pub fn answers(&self) -> impl Iterator<Item = (IpAddr, Mac)> {
        let mut frame = [0; LONGEST];
        std::iter::from_fn(move || {
            loop {
                let length = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()).ok()?;
                if let Some(claim) = claim(&frame[..length]).filter(|(_, mac)| *mac != self.mac) {
                    return Some(claim);
                }
            }
        })
    }
}

fn ethernet(to: [u8; 6], from: Mac, protocol: u16) -> Vec<u8> {
    [&to[..], &from.0, &protocol.to_be_bytes()].concat()
}

/// The sender's IP address is all zero, so that nobody learns it.
fn arp_probe(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet([0xff; 6], mac, ETH_P_ARP);
    frame.extend(ARP);
    frame.extend(1_u16.to_be_bytes());
    frame.extend(mac.0);
    frame.extend([0; 4 + 6]);
    frame.extend(address.octets());
    frame
}

fn solicitation(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = address.octets();
    let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let mut message = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(address.octets());
    let length = u16::try_from(message.len()).unwrap_or_default();
    // The pseudo-header of RFC 8200, section 8.1; the sender is the unspecified address.
    let sum = checksum([&to.octets()[..], &length.to_be_bytes(), &[0, ICMPV6], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ethernet([0x33, 0x33, 0xff, a, b, c], mac, ETH_P_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([ICMPV6, 255]);
    frame.extend([0; 16]);
    frame.extend(to.octets());
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
    match u16::from_be_bytes([header[12], header[13]]) {
        ETH_P_ARP if body.starts_with(&ARP) => {
            let mac = Mac(bytes(8, 6)?.try_into().ok()?);
            let address: [u8; 4] = bytes(14, 4)?.try_into().ok()?;
            Some((address.into(), mac))
        }
        ETH_P_IPV6 if *body.get(6)? == ICMPV6 && *body.get(IPV6)? == NEIGHBOUR_ADVERTISEMENT => {
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
        let frame = arp_probe(MAC, Ipv4Addr::new(192, 0, 2, 7));
        assert_eq!(frame.len(), ETHERNET + 28);
        assert_eq!(claim(&frame), Some((Ipv4Addr::UNSPECIFIED.into(), MAC)));
        assert_eq!(claim(&solicitation(MAC, "2001:db8::7".parse().unwrap())), None);
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
        frame[ETHERNET + IPV6] = NEIGHBOUR_ADVERTISEMENT;
        assert_eq!(claim(&frame), Some((address.into(), MAC)));
        for length in 0..frame.len() {
            assert_eq!(claim(&frame[..length]), None);
        }
    }
}
