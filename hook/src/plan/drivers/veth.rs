//! `net.driver=veth`: a link of the container's own to the host, which routes to it; no bridge, no broadcast.
//!
//! The container's end has its addresses alone, without a subnet, so that every packet goes to the gateway: the host's
//! end, which has the gateway's addresses on every such link.

use ocinet_shared::kernel::route::RouteSpec;
use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::driver_settings::DriverSettings;
use ocinet_shared::model::network::Network;

use super::routed;
use crate::error::Error;
use crate::input::request::{AttachmentRequest, VethRequest};
use crate::plan::driver::{Attached, Inputs, NetworkContext, NetworkDriver};
use crate::plan::step::{RouteToContainer, Step};

impl NetworkDriver for VethRequest {
    fn subnets(&self, _: &AttachmentRequest, context: &NetworkContext<'_>) -> Result<Vec<Cidr>, Error> {
        routed::free_subnet(context)
    }

    fn settings(&self, _: &AttachmentRequest, _: &NetworkContext<'_>) -> Result<DriverSettings, Error> {
        Ok(DriverSettings::Veth)
    }

    fn configure_network(
        &self,
        _: &AttachmentRequest,
        _: &NetworkContext<'_>,
        _: &mut Network,
    ) -> Result<(), Error> {
        Ok(())
    }

    fn attach(&self, inputs: &Inputs<'_>) -> Result<Attached, Error> {
        let network = inputs.network;
        let mut attachment = routed::attachment(inputs)?;
        let gateways = routed::gateways(inputs);
        attachment.addresses = attachment.addresses.iter().map(|cidr| Cidr::host(cidr.address())).collect();
        let mac = attachment.mac;
        let mut attached = routed::attached(inputs, attachment);
        let to_container = mac.map(|mac| RouteToContainer {
            host_interface: inputs.host_interface.clone(),
            gateways,
            addresses: inputs.addresses.to_vec(),
            mac,
            confined_to: confined_to(inputs),
        });
        attached.steps.extend(to_container.map(Step::RouteToContainer));
        // Its neighbours, too, are behind the gateway, also where that leads no farther.
        let to_neighbours = network.subnets().map(|subnet| RouteSpec {
            to: subnet,
            gateway: network.gateway(subnet.family()),
            onlink: true,
            table: None,
        });
        attached.routes.extend(to_neighbours);
        attached.routes.iter_mut().chain(&mut attached.default_routes).for_each(|route| route.onlink = true);
        Ok(attached)
    }
}

/// The subnets that an internal network's container sends to, of the families that it has.
fn confined_to(inputs: &Inputs<'_>) -> Vec<Cidr> {
    let has = |subnet: &Cidr| inputs.addresses.iter().any(|own| Family::of(*own) == subnet.family());
    inputs.network.subnets().filter(|subnet| inputs.network.internal && has(subnet)).collect()
}
