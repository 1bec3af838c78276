//! Ports that the host's own processes hold.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, getsockname, setsockopt, socket,
    sockopt,
};

use super::KernelError;
use crate::cidr::Family;
use crate::port::Protocol;

/// What binding a port on the host said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// Nobody holds it; the number is the port, which the kernel chose where 0 was asked for.
    Free(u16),
    /// A process of the host holds it.
    Taken,
    /// The address is not one of the host's.
    NotLocal,
}

/// Finds out whether a process of this namespace holds a port, by binding it for a moment.
///
/// Nothing is held afterwards: a port that is published belongs to the container by its element in the
/// kernel's map, which is what two starts at once are decided by.
///
/// # Errors
/// What socket(2) or bind(2) say besides.
pub fn probe(address: IpAddr, protocol: Protocol, port: u16) -> Result<Bind, KernelError> {
    let doing = || format!("probe {protocol} port {port} of {address}");
    let fail = |errno: Errno| KernelError::new(doing(), errno);
    let family = match Family::of(address) {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        Protocol::Sctp => (SockType::SeqPacket, SockProtocol::Sctp),
    };
    let descriptor = match socket(family, kind, SockFlag::SOCK_CLOEXEC, number) {
        Ok(descriptor) => descriptor,
        // A kernel without SCTP, or without IPv6, has no process that could hold such a port.
        Err(Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT | Errno::ESOCKTNOSUPPORT) => {
            return Ok(Bind::Free(port));
        }
        Err(errno) => return Err(fail(errno)),
    };
    if protocol == Protocol::Tcp {
        // Connections that are over (TIME_WAIT) do not hold a port; one that listens still does.
        setsockopt(&descriptor, sockopt::ReuseAddr, &true).map_err(fail)?;
    }
    if address.is_ipv6() {
        setsockopt(&descriptor, sockopt::Ipv6V6Only, &true).map_err(fail)?;
    }
    match bind(descriptor.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, port))) {
        Ok(()) if port != 0 => Ok(Bind::Free(port)),
        Ok(()) => {
            let bound: SockaddrStorage = getsockname(descriptor.as_raw_fd()).map_err(fail)?;
            let chosen = bound.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::port);
            let chosen = chosen.or_else(|| bound.as_sockaddr_in6().map(nix::sys::socket::SockaddrIn6::port));
            chosen.map(Bind::Free).ok_or_else(|| fail(Errno::EAFNOSUPPORT))
        }
        Err(Errno::EADDRINUSE) => Ok(Bind::Taken),
        Err(Errno::EADDRNOTAVAIL) => Ok(Bind::NotLocal),
        Err(errno) => Err(fail(errno)),
    }
}

/// Names the process that holds a port, for a message; nothing where it cannot be found.
///
/// This reads every process's descriptors and is called only once a start has failed.
#[must_use]
pub fn holder(address: IpAddr, protocol: Protocol, port: u16) -> Option<String> {
    // A socket of IPv6 may hold IPv4's port as well.
    let suffixes: &[&str] = if address.is_ipv6() { &["6"] } else { &["", "6"] };
    let inode = match protocol {
        Protocol::Tcp | Protocol::Udp => suffixes
            .iter()
            .find_map(|suffix| inode(&format!("/proc/net/{}{suffix}", protocol.name()), port))?,
        // SCTP's table is of another form (/proc/net/sctp/eps); its holder stays unnamed.
        Protocol::Sctp => return None,
    };
    fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        if !has_descriptor(&entry.path(), &inode) {
            return None;
        }
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        Some(format!("process {} (pid {pid})", name.trim_end().escape_debug()))
    })
}

/// What the descriptor of the socket that has a port in a table of /proc/net links to.
fn inode(table: &str, port: u16) -> Option<String> {
    fs::read_to_string(table).ok()?.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let holds = u16::from_str_radix(local_port, 16).ok()? == port;
        fields.get(9).filter(|inode| holds && **inode != "0").map(|inode| format!("socket:[{inode}]"))
    })
}

fn has_descriptor(process: &Path, target: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors
        .filter_map(Result::ok)
        .any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|link| link.as_os_str() == target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn a_listener_is_found_and_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(probe(localhost, Protocol::Tcp, port).unwrap(), Bind::Taken);
        let holder = holder(localhost, Protocol::Tcp, port).unwrap();
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
        drop(listener);
        assert_eq!(probe(localhost, Protocol::Tcp, port).unwrap(), Bind::Free(port));
    }

    #[test]
    fn a_foreign_address_is_not_local() {
        let foreign = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(probe(foreign, Protocol::Tcp, 80).unwrap(), Bind::NotLocal);
    }
}
