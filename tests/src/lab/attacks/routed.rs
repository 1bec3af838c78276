//! What the host would have to route, or to take for itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::frame::{Endpoint, Frame};
use super::super::source_route::source_routes;
use super::{Attacks, HOST_PORT, Role, Stage, Success, Target, marked, to_port};

pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Where a service listens at every address, and at another port than those at one.
pub(super) const ANYWHERE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
pub(super) const ANYWHERE_PORT: u16 = HOST_PORT + 1;

/// Who must not send to whom by the host: the class, the sender, who is sent to.
const APART: [(&str, Role, Role); 6] = [
    ("a LAN neighbour, to a container's address", Role::Peer, Role::Victim),
    ("a LAN neighbour, to an internal network", Role::Peer, Role::Inside),
    ("another network's container, to a container", Role::Stranger, Role::Victim),
    ("a container, to an internal network", Role::Victim, Role::Inside),
    ("an internal network, to the LAN", Role::Inside, Role::Peer),
    ("an internal network, to another network", Role::Inside, Role::Victim),
];

fn target(role: Role) -> Target {
    match role {
        Role::Inside => Target::Inside,
        Role::Peer => Target::Peer,
        _ => Target::Victim,
    }
}

impl Stage {
    /// UDP and TCP. Who is sent to must not receive them.
    pub(super) fn by_route(&self, ipv6: bool, attacks: &mut Attacks) {
        for (class, from, to) in APART {
            let sender = self.station(from);
            let port = attacks.port();
            let Some(own) = sender.end(ipv6, port) else { continue };
            let Some(to_end) = self.station(to).end(ipv6, port) else { continue };
            let to_end = sender.by_gateway(to_end);
            let frame = Frame::new(own, to_end).udp(b"route");
            attacks.add(class, "UDP", vec![(from, frame)], to_port(target(to), port));
            // A connection's first segment, to a port that is published in another way.
            let syn = Frame::new(own, Endpoint { port: 80, ..to_end }).tcp_syn();
            let source = own.ip;
            let success = Success::Seen(
                target(to),
                Box::new(move |seen| seen.is_syn_to(80) && seen.source() == Some(source)),
            );
            attacks.add(class, "TCP", vec![(from, syn)], success);
        }
    }

    /// Other protocols between the same. Who is sent to must not receive them, nor what is in them.
    pub(super) fn by_protocol(&self, ipv6: bool, attacks: &mut Attacks) {
        let class = "IPIP, GRE and other protocols, to where UDP may not go";
        for (_, from, to) in APART {
            let sender = self.station(from);
            let (Some(own), Some(to_end)) = (sender.end(ipv6, 1), self.station(to).end(ipv6, 1)) else {
                continue;
            };
            let frame = Frame::new(own, sender.by_gateway(to_end));
            for (name, protocol, ethertype) in [
                ("IPIP", if ipv6 { 41 } else { 4 }, None),
                ("GRE", 47, Some(if ipv6 { 0x86dd } else { 0x0800 })),
            ] {
                let mark = attacks.mark();
                let inner = &frame.udp(&mark)[14..];
                let header = ethertype.map_or(Vec::new(), |kind: u16| [[0, 0], kind.to_be_bytes()].concat());
                let packet = frame.packet(protocol, &[&header[..], inner].concat());
                attacks.add(
                    class,
                    format!("{name} {from:?}"),
                    vec![(from, packet)],
                    marked(target(to), mark),
                );
            }
            for protocol in [2, 50, 132, 136, 253] {
                let mark = attacks.mark();
                let packet = frame.packet(protocol, &[&[0; 12][..], &mark].concat());
                let name = format!("protocol {protocol} {from:?}");
                attacks.add(class, name, vec![(from, packet)], marked(target(to), mark));
            }
        }
    }

    /// Packets to an address of the host that say to whom they are to be sent on. Who that is must not receive them. The
    /// host answers an echo request first, so that it knows the connection.
    pub(super) fn by_source_route(&self, ipv6: bool, attacks: &mut Attacks) {
        let class = "source routes, by the host to where nothing may go";
        for (_, from, to) in APART {
            let sender = self.station(from);
            let Some(hop) = self.station(to).end(ipv6, 0) else { continue };
            for index in 0..2 {
                let (port, mark) = (attacks.port(), attacks.mark());
                let (Some(own), Some(via)) = (sender.end(ipv6, port), sender.gateway_end(ipv6, 0)) else {
                    continue;
                };
                let frame = Frame::new(own, via);
                let (name, routed) = source_routes(&frame, &frame.echo(&mark), hop.ip).swap_remove(index);
                // The second is of a connection in which the first went on.
                let shots = vec![(from, frame.echo(b"known")), (from, routed.clone()), (from, routed)];
                attacks.add(class, format!("{name} {from:?}"), shots, marked(target(to), mark));
            }
        }
        // The service tells by the sender which of the two came.
        for (index, from) in [Role::Stranger, Role::Victim].into_iter().enumerate().filter(|_| !ipv6) {
            let sender = self.station(from);
            let (Some(own), Some(via)) = (sender.end(false, 6_000), sender.gateway_end(false, HOST_PORT))
            else {
                continue;
            };
            let frame = Frame::new(own, via);
            let mut datagram = frame.udp(b"host");
            // Without a checksum, which would be wrong at the other address.
            datagram[40..42].fill(0);
            let (name, routed) = source_routes(&frame, &datagram, LOOPBACK).swap_remove(index);
            let success = Success::Asked(LOOPBACK, own.ip);
            attacks.add(class, format!("{name} to 127.0.0.1"), vec![(from, routed)], success);
        }
    }

    /// What listens on the host, by addresses that are not for those who send. It must not be asked.
    pub(super) fn by_host_address(&self, attacks: &mut Attacks) {
        let inside = "an internal network, to the host's other addresses";
        let hosts = [false, true].map(|ipv6| (inside, Role::Inside, self.host(ipv6)));
        let gateways = self.victim.gateways.iter().map(|gateway| (inside, Role::Inside, *gateway));
        for (class, from, address) in [
            ("a LAN neighbour, to the host's 127.0.0.1", Role::Peer, LOOPBACK),
            ("a container, to the host's 127.0.0.1", Role::Mate, LOOPBACK),
        ]
        .into_iter()
        .chain(hosts)
        .chain(gateways)
        {
            let sender = self.station(from);
            let Some(own) = sender.end(address.is_ipv6(), 5_000) else { continue };
            let to = Endpoint::new(sender.gateway, address, HOST_PORT);
            let frame = Frame::new(own, to).udp(b"host");
            attacks.add(class, address.to_string(), vec![(from, frame)], Success::Asked(address, own.ip));
        }
        let Some(own) = self.inside.end(true, 5_000) else { return };
        let shots = [self.host(true), self.victim.gateways[1]].map(|address| {
            let to = Endpoint::new(self.inside.gateway, routers(address), ANYWHERE_PORT);
            (Role::Inside, Frame::new(own, to).udp(b"host"))
        });
        attacks.add(inside, "anycast", shots.to_vec(), Success::Asked(ANYWHERE, own.ip));
    }
}

/// The first address of a subnet of 64 bits, which each of its routers has as well (RFC 4291, section 2.6.1). Services that
/// listen at every address hear what is sent there.
fn routers(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        IpAddr::V4(_) => address,
    }
}
