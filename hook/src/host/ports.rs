//! Host ports: which are free, and which a process of the host holds.

use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_ROUTE;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::nft::Nft;
use ocinet_shared::kernel::ports::{Bind, probe};
use ocinet_shared::kernel::route;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::network::Network;
use ocinet_shared::model::port::{Protocol, PublishedPort};

use crate::error::{Class, Error};
use crate::host::conflict;
use crate::input::request::AttachmentRequest;
use crate::model::host_ports::HostPorts;
use crate::plan::elements;

/// How many ports are tried before the search for a free one is given up.
const TRIES: usize = 64;

/// Chooses the host ports that are left to ocinet, and checks that no process of the host holds any.
///
/// `others` are the ports of the container's other interfaces. Only the elements decide between containers; here the processes
/// of the host are asked.
///
/// # Errors
/// A port that is held, an address that is not the host's, a family that the network does not have.
pub fn settle(
    request: &AttachmentRequest,
    network: &Network,
    others: &[PublishedPort],
) -> Result<Vec<PublishedPort>, Error> {
    check_families(request, network)?;
    let mut nft = request.ports.iter().any(|port| port.host_port == 0).then(Nft::open).transpose()?;
    let mut taken: HostPorts = others.iter().copied().collect();
    let mut settled: Vec<PublishedPort> = Vec::with_capacity(request.ports.len());
    for port in &request.ports {
        let port = match &mut nft {
            Some(nft) if port.host_port == 0 => choose(port, network, &taken, nft)?,
            _ => *port,
        };
        taken.add(port);
        check_own(&port)?;
        for address in addresses(&port, network) {
            match probe(address, port.protocol, port.host_port)? {
                Bind::Free(_) => {}
                Bind::Taken | Bind::InUse => return Err(conflict::of_host_port(address, &port)),
                Bind::NotLocal => return Err(conflict::not_local(&port)),
            }
        }
        settled.push(port);
    }
    Ok(settled)
}

/// bind(2) takes an address that many machines or none have.
fn check_own(port: &PublishedPort) -> Result<(), Error> {
    let Some(address) = port.bound_address() else { return Ok(()) };
    match route::shared_by_many(&mut NetlinkSocket::open(NETLINK_ROUTE)?, address)? {
        None => Ok(()),
        Some(what) => Err(Error::new(
            Class::Conflict,
            format!("publish port {port}"),
            format!("{address} is {what} address of this host's networks"),
            "publish it on an address that `ip address` shows, or on all",
        )),
    }
}

/// Checks that the network has the family of every address that a port is published on.
///
/// # Errors
/// The first port that nothing could reach.
pub fn check_families(request: &AttachmentRequest, network: &Network) -> Result<(), Error> {
    let family_of = |port: &PublishedPort| port.host_address.map(Family::of);
    match request
        .ports
        .iter()
        .find(|port| family_of(port).is_some_and(|family| network.subnet(family).is_none()))
    {
        None => Ok(()),
        Some(port) => {
            let family = family_of(port).unwrap_or(Family::Ipv4);
            let cause = format!(
                "{port} is on an {family} address, but the network {} has no {family} subnet",
                network.name
            );
            Err(request
                .label("ports")
                .error(cause, format!("give the network an {family} subnet with net.subnet")))
        }
    }
}

/// Checks that the addresses that a container is to leave with are the host's.
///
/// # Errors
/// The first that is not.
pub fn check_snat(request: &AttachmentRequest) -> Result<(), Error> {
    if request.snat.is_empty() {
        return Ok(());
    }
    let mut socket = NetlinkSocket::open(NETLINK_ROUTE)?;
    for address in &request.snat {
        if !route::is_own(&mut socket, *address)? {
            let doing = format!("let the container leave with {address}");
            let hint = "give net.snat an address that `ip address` shows";
            return Err(conflict::not_own(doing, *address, ("it", hint)));
        }
    }
    Ok(())
}

/// The addresses that a port has to be free on.
fn addresses(port: &PublishedPort, network: &Network) -> Vec<IpAddr> {
    match port.host_address {
        Some(address) => vec![address],
        None => network.subnets().map(|subnet| subnet.family().unspecified()).collect(),
    }
}

/// Lets the kernel choose a port that no process holds, until one is found that no container has either.
fn choose(
    port: &PublishedPort,
    network: &Network,
    taken: &HostPorts,
    nft: &mut Nft,
) -> Result<PublishedPort, Error> {
    let places = addresses(port, network);
    for _ in 0..TRIES {
        let Some(first) = places.first() else { break };
        // A kernel without SCTP sockets still translates SCTP; it chooses among TCP's ports then.
        let free = match probe(*first, port.protocol, 0)? {
            Bind::Free(0) => probe(*first, Protocol::Tcp, 0)?,
            other => other,
        };
        let Bind::Free(host_port) = free else { return Err(conflict::not_local(port)) };
        let chosen = PublishedPort { host_port, ..*port };
        if taken.overlap(&chosen) {
            continue;
        }
        let mut free = true;
        for address in &places {
            free &= nft.get(&elements::wildcard_element(&chosen, Family::of(*address)))?.is_none();
            free &= matches!(probe(*address, port.protocol, host_port)?, Bind::Free(_));
        }
        if free && host_port != 0 {
            return Ok(chosen);
        }
    }
    Err(Error::new(
        Class::Conflict,
        format!("choose a free host port for {}/{}", port.container_port, port.protocol),
        "every port that was tried is taken",
        "name a free host port in net.ports",
    ))
}
