//! One netlink socket, used as a function call: messages out, answers in, nothing ever waits.
//!
//! The kernel answers rtnetlink and nfnetlink requests inside the send call, so that every answer is
//! queued when it returns; receiving with `MSG_DONTWAIT` therefore never misses one and never blocks.

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::KernelError;
use super::raw::{Attributes, HEADER_LENGTH};

/// `NLMSGERR_ATTR_MSG` of linux/netlink.h: the kernel's sentence about an error.
const NLMSGERR_ATTR_MSG: u16 = 1;
/// One datagram of a dump is at most 32 KiB (`NLMSG_GOODSIZE` as the kernel raises it).
const RECEIVE_BUFFER: usize = 32 * 1024;
/// Above this, a batch needs a larger send buffer than the default of 208 KiB.
const LARGE_BATCH: usize = 64 * 1024;
/// How many acknowledgements the default socket buffer has room for, at nearly 1 KiB each with the kernel's bookkeeping.
const ACKNOWLEDGED: usize = 128;
/// What an acknowledgement takes of a socket buffer, in bytes.
const ACKNOWLEDGEMENT: usize = 1024;
/// The most that a socket buffer is given for acknowledgements, in bytes.
const MAX_ROOM: usize = 8 << 20;

/// What the kernel said to one message.
#[derive(Debug)]
pub struct Refusal {
    /// Which of the messages, counted from 0.
    pub index: usize,
    /// The error number.
    pub errno: Errno,
    /// The kernel's sentence, where it gave one.
    pub detail: Option<String>,
}

/// Which answer is the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// The one to the last message, which is answered once.
    OfLastMessage,
    /// Nobody knows: the queue is read until it is empty.
    Unknown,
}

/// A netlink socket.
pub struct NetlinkSocket {
    socket: Socket,
    pub(super) sequence: u32,
    pub(super) received: Vec<u8>,
}

impl NetlinkSocket {
    /// Opens a socket of a netlink family (`NETLINK_ROUTE` …) in the current network namespace; it stays
    /// in that namespace wherever it is used from.
    ///
    /// # Errors
    /// The error of socket(2).
    pub fn open(protocol: isize) -> Result<Self, KernelError> {
        let opened = Socket::new(protocol).and_then(|socket| {
            socket.set_cap_ack(true)?;
            socket.set_ext_ack(true)?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        });
        let socket = opened.map_err(|error| KernelError::from_io("open a netlink socket", &error))?;
        Ok(Self { socket, sequence: 0, received: Vec::with_capacity(RECEIVE_BUFFER) })
    }

    /// Makes room for as many answers as there are messages, up to `MAX_ROOM`: the kernel may refuse each of them.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn make_room(&mut self, messages: usize) -> io::Result<()> {
        if messages > ACKNOWLEDGED {
            // The kernel doubles the value.
            let room = messages.saturating_mul(ACKNOWLEDGEMENT).min(MAX_ROOM);
            setsockopt(&self.socket, sockopt::RcvBufForce, &room)?;
        }
        Ok(())
    }

    /// Sends messages in one call and returns what the kernel refused and the messages it answered with. Where there were
    /// more refusals than the socket has room for, the first ones are returned.
    ///
    /// # Errors
    /// Only where the socket itself fails; what the kernel thinks of a message is in the answer.
    pub fn exchange<T>(&mut self, messages: Vec<(T, u16)>) -> io::Result<(Vec<Refusal>, Vec<T>)>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        self.exchange_until(messages, Last::Unknown)
    }

    fn exchange_until<T>(&mut self, messages: Vec<(T, u16)>, last: Last) -> io::Result<(Vec<Refusal>, Vec<T>)>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        let first = self.sequence.wrapping_add(1);
        let count = messages.len();
        let mut bytes = Vec::with_capacity(count * 128);
        for (payload, flags) in messages {
            let sequence = self.next_sequence();
            let mut message =
                NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(payload));
            message.header.flags = NLM_F_REQUEST | flags;
            message.header.sequence_number = sequence;
            message.finalize();
            let start = bytes.len();
            // Every message begins on a 4-byte boundary (NLMSG_ALIGN).
            bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut bytes[start..]);
        }
        self.send(&bytes)?;
        let mut refusals = Vec::new();
        let mut answers = Vec::new();
        let mut take = |message: NetlinkMessage<T>, detail| {
            let index = message.header.sequence_number.wrapping_sub(first) as usize;
            // An answer that an earlier, failed call did not fetch is still in the queue.
            if index >= count {
                return false;
            }
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Error(error) => {
                    if let Some(code) = error.code {
                        refusals.push(Refusal { index, errno: Errno::from_raw(-code.get()), detail });
                    }
                }
                _ => {}
            }
            last == Last::OfLastMessage && index + 1 == count
        };
        match self.drain(&mut take) {
            // What did not fit is lost; what came before is still in the queue.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.drain(&mut take)?;
                if refusals.is_empty() { Err(error) } else { Ok((refusals, answers)) }
            }
            drained => drained.map(|()| (refusals, answers)),
        }
    }

    /// Whether the kernel checks each field of a question (`NETLINK_GET_STRICT_CHK`).
    pub(super) fn set_strict(&self, strict: bool) -> io::Result<()> {
        self.socket.set_netlink_get_strict_chk(strict)
    }

    pub(super) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > LARGE_BATCH {
            // The kernel doubles the value, and counts its own bookkeeping against it.
            setsockopt(&self.socket, sockopt::SndBufForce, &(2 * bytes.len()))?;
        }
        let sent = self.socket.send(bytes, 0)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero)) }
    }

    /// Hands every queued message to `take` until the queue is empty or `take` returns true.
    fn drain<T: NetlinkDeserializable>(
        &mut self,
        mut take: impl FnMut(NetlinkMessage<T>, Option<String>) -> bool,
    ) -> io::Result<()> {
        while self.receive()? {
            let mut rest = self.received.as_slice();
            while rest.len() >= HEADER_LENGTH {
                let length = NetlinkBuffer::new_checked(rest).map_err(invalid)?.length() as usize;
                let message = NetlinkMessage::<T>::deserialize(&rest[..length]).map_err(invalid)?;
                let detail = sentence(&message);
                if take(message, detail) {
                    return Ok(());
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Receives the next datagram; false where the queue is empty.
    pub(super) fn receive(&mut self) -> io::Result<bool> {
        loop {
            self.received.clear();
            match self.socket.recv(&mut self.received, libc::MSG_DONTWAIT) {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Changes the kernel: every message must be accepted.
    ///
    /// # Errors
    /// The first refusal; `doing` names the message by its index.
    pub fn change<T>(
        &mut self,
        messages: Vec<(T, u16)>,
        doing: impl Fn(usize) -> String,
    ) -> Result<(), KernelError>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut messages = messages.into_iter();
        let mut before = 0;
        loop {
            let mut group: Vec<_> = messages.by_ref().take(ACKNOWLEDGED).collect();
            let count = group.len();
            // The kernel answers what it refuses in any case, and takes messages in turn: an answer to the last says that it is
            // through with all of them.
            let Some((_, flags)) = group.last_mut() else { return Ok(()) };
            *flags |= NLM_F_ACK;
            let exchanged = self.exchange_until(group, Last::OfLastMessage);
            let (refusals, _) = exchanged.map_err(|error| KernelError::from_io(doing(before), &error))?;
            if let Some(Refusal { index, errno, detail }) = refusals.into_iter().next() {
                return Err(KernelError { doing: doing(before + index), errno, detail });
            }
            before += count;
        }
    }

    /// Asks for one object; `None` where the kernel says that it does not exist.
    ///
    /// # Errors
    /// Any other refusal.
    pub fn get<T>(&mut self, message: T, doing: &str) -> Result<Option<T>, KernelError>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        let (refusals, answers) = self
            .exchange_until(vec![(message, 0)], Last::OfLastMessage)
            .map_err(|error| KernelError::from_io(doing, &error))?;
        match refusals.into_iter().next() {
            None => Ok(answers.into_iter().next()),
            Some(Refusal { errno: Errno::ENODEV | Errno::ENOENT, .. }) => Ok(None),
            Some(refusal) => {
                Err(KernelError { doing: doing.to_owned(), errno: refusal.errno, detail: refusal.detail })
            }
        }
    }
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A message of the library's to the kernel, whose answer is kept as the bytes that came: the library would read every
/// attribute of a link, and of an nftables element's expression only the first.
#[derive(Debug, Clone)]
pub enum Question<T> {
    /// What is asked.
    Ask(T),
    /// What was answered, behind the netlink header.
    Answer(Vec<u8>),
}

impl<T> Question<T> {
    /// The bytes of an answer; none of a question.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Ask(_) => &[],
            Self::Answer(bytes) => bytes,
        }
    }
}

impl<T: NetlinkSerializable> NetlinkSerializable for Question<T> {
    fn message_type(&self) -> u16 {
        match self {
            Self::Ask(message) => message.message_type(),
            Self::Answer(_) => 0,
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            Self::Ask(message) => message.buffer_len(),
            Self::Answer(bytes) => bytes.len(),
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        match self {
            Self::Ask(message) => message.serialize(buffer),
            Self::Answer(bytes) => buffer.copy_from_slice(bytes),
        }
    }
}

impl<T> NetlinkDeserializable for Question<T> {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self::Answer(payload.to_vec()))
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// With `NETLINK_CAP_ACK`, an error answer is the request's header and then attributes.
fn sentence<T>(message: &NetlinkMessage<T>) -> Option<String> {
    let NetlinkPayload::Error(error) = &message.payload else { return None };
    let sentence = Attributes::behind(&error.header, HEADER_LENGTH).find(NLMSGERR_ATTR_MSG)?;
    Some(String::from_utf8_lossy(sentence).trim_end_matches('\0').to_owned())
}

#[cfg(test)]
pub(super) mod tests;
