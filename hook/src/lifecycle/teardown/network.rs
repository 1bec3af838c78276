//! Leaving a network. The last container to leave removes what the network has on the host. What living containers use
//! stays, also where no lease here is about them: those of another state folder, and those whose lease somebody deleted.

use std::collections::BTreeSet;

use ocinet_shared::kernel::KernelError;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::route;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::element::{Element, Field};
use ocinet_shared::model::network::Network;
use ocinet_shared::state::Locked;

use super::Teardown;
use crate::error::Error;
use crate::lifecycle::forwarding;
use crate::plan::elements;
use crate::state::leases;

impl Teardown<'_> {
    /// Whoever empties the folder of leases is the last to leave. Only then is the network locked, against those who
    /// join it: if one of them is about to, or has taken a lease meanwhile, the network stays. Whoever joins has it in its
    /// record to leave the network, so that its stop, its failure or the next sweep ends up here too.
    pub(super) fn leave_network(&mut self, name: &ContainerId) -> Result<(), Error> {
        let leases = self.state.lease_folder(name);
        if !leases::remove_if_empty(&leases)? {
            return Ok(());
        }
        self.state.wait_for_restore()?;
        let Some(_lock) = self.state.lock_network_to_leave(name)? else { return Ok(()) };
        let Some(network) = self.state.read_network(name)? else {
            self.state.remove_unmade_network(name)?;
            return forwarding::give_back_alone(self.state, &mut self.route, &mut self.nft);
        };
        if leases.is_dir() && !leases.is_symlink() {
            return Ok(());
        }
        let _ending = self.state.lock(Locked::EndingNetwork(name))?;
        self.remove_network(&network)?;
        self.state.wait_for_restore()?;
        let _alone = self.state.lock_networks()?;
        self.state.remove(&self.state.network_path(name))?;
        forwarding::give_back(self.state, &mut self.route, &mut self.nft)
    }

    fn remove_network(&mut self, network: &Network) -> Result<(), Error> {
        let links = link::list(&mut self.route)?;
        let used = self.used(network, &links)?;
        if used.any() {
            crate::log::info(format_args!(
                "what network {} has on the host is left to containers that no lease here is about",
                network.name
            ));
        }
        for of in network.links.iter().rev() {
            let is_it = |link: &&Link| {
                link.name == of.name.as_str() && link.kind == of.kind.name() && link.mac == Some(of.mac)
            };
            if let Some(found) = links.iter().find(is_it)
                && !used.has_link(found)
            {
                link::delete(&mut self.route, &of.name)?;
            }
        }
        let mut elements = elements::network_elements(network);
        elements.retain(|element| !used.has_element(element));
        let _not_restored = self.state.lock_elements_to_delete()?;
        Ok(self.nft.delete(&elements)?)
    }

    /// What a network has that living containers use: one of them tells for all on its bridge, or in its group.
    fn used(&mut self, network: &Network, links: &[Link]) -> Result<Used, KernelError> {
        let mut used = Used::default();
        for (end, on) in link::routed_ends(links) {
            let is_alone = on.index == end.index;
            let is_known = used.on.contains(&on.index) || (is_alone && used.group.is_some());
            if on.routes_for(network) && !is_known && link::peer_namespace_lives(&mut self.route, end)? {
                used.on.insert(on.index);
                used.group = used.group.or(on.is_in_group_of(network).then_some(network.group));
            }
        }
        let is_on_used = |link: &&Link| link.controller.is_some_and(|bridge| used.on.contains(&bridge));
        let tunnels: Vec<&Link> =
            links.iter().filter(|link| link.kind == "vxlan").filter(is_on_used).collect();
        for tunnel in tunnels {
            used.on.insert(tunnel.index);
            used.tunnels.insert(tunnel.name.clone());
            used.overlays.extend(tunnel.vxlan.as_ref().map(|vxlan| (vxlan.port, vxlan.vni)));
        }
        // Containers on a parent of the host's have no link here: the host's routes to them are by the link beside theirs.
        let beside: Vec<u32> = links
            .iter()
            .filter(|link| link.kind == "macvlan" && link.has_name_of(network))
            .map(|link| link.index)
            .collect();
        if !beside.is_empty() {
            let routes = route::list_all(&mut self.route)?;
            let to_containers = routes.iter().filter(|route| route.to_container);
            used.on.extend(to_containers.filter_map(|route| route.link).filter(|on| beside.contains(on)));
        }
        Ok(used)
    }
}

/// What living containers use of a network's.
#[derive(Debug, Default)]
struct Used {
    /// The indexes of the links that they are on, and of tunnels on these.
    on: BTreeSet<u32>,
    /// The network's group, where one of them is in it.
    group: Option<u32>,
    /// The names of such tunnels.
    tunnels: BTreeSet<String>,
    /// The UDP ports and network identifiers of such tunnels.
    overlays: BTreeSet<(u16, u32)>,
}

impl Used {
    fn any(&self) -> bool {
        !self.on.is_empty()
    }

    fn has_link(&self, link: &Link) -> bool {
        self.on.contains(&link.index)
    }

    fn has_element(&self, element: &Element) -> bool {
        match element.key.as_slice() {
            [Field::Group(group), ..] => self.group == Some(*group),
            [Field::Interface(name), ..] => self.tunnels.contains(name),
            [Field::Port(port), Field::Vni(vni)] => self.overlays.contains(&(*port, *vni)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An overlay, which has elements of every kind.
    const OVERLAY: &str = r#"{"name":"overlay","driver":"vxlan","settings":{},"subnets":[{"range":"10.96.0.0/16","gateway":"10.96.0.1"}],"internal":true,"isolate":false,"mtu":1450,"group":1862270982,"links":[{"name":"oc-overlay","mac":"02:6e:00:00:00:08","kind":"bridge"},{"name":"oc-vni7","mac":"02:6e:00:00:00:09","kind":"vxlan","bridge":"oc-overlay","vni":7,"port":4789,"local":"192.0.2.1","parent":null,"group":null,"peers":[]}]}"#;

    #[test]
    fn elements_that_living_containers_use_stay() {
        let network: Network = serde_json::from_str(OVERLAY).unwrap();
        let group = Used { group: Some(1_862_270_982), ..Used::default() };
        let tunnels = Used { tunnels: BTreeSet::from(["oc-vni7".to_owned()]), ..Used::default() };
        let overlays = Used { overlays: BTreeSet::from([(4789, 7)]), ..Used::default() };
        let of_others = Used {
            group: Some(1_862_270_983),
            tunnels: BTreeSet::from(["oc-vni8".to_owned()]),
            overlays: BTreeSet::from([(4789, 8), (4790, 7)]),
            ..Used::default()
        };
        for (used, expected) in [
            (group, &["within", "internal", "open"][..]),
            (tunnels, &["tunnels", "tunnels_out", "gateways", "gateways4"]),
            (overlays, &["overlays"]),
            (of_others, &[]),
            (Used::default(), &[]),
        ] {
            let elements = elements::network_elements(&network);
            let stay = elements.iter().filter(|element| used.has_element(element));
            let stay: Vec<&str> = stay.map(|element| element.set.place().1).collect();
            assert_eq!(stay, expected, "{used:?}");
        }
    }
}
