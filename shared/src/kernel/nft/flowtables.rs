//! The flowtables of every table (nft(8), "flowtables"): what is in one passes the host before the forward hook.

use super::super::KernelError;
use super::super::channel::Channel;
use super::super::raw::{Attributes, Request};
use super::chains::text;
use super::messages::{NFGENMSG_LENGTH, NFTABLES};

// A message and attributes, from linux/netfilter/nf_tables.h.
const NFT_MSG_GETFLOWTABLE: u16 = 23;
const NFTA_FLOWTABLE_TABLE: u16 = 1;
const NFTA_FLOWTABLE_NAME: u16 = 2;
const NFTA_FLOWTABLE_HOOK: u16 = 3;
const NFTA_FLOWTABLE_HOOK_DEVS: u16 = 3;
const NFTA_DEVICE_NAME: u16 = 1;

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
}

/// Reads all flowtables; a kernel that has none lists none.
///
/// # Errors
/// A refusal of the dump.
pub fn list(channel: &mut Channel) -> Result<Vec<Flowtable>, KernelError> {
    let mut found: Vec<Flowtable> = Vec::new();
    let request = Request::new(NFTABLES | NFT_MSG_GETFLOWTABLE, &[0; NFGENMSG_LENGTH]);
    // A dump that a change interrupted hands over the same once more.
    channel.stream(&request, "list the flowtables of nftables", &mut |payload| {
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
    Some(Flowtable {
        family: *payload.first()?,
        table: text(find(NFTA_FLOWTABLE_TABLE)?),
        name: text(find(NFTA_FLOWTABLE_NAME)?),
        links: Attributes::new(links)
            .filter(|(kind, _)| *kind == NFTA_DEVICE_NAME)
            .map(|(_, name)| text(name))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_flowtable_has_its_links() {
        let links = [attribute(NFTA_DEVICE_NAME, b"eth0\0"), attribute(NFTA_DEVICE_NAME, b"eth1\0")].concat();
        let hook = [attribute(1, &[0; 4]), attribute(2, &[0; 4]), attribute(0x8000 | 3, &links)].concat();
        let payload = [
            vec![1, 0, 0, 0],
            attribute(1, b"filter\0"),
            attribute(2, b"fast\0"),
            attribute(4, &[0, 0, 0, 1]),
            attribute(0x8000 | 3, &hook),
        ]
        .concat();
        let expected = Flowtable {
            family: 1,
            table: "filter".to_owned(),
            name: "fast".to_owned(),
            links: vec!["eth0".to_owned(), "eth1".to_owned()],
        };
        assert_eq!(flowtable(&payload), Some(expected));
    }
}
