//! Whether what a container asks for goes together with the network that it is on. Pure.

use std::net::IpAddr;

use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::network::{Network, not_a_host};

use crate::error::{Class, Error};
use crate::input::annotations::Label;
use crate::input::request::AttachmentRequest;
use crate::model::driver_spec::AddressScope;
use crate::model::mtu::IPV6_MTU;
use crate::model::subnet::unusable;
use crate::plan::subnets::{is_on_link, list};

/// Checks what is asked for besides an address. `addresses` are those that the container gets.
///
/// # Errors
/// The first key whose value does not go together with the network.
pub fn check(request: &AttachmentRequest, network: &Network, addresses: &[IpAddr]) -> Result<(), Error> {
    check_routes(request, network, addresses)?;
    if let Some(mtu) = request.mtu.filter(|mtu| *mtu < IPV6_MTU && addresses.iter().any(IpAddr::is_ipv6)) {
        return Err(too_small_for_ipv6(request, mtu));
    }
    if let Some(mac) = request.mac
        && let Some(link) = network.links.iter().find(|link| link.mac == mac)
    {
        let cause = format!("{mac} is that of {}, by which the network is reached", link.name);
        return Err(request.label("mac").error(cause, "give another Ethernet address, or leave it out"));
    }
    check_snat(request, network)?;
    if request.allow_inbound && network.internal {
        let cause = format!("the network {} is internal, so that nothing outside can reach it", network.name);
        return Err(request
            .label("allow-inbound")
            .error(cause, "leave it out, or use a network that is not internal"));
    }
    Ok(())
}

/// Every further route leads by a gateway on the network: on a LAN by any other machine, and where ocinet holds containers
/// to their own addresses by the host alone. What is behind a container could not answer.
fn check_routes(request: &AttachmentRequest, network: &Network, addresses: &[IpAddr]) -> Result<(), Error> {
    let label = request.label("routes");
    for (to, gateway) in &request.routes {
        let scope = request.driver.addresses();
        let Some(subnet) = network.subnets().find(|subnet| is_on_link(scope, subnet, *gateway)) else {
            let cause =
                format!("{gateway}, the gateway to {to}, is outside the subnet of network {}", network.name);
            let ranges: Vec<Cidr> = network.subnets().collect();
            return Err(label.error(cause, format!("give a gateway inside {}", list(&ranges))));
        };
        let family = Family::of(*gateway);
        let host = network.gateway(family).filter(|_| scope != AddressScope::Lan);
        let hint = match host {
            Some(host) => format!("route by {host}, the network's gateway"),
            None => format!("give another gateway inside {subnet}"),
        };
        if let Some(what) = not_a_host(&subnet, *gateway) {
            return Err(label.error(format!("{gateway}, the gateway to {to}, is {what} of {subnet}"), hint));
        }
        if addresses.contains(gateway) {
            return Err(label.error(format!("{gateway}, the gateway to {to}, is the container itself"), hint));
        }
        if !addresses.iter().any(|address| Family::of(*address) == family) {
            let cause = format!("{to} is an {family} network, and the container has no {family} address");
            return Err(label.error(cause, "leave the route out, or give the container an address by net.ip"));
        }
        if scope != AddressScope::Lan && host != Some(*gateway) {
            let cause = format!(
                "{gateway}, the gateway to {to}, is no router: a container sends from its own addresses alone"
            );
            return Err(label.error(cause, hint + ", or by a router on a LAN, with net.driver=macvlan"));
        }
    }
    Ok(())
}

/// The container can leave with an address of a family that its network has, if it leaves at all.
fn check_snat(request: &AttachmentRequest, network: &Network) -> Result<(), Error> {
    let label = request.label("snat");
    if network.internal && !request.snat.is_empty() {
        let cause = format!("the network {} is internal, so that nothing leaves it", network.name);
        return Err(label.error(cause, "leave it out, or use a network that is not internal"));
    }
    let lacks = |address: &&IpAddr| network.subnet(Family::of(**address)).is_none();
    let Some(address) = request.snat.iter().find(lacks) else { return Ok(()) };
    Err(no_subnet_of_family(&label, network, *address))
}

fn no_subnet_of_family(label: &Label, network: &Network, address: IpAddr) -> Error {
    let family = Family::of(address);
    let cause =
        format!("{address} is an {family} address, but the network {} has no {family} subnet", network.name);
    label.error(cause, format!("give the network an {family} subnet with net.subnet"))
}

/// Checks an address that a container asks for.
///
/// # Errors
/// An address that is not in the network, or that no container of it can have.
pub fn check_address(request: &AttachmentRequest, network: &Network, address: IpAddr) -> Result<(), Error> {
    let hint = format!("give a free address inside {}", list(&network.subnets().collect::<Vec<_>>()));
    let refuse = |cause: String| Err(request.label("ip").error(cause, hint.clone()));
    if let Some(kind) = unusable(address) {
        return refuse(format!("{address} is a {kind} address"));
    }
    if network.subnet(Family::of(address)).is_none() {
        return Err(no_subnet_of_family(&request.label("ip"), network, address));
    }
    let Some(subnet) = network.subnets().find(|subnet| subnet.contains(address)) else {
        return refuse(format!("{address} is outside the subnet of network {}", network.name));
    };
    if let Some(what) = not_a_host(&subnet, address) {
        return refuse(format!("{address} is {what} of {subnet}"));
    }
    if network.gateway(subnet.family()) == Some(address) {
        return refuse(format!("{address} is the gateway of network {}", network.name));
    }
    if network.is_reserved(address) {
        return refuse(format!("{address} is the host's own"));
    }
    Ok(())
}

/// Checks an MTU that a container is to have against its parent's.
///
/// # Errors
/// More than the parent has.
pub fn check_mtu(
    request: &AttachmentRequest,
    mtu: Option<u32>,
    parent: &str,
    most: u32,
) -> Result<(), Error> {
    match mtu.filter(|mtu| *mtu > most) {
        None => Ok(()),
        Some(mtu) => {
            let cause = format!("{mtu} is more than the {most} of {parent}");
            Err(request.label("mtu").error(cause, "give at most the parent's MTU"))
        }
    }
}

/// IPv6 is not to be had on a link of that MTU.
#[must_use]
pub fn too_small_for_ipv6(request: &AttachmentRequest, mtu: u32) -> Error {
    match request.mtu {
        Some(mtu) => request.label("mtu").error(
            format!("{mtu} is less than the {IPV6_MTU} that IPv6 needs"),
            format!("give at least {IPV6_MTU}, or use a network without an IPv6 subnet"),
        ),
        None => request.label("subnet").error(
            format!("IPv6 needs an MTU of {IPV6_MTU}, and packets leave the host by a link that has room for {mtu}"),
            "leave the IPv6 subnet out, or raise that link's MTU",
        ),
    }
}

/// The refusal to join a network whose file does not say what its driver writes there.
#[must_use]
pub fn unreadable(network: &Network) -> Error {
    let cause = network.settings.fault().unwrap_or_else(|| "another driver made it".to_owned());
    let hint = "stop its containers, so that it is made anew";
    Error::new(Class::State, format!("join network {}", network.name), cause, hint)
}
