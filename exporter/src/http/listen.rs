//! The listening sockets, by flags or from systemd, and what systemd is told.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixDatagram;
use std::str::FromStr;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};

use ocinet_shared::kernel::descriptor;

use crate::error::Error;

/// Connections that the kernel keeps until they are accepted; it takes no more than net.core.somaxconn.
const BACKLOG: i32 = 1024;

/// An address to listen on; without one, every address of both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress {
    address: Option<IpAddr>,
    port: u16,
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not_an_address = || "it is not of the form :PORT, IPV4:PORT or [IPV6]:PORT".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(not_an_address)?;
        let port = port.parse().map_err(|_| format!("\"{port}\" is not a port"))?;
        let address = match host {
            "" => None,
            // A static program has no name service of the system; this one name needs none.
            "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
            _ => Some(match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
                Some(host) => host.parse::<Ipv6Addr>().map_err(|_| not_an_address())?.into(),
                None => host.parse::<Ipv4Addr>().map_err(|_| not_an_address())?.into(),
            }),
        };
        Ok(Self { address, port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => SocketAddr::new(address, self.port).fmt(f),
            None => write!(f, ":{}", self.port),
        }
    }
}

/// Opens the sockets that the flags name.
///
/// # Errors
/// The kernel's, at the first that it refuses.
pub fn open(addresses: &[ListenAddress]) -> Result<Vec<TcpListener>, Error> {
    addresses.iter().map(|address| {
        open_one(*address).map_err(|errno| {
            let hint = match errno {
                Errno::EADDRINUSE => {
                    "end what listens there (`ss -ltnp` names it), name another with --web.listen-address, or give \
                     --web.systemd-socket where it is systemd's socket unit"
                }
                Errno::EACCES | Errno::EPERM => "a port below 1024 needs CAP_NET_BIND_SERVICE; choose another",
                _ => "name an address of this host with --web.listen-address",
            };
            Error::kernel(format!("listen on {address}"), errno.desc(), hint)
        })
    }).collect()
}

fn open_one(ListenAddress { address, port }: ListenAddress) -> Result<TcpListener, Errno> {
    match address {
        Some(address) => listener(SocketAddr::new(address, port)),
        // One socket for both families; where the kernel has no IPv6, for the one that it has.
        None => match listener(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => {
                listener(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            other => other,
        },
    }
}

fn listener(address: SocketAddr) -> Result<TcpListener, Errno> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Connections of an earlier process in TIME_WAIT must not block the port.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket.into())
}

/// The first descriptor that systemd passes (sd_listen_fds(3)).
const FIRST: RawFd = 3;

/// The sockets that systemd has opened. To be called once, before this process opens anything.
///
/// # Errors
/// When there is none, or one does not listen for TCP.
pub fn inherited() -> Result<Vec<TcpListener>, Error> {
    let doing = "use systemd's sockets";
    let hint = "start it by ocinet-exporter.socket, or leave out --web.systemd-socket";
    let variable = |name: &str| std::env::var(name).ok();
    let count =
        passed(variable("LISTEN_PID").as_deref(), variable("LISTEN_FDS").as_deref(), std::process::id());
    if count == 0 {
        return Err(Error::usage(doing, "systemd has passed none (LISTEN_FDS)", hint));
    }
    let take = |descriptor: RawFd| {
        let link = std::fs::read_link(format!("/proc/self/fd/{descriptor}"))?;
        if !link.to_string_lossy().starts_with("socket:") {
            return Err(io::Error::from(Errno::ENOTSOCK));
        }
        let listener = TcpListener::from(descriptor::passed(descriptor));
        // Only a TCP socket has an address of this type.
        listener.local_addr()?;
        nix::sys::socket::getsockopt(&listener, sockopt::AcceptConn)?
            .then_some(listener)
            .ok_or_else(|| io::Error::from(Errno::EINVAL))
    };
    let taken = (FIRST..).take(count).map(|descriptor| {
        take(descriptor).map_err(|error| {
            Error::usage(doing, format!("descriptor {descriptor} is no listening TCP socket ({error})"), hint)
        })
    });
    taken.collect()
}

/// How many sockets were passed to the process `own`.
fn passed(pid: Option<&str>, count: Option<&str>, own: u32) -> usize {
    let is_ours = pid.and_then(|pid| pid.parse().ok()) == Some(own);
    if is_ours { count.and_then(|count| count.parse().ok()).unwrap_or(0) } else { 0 }
}

/// Tells systemd the state of this process (sd_notify(3)), if systemd has asked for it.
pub fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let told = match path.as_encoded_bytes().split_first() {
        Some((b'@', name)) => {
            use std::os::linux::net::SocketAddrExt as _;
            std::os::unix::net::SocketAddr::from_abstract_name(name)
        }
        _ => std::os::unix::net::SocketAddr::from_pathname(&path),
    }
    .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = told {
        tracing::warn!(%error, "cannot tell systemd {state}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_for_other_exporters() {
        for text in [":9477", "127.0.0.1:9477", "[::1]:9477", "0.0.0.0:1", "[::]:0"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        assert_eq!("localhost:80".parse::<ListenAddress>().unwrap().to_string(), "127.0.0.1:80");
        for bad in
            ["", "9477", ":", ":http", ":65536", "::1:9477", "[127.0.0.1]:80", "example.com:80", "1.2.3:80"]
        {
            assert!(bad.parse::<ListenAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sockets_for_another_process_are_left_alone() {
        assert_eq!(passed(Some("7"), Some("2"), 7), 2);
        for (pid, count) in
            [(Some("8"), Some("2")), (None, Some("2")), (Some("7"), None), (Some("7"), Some("x"))]
        {
            assert_eq!(passed(pid, count, 7), 0);
        }
    }
}
