//! Frames put on a wire as they are, as an attacker inside a container can.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, sendto, socket,
};

use super::netns::Netns;

/// A packet socket that sees every frame of the namespace that it is made in.
pub(crate) fn packet_socket() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).expect("a packet socket")
}

fn link(namespace: &Netns, interface: &str) -> LinkAddr {
    let found = namespace.within(|| {
        let addresses = getifaddrs().expect("list the addresses");
        addresses.filter(|entry| entry.interface_name == interface).find_map(|entry| {
            let address = entry.address?;
            (address.family() == Some(AddressFamily::Packet)).then(|| address.as_link_addr().copied())?
        })
    });
    found.unwrap_or_else(|| panic!("no interface {interface} here"))
}

/// The MAC address of an interface.
///
/// # Panics
/// When there is no such interface.
#[must_use]
#[track_caller]
pub fn link_address(namespace: &Netns, interface: &str) -> [u8; 6] {
    link(namespace, interface).addr().expect("an Ethernet address")
}

/// An interface, to send frames out of as they are.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    target: LinkAddr,
}

impl Wire {
    /// Opens one of a namespace's.
    ///
    /// # Panics
    /// When there is no such interface.
    #[must_use]
    #[track_caller]
    pub fn of(namespace: &Netns, interface: &str) -> Self {
        Self { target: link(namespace, interface), socket: namespace.within(packet_socket) }
    }

    /// Sends one frame.
    ///
    /// # Panics
    /// When the kernel does not take it.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        let sent = sendto(self.socket.as_raw_fd(), frame, &self.target, MsgFlags::empty());
        assert_eq!(sent, Ok(frame.len()), "send a frame");
    }
}

/// Sends one frame out of an interface.
///
/// # Panics
/// When the kernel does not take it.
#[track_caller]
pub fn send_frame(namespace: &Netns, interface: &str, frame: &[u8]) {
    Wire::of(namespace, interface).send(frame);
}
