//! A socket whose answers a test writes: another socket of this process is on its other side, instead of the kernel.

use netlink_sys::protocols::NETLINK_USERSOCK;
use netlink_sys::{Socket, SocketAddr};

use crate::kernel::netlink::{NetlinkSocket, RECEIVE_BUFFER};
use crate::kernel::raw::{Message, Messages, NetlinkRequest};

/// A question to be asked, and a type of message that answers one.
pub(in crate::kernel) const KIND: u16 = 18;
const NLMSG_ERROR: u16 = 2;

/// The other side. What is asked of it stays in its queue.
pub(in crate::kernel) struct Other {
    socket: Socket,
    address: SocketAddr,
}

impl Other {
    /// Puts a datagram into the socket's queue.
    pub(in crate::kernel) fn answer(&self, datagram: &[u8]) {
        assert_eq!(self.socket.send_to(datagram, &self.address, 0).unwrap(), datagram.len());
    }

    /// What was asked since the last time: the flags and the sequence number of each message, by datagram.
    pub(in crate::kernel) fn asked(&self) -> Vec<Vec<(u16, u32)>> {
        let mut asked = Vec::new();
        let mut bytes = Vec::with_capacity(32 * 1024);
        while self.socket.recv(&mut bytes, nix::libc::MSG_DONTWAIT).is_ok() {
            let of = |message: Message<'_>| (message.flags, message.sequence);
            asked.push(Messages::new(&bytes).map(of).collect());
            bytes.clear();
        }
        asked
    }
}

/// A socket in whose queue these datagrams are. Its first question has sequence number 1.
pub(in crate::kernel) fn answered(datagrams: &[Vec<u8>]) -> (NetlinkSocket, Other) {
    let open = || {
        let mut socket = Socket::new(NETLINK_USERSOCK).unwrap();
        let address = socket.bind_auto().unwrap();
        (socket, address)
    };
    let ((socket, address), (other, other_address)) = (open(), open());
    socket.connect(&other_address).unwrap();
    let socket = NetlinkSocket { socket, sequence: 0, received: Vec::with_capacity(RECEIVE_BUFFER) };
    let other = Other { socket: other, address };
    datagrams.iter().for_each(|datagram| other.answer(datagram));
    (socket, other)
}

/// A message as the kernel writes it.
pub(in crate::kernel) fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    NetlinkRequest::new(kind, payload).write(flags, sequence, &mut bytes);
    bytes
}

/// The kernel's answer to a message that it refuses, or accepts by number 0: the error number and the message's header,
/// and perhaps a sentence.
pub(in crate::kernel) fn refusal(sequence: u32, errno: i32, sentence: &str) -> Vec<u8> {
    let header = [(-errno).to_ne_bytes().to_vec(), message(KIND, 0, sequence, &[])].concat();
    let request = NetlinkRequest::new(NLMSG_ERROR, &header);
    let request = if sentence.is_empty() { request } else { request.with_text(1, sentence) };
    let mut bytes = Vec::new();
    request.write(0, sequence, &mut bytes);
    bytes
}
