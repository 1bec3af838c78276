//! The kernel: the only code in ocinet that opens a netlink socket, changes namespace, writes a sysctl,
//! starts a process or forks.
//!
//! | file | does |
//! |---|---|
//! | `netlink.rs` | one netlink socket: several messages in one call, one answer each |
//! | `raw.rs` `dump.rs` | many answers, read as bytes |
//! | `counters.rs` `device.rs` `conntrack.rs` `conntrack/` | what links counted, how they are set; open connections |
//! | `link/` `addr.rs` `route.rs` `rule.rs` `neighbour.rs` | rtnetlink |
//! | `probe.rs` | whether others on a link have an address |
//! | `rate.rs` | traffic shaping, by rtnetlink |
//! | `filter/` | filters on links, which outlive the rules |
//! | `root_files/` | files in a container's root |
//! | `privileges.rs` `landlock.rs` | what a process, a thread or a program gives up |
//! | `user_namespace.rs` | who root of a user namespace is outside |
//! | `nft/` | the base tables, elements, counters |
//! | `legacy_iptables.rs` | the older iptables' forward chain |
//! | `netns.rs` | the only setns |
//! | `program.rs` | the only fork: a child that waits for a container's program |
//! | `forwarding.rs` | what turning forwarding on overwrites, and giving it back |
//! | `descriptor.rs` | descriptors that systemd passes |
//! | `sysctl.rs` `process.rs` `ports.rs` | /proc, and sockets of the host's own processes |
//! | `random.rs` | numbers drawn from the kernel |

pub mod addr;
pub mod conntrack;
pub mod counters;
pub mod descriptor;
pub mod device;
mod dump;
pub mod filter;
pub mod forwarding;
mod frame;
pub mod landlock;
pub mod legacy_iptables;
pub mod link;
pub mod neighbour;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod ports;
pub mod privileges;
pub mod probe;
pub mod process;
pub mod program;
pub mod random;
pub mod rate;
pub mod raw;
pub mod root_files;
pub mod route;
pub mod rule;
pub mod sysctl;
pub mod user_namespace;

use std::fmt;
use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;

/// A change to a link, an address, a route or a neighbour: the message, and its flags besides `NLM_F_REQUEST`.
pub type Change = (RouteNetlinkMessage, u16);

/// A change or a question that the kernel refused.
#[derive(Debug)]
pub struct KernelError {
    /// What was asked, as a verb with its object: `make the link oc-abc`.
    pub doing: String,
    /// The kernel's error number.
    pub errno: Errno,
    /// The kernel's own sentence, where it gave one (`NLMSGERR_ATTR_MSG` of linux/netlink.h).
    pub detail: Option<String>,
}

impl KernelError {
    /// An error without a sentence of the kernel's.
    pub fn new(doing: impl Into<String>, errno: Errno) -> Self {
        Self { doing: doing.into(), errno, detail: None }
    }

    /// The same from an error of the standard library.
    pub fn from_io(doing: impl Into<String>, error: &io::Error) -> Self {
        Self::new(doing, errno_of(error))
    }
}

/// Ignores that a sysctl is not there. A kernel without IPv6 has none of IPv6's, and a link that has gone has none at all.
///
/// # Errors
/// Any other.
pub fn optional(written: Result<(), KernelError>) -> Result<(), KernelError> {
    match written {
        Err(KernelError { errno: Errno::ENOENT, .. }) => Ok(()),
        other => other,
    }
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.errno.desc())?;
        match &self.detail {
            Some(detail) => write!(f, " (kernel: {detail})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for KernelError {}
