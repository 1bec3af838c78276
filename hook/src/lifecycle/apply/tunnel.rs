//! A network's end of tunnels to other hosts: completed, and kept apart from what others on the host have.

use std::fs;

use nix::errno::Errno;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::{Change, KernelError, neighbour, optional, sysctl};
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::network::{HostLink, Network, Tunnel};
use ocinet_shared::model::port::{Protocol, PublishedPort};

use super::applier::{Applier, Failure};
use super::network::{alias_of, is_ours};
use crate::error::{Class, Error};
use crate::host::conflict;
use crate::plan::elements;

/// What to do about a tunnel that something is in the way of.
const ANOTHER: &str = "the same on every host";

impl Applier<'_> {
    /// The changes that tell a tunnel's end of its peers; it is up already then, because only that shows whether it
    /// can have its UDP port.
    pub(super) fn complete_tunnel(
        &mut self,
        name: &IfName,
        tunnel: &Tunnel,
        index: u32,
    ) -> Result<Vec<Change>, Failure> {
        self.check_published(tunnel.port)?;
        // It carries the containers' frames and has none of its own.
        optional(sysctl::write(&sysctl::of_interface(Family::Ipv6, name, "disable_ipv6"), "1"))?;
        let up = self.route.change(vec![link::up(index)], |_| format!("bring up {name}"));
        match up {
            Err(KernelError { errno: Errno::EADDRINUSE, .. }) => {
                let by = conflict::of_udp_port(tunnel.port);
                return Err(port_taken(tunnel.port, &format!("{by} holds it")).into());
            }
            other => other?,
        }
        Ok(tunnel.peers.iter().map(|peer| neighbour::flood_to(index, *peer)).collect())
    }

    /// A container that publishes the tunnels' port would get the other hosts' packets.
    fn check_published(&mut self, host_port: u16) -> Result<(), Failure> {
        let port =
            PublishedPort { host_address: None, protocol: Protocol::Udp, host_port, container_port: 0 };
        let mut taken = None;
        for family in Family::ALL {
            let everywhere = elements::wildcard_element(&port, family);
            if let Some(found) = self.nft.get(&everywhere)? {
                taken = Some(conflict::of_element(self.state, &everywhere, Some(&found.value)));
            }
        }
        let claims = fs::read_dir(self.state.port_claim_folder(&port)).into_iter().flatten().flatten();
        let taken = taken.or_else(|| Some(conflict::of_claim(self.state, &port, &claims.last()?.path())));
        match taken {
            None => Ok(()),
            Some(taken) => {
                let by = taken.by.map_or_else(|| "a container".to_owned(), |id| format!("container {id}"));
                Err(port_taken(host_port, &format!("{by} publishes it")).into())
            }
        }
    }

    /// The name or the tunnel exists: whose is it?
    pub(super) fn check_tunnel(
        &mut self,
        link: &HostLink,
        tunnel: &Tunnel,
        error: &KernelError,
    ) -> Result<(), Error> {
        let all = link::list(&mut self.route)?;
        if all.iter().any(|other| other.name == link.name.as_str()) {
            return Ok(());
        }
        let is_same = |other: &&Link| {
            other.vxlan.as_ref().is_some_and(|has| has.vni == tunnel.vni && has.port == tunnel.port)
        };
        let clash = all.iter().find(is_same);
        let cause = clash.map_or_else(
            || error.detail.clone().unwrap_or_else(|| error.errno.desc().to_owned()),
            |other| {
                let remote = other.vxlan.as_ref().and_then(|has| has.remote);
                let remote = remote.map_or_else(String::new, |remote| format!(", towards {remote}"));
                format!("the link {} has it already{remote}", other.name)
            },
        );
        Err(Error::new(
            Class::Conflict,
            format!("use VNI {} on UDP port {}", tunnel.vni, tunnel.port),
            cause,
            format!("give another net.vni or net.port, {ANOTHER}, or delete that link"),
        ))
    }

    /// A bridge that outlived its network may still have that one's tunnels, which lead elsewhere.
    pub(super) fn delete_orphan_tunnels(&mut self, network: &Network, bridge: u32) -> Result<(), Failure> {
        for found in link::list(&mut self.route)? {
            let is_wanted =
                network.links.iter().any(|link| link.name.as_str() == found.name && is_ours(&found, link));
            let is_of_network = found.controller == Some(bridge) && found.alias == alias_of(network);
            if found.kind == "vxlan" && is_of_network && !is_wanted {
                link::delete_by_index(&mut self.route, found.index)?;
            }
        }
        Ok(())
    }
}

fn port_taken(port: u16, cause: &str) -> Error {
    let hint = format!("stop what has it, or give another net.port, {ANOTHER}");
    Error::new(Class::Conflict, format!("tunnel by UDP port {port}"), cause, hint)
}
