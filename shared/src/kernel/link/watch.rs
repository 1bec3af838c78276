//! Which links change, without a look at any.

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::libc;

use crate::kernel::KernelError;
use crate::kernel::raw::{HEADER_LENGTH, word};

/// Links that come, go, or are set otherwise.
const RTMGRP_LINK: u32 = libc::RTMGRP_LINK.cast_unsigned();
/// Where the index is in `struct ifinfomsg` of linux/rtnetlink.h.
const IFINFOMSG_INDEX: usize = 4;
/// Every change is a datagram of its own, of which the beginning is enough.
const BUFFER: usize = 64;

/// A socket that is told of every change of a link of its namespace.
pub struct LinkWatch {
    socket: Socket,
    received: Vec<u8>,
}

impl LinkWatch {
    /// Begins to listen in the current network namespace.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub fn open() -> Result<Self, KernelError> {
        let opened = Socket::new(NETLINK_ROUTE).and_then(|mut socket| {
            socket.bind(&SocketAddr::new(0, RTMGRP_LINK))?;
            Ok(socket)
        });
        let socket = opened.map_err(|error| KernelError::from_io("listen for changes of links", &error))?;
        Ok(Self { socket, received: Vec::with_capacity(BUFFER) })
    }

    /// Hands over the index of every link that changed since the last time this was asked. False where more changed at
    /// once than the kernel keeps for a socket: any link may have changed then.
    pub fn changes(&mut self, mut take: impl FnMut(u32)) -> bool {
        let mut is_whole = true;
        loop {
            self.received.clear();
            match self.socket.recv(&mut self.received, libc::MSG_DONTWAIT) {
                Ok(_) => match word(&self.received, HEADER_LENGTH + IFINFOMSG_INDEX) {
                    Some(index) => take(index),
                    None => is_whole = false,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return is_whole,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel tells of lost messages once (ENOBUFS), and goes on.
                Err(_) => is_whole = false,
            }
        }
    }
}
