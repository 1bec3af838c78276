//! A port that a separate process holds.
//!
//! A program that a test starts has the tests' own sockets until execve(2), so that ocinet could name that program as the holder.

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::process::Stdio;

use super::{Background, Netns, command};

const HOLD: &str = "use IO::Socket::IP; my ($proto, $address, $port, $peer) = @ARGV;
    my %as = $proto eq 'tcp' ? (Listen => 5) : $peer ? (PeerAddr => $peer, PeerPort => 5000) : ();
    my $socket = IO::Socket::IP->new(Proto => $proto, LocalAddr => $address, LocalPort => $port, %as) or die $@;
    $| = 1; print \"ready\\n\"; sleep 600;";

/// A port that a process has for as long as this value lives.
#[derive(Debug)]
pub struct HeldPort(Background);

impl HeldPort {
    /// A listening TCP socket.
    ///
    /// # Panics
    /// When the port is not free.
    #[must_use]
    #[track_caller]
    pub fn tcp(net: &Netns, address: impl Into<IpAddr>, port: u16) -> Self {
        Self::new(net, &["tcp", &address.into().to_string(), &port.to_string()])
    }

    /// A UDP socket.
    ///
    /// # Panics
    /// When the port is not free.
    #[must_use]
    #[track_caller]
    pub fn udp(net: &Netns, address: impl Into<IpAddr>, port: u16) -> Self {
        Self::new(net, &["udp", &address.into().to_string(), &port.to_string()])
    }

    /// A UDP socket that is connected to port 5000 of `peer`.
    ///
    /// # Panics
    /// When the port is not free.
    #[must_use]
    #[track_caller]
    pub fn udp_connected(net: &Netns, address: IpAddr, port: u16, peer: IpAddr) -> Self {
        Self::new(net, &["udp", &address.to_string(), &port.to_string(), &peer.to_string()])
    }

    #[track_caller]
    fn new(net: &Netns, arguments: &[&str]) -> Self {
        let mut perl = command("perl");
        perl.args(["-e", HOLD]).args(arguments).stdout(Stdio::piped());
        let mut holder = Background(net.spawn(perl));
        let mut said = String::new();
        BufReader::new(holder.0.stdout.take().expect("a pipe")).read_line(&mut said).expect("read");
        assert_eq!(said, "ready\n", "{arguments:?}");
        Self(holder)
    }

    /// How ocinet names it.
    #[must_use]
    pub fn named(&self) -> String {
        format!("process perl (pid {}) holds it", self.0.0.id())
    }
}
