//! The end of the connections that are in the way of a container's published ports. Others' go on: the host's own to other
//! machines, and those of other programs' machines.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use ocinet_shared::kernel::conntrack;
use ocinet_shared::kernel::conntrack::{InTheWay, NowPublished, TrackedConnection};
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::nft::Nft;
use ocinet_shared::kernel::{KernelError, route};
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::element::{Element, Field, Set};

/// Ends what was sent to addresses of the host before these ports were published, and what leaves by them of containers,
/// of whatever state folder.
///
/// # Errors
/// Refusals of the kernel.
pub fn end_in_the_way(
    nft: &mut Nft,
    route: &mut NetlinkSocket,
    ports: &[NowPublished],
) -> Result<(), KernelError> {
    let mut found = conntrack::in_the_way(nft.socket(), ports)?;
    let addresses = |of: &dyn Fn(&InTheWay) -> Option<IpAddr>| -> Vec<IpAddr> {
        found.iter().filter_map(|found| of(&found.why)).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let sent_to = addresses(&|why| if let InTheWay::SentTo(address) = why { Some(*address) } else { None });
    let begun_by = addresses(&|why| if let InTheWay::BegunBy(address) = why { Some(*address) } else { None });
    let own: HashSet<IpAddr> = route::own_of(route, &sent_to)?.into_iter().collect();
    let mut containers = HashSet::new();
    for address in begun_by {
        let set = Set::by_family(Family::of(address), Set::Container4, Set::Container6);
        if nft.get(&Element::new(set, vec![Field::Address(address)]))?.is_some() {
            containers.insert(address);
        }
    }
    found.retain(|TrackedConnection { why, .. }| match why {
        InTheWay::SentTo(address) => own.contains(address),
        InTheWay::BegunBy(address) => containers.contains(address),
    });
    conntrack::end_found(nft.socket(), &found)
}
