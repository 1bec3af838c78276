//! Elements over nfnetlink: one transaction for everything that changes with a container.

use std::os::fd::{AsFd as _, AsRawFd as _};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::unistd::pipe2;

use super::listing::{Counter, counter};
use super::messages::{
    Bound, NFGENMSG_LENGTH, NFTA_DATA_VALUE, NFTA_LIST_ELEM, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_EXPR,
    NFTA_SET_ELEM_EXPRESSIONS, NFTA_SET_ELEM_LIST_ELEMENTS, Verb, about_element, bound,
};
use crate::kernel::KernelError;
use crate::kernel::netlink::{NetlinkSocket, Question, Refusal};
use crate::kernel::raw::Attributes;
use crate::model::element::{Element, Set};

/// How many elements are deleted in one transaction. One that fails takes the kernel a grace period, and has an answer for
/// each element that is missing.
const DELETED_AT_ONCE: usize = 4096;

/// Whether elements come or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// They are added; a published port and a container's address must be new.
    Add,
    /// They are added where they are missing.
    Restore,
    /// They are deleted.
    Delete,
}

/// Why a batch changed nothing.
#[derive(Debug)]
pub enum ChangeError {
    /// The base tables are not there.
    NoTable,
    /// An element exists already: the index, in the batch, of the first such.
    Exists(usize),
    /// Anything else.
    Kernel(KernelError),
}

/// An element as the kernel holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementState {
    /// The value's bytes, empty for a set's element.
    pub value: Vec<u8>,
    /// The counter, zero where the set has none.
    pub counter: Counter,
}

/// A socket to nf_tables.
pub struct Nft {
    socket: NetlinkSocket,
    deleted: bool,
}

impl Nft {
    /// Opens a socket in the current network namespace.
    ///
    /// # Errors
    /// The error of socket(2).
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self { socket: NetlinkSocket::open(NETLINK_NETFILTER)?, deleted: false })
    }

    /// Adds elements in one transaction: all of them, or none.
    ///
    /// An element of a publish map, or of a set of containers' addresses, must be new: the kernel is the judge of two starts
    /// that want one port or one address.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn add(&mut self, elements: &[Element]) -> Result<(), ChangeError> {
        let refusals = self.transact(Change::Add, elements)?;
        Self::judge(refusals, elements)
    }

    /// Adds elements in one transaction, those that are there already included: after somebody's flush, two
    /// processes may put back the same ones.
    ///
    /// # Errors
    /// [`ChangeError`]; [`ChangeError::Exists`] only for a port that leads elsewhere.
    pub fn restore(&mut self, elements: &[Element]) -> Result<(), ChangeError> {
        let refusals = self.transact(Change::Restore, elements)?;
        Self::judge(refusals, elements)
    }

    fn judge(refusals: Vec<Refusal>, elements: &[Element]) -> Result<(), ChangeError> {
        let Some(first) = refusals.into_iter().next() else { return Ok(()) };
        match first.errno {
            Errno::ENOENT => Err(ChangeError::NoTable),
            Errno::EEXIST | Errno::EBUSY => Err(ChangeError::Exists(first.index)),
            errno => {
                let doing = elements.get(first.index).map_or_else(
                    || "commit the nftables elements".to_owned(),
                    |element| format!("add the element {element}"),
                );
                Err(ChangeError::Kernel(KernelError { doing, errno, detail: first.detail }))
            }
        }
    }

    /// Deletes elements, many at once; those that are not there count as deleted. The last go first: whoever was killed
    /// half-way finds the first still there.
    ///
    /// # Errors
    /// What the kernel says besides.
    pub fn delete(&mut self, elements: &[Element]) -> Result<(), KernelError> {
        elements.rchunks(DELETED_AT_ONCE).try_for_each(|some| self.delete_some(some))
    }

    fn delete_some(&mut self, elements: &[Element]) -> Result<(), KernelError> {
        let mut remaining: Vec<Element> = elements.to_vec();
        // A round takes out what was missing; another process may delete more in between.
        while !remaining.is_empty() {
            let refusals = self.transact(Change::Delete, &remaining).map_err(|error| match error {
                ChangeError::Kernel(error) => error,
                _ => KernelError::new("delete nftables elements", Errno::EINVAL),
            })?;
            if refusals.is_empty() {
                self.deleted = true;
                return Ok(());
            }
            let mut missing = vec![false; remaining.len()];
            for refusal in refusals {
                match missing.get_mut(refusal.index) {
                    Some(slot) if refusal.errno == Errno::ENOENT => *slot = true,
                    _ => {
                        let doing = "delete nftables elements".to_owned();
                        return Err(KernelError { doing, errno: refusal.errno, detail: refusal.detail });
                    }
                }
            }
            let mut keep = missing.iter().map(|missing| !missing);
            remaining.retain(|_| keep.next().unwrap_or(false));
        }
        Ok(())
    }

    /// Sends a batch and returns the refusals, their index counted in `elements`.
    fn transact(&mut self, change: Change, elements: &[Element]) -> Result<Vec<Refusal>, ChangeError> {
        if elements.is_empty() {
            return Ok(Vec::new());
        }
        let verb = if change == Change::Delete { Verb::Delete } else { Verb::New };
        let mut messages = Vec::with_capacity(elements.len() + 2);
        messages.push((Question::Ask(bound(Bound::Begin)), 0));
        for (index, element) in elements.iter().enumerate() {
            let acknowledge = if index + 1 == elements.len() { NLM_F_ACK } else { 0 };
            let message = Question::Ask(about_element(verb, element));
            messages.push((message, flags(change, element.set) | acknowledge));
        }
        messages.push((Question::Ask(bound(Bound::End)), 0));
        let exchanged = self.socket.make_room(messages.len()).and_then(|()| self.socket.exchange(messages));
        let (refusals, _) = exchanged.map_err(|error| {
            ChangeError::Kernel(KernelError::from_io("send nftables elements to the kernel", &error))
        })?;
        // Index 0 is the batch's beginning, which the kernel blames for a commit that fails as a whole.
        Ok(refusals
            .into_iter()
            .map(|refusal| Refusal { index: refusal.index.wrapping_sub(1), ..refusal })
            .collect())
    }

    /// Looks an element up; `None` where it, its set or its table is not there.
    ///
    /// # Errors
    /// Any other refusal.
    pub fn get(&mut self, element: &Element) -> Result<Option<ElementState>, KernelError> {
        let request = about_element(Verb::Get, element);
        const DOING: &str = "look up an nftables element";
        let answer = self.socket.get(Question::Ask(request), DOING)?;
        // An answer that cannot be read is not the absence of one.
        let unreadable = || KernelError::new(DOING, Errno::EBADMSG);
        answer.map(|answer| state(answer.bytes()).ok_or_else(unreadable)).transpose()
    }

    /// The socket, for what connection tracking is asked: that is nfnetlink too.
    pub fn socket(&mut self) -> &mut NetlinkSocket {
        &mut self.socket
    }

    /// Closes the socket. After a deletion the kernel makes whoever closes the last descriptor wait some
    /// milliseconds for RCU's grace period; a child that holds nothing else then waits in our place.
    pub fn close(self) {
        if self.deleted {
            release(self);
        }
    }
}

/// The stack of the child that waits, in bytes: it makes six system calls.
const STACK: usize = 16 << 10;

/// What the child keeps open, in ascending order: the socket, and the end of a pipe that tells it when it is the last who has the
/// socket.
type Kept = [libc::c_uint; 2];

/// Leaves the last reference to the socket to a child, which does nothing but end.
#[expect(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "clone(2) has no wrapper for a child that outlives what it was given; clippy.toml names this file"
)]
fn release(nft: Nft) {
    // A call that fails writes errno, which the child shares with this process: without close_range(2) there is no child.
    // SAFETY: no descriptor has this number, so that nothing is closed.
    let has_close_range = unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0_u32) } == 0;
    let pipe = pipe2(OFlag::O_CLOEXEC).ok().filter(|_| has_close_range);
    if let Some((told, _)) = &pipe {
        let mut kept: Kept = [nft.socket.as_fd(), told.as_fd()].map(|kept| kept.as_raw_fd().unsigned_abs());
        let told = kept[1];
        kept.sort_unstable();
        let of_child: &'static (Kept, libc::c_uint) = Box::leak(Box::new((kept, told)));
        let stack: &'static mut [u8] = Box::leak(vec![0; STACK].into_boxed_slice());
        // SAFETY: the child shares this process's memory, because copying its page tables takes longer than all else here. It
        // runs `hold` alone, on a stack that nobody else has and that is never freed, and reads numbers that are never freed
        // either; when `hold` returns, the child ends by itself (clone(2)).
        unsafe {
            let flags = libc::CLONE_VM | libc::SIGCHLD;
            let of_child = std::ptr::from_ref(of_child).cast_mut().cast();
            libc::clone(hold, stack.as_mut_ptr_range().end.cast(), flags, of_child);
        }
    }
    // Where there is no child, this closes the last descriptor, and waits. The pipe's end is closed behind it: the child, which
    // may be quicker than this process, goes on only then.
    drop(nft);
    drop(pipe);
}

/// Closes all descriptors but two in the child, whose table of them is a copy, and leaves the folder that the runtime was in,
/// which may be an engine's to unmount. Waits until the parent has closed the socket.
#[expect(unsafe_code, reason = "close_range(2) has no safe wrapper")]
extern "C" fn hold(of_child: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `release` gives these numbers, which are never freed. They are numbers, not borrowed objects. The calls succeed, as
    // `release` has tried, and as every process may be in its root, so that errno, which is shared, stays as it is; what is read is
    // the end of a pipe into which nobody writes, and a byte of this stack.
    unsafe {
        let &([first, second], told) = &*of_child.cast::<(Kept, libc::c_uint)>();
        libc::syscall(libc::SYS_chdir, c"/".as_ptr());
        if first > 0 {
            libc::syscall(libc::SYS_close_range, 0_u32, first - 1, 0_u32);
        }
        if second - first > 1 {
            libc::syscall(libc::SYS_close_range, first + 1, second - 1, 0_u32);
        }
        libc::syscall(libc::SYS_close_range, second + 1, u32::MAX, 0_u32);
        let mut byte = 0_u8;
        libc::syscall(libc::SYS_read, told, &raw mut byte, 1_usize);
    }
    0
}

fn flags(change: Change, set: Set) -> u16 {
    let exclusive = matches!(
        set,
        Set::Publish4
            | Set::Publish6
            | Set::Publish4Bound
            | Set::Publish6Bound
            | Set::Container4
            | Set::Container6
    );
    match change {
        Change::Add if exclusive => NLM_F_CREATE | NLM_F_EXCL,
        Change::Add | Change::Restore => NLM_F_CREATE,
        Change::Delete => 0,
    }
}

/// Reads the answer to [`Nft::get`]: `struct nfgenmsg`, then attributes as linux/netfilter/nf_tables.h nests them.
pub(super) fn state(answer: &[u8]) -> Option<ElementState> {
    let of = |bytes, kind| Attributes::new(bytes).find(kind);
    let elements = Attributes::behind(answer, NFGENMSG_LENGTH).find(NFTA_SET_ELEM_LIST_ELEMENTS)?;
    let element = Attributes::new(of(elements, NFTA_LIST_ELEM)?);
    let value = element.find(NFTA_SET_ELEM_DATA).and_then(|data| of(data, NFTA_DATA_VALUE));
    let one = element.find(NFTA_SET_ELEM_EXPR);
    let expression = one.or_else(|| of(element.find(NFTA_SET_ELEM_EXPRESSIONS)?, NFTA_LIST_ELEM));
    let counter = expression.and_then(counter).unwrap_or_default();
    Some(ElementState { value: value.unwrap_or_default().to_vec(), counter })
}
