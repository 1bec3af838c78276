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
    config: PathBuf,
    ocinet: PathBuf,
}

impl Host {
    /// A machine that is not plugged in yet.
    pub(super) fn new(addresses: [IpAddr; 2], state: PathBuf, ocinet: PathBuf) -> Self {
        fs::create_dir_all(&state).expect("make a state folder");
        let config = state.with_extension("toml");
        Self { net: Netns::new(), addresses, state, config, ocinet }
    }

    /// Gives the host a configuration. Without one, ocinet is told of none.
    ///
    /// # Panics
    /// When the disk is full.
    pub fn configure(&self, text: &str) {
        fs::write(&self.config, text).expect("write a configuration");
    }

    /// Where the host's configuration is, once it has one.
    #[must_use]
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// The environment of ocinet on this host.
    pub(super) fn environment(&self) -> Vec<(&'static str, &Path)> {
        let config = self.config.symlink_metadata().is_ok().then_some(("OCINET_CONFIG", self.config_path()));
        [("OCINET_STATE_DIR", self.state.as_path())].into_iter().chain(config).collect()
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

    /// The program under test, with an empty environment but for the state folder and the configuration.
    pub fn ocinet(&self) -> Command {
        let mut ocinet = command(&self.ocinet);
        ocinet.env_clear().envs(self.environment());
        ocinet
    }
}
