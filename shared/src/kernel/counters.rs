//! What links counted: the host's by one dump, those inside containers one by one.

use super::KernelError;
use super::netlink::NetlinkSocket;
use super::raw::{Attributes, NetlinkRequest, long, word};
use crate::model::ifname::IfName;
use nix::libc;

/// `struct if_stats_msg` of linux/if_link.h: family, padding, index at 4, filter at 8.
const IF_STATS_MSG_LENGTH: usize = 12;
/// The filter and the attribute of `struct rtnl_link_stats64`: bit 0, and 1 (linux/if_link.h).
const FILTER_LINK_64: u32 = 1;
const IFLA_STATS_LINK_64: u16 = 1;
/// `struct ifinfomsg` of linux/rtnetlink.h: family, type, index at 4, flags at 8, change mask.
const IFINFOMSG_LENGTH: usize = 16;
// Attributes of a link, from linux/if_link.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_STATS64: u16 = 23;
const IFLA_TARGET_NETNSID: u16 = 46;
/// `IFF_UP` and `IFF_LOWER_UP` of linux/if.h.
const UP: u32 = 1 | 1 << 16;

/// Counters of a link (`struct rtnl_link_stats64` of linux/if_link.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// What came in.
    pub received: Direction,
    /// What went out.
    pub sent: Direction,
}

/// One direction of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Direction {
    /// Bytes of frames.
    pub bytes: u64,
    /// Frames.
    pub packets: u64,
    /// Frames that were lost to an error.
    pub errors: u64,
    /// Frames that were dropped for lack of room or of a taker.
    pub drops: u64,
}

impl LinkCounters {
    /// Reads the first eight of the numbers of `struct rtnl_link_stats64` (linux/if_link.h).
    fn parse(bytes: &[u8]) -> Option<Self> {
        let direction = |first: usize| {
            let number = |index: usize| long(bytes, 8 * (first + 2 * index));
            Some(Direction { packets: number(0)?, bytes: number(1)?, errors: number(2)?, drops: number(3)? })
        };
        Some(Self { received: direction(0)?, sent: direction(1)? })
    }

    /// The same as the other end of the link sees them.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self { received: self.sent, sent: self.received }
    }
}

/// How a link is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkState {
    /// Whether it is up with a carrier.
    pub up: bool,
    /// The MTU in bytes.
    pub mtu: u32,
}

/// Hands over the index and the counters of every link of the socket's namespace, perhaps several times: the last are
/// the newest.
///
/// # Errors
/// A refusal of the dump.
pub fn of_host(
    socket: &mut NetlinkSocket,
    mut take: impl FnMut(u32, LinkCounters),
) -> Result<(), KernelError> {
    socket.stream(&host_request(), "read the links' counters", &mut |payload| {
        if let Some((index, counters)) = host_answer(payload) {
            take(index, counters);
        }
    })
}

/// The request of [`of_host`].
#[must_use]
pub fn host_request() -> NetlinkRequest {
    let mut header = [0; IF_STATS_MSG_LENGTH];
    header[8..].copy_from_slice(&FILTER_LINK_64.to_ne_bytes());
    NetlinkRequest::new(libc::RTM_GETSTATS, &header)
}

/// What a message of the answer to [`host_request`] says: a link's index, and what it counted.
#[must_use]
pub fn host_answer(payload: &[u8]) -> Option<(u32, LinkCounters)> {
    let index = word(payload, 4)?;
    let counters = Attributes::behind(payload, IF_STATS_MSG_LENGTH).find(IFLA_STATS_LINK_64)?;
    Some((index, LinkCounters::parse(counters)?))
}

/// Looks links up that only containers have, each by the number under which the socket's namespace knows the
/// container's and by its name there, and hands over which was found. One that is gone, or whose namespace is, is not
/// heard of.
///
/// # Errors
/// Only where the socket itself fails.
pub fn inside(
    socket: &mut NetlinkSocket,
    wanted: &[(i32, &IfName)],
    mut take: impl FnMut(usize, LinkCounters, LinkState),
) -> Result<(), KernelError> {
    let requests: Vec<NetlinkRequest> =
        wanted.iter().map(|(number, name)| inside_request(*number, name)).collect();
    let asked = socket.ask_each(&requests, &mut |index, answer| {
        if let Some((counters, state)) = answer.ok().and_then(inside_answer) {
            take(index, counters, state);
        }
    });
    asked.map_err(|errno| KernelError::new("read the counters of containers' links", errno))
}

fn inside_request(number: i32, name: &IfName) -> NetlinkRequest {
    NetlinkRequest::new(libc::RTM_GETLINK, &[0; IFINFOMSG_LENGTH])
        .with(IFLA_TARGET_NETNSID, &number.to_ne_bytes())
        .with_text(IFLA_IFNAME, name.as_str())
}

/// What the answer about a link inside a container says.
#[must_use]
pub fn inside_answer(payload: &[u8]) -> Option<(LinkCounters, LinkState)> {
    let flags = word(payload, 8)?;
    let mut counters = None;
    let mut mtu = None;
    for (kind, value) in Attributes::behind(payload, IFINFOMSG_LENGTH) {
        match kind {
            IFLA_MTU => mtu = word(value, 0),
            IFLA_STATS64 => counters = LinkCounters::parse(value),
            _ => {}
        }
    }
    Some((counters?, LinkState { up: flags & UP == UP, mtu: mtu? }))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;
    use crate::kernel::raw::{captured, every_beginning};

    fn direction(bytes: u64, packets: u64) -> Direction {
        Direction { bytes, packets, errors: 0, drops: 0 }
    }

    #[test]
    fn reads_the_counters_of_the_hosts_links() {
        let answers = captured(include_str!("captured/stats.hex"));
        let links: Vec<_> = answers.iter().filter_map(|answer| host_answer(answer)).collect();
        assert_eq!(links.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        let of_container = LinkCounters { received: direction(1719, 21), sent: direction(2461, 27) };
        assert_eq!(links[3].1, of_container);
        assert_eq!(of_container.mirrored().received, direction(2461, 27));
        every_beginning(&answers[3], |part| {
            assert!(host_answer(part).is_none_or(|(index, counters)| (index, counters) == (4, of_container)));
        });
    }

    #[test]
    fn reads_a_link_inside_a_container() {
        let answers = captured(include_str!("captured/inside.hex"));
        let expected = (
            LinkCounters { received: direction(42, 1), sent: direction(42, 1) },
            LinkState { up: true, mtu: 1500 },
        );
        assert_eq!(inside_answer(&answers[0]), Some(expected));
        every_beginning(&answers[0], |part| {
            assert!(inside_answer(part).is_none_or(|found| found == expected));
        });
        let mut down = answers[0].clone();
        down[8] = 0;
        assert!(inside_answer(&down).is_some_and(|(_, state)| !state.up));
    }

    #[test]
    fn reads_errors_and_drops() {
        let numbers: Vec<u8> = (1..=8_u64).flat_map(u64::to_ne_bytes).collect();
        let counters = LinkCounters::parse(&numbers).unwrap();
        assert_eq!(counters.received, Direction { packets: 1, bytes: 3, errors: 5, drops: 7 });
        assert_eq!(counters.sent, Direction { packets: 2, bytes: 4, errors: 6, drops: 8 });
        assert_eq!(LinkCounters::parse(&numbers[..63]), None);
    }
}
