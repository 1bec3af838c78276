//! One file for each source: what it reads, and what it makes of that. Each fails by itself.

pub mod conntrack;
pub mod hooks;
pub mod links;
pub mod nft;
pub mod pools;
pub mod process;
pub mod records;
mod stamp;

use ocinet_shared::kernel::KernelError;
use ocinet_shared::kernel::netlink::NetlinkSocket;

/// A source's socket, opened if it is not open: a source drops a socket on which the rest of an answer may still arrive.
fn open(socket: &mut Option<NetlinkSocket>, protocol: isize) -> Result<&mut NetlinkSocket, KernelError> {
    match socket {
        Some(socket) => Ok(socket),
        none => Ok(none.insert(NetlinkSocket::open(protocol)?)),
    }
}
