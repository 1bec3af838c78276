//! What neighbours and containers try, as frames: the same against every tool that wires containers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::capture::{Capture, Seen};
use super::frame::{Endpoint, Frame};
use super::netns::Netns;
use super::raw::{link_address, send_frame};
use super::topology::{HOST6, Lab, PEER4, PEER6};
use super::traffic::Server;

/// One who sends, or is sent to.
#[derive(Debug)]
pub struct Station {
    /// Its namespace.
    pub net: Netns,
    /// Its interface there.
    pub interface: String,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// The Ethernet address of its gateway: the host, on this side.
    pub gateway: [u8; 6],
}

impl Station {
    /// The lab's LAN neighbour, as the host sees it.
    ///
    /// # Panics
    /// When the lab is gone.
    #[must_use]
    pub fn lan_neighbour(lab: &Lab) -> Self {
        Self {
            net: lab.peer.again(),
            interface: "eth0".to_owned(),
            addresses: vec![PEER4, PEER6],
            gateway: link_address(&lab.host, "eth0"),
        }
    }

    fn end(&self, ipv6: bool, port: u16) -> Option<Endpoint> {
        let own = self.addresses.iter().find(|address| address.is_ipv6() == ipv6)?;
        Some(Endpoint::new(link_address(&self.net, &self.interface), *own, port))
    }
}

/// Who is on the stage.
#[derive(Debug)]
pub struct Stage {
    /// The host, where services listen that nobody may reach.
    pub host: Netns,
    /// The host's address on the LAN.
    pub host_address: IpAddr,
    /// The router: where what leaves the host arrives.
    pub wan: Netns,
    /// The LAN neighbour; its gateway is the host.
    pub peer: Station,
    /// Who is attacked.
    pub victim: Station,
    /// On the victim's network.
    pub mate: Station,
    /// On the victim's network too: who is lied about.
    pub third: Station,
    /// On another network.
    pub stranger: Station,
    /// On an internal network.
    pub inside: Station,
}

/// Where an attack would succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Victim,
    Inside,
    Peer,
    Wan,
    /// A service of the host's at the first address, asked from the second.
    Host(IpAddr, IpAddr),
}

struct Attack {
    class: &'static str,
    from: fn(&Stage) -> &Station,
    frame: Vec<u8>,
    target: Target,
    hit: Box<dyn Fn(&Seen) -> bool>,
}

/// How an attack went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was tried.
    pub class: &'static str,
    /// How many frames were sent.
    pub sent: usize,
    /// How many arrived.
    pub hits: usize,
}

/// The ports of a running attack tell what arrived: each attack has one of its own.
const FIRST_PORT: u16 = 20_000;
/// Where services of the host listen.
const HOST_PORT: u16 = 7_777;

impl Stage {
    /// Sends everything once, and again while `go_on` says so; then counts what arrived.
    ///
    /// # Panics
    /// Without root.
    pub fn attack(&self, mut go_on: impl FnMut(usize) -> bool) -> Vec<Outcome> {
        let attacks = self.attacks();
        let watch = |station: &Station| Capture::new(&station.net);
        let captures = [
            (Target::Victim, watch(&self.victim)),
            (Target::Inside, watch(&self.inside)),
            (Target::Peer, watch(&self.peer)),
            (Target::Wan, Capture::new(&self.wan)),
        ];
        let services = [IpAddr::V4(Ipv4Addr::LOCALHOST), self.host_address].map(|address| {
            (address, Server::udp_at(&self.host, SocketAddr::new(address, HOST_PORT), "host"))
        });
        let mut hits = vec![0; attacks.len()];
        let mut rounds = 0;
        while rounds == 0 || go_on(rounds) {
            for attack in &attacks {
                let from = (attack.from)(self);
                send_frame(&from.net, &from.interface, &attack.frame);
            }
            rounds += 1;
            for (target, capture) in &captures {
                let seen = capture.drain();
                for (attack, hits) in attacks.iter().zip(&mut hits) {
                    if attack.target == *target {
                        *hits += seen.iter().filter(|seen| (attack.hit)(seen)).count();
                    }
                }
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        let mut outcomes: Vec<Outcome> = Vec::new();
        for (attack, mut hits) in attacks.iter().zip(hits) {
            if let Target::Host(at, from) = attack.target {
                let asked = services.iter().filter(|(address, _)| *address == at);
                let clients = asked.flat_map(|(_, service)| service.clients());
                hits += clients.filter(|client| *client == from).count();
            }
            match outcomes.iter_mut().find(|outcome| outcome.class == attack.class) {
                Some(outcome) => {
                    outcome.sent += rounds;
                    outcome.hits += hits;
                }
                None => outcomes.push(Outcome { class: attack.class, sent: rounds, hits }),
            }
        }
        outcomes
    }

    fn attacks(&self) -> Vec<Attack> {
        let mut attacks = Vec::new();
        for ipv6 in [false, true] {
            self.by_route(ipv6, &mut attacks);
            self.by_lie(ipv6, &mut attacks);
            self.by_impersonation(ipv6, &mut attacks);
        }
        self.by_loopback(&mut attacks);
        self.by_neighbour_discovery(&mut attacks);
        attacks
    }

    /// What the host would have to route.
    fn by_route(&self, ipv6: bool, attacks: &mut Vec<Attack>) {
        type From = fn(&Stage) -> &Station;
        let peer: From = |stage| &stage.peer;
        let stranger: From = |stage| &stage.stranger;
        let inside: From = |stage| &stage.inside;
        let victim: From = |stage| &stage.victim;
        for (class, from, to, target) in [
            ("a LAN neighbour, to a container's address", peer, &self.victim, Target::Victim),
            ("a LAN neighbour, to an internal network", peer, &self.inside, Target::Inside),
            ("another network's container, to a container", stranger, &self.victim, Target::Victim),
            ("a container, to an internal network", victim, &self.inside, Target::Inside),
            ("an internal network, to the LAN", inside, &self.peer, Target::Peer),
            ("an internal network, to another network", inside, &self.victim, Target::Victim),
        ] {
            let sender = from(self);
            let port = port(attacks);
            let (Some(own), Some(to)) = (sender.end(ipv6, port), to.end(ipv6, port)) else { continue };
            let frame = Frame::new(own, Endpoint { mac: sender.gateway, ..to });
            attacks.push(Attack { class, from, frame: frame.udp(b"route"), target, hit: to_port(port) });
            // A connection's first segment, to a port that is published in another way.
            let to = Endpoint { mac: sender.gateway, port: 80, ..to };
            let syn = Frame::new(own, to).tcp_syn();
            let source = own.ip;
            let hit = Box::new(move |seen: &Seen| seen.is_syn_to(80) && seen.source() == Some(source));
            attacks.push(Attack { class, from, frame: syn, target, hit });
        }
    }

    /// What a container says about who it is.
    fn by_lie(&self, ipv6: bool, attacks: &mut Vec<Attack>) {
        let class = "a container under another's IP or Ethernet address";
        let from: fn(&Stage) -> &Station = |stage| &stage.mate;
        let stranger: IpAddr = if ipv6 { "2001:db8::66" } else { "192.0.2.66" }.parse().expect("an address");
        let internet: IpAddr =
            if ipv6 { "2001:db8:cafe::1" } else { "203.0.113.1" }.parse().expect("an address");
        let (Some(me), Some(other)) = (self.mate.end(ipv6, 1), self.third.end(ipv6, 1)) else { return };
        let lies = [
            Endpoint { ip: other.ip, ..me },
            Endpoint { mac: other.mac, ..me },
            other,
            Endpoint { ip: stranger, ..me },
            Endpoint { mac: self.mate.gateway, ..me },
        ];
        for lie in lies {
            let port = port(attacks);
            let Some(to) = self.victim.end(ipv6, port) else { continue };
            let frame = Frame::new(lie, to).udp(b"lie");
            attacks.push(Attack { class, from, frame, target: Target::Victim, hit: to_port(port) });
        }
        for lie in [Endpoint { ip: other.ip, ..me }, Endpoint { ip: stranger, ..me }] {
            let port = port(attacks);
            let to = Endpoint::new(self.mate.gateway, internet, port);
            let frame = Frame::new(lie, to).udp(b"lie");
            attacks.push(Attack { class, from, frame, target: Target::Wan, hit: to_port(port) });
        }
    }

    /// What a neighbour sends as the victim, to itself, and then as the answer to that: to the victim, and to where the
    /// host may have translated the victim's address to.
    fn by_impersonation(&self, ipv6: bool, attacks: &mut Vec<Attack>) {
        let class = "a LAN neighbour, to a container that it has sent as";
        let from: fn(&Stage) -> &Station = |stage| &stage.peer;
        let own = port(attacks);
        let (Some(me), Some(victim)) = (self.peer.end(ipv6, own), self.victim.end(ipv6, own)) else { return };
        let host = if ipv6 { HOST6 } else { self.host_address };
        let by_gateway = |end: Endpoint| Endpoint { mac: self.peer.gateway, ..end };
        let lie = Frame::new(Endpoint { mac: me.mac, ..victim }, by_gateway(me)).udp(b"lie");
        let target = Target::Victim;
        attacks.push(Attack { class, from, frame: lie, target, hit: Box::new(|_| false) });
        for to in [victim.ip, host] {
            let frame = Frame::new(me, Endpoint::new(self.peer.gateway, to, own)).udp(b"answer");
            // One who hears both cannot tell which of them came.
            let hit = if to == host { to_port(own) } else { Box::new(|_: &Seen| false) };
            attacks.push(Attack { class, from, frame, target, hit });
        }
    }

    /// What listens on the host, by addresses that are not for those who send.
    fn by_loopback(&self, attacks: &mut Vec<Attack>) {
        type From = fn(&Stage) -> &Station;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let peer: From = |stage| &stage.peer;
        let mate: From = |stage| &stage.mate;
        let inside: From = |stage| &stage.inside;
        for (class, from, address) in [
            ("a LAN neighbour, to the host's 127.0.0.1", peer, loopback),
            ("a container, to the host's 127.0.0.1", mate, loopback),
            ("an internal network, to the host's LAN address", inside, self.host_address),
        ] {
            let sender = from(self);
            let Some(own) = sender.end(false, 5_000) else { continue };
            let to = Endpoint::new(sender.gateway, address, HOST_PORT);
            let frame = Frame::new(own, to).udp(b"host");
            attacks.push(Attack {
                class,
                from,
                frame,
                target: Target::Host(address, own.ip),
                hit: Box::new(|_| false),
            });
        }
    }

    /// ARP, neighbour and router advertisements for others.
    fn by_neighbour_discovery(&self, attacks: &mut Vec<Attack>) {
        let class = "a container, into others' neighbour caches and routes";
        let from: fn(&Stage) -> &Station = |stage| &stage.mate;
        let target = Target::Victim;
        if let (Some(me), Some(to), Some(third)) =
            (self.mate.end(false, 0), self.victim.end(false, 0), self.third.end(false, 0))
        {
            for operation in [1, 2] {
                let lie = Frame::new(Endpoint { ip: third.ip, ..me }, to).arp(operation, me.mac);
                let hit = Box::new(move |seen: &Seen| {
                    seen.arp_operation() == Some(operation) && seen.arp_claim() == Some((me.mac, third.ip))
                });
                attacks.push(Attack { class, from, frame: lie, target, hit });
            }
        }
        if let (Some(me), Some(to), Some(third)) =
            (self.mate.end(true, 0), self.victim.end(true, 0), self.third.end(true, 0))
        {
            let IpAddr::V6(lied_about) = third.ip else { return };
            let frame = Frame::new(me, to).neighbour_advertisement(lied_about, me.mac);
            let hit = Box::new(move |seen: &Seen| {
                seen.advertised() == Some(third.ip) && seen.source_mac() == Some(me.mac)
            });
            attacks.push(Attack { class, from, frame, target, hit });
            let frame =
                Frame::new(me, to).router_advertisement("2001:db8:bad::".parse().expect("an address"));
            attacks.push(Attack { class, from, frame, target, hit: Box::new(|seen| seen.is_icmp6(134)) });
        }
    }
}

fn port(attacks: &[Attack]) -> u16 {
    FIRST_PORT + u16::try_from(attacks.len()).expect("some dozen attacks")
}

fn to_port(port: u16) -> Box<dyn Fn(&Seen) -> bool> {
    Box::new(move |seen| seen.is_udp_to(port))
}
