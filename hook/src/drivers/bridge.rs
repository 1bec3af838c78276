//! `net.driver=bridge`: a veth pair between the container and a bridge that its network's containers share.

use ocinet_shared::cidr::Cidr;
use ocinet_shared::mac::Mac;
use ocinet_shared::record::Attachment;

use super::Driver;
use crate::error::{Error, annotation};
use crate::nat;
use crate::plan::{Inputs, Plan};
use crate::step::Step;

/// The driver.
#[derive(Debug)]
pub(super) struct Bridge;

impl Driver for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn plan_alone(&self) -> Option<Plan> {
        None
    }

    fn plan(&self, inputs: &Inputs<'_>) -> Result<Plan, Error> {
        let Inputs { request, network, .. } = inputs;
        if network.internal && !inputs.ports.is_empty() {
            let cause =
                format!("the network {} is internal, so that nothing outside can reach it", network.name);
            return Err(annotation("net.ports", cause, "publish ports on a network that is not internal"));
        }
        let addresses: Vec<Cidr> = inputs
            .addresses
            .iter()
            .filter_map(|address| network.subnets().find_map(|subnet| subnet.with_address(*address)))
            .collect();
        let mac = request.mac.or_else(|| addresses.first().map(|first| Mac::of_container(first.address())));
        let Some(mac) = mac else {
            let cause = format!("the network {} has no subnet", network.name);
            return Err(annotation("net.network", cause, "give the network a net.subnet"));
        };
        let gateways =
            if network.internal { Vec::new() } else { network.gateways.iter().map(Cidr::address).collect() };
        let attachment = Attachment {
            interface: request.interface.clone(),
            driver: self.name().to_owned(),
            network: network.name.clone(),
            bridge: network.bridge.clone(),
            host_interface: inputs.host_interface.clone(),
            host_ifindex: 0,
            mac,
            mtu: request.mtu.or(network.mtu),
            addresses,
            gateways,
        };
        Ok(Plan {
            steps: steps(inputs, &attachment),
            attachments: vec![attachment],
            ports: inputs.ports.to_vec(),
        })
    }
}

/// Protections before reachability: the elements that keep the container to its own addresses are there before its
/// link is. A conflict over a port is found before anything costly was made.
fn steps(inputs: &Inputs<'_>, attachment: &Attachment) -> Vec<Step> {
    let network = inputs.network;
    let mut steps = vec![Step::JoinNetwork { network: network.clone() }];
    for cidr in &attachment.addresses {
        steps.push(Step::TakeLease { network: network.name.clone(), address: cidr.address() });
    }
    for port in inputs.ports.iter().filter(|port| port.is_bound()) {
        steps.push(Step::ClaimPort { port: *port });
    }
    if !network.internal {
        for subnet in network.subnets() {
            steps.push(Step::Forward { family: subnet.family() });
        }
    }
    steps.push(Step::AddElements { elements: nat::elements(inputs, attachment) });
    steps.push(Step::MakeVeth {
        host_interface: attachment.host_interface.clone(),
        bridge: attachment.bridge.clone(),
        interface: attachment.interface.clone(),
        mac: attachment.mac,
        mtu: attachment.mtu,
        hairpin: !inputs.ports.is_empty(),
    });
    steps.push(Step::ConfigureInterface {
        interface: attachment.interface.clone(),
        addresses: attachment.addresses.clone(),
        gateways: attachment.gateways.clone(),
    });
    steps
}
