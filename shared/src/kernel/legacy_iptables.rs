//! The forward chain of the older iptables (`iptables-legacy`), which nftables knows nothing of: read by the socket options
//! of linux/netfilter_ipv4/ip_tables.h and linux/netfilter_ipv6/ip6_tables.h.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::KernelError;
use super::raw::word;
use crate::model::cidr::Family;

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`.
const GET_INFO: libc::c_int = 64;
/// `IPT_SO_GET_ENTRIES` and `IP6T_SO_GET_ENTRIES`.
const GET_ENTRIES: libc::c_int = 65;
/// `XT_TABLE_MAXNAMELEN`, the length of a table's name in the structures.
const NAME: usize = 32;
/// `struct ipt_getinfo`: the name, the valid hooks, where each of 5 hooks begins and ends, how many entries, their bytes.
const INFO: usize = NAME + 4 * (1 + 5 + 5 + 1 + 1);
/// `struct ipt_get_entries`: the name, the bytes, and the entries on a boundary of 8.
const ENTRIES: usize = NAME + 8;
/// `NF_INET_FORWARD`.
const FORWARD: usize = 2;
/// `struct xt_entry_target`, in front of a standard target's verdict.
const TARGET: usize = 32;
/// `-NF_ACCEPT - 1` and `-NF_DROP - 1` as a standard target has them.
const ACCEPT: i32 = -2;
const DROP: i32 = -1;

/// Where the fields of a family's entry are: `struct ipt_entry`, `struct ip6t_entry`.
struct EntryLayout {
    level: libc::c_int,
    addresses: usize,
    offsets: usize,
    size: usize,
}

/// `struct ipt_ip` begins with 4 addresses, `struct ip6t_ip6` as well; two names and two masks of interfaces follow.
fn layout(family: Family) -> EntryLayout {
    match family {
        Family::Ipv4 => EntryLayout { level: libc::SOL_IP, addresses: 16, offsets: 88, size: 112 },
        Family::Ipv6 => EntryLayout { level: libc::SOL_IPV6, addresses: 64, offsets: 140, size: 168 },
    }
}

/// The forward chain of a family's table `filter`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForwardChain {
    /// Whether it drops what no rule decides.
    pub drops: bool,
    /// The links from which it lets everything in, before any other rule.
    pub accepted_from: Vec<String>,
    /// The links to which it lets everything out, before any other rule.
    pub accepted_to: Vec<String>,
}

/// Reads the forward chain; `None` where the namespace has no such table. Asking for one that is not there would make it.
///
/// # Errors
/// What socket(2) or getsockopt(2) say.
pub fn forward_chain(family: Family) -> Result<Option<ForwardChain>, KernelError> {
    let names = match family {
        Family::Ipv4 => "/proc/net/ip_tables_names",
        Family::Ipv6 => "/proc/net/ip6_tables_names",
    };
    if !fs::read_to_string(names).unwrap_or_default().lines().any(|name| name == "filter") {
        return Ok(None);
    }
    let fail = |errno| KernelError::new("read the table filter of legacy iptables", errno);
    let kind = match family {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    };
    let socket = socket(kind, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw).map_err(fail)?;
    let layout = layout(family);
    let mut info = vec![0; INFO];
    info[..6].copy_from_slice(b"filter");
    get(&socket, layout.level, GET_INFO, &mut info).map_err(fail)?;
    let size = word(&info, INFO - 4).unwrap_or_default();
    let mut entries = vec![0; ENTRIES + size as usize];
    entries[..6].copy_from_slice(b"filter");
    entries[NAME..NAME + 4].copy_from_slice(&size.to_ne_bytes());
    get(&socket, layout.level, GET_ENTRIES, &mut entries).map_err(fail)?;
    let at = |offset| word(&info, offset).unwrap_or_default() as usize;
    let bounds = (at(NAME + 4 + 4 * FORWARD), at(NAME + 4 + 20 + 4 * FORWARD));
    Ok(Some(read(&layout, entries.get(ENTRIES..).unwrap_or_default(), bounds)))
}

fn get(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, into: &mut [u8]) -> Result<(), Errno> {
    let mut length = libc::socklen_t::try_from(into.len()).map_err(|_| Errno::EMSGSIZE)?;
    #[expect(unsafe_code, reason = "getsockopt(2) of these options has no safe wrapper")]
    // SAFETY: the kernel writes at most `length` bytes, which `into` has.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, into.as_mut_ptr().cast(), &raw mut length)
    };
    Errno::result(result).map(drop)
}

/// The chain is between two offsets, at the second of which is the policy.
fn read(layout: &EntryLayout, entries: &[u8], (first, policy): (usize, usize)) -> ForwardChain {
    let mut chain =
        ForwardChain { drops: verdict(layout, entries, policy) == Some(DROP), ..Default::default() };
    let mut at = first;
    while at < policy {
        let Some((from, to)) =
            links(layout, entries, at).filter(|_| verdict(layout, entries, at) == Some(ACCEPT))
        else {
            break;
        };
        match (from.is_empty(), to.is_empty()) {
            (false, true) => chain.accepted_from.push(from),
            (true, false) => chain.accepted_to.push(to),
            _ => break,
        }
        match offset(entries, at + layout.offsets + 2) {
            Some(next) if next > 0 => at += next,
            _ => break,
        }
    }
    chain
}

/// The links that an entry asks for, where it asks for nothing else: no address, protocol, match, and no inversion.
fn links(layout: &EntryLayout, entries: &[u8], at: usize) -> Option<(String, String)> {
    let entry = entries.get(at..at + layout.size)?;
    let names = layout.addresses..layout.addresses + 32;
    let asks_else =
        entry[..names.start].iter().chain(&entry[names.end + 32..layout.offsets]).any(|byte| *byte != 0);
    if asks_else || offset(entry, layout.offsets)? != layout.size {
        return None;
    }
    let name = |start: usize| {
        let end = entry[start..start + 16].iter().position(|byte| *byte == 0).unwrap_or(16);
        String::from_utf8_lossy(&entry[start..start + end]).into_owned()
    };
    Some((name(names.start), name(names.start + 16)))
}

/// A standard target's verdict, which has no name.
fn verdict(layout: &EntryLayout, entries: &[u8], at: usize) -> Option<i32> {
    let target = entries.get(at + offset(entries, at + layout.offsets)?..)?;
    if *target.get(2)? != 0 {
        return None;
    }
    word(target, TARGET).map(u32::cast_signed)
}

fn offset(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?)))
}
