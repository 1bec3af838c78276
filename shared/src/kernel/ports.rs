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
use crate::model::cidr::Family;
use crate::model::port::Protocol;

/// What binding a port on the host said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// Nobody holds it; the number is the port, which the kernel chose where 0 was asked for.
    Free(u16),
    /// A process of the host holds it.
    Taken,
    /// A connected UDP socket of the host has it. A TCP port that only connections have is free.
    InUse,
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
        Err(Errno::EADDRINUSE) if !is_of_connections(address, protocol, port) => Ok(Bind::Taken),
        // The rules lead TCP's first packet alone to a container. Of UDP, nothing tells a packet of a connection from others.
        Err(Errno::EADDRINUSE) if protocol == Protocol::Tcp => Ok(Bind::Free(port)),
        Err(Errno::EADDRINUSE) => Ok(Bind::InUse),
        Err(Errno::EADDRNOTAVAIL) => Ok(Bind::NotLocal),
        Err(errno) => Err(fail(errno)),
    }
}

/// Names the process that holds a port, for a message; nothing where it cannot be found.
///
/// This reads every process's descriptors and is called only once a start has failed.
#[must_use]
pub fn holder(address: IpAddr, protocol: Protocol, port: u16) -> Option<String> {
    let of_port = sockets(address, protocol, port);
    let inode = of_port.iter().find(|socket| socket.serves).or(of_port.first())?.inode.clone();
    fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        if !has_descriptor(&entry.path(), &inode) {
            return None;
        }
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        Some(format!("process {} (pid {pid})", name.trim_end().escape_debug()))
    })
}

/// A socket that has a port.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    /// Whether it takes what anybody sends: it listens, or has no peer.
    serves: bool,
    /// What its descriptor links to.
    inode: String,
}

/// Whether a port that cannot be bound is that of connections alone, which this host began or is still serving. A socket that
/// is bound and does not listen yet is in no table.
fn is_of_connections(address: IpAddr, protocol: Protocol, port: u16) -> bool {
    let of_port = sockets(address, protocol, port);
    !of_port.is_empty() && of_port.iter().all(|socket| !socket.serves)
}

/// The sockets at a port of an address. SCTP's table is of another form (/proc/net/sctp/eps): its holders stay unnamed.
fn sockets(address: IpAddr, protocol: Protocol, port: u16) -> Vec<Socket> {
    // A socket of IPv6 may hold IPv4's port as well.
    let suffixes: &[&str] = match (protocol, address) {
        (Protocol::Sctp, _) => &[],
        (_, IpAddr::V6(_)) => &["6"],
        (_, IpAddr::V4(_)) => &["", "6"],
    };
    let tables = suffixes.iter().map(|suffix| format!("/proc/net/{}{suffix}", protocol.name()));
    let texts = tables.filter_map(|table| fs::read_to_string(table).ok());
    texts
        .flat_map(|text| text.lines().filter_map(|line| socket_at(line, address, port)).collect::<Vec<_>>())
        .collect()
}

/// `TCP_LISTEN` of linux/tcp_states.h.
const LISTEN: &str = "0A";
/// `TCP_CLOSE`, which a UDP socket without a peer is in.
const CLOSE: &str = "07";

/// A line of /proc/net/tcp, udp, tcp6 or udp6 (proc(5)), if its socket would hold the port of the address.
fn socket_at(line: &str, address: IpAddr, port: u16) -> Option<Socket> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (own, own_port) = fields.get(1)?.rsplit_once(':')?;
    if u16::from_str_radix(own_port, 16).ok()? != port {
        return None;
    }
    let own = parse_hexadecimal(own)?.to_canonical();
    let concerns = own.is_unspecified() || address.is_unspecified() || own == address;
    let serves = [LISTEN, CLOSE].contains(fields.get(3)?);
    let inode = fields.get(9).filter(|inode| concerns && **inode != "0")?;
    Some(Socket { serves, inode: format!("socket:[{inode}]") })
}

/// An address as the tables have it: words of 32 bits in the machine's order of bytes.
fn parse_hexadecimal(text: &str) -> Option<IpAddr> {
    let words = text.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).ok()?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    });
    let bytes = words.collect::<Option<Vec<[u8; 4]>>>()?.concat();
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
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
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};

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
    fn a_connection_that_this_host_began_holds_a_port_of_udp_alone() {
        for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let Ok(listener) = TcpListener::bind((address, 0)) else { continue };
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let own = stream.local_addr().unwrap().port();
            assert_eq!(probe(address, Protocol::Tcp, own).unwrap(), Bind::Free(own));
            let udp = UdpSocket::bind((address, 0)).unwrap();
            let own = udp.local_addr().unwrap().port();
            assert_eq!(probe(address, Protocol::Udp, own).unwrap(), Bind::Taken);
            udp.connect((address, 9)).unwrap();
            assert_eq!(probe(address, Protocol::Udp, own).unwrap(), Bind::InUse);
        }
    }

    #[test]
    fn lines_of_the_tables() {
        let line = |own: &str, state: &str| format!("  7: {own} 00000000:0000 {state} 0:0 0:0 0 0 0 4711 1");
        let four = Ipv4Addr::from(0x0100_007f_u32.to_ne_bytes());
        let at = |line: &str, address: IpAddr| socket_at(line, address, 80).map(|socket| socket.serves);
        assert_eq!(at(&line("0100007F:0050", "0A"), four.into()), Some(true));
        assert_eq!(at(&line("0100007F:0050", "01"), four.into()), Some(false));
        assert_eq!(at(&line("0100007F:0051", "0A"), four.into()), None);
        assert_eq!(at(&line("0100007F:0050", "0A"), Ipv4Addr::new(192, 0, 2, 1).into()), None);
        let every = "00000000000000000000000000000000:0050";
        assert_eq!(at(&line(every, "07"), four.into()), Some(true));
        assert_eq!(at("sl local_address rem_address st", four.into()), None);
    }

    #[test]
    fn a_foreign_address_is_not_local() {
        let foreign = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(probe(foreign, Protocol::Tcp, 80).unwrap(), Bind::NotLocal);
    }
}
