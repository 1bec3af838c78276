//! The flowtables of every table (nft(8), "flowtables"): what is in one passes the host before the forward hook.

use super::chains::text;
use super::messages::{NFGENMSG_LENGTH, NFTABLES};
use crate::kernel::KernelError;
use crate::kernel::netlink::NetlinkSocket;
use crate::kernel::raw::{Attributes, NetlinkRequest};

// A message and attributes, from linux/netfilter/nf_tables.h.
const NFT_MSG_GETFLOWTABLE: u16 = 23;
const NFTA_FLOWTABLE_TABLE: u16 = 1;
const NFTA_FLOWTABLE_NAME: u16 = 2;
const NFTA_FLOWTABLE_HOOK: u16 = 3;
const NFTA_FLOWTABLE_HOOK_DEVS: u16 = 3;
const NFTA_DEVICE_NAME: u16 = 1;
const NFTA_DEVICE_PREFIX: u16 = 2;

/// A flowtable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flowtable {
    /// The family of its table, as [`super::chains::INET`].
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The links whose packets it takes.
    pub links: Vec<String>,
    /// What the names of further such links begin with, where the kernel knows that.
    pub prefixes: Vec<String>,
}

impl Flowtable {
    /// Whether it takes what comes by a link.
    #[must_use]
    pub fn takes(&self, link: &str) -> bool {
        self.links.iter().any(|own| own == link) || self.prefixes.iter().any(|of| link.starts_with(of))
    }
}

/// Reads all flowtables; a kernel that has none lists none.
///
/// # Errors
/// A refusal of the dump.
pub fn list(socket: &mut NetlinkSocket) -> Result<Vec<Flowtable>, KernelError> {
    let mut found: Vec<Flowtable> = Vec::new();
    let request = NetlinkRequest::new(NFTABLES | NFT_MSG_GETFLOWTABLE, &[0; NFGENMSG_LENGTH]);
    // A dump that a change interrupted hands over the same once more.
    socket.stream(&request, "list the flowtables of nftables", &mut |payload| {
        if let Some(flowtable) = flowtable(payload)
            && !found.contains(&flowtable)
        {
            found.push(flowtable);
        }
    })?;
    Ok(found)
}

fn flowtable(payload: &[u8]) -> Option<Flowtable> {
    let find = |kind| Attributes::behind(payload, NFGENMSG_LENGTH).find(kind);
    let hook = find(NFTA_FLOWTABLE_HOOK).unwrap_or_default();
    let links = Attributes::new(hook).find(NFTA_FLOWTABLE_HOOK_DEVS).unwrap_or_default();
    let all = |wanted| {
        Attributes::new(links).filter(move |(kind, _)| *kind == wanted).map(|(_, name)| text(name)).collect()
    };
    Some(Flowtable {
        family: *payload.first()?,
        table: text(find(NFTA_FLOWTABLE_TABLE)?),
        name: text(find(NFTA_FLOWTABLE_NAME)?),
        links: all(NFTA_DEVICE_NAME),
        prefixes: all(NFTA_DEVICE_PREFIX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flowtable_takes_what_comes_by_its_links() {
        let answer = NetlinkRequest::new(0, &[1, 0, 0, 0])
            .with_text(NFTA_FLOWTABLE_TABLE, "filter")
            .with_text(NFTA_FLOWTABLE_NAME, "fast")
            .with_nested(NFTA_FLOWTABLE_HOOK, |hook| {
                hook.with(1, &[0; 4]).with_nested(NFTA_FLOWTABLE_HOOK_DEVS, |links| {
                    links
                        .with_text(NFTA_DEVICE_NAME, "eth0")
                        .with_text(NFTA_DEVICE_NAME, "eth1")
                        .with_text(NFTA_DEVICE_PREFIX, "wlan")
                })
            });
        let found = flowtable(answer.body()).unwrap();
        assert_eq!((found.family, found.table.as_str(), found.name.as_str()), (1, "filter", "fast"));
        let taken = ["eth0", "eth1", "eth10", "wlan3", "lan0"].map(|link| found.takes(link));
        assert_eq!(taken, [true, true, false, true, false]);
    }
}
