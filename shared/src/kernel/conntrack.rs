//! Connection tracking: which connections are open, and the end of those whose container is another's or nobody's now.

use std::collections::HashMap;
use std::net::IpAddr;

use nix::errno::Errno;

use super::KernelError;
use super::channel::Channel;
use super::raw::{Attributes, NESTED, Request};
use crate::cidr::Family;
use crate::port::Protocol;

/// `NFNL_SUBSYS_CTNETLINK` (linux/netfilter/nfnetlink.h) with `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`
/// (nfnetlink_conntrack.h).
const CT_GET: u16 = 1 << 8 | 1;
const CT_DELETE: u16 = 1 << 8 | 2;
/// `struct nfgenmsg` of linux/netfilter/nfnetlink.h; all zero, it asks for both families.
const NFGENMSG_LENGTH: usize = 4;
// Attributes of an entry, from linux/netfilter/nfnetlink_conntrack.h.
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_ID: u16 = 12;
const CTA_FILTER: u16 = 25;
const CTA_STATUS_MASK: u16 = 26;
/// `IPS_NAT_MASK`, of nf_conntrack_common.h: the source or the destination is translated.
const IPS_NAT_MASK: u32 = IPS_SRC_NAT | 1 << 5;
/// The source is.
const IPS_SRC_NAT: u32 = 1 << 4;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
/// `CTA_IP_V4_SRC` to `CTA_IP_V6_DST`.
const CTA_IP: std::ops::RangeInclusive<u16> = 1..=4;
const CTA_IP_SRC: [u16; 2] = [1, 3];
const CTA_IP_DST: [u16; 2] = [2, 4];
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
// What a filter compares, from the kernel's net/netfilter/nf_conntrack_netlink.c.
const CTA_FILTER_F_CTA_IP_SRC: u32 = 1;
const CTA_FILTER_F_CTA_IP_DST: u32 = 1 << 1;
const CTA_FILTER_F_CTA_PROTO_NUM: u32 = 1 << 3;
const CTA_FILTER_F_CTA_PROTO_DST_PORT: u32 = 1 << 5;

/// Hands over the addresses of every open connection: source and destination as they were sent, and as they are
/// answered. One may come several times.
///
/// # Errors
/// A refusal of the dump.
pub fn entries(channel: &mut Channel, mut take: impl FnMut(&[IpAddr])) -> Result<(), KernelError> {
    let request = Request::new(CT_GET, &[0; NFGENMSG_LENGTH]);
    let mut addresses = Vec::with_capacity(4);
    channel.stream(&request, "list the open connections", &mut |payload| {
        answer(payload, &mut addresses);
        take(&addresses);
    })
}

/// Puts the addresses of one entry of the dump into `addresses`, in place of what was there.
pub fn answer(payload: &[u8], addresses: &mut Vec<IpAddr>) {
    addresses.clear();
    for (kind, tuple) in Attributes::behind(payload, NFGENMSG_LENGTH) {
        if !matches!(kind, CTA_TUPLE_ORIG | CTA_TUPLE_REPLY) {
            continue;
        }
        let ends = Attributes::new(Attributes::new(tuple).find(CTA_TUPLE_IP).unwrap_or_default());
        addresses.extend(ends.filter(|(kind, _)| CTA_IP.contains(kind)).filter_map(|(_, end)| address(end)));
    }
}

/// Ends every connection that an address began, or that was led to it: whoever gets the address next is not to get what
/// was meant for the one before.
///
/// For IPv6, the connections are listed, which takes milliseconds: the kernel's filter by an IPv6 address finds every
/// connection but that address's (`ctnetlink_filter_match_tuple` takes `!ipv6_addr_cmp` for "differs").
///
/// # Errors
/// What the kernel says besides that there is no connection tracking.
pub fn end_all_of(channel: &mut Channel, address: IpAddr) -> Result<(), KernelError> {
    let directions = [(CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS), (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS)];
    let family = Family::of(address);
    let is_meant = |payload: &[u8]| {
        directions.iter().any(|(direction, _)| ends(payload, *direction).first() == Some(&address))
    };
    if family == Family::Ipv6 {
        return end_some(channel, &of_family(CT_GET, family), family, is_meant);
    }
    for (direction, flags) in directions {
        let filter = |request: Request| {
            request
                .with_nested(direction, |tuple| {
                    tuple.with_nested(CTA_TUPLE_IP, |ip| with_address(ip, CTA_IP_SRC, address))
                })
                .with_nested(CTA_FILTER, |filter| filter.with(flags, &CTA_FILTER_F_CTA_IP_SRC.to_ne_bytes()))
        };
        end_by(channel, family, filter, is_meant)?;
    }
    Ok(())
}

/// Ends what was sent to a UDP port before anybody published it, untranslated, on one host address or on any: such a
/// connection would never be led to the container, as long as its sender goes on. Untranslated connections to that
/// port elsewhere are begun anew by their next packet, and do not differ.
///
/// # Errors
/// As [`end_all_of`].
fn end_unpublished(
    channel: &mut Channel,
    family: Family,
    bound: Option<IpAddr>,
    port: u16,
) -> Result<(), KernelError> {
    let protocol = [Protocol::Udp.number()];
    let flags = CTA_FILTER_F_CTA_PROTO_NUM | CTA_FILTER_F_CTA_PROTO_DST_PORT;
    // By an IPv6 address, the kernel's filter would find the others (see `end_all_of`).
    let bound = bound.filter(IpAddr::is_ipv4);
    let flags = flags | if bound.is_some() { CTA_FILTER_F_CTA_IP_DST } else { 0 };
    let filter = |request: Request| {
        request
            .with_nested(CTA_TUPLE_ORIG, |tuple| {
                let tuple = match bound {
                    Some(bound) => tuple.with_nested(CTA_TUPLE_IP, |ip| with_address(ip, CTA_IP_DST, bound)),
                    None => tuple,
                };
                tuple.with_nested(CTA_TUPLE_PROTO, |of| {
                    of.with(CTA_PROTO_NUM, &protocol).with(CTA_PROTO_DST_PORT, &port.to_be_bytes())
                })
            })
            .with_nested(CTA_FILTER, |filter| filter.with(CTA_FILTER_ORIG_FLAGS, &flags.to_ne_bytes()))
            .with(CTA_STATUS, &0_u32.to_be_bytes())
            .with(CTA_STATUS_MASK, &IPS_NAT_MASK.to_be_bytes())
    };
    end_by(channel, family, filter, |payload| is_unpublished(payload, bound, port))
}

/// Ends what was sent to the UDP ports of a container before anybody published them, and what leaves by them. Each question looks through all connections: where there are many ports, the
/// connections are listed once.
///
/// # Errors
/// As [`end_all_of`].
pub fn end_all_unpublished(
    channel: &mut Channel,
    family: Family,
    ports: &[(Option<IpAddr>, u16)],
) -> Result<(), KernelError> {
    const FEW: usize = 8;
    if ports.len() <= FEW {
        return ports.iter().try_for_each(|(bound, port)| {
            end_unpublished(channel, family, *bound, *port)?;
            if bound.is_none() { end_leaving_by(channel, family, *port) } else { Ok(()) }
        });
    }
    let mut by_port: HashMap<u16, Vec<Option<IpAddr>>> = HashMap::new();
    for (bound, port) in ports {
        by_port.entry(*port).or_default().push(*bound);
    }
    let bounds = |direction, payload: &[u8]| by_port.get_key_value(&sent_to(payload, direction)?);
    end_some(channel, &of_family(CT_GET, family), family, |payload| {
        let unpublished = bounds(CTA_TUPLE_ORIG, payload)
            .is_some_and(|(port, bounds)| bounds.iter().any(|bound| is_unpublished(payload, *bound, *port)));
        unpublished
            || bounds(CTA_TUPLE_REPLY, payload)
                .is_some_and(|(port, bounds)| bounds.contains(&None) && leaves_by(payload, *port))
    })
}

/// The port that a connection's packets of one direction are sent to.
fn sent_to(payload: &[u8], direction: u16) -> Option<u16> {
    let tuple = Attributes::behind(payload, NFGENMSG_LENGTH).find(direction)?;
    let of = Attributes::new(Attributes::new(tuple).find(CTA_TUPLE_PROTO)?);
    of.clone().find(CTA_PROTO_DST_PORT)?.try_into().ok().map(u16::from_be_bytes)
}

/// Ends the UDP connections of containers that leave by a port which is published now: what is sent to the port would be
/// taken for their answers. They go on by another port with their next packet.
///
/// # Errors
/// As [`end_all_of`].
fn end_leaving_by(channel: &mut Channel, family: Family, port: u16) -> Result<(), KernelError> {
    let flags = CTA_FILTER_F_CTA_PROTO_NUM | CTA_FILTER_F_CTA_PROTO_DST_PORT;
    let filter = |request: Request| {
        request
            .with_nested(CTA_TUPLE_REPLY, |tuple| {
                tuple.with_nested(CTA_TUPLE_PROTO, |of| {
                    of.with(CTA_PROTO_NUM, &[Protocol::Udp.number()])
                        .with(CTA_PROTO_DST_PORT, &port.to_be_bytes())
                })
            })
            .with_nested(CTA_FILTER, |filter| filter.with(CTA_FILTER_REPLY_FLAGS, &flags.to_ne_bytes()))
            .with(CTA_STATUS, &IPS_SRC_NAT.to_be_bytes())
            .with(CTA_STATUS_MASK, &IPS_NAT_MASK.to_be_bytes())
    };
    end_by(channel, family, filter, |payload| leaves_by(payload, port))
}

fn leaves_by(payload: &[u8], port: u16) -> bool {
    let status = Attributes::behind(payload, NFGENMSG_LENGTH).find(CTA_STATUS);
    let status = status.and_then(|bytes| bytes.first_chunk().copied()).map_or(0, u32::from_be_bytes);
    status & IPS_NAT_MASK == IPS_SRC_NAT && is_udp_to(payload, CTA_TUPLE_REPLY, port)
}

/// Whether packets of one direction are UDP's to that port.
fn is_udp_to(payload: &[u8], direction: u16, port: u16) -> bool {
    let tuple = Attributes::behind(payload, NFGENMSG_LENGTH).find(direction).unwrap_or_default();
    let of = Attributes::new(Attributes::new(tuple).find(CTA_TUPLE_PROTO).unwrap_or_default());
    of.clone().find(CTA_PROTO_NUM) == Some(&[Protocol::Udp.number()])
        && of.clone().find(CTA_PROTO_DST_PORT) == Some(&port.to_be_bytes())
}

fn is_unpublished(payload: &[u8], bound: Option<IpAddr>, port: u16) -> bool {
    let is_port = is_udp_to(payload, CTA_TUPLE_ORIG, port);
    let sent = ends(payload, CTA_TUPLE_ORIG);
    let mut answered = ends(payload, CTA_TUPLE_REPLY);
    answered.reverse();
    is_port && sent == answered && bound.is_none_or(|bound| sent.get(1) == Some(&bound))
}

/// Ends the connections that a filter finds. Kernels before 6.10 do not delete by a filter: there, `is_meant` finds them.
fn end_by(
    channel: &mut Channel,
    family: Family,
    filter: impl Fn(Request) -> Request,
    is_meant: impl Fn(&[u8]) -> bool,
) -> Result<(), KernelError> {
    match refused(channel, &[filter(of_family(CT_DELETE, family))])? {
        None => Ok(()),
        Some(Errno::EINVAL | Errno::EOPNOTSUPP) => {
            end_some(channel, &filter(of_family(CT_GET, family)), family, is_meant)
        }
        Some(errno) => Err(KernelError::new("end connections", errno)),
    }
}

fn with_address(request: Request, kinds: [u16; 2], address: IpAddr) -> Request {
    let kind = kinds[usize::from(address.is_ipv6())];
    match address {
        IpAddr::V4(address) => request.with(kind, &address.octets()),
        IpAddr::V6(address) => request.with(kind, &address.octets()),
    }
}

/// Ends those of the connections that a filter finds which are meant. A kernel that does not know filters finds all.
fn end_some(
    channel: &mut Channel,
    request: &Request,
    family: Family,
    is_meant: impl Fn(&[u8]) -> bool,
) -> Result<(), KernelError> {
    let mut found = Vec::new();
    let listed = channel.stream(request, "list the open connections", &mut |payload| {
        if is_meant(payload) {
            found.push(payload.to_vec());
        }
    });
    match listed {
        // nf_conntrack is not loaded: there is no connection to end.
        Err(KernelError { errno: Errno::EINVAL | Errno::EOPNOTSUPP, .. }) => return Ok(()),
        other => other?,
    }
    let deletions: Vec<Request> = found.iter().filter_map(|payload| deletion(payload, family)).collect();
    match refused(channel, &deletions)? {
        None | Some(Errno::ENOENT) => Ok(()),
        Some(errno) => Err(KernelError::new("end a connection", errno)),
    }
}

/// The message that ends one connection, by how it was begun and by its number, lest it is a newer one.
fn deletion(payload: &[u8], family: Family) -> Option<Request> {
    let tuple = Attributes::behind(payload, NFGENMSG_LENGTH).find(CTA_TUPLE_ORIG)?;
    let id = Attributes::behind(payload, NFGENMSG_LENGTH).find(CTA_ID)?;
    Some(of_family(CT_DELETE, family).with(CTA_TUPLE_ORIG | NESTED, tuple).with(CTA_ID, id))
}

fn of_family(kind: u16, family: Family) -> Request {
    let mut header = [0; NFGENMSG_LENGTH];
    header[0] = family.number();
    Request::new(kind, &header)
}

/// The last refusal of several messages.
fn refused(channel: &mut Channel, requests: &[Request]) -> Result<Option<Errno>, KernelError> {
    let mut refused = None;
    let asked = channel.ask_each(requests, &mut |_, answer| refused = answer.err().or(refused));
    asked.map_err(|errno| KernelError::new("end connections", errno))?;
    Ok(refused)
}

/// Source and destination of one direction.
fn ends(payload: &[u8], direction: u16) -> Vec<IpAddr> {
    let tuple = Attributes::behind(payload, NFGENMSG_LENGTH).find(direction).unwrap_or_default();
    let ends = Attributes::new(Attributes::new(tuple).find(CTA_TUPLE_IP).unwrap_or_default());
    ends.filter(|(kind, _)| CTA_IP.contains(kind)).filter_map(|(_, end)| address(end)).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let ipv4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    ipv4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;
    use crate::kernel::raw::{captured, every_beginning};

    /// What a kernel before 6.10 has to be shown one by one.
    #[test]
    fn connections_to_end_are_told_in_a_dump_too() {
        let answers = captured(include_str!("captured/conntrack.hex"));
        let web: IpAddr = [10, 90, 30, 241].into();
        let of = |direction| {
            answers.iter().filter(|answer| ends(answer, direction).first() == Some(&web)).collect::<Vec<_>>()
        };
        let (began, led_to) = (of(CTA_TUPLE_ORIG), of(CTA_TUPLE_REPLY));
        assert_eq!((began.len(), led_to.len()), (1, 1));
        let mut message = Vec::new();
        deletion(led_to[0], Family::Ipv4).unwrap().write(0, 1, &mut message);
        let payload = &message[super::super::raw::HEADER_LENGTH..];
        assert_eq!(payload[0], 2);
        assert_eq!(ends(payload, CTA_TUPLE_ORIG), ends(led_to[0], CTA_TUPLE_ORIG));
        assert!(Attributes::behind(payload, NFGENMSG_LENGTH).find(CTA_ID).is_some_and(|id| id.len() == 4));
        // TCP, and translated: nothing that was sent before a UDP port was published.
        assert!(!answers.iter().any(|answer| is_unpublished(answer, None, 8080)));
    }

    #[test]
    fn what_was_sent_before_a_port_was_published_is_told() {
        let (client, host): (IpAddr, IpAddr) = ([198, 51, 100, 20].into(), [198, 51, 100, 10].into());
        let tuple = |request: Request, kind, [source, target]: [IpAddr; 2], protocol: u8| {
            request.with_nested(kind, |tuple| {
                let ends = |ip| with_address(with_address(ip, CTA_IP_SRC, source), CTA_IP_DST, target);
                tuple.with_nested(CTA_TUPLE_IP, ends).with_nested(CTA_TUPLE_PROTO, |of| {
                    of.with(CTA_PROTO_NUM, &[protocol]).with(CTA_PROTO_DST_PORT, &5353_u16.to_be_bytes())
                })
            })
        };
        let payload = |answered_by, protocol| {
            let request = tuple(of_family(CT_GET, Family::Ipv4), CTA_TUPLE_ORIG, [client, host], protocol);
            let mut message = Vec::new();
            tuple(request, CTA_TUPLE_REPLY, [answered_by, client], protocol).write(0, 1, &mut message);
            message[super::super::raw::HEADER_LENGTH..].to_vec()
        };
        let untranslated = payload(host, 17);
        assert!(is_unpublished(&untranslated, None, 5353) && is_unpublished(&untranslated, Some(host), 5353));
        assert!(
            !is_unpublished(&untranslated, None, 5354) && !is_unpublished(&untranslated, Some(client), 5353)
        );
        assert!(!is_unpublished(&payload([10, 90, 0, 7].into(), 17), None, 5353));
        assert!(!is_unpublished(&payload(host, 6), None, 5353));
    }

    #[test]
    fn what_leaves_by_a_port_is_told() {
        let payload = |status: u32, protocol: u8, port: u16| {
            let request = of_family(CT_GET, Family::Ipv4).with_nested(CTA_TUPLE_REPLY, |tuple| {
                tuple.with_nested(CTA_TUPLE_PROTO, |of| {
                    of.with(CTA_PROTO_NUM, &[protocol]).with(CTA_PROTO_DST_PORT, &port.to_be_bytes())
                })
            });
            let mut message = Vec::new();
            request.with(CTA_STATUS, &status.to_be_bytes()).write(0, 1, &mut message);
            message[super::super::raw::HEADER_LENGTH..].to_vec()
        };
        let confirmed = 1 << 3;
        assert!(leaves_by(&payload(IPS_SRC_NAT | confirmed, 17, 10101), 10101));
        for other in [
            payload(confirmed, 17, 10101),
            payload(IPS_NAT_MASK, 17, 10101),
            payload(IPS_SRC_NAT, 6, 10101),
            payload(IPS_SRC_NAT, 17, 10102),
        ] {
            assert!(!leaves_by(&other, 10101));
        }
    }

    #[test]
    fn reads_the_addresses_of_both_directions() {
        let answers = captured(include_str!("captured/conntrack.hex"));
        let mut seen = Vec::new();
        for payload in &answers {
            let mut addresses = Vec::new();
            answer(payload, &mut addresses);
            seen.push(addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
            every_beginning(payload, |part| {
                let mut fewer = Vec::new();
                answer(part, &mut fewer);
                assert!(addresses.starts_with(&fewer));
            });
        }
        seen.sort();
        let masqueraded = ["10.90.30.241", "203.0.113.1", "203.0.113.1", "198.51.100.10"];
        assert_eq!(seen.len(), 4);
        assert_eq!(seen[0], masqueraded);
        let published = ["198.51.100.20", "198.51.100.10", "10.90.30.241", "198.51.100.20"];
        assert_eq!(seen[1], published);
        assert!(seen[2..].iter().all(|addresses| addresses.len() == 4 && addresses[0].contains(':')));
    }
}
