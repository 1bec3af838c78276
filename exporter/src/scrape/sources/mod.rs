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
use ocinet_shared::kernel::channel::Channel;

/// A source's socket, opened if it is not open: a source drops a socket on which the rest of an answer may still arrive.
fn open(channel: &mut Option<Channel>, protocol: isize) -> Result<&mut Channel, KernelError> {
    match channel {
        Some(channel) => Ok(channel),
        none => Ok(none.insert(Channel::open(protocol)?)),
    }
}
