//! Containers that live and are of no network of this state folder: another folder's, or of a network whose file somebody
//! deleted. They need forwarding as this folder's do.

use ocinet_shared::cidr::Family;
use ocinet_shared::kernel::KernelError;
use ocinet_shared::kernel::channel::Channel;
use ocinet_shared::kernel::link::{self, Link};
use ocinet_shared::network::Network;

use super::Links;

/// The link by which the host routes to such a container in a family. The kernel is asked only of links that no network of
/// `networks` has, until one of them leads to a namespace that lives.
///
/// # Errors
/// The error of the socket.
pub(super) fn find<'a>(
    channel: &mut Channel,
    around: &Links<'a>,
    networks: &[Network],
    family: Family,
) -> Result<Option<&'a Link>, KernelError> {
    for end in around.links.iter().filter(|link| link.kind == "veth" && link::is_ours(link)) {
        let bridge = around.links.iter().find(|link| Some(link.index) == end.controller);
        let router = bridge.unwrap_or(end);
        let is_of_folder = |network: &Network| {
            (network.group != 0 && network.group == router.group)
                || network.links.iter().any(|link| link.name.as_str() == router.name)
        };
        if around.leads_by(router, family)
            && !networks.iter().any(is_of_folder)
            && link::peer_namespace_lives(channel, end)?
        {
            return Ok(Some(router));
        }
    }
    Ok(None)
}
