//! One file a source: what it asks, and what it makes of the answer. Each fails by itself.

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

/// A source's socket, opened where it is not open: a source drops one whose answers may be out of step.
fn open(channel: &mut Option<Channel>, protocol: isize) -> Result<&mut Channel, KernelError> {
    match channel {
        Some(channel) => Ok(channel),
        none => Ok(none.insert(Channel::open(protocol)?)),
    }
}
