//! A machine of the lab: its namespace, and ocinet on it.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::netns::Netns;
use super::process::command;

/// A machine on the lab's LAN, on which containers are attached. Its files are in the lab's folder and go with the lab.
#[derive(Debug)]
pub struct Host {
    /// The machine's namespace; its eth0 is on the LAN.
    pub net: Netns,
    addresses: [IpAddr; 2],
    state: PathBuf,
    ocinet: PathBuf,
}

impl Host {
    /// A machine that is not plugged in yet.
    pub(super) fn new(addresses: [IpAddr; 2], state: PathBuf, ocinet: PathBuf) -> Self {
        fs::create_dir_all(&state).expect("make a state folder");
        Self { net: Netns::new(), addresses, state, ocinet }
    }

    /// The host's own address of a family on the LAN.
    #[must_use]
    pub fn address(&self, ipv6: bool) -> IpAddr {
        self.addresses[usize::from(ipv6)]
    }

    /// ocinet's state folder on this host.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.state.clone()
    }

    /// The program under test.
    #[must_use]
    pub fn ocinet_path(&self) -> &Path {
        &self.ocinet
    }

    /// The program under test, with an empty environment but for the state folder.
    pub fn ocinet(&self) -> Command {
        let mut ocinet = command(&self.ocinet);
        ocinet.env_clear().env("OCINET_STATE_DIR", &self.state);
        ocinet
    }
}
