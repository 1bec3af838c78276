//! What a driver does: the trait, what it is given, and what it returns. What a driver is, `model/driver_spec.rs` says.

use std::fmt;
use std::net::IpAddr;

use ocinet_shared::kernel::route::RouteSpec;
use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::driver_settings::DriverSettings;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::network::Network;
use ocinet_shared::model::port::PublishedPort;
use ocinet_shared::model::record::Attachment;

use crate::error::Error;
use crate::input::config::Config;
use crate::input::request::AttachmentRequest;
use crate::model::host_network::{Occupied, Underlay};
use crate::plan::step::Step;

/// A way to attach a container to a network. It returns steps and sees no socket.
pub trait NetworkDriver: fmt::Debug + Sync {
    /// The name of the network's bridge, where it has one.
    ///
    /// # Errors
    /// A name that the kernel does not accept.
    fn bridge(&self, _request: &AttachmentRequest) -> Result<Option<IfName>, Error> {
        Ok(None)
    }

    /// The subnets of a new network that names none.
    ///
    /// # Errors
    /// No subnet that it could have.
    fn subnets(&self, request: &AttachmentRequest, context: &NetworkContext<'_>) -> Result<Vec<Cidr>, Error>;

    /// The settings of a new network.
    ///
    /// # Errors
    /// What contradicts itself or the host.
    fn settings(
        &self,
        request: &AttachmentRequest,
        context: &NetworkContext<'_>,
    ) -> Result<DriverSettings, Error>;

    /// Completes a new network by the host's links that come with it. It has its settings.
    ///
    /// # Errors
    /// What contradicts itself, the host or another network.
    fn configure_network(
        &self,
        request: &AttachmentRequest,
        context: &NetworkContext<'_>,
        network: &mut Network,
    ) -> Result<(), Error>;

    /// The steps that attach a container to a network.
    ///
    /// # Errors
    /// Annotations that contradict each other or the network.
    fn attach(&self, inputs: &Inputs<'_>) -> Result<Attached, Error>;
}

/// What a new network has to go by.
#[derive(Debug)]
pub struct NetworkContext<'a> {
    /// The administrator's defaults.
    pub config: &'a Config,
    /// The networks that are there.
    pub others: &'a [Network],
    /// The ranges that the host uses.
    pub occupied: Vec<Occupied>,
    /// The link that its packets leave the host by, where there is one.
    pub underlay: Option<&'a Underlay>,
    /// The other hosts that its tunnels lead to.
    pub peers: Vec<IpAddr>,
    /// The kernel's id of this boot.
    pub boot_id: &'a str,
}

/// What a driver plans an attachment from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// What the annotations ask for.
    pub request: &'a AttachmentRequest,
    /// The network, as it is or as it is to be made.
    pub network: &'a Network,
    /// The container's addresses, at most one for each of the network's families.
    pub addresses: &'a [IpAddr],
    /// The published ports; every host port is chosen.
    pub ports: &'a [PublishedPort],
    /// A name for the host's end that was never used.
    pub host_interface: &'a IfName,
    /// Another such name, for the link that shapes what the container sends.
    pub shaper: &'a IfName,
}

impl Inputs<'_> {
    /// The container's addresses with the prefix length of their subnet.
    #[must_use]
    pub fn cidrs(&self) -> Vec<Cidr> {
        let of_subnet =
            |address: &IpAddr| self.network.subnets().find_map(|subnet| subnet.with_address(*address));
        self.addresses.iter().filter_map(of_subnet).collect()
    }

    /// The further routes that are asked for.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteSpec> {
        let route = |(to, gateway): &(Cidr, IpAddr)| RouteSpec {
            to: *to,
            gateway: Some(*gateway),
            onlink: false,
            table: None,
        };
        self.request.routes.iter().map(route).collect()
    }
}

/// What a driver made of an attachment.
#[derive(Debug)]
pub struct Attached {
    /// The steps up to the container's interface, which is yet to be configured.
    pub steps: Vec<Step>,
    /// The interface that the container then has.
    pub attachment: Attachment,
    /// Routes besides the default one.
    pub routes: Vec<RouteSpec>,
    /// The routes to everywhere else, at most one a family, without their tables.
    pub default_routes: Vec<RouteSpec>,
    /// Whether others than this host remember where the container's address is, and must be told that it is here.
    pub announce: bool,
}
