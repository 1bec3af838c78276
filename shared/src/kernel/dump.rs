//! Dumps and rows of questions whose answers are handed over as the bytes that came.

use std::io;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use nix::errno::Errno;
use nix::libc;

use super::netlink::NetlinkSocket;
use super::raw::{Message, Messages, NetlinkRequest};
use super::{KernelError, errno_of};

// Types of messages that end an answer, from linux/netlink.h.
const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;
/// The flag of a dump answer that a change made inconsistent.
const NLM_F_DUMP_INTR: u16 = libc::NLM_F_DUMP_INTR as u16;
/// How often a dump that a change interrupted is begun again.
const ATTEMPTS: usize = 4;
/// How many questions are asked in one send. The answers wait in the socket's buffer, 208 KiB by default, of which one
/// about a link takes less than 4.
const AT_ONCE: usize = 32;

/// What was answered to a question: the payload, or the refusal.
pub type Answer<'a> = Result<&'a [u8], Errno>;

/// How one attempt at a dump ended.
enum End {
    Whole,
    Interrupted,
}

impl NetlinkSocket {
    /// Asks for all objects of a kind and hands over the payload of every message.
    ///
    /// A dump that a change interrupted is begun again, so that an object may come several times: the last is the
    /// newest. Where changes come faster than it can be read, it ends with every object that was there all the time
    /// handed over at least once in one of the attempts, as nearly as the kernel lets that be known.
    ///
    /// # Errors
    /// A refusal, or an answer that does not end.
    pub fn stream(
        &mut self,
        request: &NetlinkRequest,
        doing: &str,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), KernelError> {
        for _ in 0..ATTEMPTS {
            let sequence = self.next_sequence();
            let mut bytes = Vec::with_capacity(128);
            request.write(NLM_F_REQUEST | NLM_F_DUMP, sequence, &mut bytes);
            let ended = self.attempt(&bytes, sequence, &mut |message| take(message.payload));
            match ended.map_err(|errno| KernelError::new(doing, errno))? {
                End::Whole => return Ok(()),
                End::Interrupted => {}
            }
        }
        Ok(())
    }

    /// Asks for all objects of a kind as a whole, again where a change interrupted the answer.
    ///
    /// # Errors
    /// A refusal, an answer that does not end or cannot be read, or a table that changes faster than it can be read.
    pub fn dump<T>(&mut self, message: &T, doing: &str) -> Result<Vec<T>, KernelError>
    where
        T: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        for _ in 0..ATTEMPTS {
            let sequence = self.next_sequence();
            let mut request =
                NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message.clone()));
            request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
            request.header.sequence_number = sequence;
            request.finalize();
            let mut bytes = vec![0; request.buffer_len()];
            request.serialize(&mut bytes);
            let mut answers: Vec<Result<T, T::Error>> = Vec::new();
            let ended = self.attempt(&bytes, sequence, &mut |message| {
                let mut header = NetlinkHeader::default();
                header.message_type = message.kind;
                answers.push(T::deserialize(&header, message.payload));
            });
            match ended.map_err(|errno| KernelError::new(doing, errno))? {
                End::Whole => {
                    let answers: Result<Vec<T>, T::Error> = answers.into_iter().collect();
                    return answers.map_err(|error| KernelError::from_io(doing, &io::Error::other(error)));
                }
                End::Interrupted => {}
            }
        }
        Err(KernelError::new(doing, Errno::EAGAIN))
    }

    /// Asks for the objects of a kind that a message describes: without the kernel's strict checks
    /// (`NETLINK_GET_STRICT_CHK`) some kinds are answered with all there are.
    ///
    /// # Errors
    /// Those of [`Self::dump`], and a kernel without strict checks.
    pub fn dump_some<T>(&mut self, message: &T, doing: &str) -> Result<Vec<T>, KernelError>
    where
        T: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        self.set_strict(true).map_err(|error| KernelError::from_io(doing, &error))?;
        let answers = self.dump(message, doing);
        self.set_strict(false).map_err(|error| KernelError::from_io(doing, &error)).and(answers)
    }

    fn attempt(
        &mut self,
        bytes: &[u8],
        sequence: u32,
        take: &mut dyn FnMut(&Message<'_>),
    ) -> Result<End, Errno> {
        self.send(bytes).map_err(|error| errno_of(&error))?;
        let mut interrupted = false;
        loop {
            match self.receive().map_err(|error| errno_of(&error)) {
                Ok(true) => {}
                // The kernel puts the next part into the queue before the last is received: an empty one never fills.
                Ok(false) => return Err(Errno::EAGAIN),
                // A part was lost for lack of room; those after it still come.
                Err(Errno::ENOBUFS) => {
                    interrupted = true;
                    continue;
                }
                Err(errno) => return Err(errno),
            }
            for message in Messages::new(&self.received).filter(|message| message.sequence == sequence) {
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match refusal(&message) {
                            Some(Errno::EINTR) => Ok(End::Interrupted),
                            Some(errno) => Err(errno),
                            None if interrupted => Ok(End::Interrupted),
                            None => Ok(End::Whole),
                        };
                    }
                    _ => take(&message),
                }
            }
        }
    }

    /// Asks questions that have one answer each, and hands over which was answered, and what. A question without an answer is not heard of.
    ///
    /// # Errors
    /// Only where the socket itself fails.
    pub fn ask_each(
        &mut self,
        requests: &[NetlinkRequest],
        take: &mut dyn FnMut(usize, Answer<'_>),
    ) -> Result<(), Errno> {
        let mut bytes = Vec::with_capacity(AT_ONCE.min(requests.len()) * 64);
        for (chunk, requests) in requests.chunks(AT_ONCE).enumerate() {
            bytes.clear();
            let first = self.sequence.wrapping_add(1);
            for request in requests {
                let sequence = self.next_sequence();
                request.write(NLM_F_REQUEST, sequence, &mut bytes);
            }
            self.send(&bytes).map_err(|error| errno_of(&error))?;
            while self.receive().map_err(|error| errno_of(&error))? {
                for message in Messages::new(&self.received) {
                    let index = message.sequence.wrapping_sub(first) as usize;
                    if index >= requests.len() {
                        continue;
                    }
                    let answer = match message.kind {
                        NLMSG_ERROR => Err(refusal(&message).unwrap_or(Errno::UnknownErrno)),
                        _ => Ok(message.payload),
                    };
                    take(chunk * AT_ONCE + index, answer);
                }
            }
        }
        Ok(())
    }
}

/// The error number of a message that ends an answer: the first word, negative, or 0.
fn refusal(message: &Message<'_>) -> Option<Errno> {
    let code = super::raw::word(message.payload, 0)?.cast_signed();
    (code != 0).then(|| Errno::from_raw(code.wrapping_neg()))
}

#[cfg(test)]
mod tests;
