//! Containers that live and are of no network of this state folder: another folder's, or of a network whose file somebody
//! deleted. They need forwarding as this folder's do.

use ocinet_shared::kernel::KernelError;
use ocinet_shared::kernel::link;
use ocinet_shared::kernel::link::Link;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::network::Network;

use super::uplinks::Links;

/// The link by which the host routes to such a container in a family. The kernel is asked only of links that no network of
/// `networks` has, until one of them leads to a namespace that lives.
///
/// # Errors
/// The error of the socket.
pub fn find<'a>(
    socket: &mut NetlinkSocket,
    all: &Links<'a>,
    networks: &[Network],
    family: Family,
) -> Result<Option<&'a Link>, KernelError> {
    for (end, router) in link::routed_ends(all.links) {
        if all.leads_by(router, family)
            && !networks.iter().any(|network| router.routes_for(network))
            && link::peer_namespace_lives(socket, end)?
        {
            return Ok(Some(router));
        }
    }
    Ok(None)
}
