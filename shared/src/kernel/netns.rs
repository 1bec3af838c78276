//! Network namespaces. This is the only file that calls setns(2).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use nix::errno::Errno;
use nix::sched::CloneFlags;

use super::KernelError;
use super::netlink::NetlinkSocket;
use crate::model::namespace_id::NamespaceId;

/// An open network namespace.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    id: NamespaceId,
}

impl Namespace {
    /// Opens the network namespace of a process.
    ///
    /// # Errors
    /// Those of open(2) on /proc/PID/ns/net.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// Opens the network namespace that this process is in.
    ///
    /// # Errors
    /// Those of open(2) on /proc/self/ns/net.
    pub fn own() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Opens the network namespace that is mounted on a file (ip-netns(8)).
    ///
    /// # Errors
    /// Those of open(2).
    pub fn at(path: &Path) -> io::Result<Self> {
        Self::open(path)
    }

    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Self { file, id: NamespaceId { device: metadata.dev(), inode: metadata.ino() } })
    }

    /// What tells it from other namespaces.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// The number by which the socket's namespace knows this one (rtnetlink's `NETNSA_NSID`); it is given one if it
    /// has none yet, and loses it when it ends.
    ///
    /// # Errors
    /// What the kernel says to `RTM_NEWNSID` other than that there is one.
    pub fn number(&self, socket: &mut NetlinkSocket) -> Result<i32, KernelError> {
        let doing = "number the container's network namespace";
        let mut message = self.question();
        message.attributes.push(NsidAttribute::Id(-1));
        match socket.change(vec![(RouteNetlinkMessage::NewNsId(message), 0)], |_| doing.to_owned()) {
            Ok(()) | Err(KernelError { errno: Errno::EEXIST, .. }) => {}
            Err(error) => return Err(error),
        }
        self.known_number(socket)?.ok_or_else(|| KernelError::new(doing, Errno::ENOENT))
    }

    fn question(&self) -> NsidMessage {
        let mut message = NsidMessage::default();
        message.attributes.push(NsidAttribute::Fd(self.file.as_raw_fd().unsigned_abs()));
        message
    }

    /// The number by which the socket's namespace knows this one, if it has one.
    ///
    /// # Errors
    /// What the kernel says to `RTM_GETNSID`.
    pub fn known_number(&self, socket: &mut NetlinkSocket) -> Result<Option<i32>, KernelError> {
        let doing = "look up the number of a network namespace";
        let number = match socket.get(RouteNetlinkMessage::GetNsId(self.question()), doing)? {
            Some(RouteNetlinkMessage::NewNsId(answer)) => {
                answer.attributes.into_iter().find_map(|attribute| {
                    if let NsidAttribute::Id(number) = attribute { Some(number) } else { None }
                })
            }
            _ => None,
        };
        Ok(number.filter(|number| *number >= 0))
    }

    /// Runs a function in this namespace and comes back to `home`.
    ///
    /// Where coming back fails the process is in a namespace that nothing after may act in: it aborts.
    ///
    /// # Errors
    /// The error of entering, as `Err`; what the function returned otherwise.
    pub fn enter<R>(&self, home: &Self, inside: impl FnOnce() -> R) -> Result<R, KernelError> {
        let doing = "enter the container's network namespace";
        set(self).map_err(|errno| KernelError::new(doing, errno))?;
        let back = Return(home);
        let result = inside();
        drop(back);
        Ok(result)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Comes back also where the function panics, so that no undo runs in the wrong namespace.
struct Return<'a>(&'a Namespace);

impl Drop for Return<'_> {
    fn drop(&mut self) {
        if set(self.0).is_err() {
            std::process::abort();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn set(namespace: &Namespace) -> Result<(), Errno> {
    nix::sched::setns(&namespace.file, CloneFlags::CLONE_NEWNET)
}
