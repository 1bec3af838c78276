//! The host as the router of its containers: forwarding, and its routes to them.

use std::net::IpAddr;

use ocinet_shared::kernel::{Change, KernelError, addr, link, neighbour, route, sysctl};
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::mac::Mac;
use ocinet_shared::quoted::word;

use super::applier::{Applier, Failure};
use super::network;
use crate::error::{Class, Error};
use crate::lifecycle::forwarding;
use crate::plan::step::{RouteFromHost, RouteToContainer};

impl Applier<'_> {
    pub(super) fn forward(&mut self, family: Family) -> Result<(), Failure> {
        match sysctl::forwards(family) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => {
                let doing = format!("read the sysctl {}", sysctl::forwarding_key(family));
                return Err(KernelError::from_io(doing, &error).into());
            }
        }
        if family == Family::Ipv6 {
            self.check_router_advertisements()?;
        }
        // Whoever ends the last network turns forwarding off under the same lock.
        let _alone = self.state.lock_networks()?;
        if sysctl::forwards(family).unwrap_or_default() {
            return Ok(());
        }
        let elements = forwarding::remember(self.state, &mut self.route, family)?;
        self.add_elements(&elements)?;
        Ok(sysctl::write(sysctl::forwarding_key(family), "1")?)
    }

    /// What the kernel learns from router advertisements it forgets once it forwards, unless `accept_ra` is 2. Where it is 0, a
    /// program learns it, which goes on.
    fn check_router_advertisements(&mut self) -> Result<(), Failure> {
        let routes = route::list(&mut self.route, Family::Ipv6)?;
        for route in routes.iter().filter(|route| route.from_router_advertisement) {
            let link = route.link.map(|index| link::find_by_index(&mut self.route, index)).transpose()?;
            let Some(link) = link.flatten() else { continue };
            let key = format!("net/ipv6/conf/{}/accept_ra", link.name);
            if sysctl::read(&key).as_deref() != Some("1") {
                continue;
            }
            let cause = format!(
                "the host learned its route to {} from a router advertisement, which it ignores on {} once it forwards IPv6",
                route.destination, link.name
            );
            let hint = format!("run `sysctl -w {}=2`, and start the container again", word(&key));
            return Err(Error::new(Class::Kernel, "turn on IPv6 forwarding", cause, hint).into());
        }
        Ok(())
    }

    /// The host's end is the gateway, with the gateway's addresses, and the container's addresses are behind it. The host
    /// need not ask for them: it could not by IPv6 until its end has a link-local address.
    pub(super) fn route_to_container(&mut self, to: &RouteToContainer) -> Result<(), Failure> {
        let RouteToContainer { host_interface, gateways, addresses, mac, confined_to } = to;
        let has_ipv6 = addresses.iter().any(IpAddr::is_ipv6);
        let mut families: Vec<Family> = addresses.iter().map(|address| Family::of(*address)).collect();
        families.dedup();
        let doing = format!("route to the container by {host_interface}");
        let index = self.index_of(host_interface)?;
        let router = network::make_router(host_interface, index, has_ipv6, &families)?;
        self.routers.insert(index, Mac::of_host_end(host_interface.as_str()));
        let gateways = gateways.iter().map(|gateway| addr::add(index, &Cidr::host(*gateway)));
        let routes = addresses.iter().map(|address| route::to_container(index, *address, None));
        let neighbours = addresses.iter().map(|address| neighbour::known(index, *address, *mac));
        // The host's default route would take what is sent to an address that nobody has out of the network.
        let within = confined_to.iter().map(|subnet| route::within(index, *subnet));
        let rest = gateways.chain(routes).chain(neighbours).chain(within);
        let changes: Vec<Change> = std::iter::once(router).chain(rest).collect();
        Ok(self.route.change(changes, |_| doing.clone())?)
    }

    pub(super) fn route_from_host(&mut self, route: &RouteFromHost) -> Result<(), Failure> {
        let RouteFromHost { link, addresses, mtu } = route;
        let index = self.index_of(link)?;
        let changes = addresses.iter().map(|address| route::to_container(index, *address, *mtu)).collect();
        Ok(self.route.change(changes, |_| format!("route to the container by {link}"))?)
    }
}
