//! From a request to a plan: facts are read, and drivers are asked. Nothing is changed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::network::Network;
use ocinet_shared::model::port::PublishedPort;
use ocinet_shared::model::record::{Attachment, Record};
use ocinet_shared::state::StateDir;

use crate::error::Error;
use crate::host::facts::{IsGone, Others};
use crate::host::name_servers::Answer;
use crate::host::{facts, name_servers, ports, underlay};
use crate::input::config::Config;
use crate::input::oci_bundle::OciBundle;
use crate::input::request::{AttachmentRequest, Request};
use crate::plan::Plan;
use crate::plan::driver::{Attached, Inputs};
use crate::plan::drivers;
use crate::plan::resolver_files::HostNames;
use crate::plan::step::Step;
use crate::plan::{elements, validate};
use crate::policy::rules::Rules;

/// What a plan is made from besides the request.
pub struct Planner<'a> {
    /// The state folder.
    pub state: &'a StateDir,
    /// The administrator's defaults.
    pub config: &'a Config,
    /// The policy for the container.
    pub rules: &'a Rules<'a>,
    /// The container's id.
    pub id: &'a ContainerId,
    /// Its bundle, where it has one.
    pub bundle: Option<&'a OciBundle>,
    /// Whether the container of an id has ended.
    pub is_gone: IsGone<'a>,
    /// The addresses of all containers that live on this host; empty until the kernel refused one.
    pub living: &'a BTreeSet<IpAddr>,
    /// Whether the host is asked for its ports and addresses; `ocinet plan` leaves that to the start.
    pub asks_host: bool,
    /// Whether the container's namespace has a default route already.
    pub has_default_route: bool,
}

impl Planner<'_> {
    /// The plan for a container.
    ///
    /// # Errors
    /// What the host, a network or a driver has against the request.
    pub fn plan(&self, request: &Request) -> Result<Plan, Error> {
        if let Some(driver) = request.standalone {
            return Plan::standalone(request, driver);
        }
        let mut networks: Vec<Network> = Vec::new();
        let mut attached: Vec<Attached> = Vec::new();
        for asked in &request.attachments {
            let network = facts::network(self.state, self.config, asked, &networks)?;
            let others: Vec<PublishedPort> =
                attached.iter().flat_map(|other| other.attachment.ports.clone()).collect();
            self.rules.check_network(asked, &network, underlay::carries_default_route)?;
            attached.push(self.attach(asked, &network, &others)?);
            networks.push(network);
        }
        let families = attached.iter().zip(&networks).filter(|(_, network)| !network.internal);
        let families: Vec<Family> =
            families.flat_map(|(attached, _)| families_of(&attached.attachment)).collect();
        Plan::new(request, attached, self.has_default_route, self.names(request, &families)?)
    }

    /// What the container is told without asking for it; nothing where no bundle says where its files are. A container on
    /// internal networks alone reaches no name server and is told none, so that a look-up fails at once.
    fn names(&self, request: &Request, families: &[Family]) -> Result<HostNames, Error> {
        let asks = request.resolver.servers.is_empty();
        let families = if asks { families } else { &[] };
        let answer = name_servers::name_servers(self.config, families)?;
        let Some(bundle) = self.bundle else { return Ok(HostNames::default()) };
        let has_none = answer == Answer::Nobody;
        let host = if let Answer::Servers(servers) = answer { Some(servers) } else { None };
        Ok(HostNames { host, has_none, own: bundle.own_name().map(str::to_owned) })
    }

    fn attach(
        &self,
        asked: &AttachmentRequest,
        network: &Network,
        others: &[PublishedPort],
    ) -> Result<Attached, Error> {
        facts::check_room(self.state, network, self.id, self.is_gone)?;
        let holders = Others { is_gone: self.is_gone, living: self.living };
        let addresses: Vec<IpAddr> = facts::addresses(self.state, asked, network, self.id, holders)?;
        validate::check(asked, network, &addresses)?;
        let ports = self.settle(asked, network, others)?;
        if self.asks_host {
            ports::check_snat(asked)?;
            underlay::check_parent(asked, network)?;
        }
        drivers::of(&asked.driver).attach(&Inputs {
            request: asked,
            network,
            addresses: &addresses,
            ports: &ports,
            host_interface: &facts::link_name()?,
            shaper: &facts::link_name()?,
        })
    }

    fn settle(
        &self,
        asked: &AttachmentRequest,
        network: &Network,
        others: &[PublishedPort],
    ) -> Result<Vec<PublishedPort>, Error> {
        if self.asks_host {
            return ports::settle(asked, network, others);
        }
        ports::check_families(asked, network)?;
        Ok(asked.ports.clone())
    }

    /// The plan for a container that joined the namespace of another, whose attachments it shares: its ports are
    /// published to the other's addresses, and its root is told its names.
    ///
    /// # Errors
    /// A port that cannot be had.
    pub fn share(&self, request: &Request, owner: &Record) -> Result<Plan, Error> {
        let mut families = Vec::new();
        for has in &owner.attachments {
            let is_internal = self.state.read_network(&has.network)?.is_some_and(|network| network.internal);
            families.extend(families_of(has).filter(|_| !is_internal));
        }
        let mut plan = Plan::shared(request, owner, self.names(request, &families)?)?;
        let mut attachments: Vec<Attachment> = Vec::new();
        for has in &owner.attachments {
            let mut shared = Attachment { ports: Vec::new(), ..has.clone() };
            let asked = request.attachments.iter().find(|asked| asked.interface == has.interface);
            if let Some(asked) = asked.filter(|asked| !asked.ports.is_empty()) {
                let network = facts::network(self.state, self.config, asked, &[])?;
                let others: Vec<PublishedPort> =
                    attachments.iter().flat_map(|other| other.ports.clone()).collect();
                shared.ports = self.settle(asked, &network, &others)?;
                let addresses: Vec<Cidr> = shared.addresses.clone();
                let bound = shared.ports.iter().filter(|port| port.is_bound());
                plan.steps.extend(bound.map(|port| Step::ClaimPort(*port)));
                let elements = elements::published(&shared.ports, &addresses, &has.ports);
                plan.steps.push(Step::AddElements(elements));
            }
            attachments.push(shared);
        }
        plan.attachments = attachments;
        Ok(plan)
    }
}

fn families_of(attachment: &Attachment) -> impl Iterator<Item = Family> {
    attachment.addresses.iter().map(Cidr::family)
}
