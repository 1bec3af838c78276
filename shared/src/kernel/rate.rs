//! Traffic shaping: how fast a link on the host transmits, and how fast what arrives on it goes on.
//!
//! Rates count whole Ethernet frames without preamble and checksum, as the kernel does (`qdisc_pkt_len`),
//! each segment of a large packet with headers of its own; at an MTU of 1500 bytes, TCP gets about 95% of
//! the rate. The queueing discipline is the token bucket filter, tc-tbf(8).

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::tc::{
    TcAttribute, TcFilterU32, TcFilterU32Option, TcHandle, TcMessage, TcMirrorActionType, TcOption,
    TcU32Selector, TcU32SelectorFlags,
};
use nix::errno::Errno;

use super::netlink::NetlinkSocket;
use super::{Change, KernelError, filter, link};
use crate::model::ifname::IfName;

// Attributes of a token bucket filter, from linux/pkt_sched.h.
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// `TC_LINKLAYER_ETHERNET` of linux/pkt_sched.h; with 0 the kernel would want a rate table.
const TC_LINKLAYER_ETHERNET: u8 = 1;
/// `struct tc_ratespec` of linux/pkt_sched.h: `cell_log`, `linklayer` at 1, 6 bytes, `rate` at 8.
const TC_RATESPEC_LENGTH: usize = 12;
/// Behind the filter that may drop a frame (`filter::PRIORITY`).
const PRIORITY: u16 = 2;

/// What a frame has besides its IP packet, in bytes: an Ethernet header with a VLAN tag.
const FRAME_OVERHEAD: u64 = 14 + 4;
/// The largest IP packet in bytes, and so the largest MTU, and what a large packet of several segments
/// (GSO) is at most by default.
const LARGEST_PACKET: u32 = 65_535;
/// The share of a second in which the bucket fills at least: a tick of a kernel with `HZ=250`. With a
/// smaller bucket, what a late timer could not send would be lost.
const TICKS_PER_SECOND: u64 = 250;
/// The share of a second in which the bucket fills, 50 ms, unless a packet is too large or too small for
/// that: a larger one would let a slow link exceed its rate for long after every pause.
const BURSTS_PER_SECOND: u64 = 20;
/// The share of a second that a full queue takes to send, 50 ms.
const QUEUES_PER_SECOND: u64 = 20;
/// How many bursts a queue holds at least, and how many large packets: a TCP that fills the queue with its
/// first few loses so many segments that the receiver waits half a second for the first one.
const BURSTS_IN_QUEUE: u64 = 3;
/// The share of a second that a queue of so many large packets may take to send, 250 ms.
const LONG_QUEUES_PER_SECOND: u64 = 4;
/// How many packets may wait in an ifb behind its queueing discipline, as in other links of the kernel
/// (`DEFAULT_TX_QUEUE_LEN`); its own default of 32 would stop and start the queue all the time.
const IFB_QUEUE_LENGTH: u32 = 1000;

/// A token bucket, in bytes and bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    rate: u64,
    burst: u32,
    limit: u32,
}

impl Bucket {
    /// Sizes a bucket for a rate in bits per second and packets of an MTU in bytes.
    ///
    /// The kernel drops a frame larger than the burst, but cuts a large packet of several segments up first.
    /// Slow links profit from that: the segments queue one by one. From 10 Mbit/s up, the burst has room for
    /// the large packet, which costs the processor a fraction of its segments.
    fn new(bits: u64, mtu: u32) -> Self {
        // The kernel divides by the rate.
        let rate = (bits / 8).max(1);
        let frame = |packet: u32| u64::from(packet) + FRAME_OVERHEAD;
        let (smallest, largest) = (frame(mtu.min(LARGEST_PACKET)), frame(LARGEST_PACKET));
        let burst = (rate / BURSTS_PER_SECOND).clamp(smallest, largest).max(rate / TICKS_PER_SECOND);
        let room = (rate / LONG_QUEUES_PER_SECOND).min(BURSTS_IN_QUEUE * largest);
        let limit = (rate / QUEUES_PER_SECOND).max(room).max(burst.saturating_mul(BURSTS_IN_QUEUE));
        let word = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self { rate, burst: word(burst), limit: word(limit) }
    }

    /// The attributes that describe it; `struct tc_tbf_qopt` of linux/pkt_sched.h is a rate, a peak rate,
    /// which 0 turns off, and three words: limit, burst as time, which `TCA_TBF_BURST` replaces, and the
    /// burst of the peak rate.
    fn options(self) -> Vec<TcOption> {
        let mut parameters = vec![0, TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
        // The kernel takes the larger of this and the attribute of 64 bits.
        parameters.extend(u32::try_from(self.rate).unwrap_or(u32::MAX).to_ne_bytes());
        parameters.extend([0; TC_RATESPEC_LENGTH]);
        parameters.extend(self.limit.to_ne_bytes());
        parameters.extend([0; 8]);
        let option = |kind, bytes| TcOption::Other(DefaultNla::new(kind, bytes));
        vec![
            option(TCA_TBF_PARMS, parameters),
            option(TCA_TBF_RATE64, self.rate.to_ne_bytes().to_vec()),
            option(TCA_TBF_BURST, self.burst.to_ne_bytes().to_vec()),
        ]
    }
}

/// The messages that limit what a link transmits to a rate in bits per second, or change its limit. `mtu` is the
/// largest IP packet, in bytes, that the link gets; larger ones are lost.
#[must_use]
pub fn shape(index: u32, bits: u64, mtu: u32) -> Vec<Change> {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = TcHandle::ROOT;
    message.attributes.push(TcAttribute::Kind("tbf".to_owned()));
    message.attributes.push(TcAttribute::Options(Bucket::new(bits, mtu).options()));
    vec![(RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_REPLACE)]
}

/// The messages that send every frame that arrives on a link through the queue of another, an ifb
/// ([`make_ifb`]), which hands it back as arrived on the first.
#[must_use]
pub fn redirect_incoming(index: u32, to: u32) -> Vec<Change> {
    let action = filter::redirection(TcMirrorActionType::EgressRedir, to);
    // A selector without keys matches everything.
    let mut all = TcU32Selector::default();
    all.flags = TcU32SelectorFlags::Terminal;

    let mut filter = filter::header(index, filter::INCOMING, PRIORITY);
    filter.attributes.push(TcAttribute::Kind(TcFilterU32::KIND.to_owned()));
    filter.attributes.push(TcAttribute::Options(vec![
        TcOption::U32(TcFilterU32Option::Selector(all)),
        TcOption::U32(TcFilterU32Option::Action(vec![action])),
    ]));
    vec![
        filter::discipline(index),
        (RouteNetlinkMessage::NewTrafficFilter(filter), NLM_F_CREATE | NLM_F_EXCL),
    ]
}

/// Makes an ifb (intermediate functional block), the link whose queue shapes what arrives on another, and
/// returns its index; it is up. Nothing but [`link::delete`] removes it.
///
/// # Errors
/// `EEXIST` where the name is taken, `EOPNOTSUPP` where the kernel has no ifb.
pub fn make_ifb(socket: &mut NetlinkSocket, name: &IfName) -> Result<u32, KernelError> {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes.push(LinkAttribute::IfName(name.to_string()));
    message.attributes.push(LinkAttribute::NumTxQueues(1));
    message.attributes.push(LinkAttribute::NumRxQueues(1));
    message.attributes.push(LinkAttribute::TxQueueLen(IFB_QUEUE_LENGTH));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]));
    let doing = || format!("make the ifb {name}");
    socket.change(vec![(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)], |_| doing())?;
    let made = link::find(socket, name)?;
    made.map(|link| link.index).ok_or_else(|| KernelError::new(doing(), Errno::ENODEV))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{Emitable, Parseable};

    fn bytes(message: &RouteNetlinkMessage) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    fn words(bytes: &[u8]) -> Vec<u32> {
        bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
    }

    #[test]
    fn buckets_hold_every_frame_and_fit_the_rate() {
        let bucket = |bits, mtu| {
            let Bucket { rate, burst, limit } = Bucket::new(bits, mtu);
            (rate, burst, limit)
        };
        assert_eq!(bucket(1_000_000, 1500), (125_000, 6_250, 31_250));
        assert_eq!(bucket(1_000_000, 65_535), (125_000, 65_553, 196_659));
        assert_eq!(bucket(1_000_000, 9000), (125_000, 9_018, 31_250));
        assert_eq!(bucket(5_000_000, 1500), (625_000, 31_250, 156_250));
        assert_eq!(bucket(100_000_000, 1500), (12_500_000, 65_553, 625_000));
        assert_eq!(bucket(2_000_000_000, 1500), (250_000_000, 1_000_000, 12_500_000));
        // Neither nothing nor everything makes a bucket that the kernel refuses.
        assert_eq!(bucket(0, 0), (1, 18, 54));
        assert_eq!(bucket(u64::MAX, u32::MAX), (u64::MAX / 8, u32::MAX, u32::MAX));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_shape_is_a_root_token_bucket_filter() {
        let messages = shape(7, 40_000_000_000, 1500);
        let [(message, flags)] = messages.as_slice() else { panic!("{messages:?}") };
        assert_eq!(*flags, NLM_F_CREATE | NLM_F_REPLACE);
        let expected = [
            // struct tcmsg: family, index, handle, parent, info.
            vec![0, 7, 0, u32::MAX, 0],
            // TCA_KIND.
            vec![8 | 1 << 16, u32::from_ne_bytes(*b"tbf\0")],
            // TCA_OPTIONS of 64 bytes.
            vec![64 | 2 << 16],
            // TCA_TBF_PARMS of 40: the rate is more than 32 bits hold.
            vec![40 | 1 << 16, 1 << 8, 0, u32::MAX, 0, 0, 0, 250_000_000, 0, 0],
            // TCA_TBF_RATE64 and TCA_TBF_BURST.
            vec![12 | 4 << 16, 705_032_704, 1, 8 | 6 << 16, 20_000_000],
        ];
        assert_eq!(words(&bytes(message)), expected.concat());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn redirection_matches_everything() {
        let messages = redirect_incoming(7, 9);
        let [(queue, _), (filter, _)] = messages.as_slice() else { panic!("{messages:?}") };
        let header = [0, 7, 0xffff_0000, 0xffff_fff1, 0];
        assert_eq!(words(&bytes(queue))[..5], header);
        let filter = bytes(filter);
        // Protocol 3 in network byte order.
        assert_eq!(words(&filter)[..5], [0, 7, 0, 0xffff_fff2, 2 << 16 | 0x0300]);
        // struct tc_mirred: index, capabilities, TC_ACT_STOLEN, two counts, TCA_EGRESS_REDIR, link.
        assert_eq!(words(&filter[filter.len() - 28..]), [0, 0, 4, 0, 0, 1, 9]);
        let RouteNetlinkMessage::NewTrafficFilter(made) = &messages[1].0 else { panic!("{messages:?}") };
        assert_eq!(TcMessage::parse(&filter).unwrap(), *made);
    }
}
