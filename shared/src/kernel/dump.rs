//! Dumps and rows of questions whose answers are handed over as the bytes that came.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use nix::errno::Errno;
use nix::libc;

use super::netlink::{NLM_F_DUMP_INTR, NetlinkSocket};
use super::raw::{Message, Messages, Request};
use super::{KernelError, errno_of};

// Types of messages that end an answer, from linux/netlink.h.
const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;
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
        request: &Request,
        doing: &str,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), KernelError> {
        for _ in 0..ATTEMPTS {
            match self.attempt(request, take).map_err(|errno| KernelError::new(doing, errno))? {
                End::Whole => return Ok(()),
                End::Interrupted => {}
            }
        }
        Ok(())
    }

    fn attempt(&mut self, request: &Request, take: &mut dyn FnMut(&[u8])) -> Result<End, Errno> {
        let sequence = self.next_sequence();
        let mut bytes = Vec::with_capacity(128);
        request.write(NLM_F_REQUEST | NLM_F_DUMP, sequence, &mut bytes);
        self.send(&bytes).map_err(|error| errno_of(&error))?;
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
                    _ => take(message.payload),
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
        requests: &[Request],
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
