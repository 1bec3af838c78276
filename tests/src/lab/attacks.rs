//! What neighbours and containers try, as frames: the same against every tool that attaches containers.
//!
//! Each attack says when it has succeeded: who saw what, or which table of the host's changed.

mod discovery;
mod forged;
mod identity;
mod link;
mod routed;
mod tunnel;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use super::capture::{Capture, Seen};
use super::frame::{Endpoint, Frame};
use super::netns::Netns;
use super::raw::{Wire, link_address};
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
    /// The addresses of its gateway.
    pub gateways: Vec<IpAddr>,
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
            gateways: vec![lab.address(false), HOST6],
        }
    }

    fn end(&self, ipv6: bool, port: u16) -> Option<Endpoint> {
        let own = self.addresses.iter().find(|address| address.is_ipv6() == ipv6)?;
        Some(Endpoint::new(link_address(&self.net, &self.interface), *own, port))
    }

    /// The gateway's end of a family.
    fn gateway_end(&self, ipv6: bool, port: u16) -> Option<Endpoint> {
        let own = self.gateways.iter().find(|address| address.is_ipv6() == ipv6)?;
        Some(Endpoint::new(self.gateway, *own, port))
    }

    /// The way to an address beyond the gateway.
    fn by_gateway(&self, to: Endpoint) -> Endpoint {
        Endpoint { mac: self.gateway, ..to }
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
    /// The VXLAN network identifier of the victim's network, where that is an overlay.
    pub vni: Option<u8>,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Peer,
    Victim,
    Mate,
    Third,
    Stranger,
    Inside,
}

const ROLES: [Role; 6] = [Role::Peer, Role::Victim, Role::Mate, Role::Third, Role::Stranger, Role::Inside];

/// Where what an attack sends must not be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Victim,
    Mate,
    Inside,
    Peer,
    Wan,
}

/// When an attack has succeeded.
enum Success {
    /// A frame like this arrived there.
    Seen(Target, Box<dyn Fn(&Seen) -> bool>),
    /// A service of the host's at the first address was asked from the second.
    Asked(IpAddr, IpAddr),
    /// This command, on the host, prints that.
    Printed(Vec<String>, String),
}

struct Attack {
    class: &'static str,
    name: String,
    /// One after another: what prepares the attack, and last what is to arrive.
    shots: Vec<(Role, Vec<u8>)>,
    success: Success,
}

/// How the attacks of a class went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was tried.
    pub class: &'static str,
    /// How many attacks were made.
    pub sent: usize,
    /// How many succeeded.
    pub hits: usize,
    /// The attacks of the class that never succeeded.
    pub never: Vec<String>,
    /// Whether only a bridge carries such frames to whom they are for.
    pub needs_a_bridge: bool,
}

/// Classes whose frames are between containers of one bridge, or about it.
const ON_A_BRIDGE: [&str; 8] = [
    discovery::CACHES,
    discovery::HIDDEN,
    discovery::HOST_TABLE,
    discovery::GROUPS,
    link::OTHERS,
    link::ENCAPSULATED,
    link::STOLEN,
    link::MANY,
];
/// What arrived tells by its port which attack it is of: each attack has one of its own.
const FIRST_PORT: u16 = 20_000;
/// Where services of the host listen.
const HOST_PORT: u16 = 7_777;
/// What is between two rounds, and how long the last one is waited for.
const PAUSE: Duration = Duration::from_millis(5);
const LAST: Duration = Duration::from_millis(100);

impl Stage {
    /// Makes every attack once, and again while `go_on` says so; then counts those that succeeded.
    ///
    /// # Panics
    /// Without root.
    pub fn attack(&self, mut go_on: impl FnMut(usize) -> bool) -> Vec<Outcome> {
        let attacks = self.attacks();
        let wires: BTreeMap<Role, Wire> =
            ROLES.into_iter().map(|role| (role, self.station(role).wire())).collect();
        let captures = [
            (Target::Victim, Capture::new(&self.victim.net)),
            (Target::Mate, Capture::new(&self.mate.net)),
            (Target::Inside, Capture::new(&self.inside.net)),
            (Target::Peer, Capture::new(&self.peer.net)),
            (Target::Wan, Capture::new(&self.wan)),
        ];
        let services = self.services();
        let mut hits = vec![0; attacks.len()];
        let mut rounds = 0;
        let count = |hits: &mut Vec<usize>| {
            for (target, capture) in &captures {
                let seen = capture.drain();
                for (attack, hits) in attacks.iter().zip(hits.iter_mut()) {
                    *hits += attack.seen_among(*target, &seen);
                }
            }
        };
        while rounds == 0 || go_on(rounds) {
            for (role, frame) in attacks.iter().flat_map(|attack| &attack.shots) {
                wires[role].send(frame);
            }
            rounds += 1;
            count(&mut hits);
            // Whoever flushes rules at the same time needs the processor as well.
            sleep(PAUSE);
        }
        sleep(LAST);
        count(&mut hits);
        for (attack, hits) in attacks.iter().zip(&mut hits) {
            match &attack.success {
                Success::Seen(..) => {}
                Success::Asked(at, from) => {
                    let asked = services.iter().filter(|(address, _)| address == at);
                    let clients = asked.flat_map(|(_, service)| service.clients());
                    *hits = clients.filter(|client| client == from).count();
                }
                Success::Printed(command, text) => {
                    let command: Vec<&str> = command.iter().map(String::as_str).collect();
                    *hits = if self.host.run(&command).stdout.contains(text) { rounds } else { 0 };
                }
            }
        }
        outcomes(&attacks, &hits, rounds)
    }

    /// What listens on the host, and where.
    fn services(&self) -> Vec<(IpAddr, Server)> {
        let own = [routed::LOOPBACK, self.host(false), self.host(true)];
        let own = own.into_iter().chain(self.victim.gateways.iter().copied());
        let at_one = own.map(|address| (address, HOST_PORT));
        at_one
            .chain([(routed::ANYWHERE, routed::ANYWHERE_PORT)])
            .map(|(address, port)| {
                (address, Server::udp_at(&self.host, SocketAddr::new(address, port), "host"))
            })
            .collect()
    }

    fn attacks(&self) -> Vec<Attack> {
        let mut attacks = Attacks::default();
        for ipv6 in [false, true] {
            self.by_route(ipv6, &mut attacks);
            self.by_protocol(ipv6, &mut attacks);
            self.by_source_route(ipv6, &mut attacks);
            self.by_lie(ipv6, &mut attacks);
            self.by_impersonation(ipv6, &mut attacks);
            self.by_poisoned_tracking(ipv6, &mut attacks);
            self.by_forged_answer(ipv6, &mut attacks);
            self.by_error(ipv6, &mut attacks);
            self.by_group(ipv6, &mut attacks);
            self.by_host_neighbours(ipv6, &mut attacks);
        }
        self.by_host_address(&mut attacks);
        self.by_neighbour_discovery(&mut attacks);
        self.by_hidden_discovery(&mut attacks);
        self.by_ethertype(&mut attacks);
        self.by_encapsulation(&mut attacks);
        self.by_stolen_address(&mut attacks);
        self.by_many_addresses(&mut attacks);
        self.by_tunnel(&mut attacks);
        attacks.0
    }

    fn station(&self, role: Role) -> &Station {
        match role {
            Role::Peer => &self.peer,
            Role::Victim => &self.victim,
            Role::Mate => &self.mate,
            Role::Third => &self.third,
            Role::Stranger => &self.stranger,
            Role::Inside => &self.inside,
        }
    }

    /// The host's address on the LAN.
    fn host(&self, ipv6: bool) -> IpAddr {
        if ipv6 { HOST6 } else { self.host_address }
    }
}

impl Station {
    fn wire(&self) -> Wire {
        Wire::of(&self.net, &self.interface)
    }
}

impl Attack {
    fn seen_among(&self, at: Target, seen: &[Seen]) -> usize {
        match &self.success {
            Success::Seen(target, hit) if *target == at => seen.iter().filter(|seen| hit(seen)).count(),
            _ => 0,
        }
    }
}

fn outcomes(attacks: &[Attack], hits: &[usize], rounds: usize) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (attack, hits) in attacks.iter().zip(hits) {
        let at = outcomes.iter().position(|outcome| outcome.class == attack.class).unwrap_or_else(|| {
            let (class, never) = (attack.class, Vec::new());
            let needs_a_bridge = ON_A_BRIDGE.contains(&class);
            outcomes.push(Outcome { class, sent: 0, hits: 0, never, needs_a_bridge });
            outcomes.len() - 1
        });
        let outcome = &mut outcomes[at];
        outcome.sent += rounds;
        // The same frame may arrive twice, as when a bridge floods it.
        outcome.hits += rounds.min(*hits);
        if *hits == 0 {
            outcome.never.push(attack.name.clone());
        }
    }
    outcomes
}

/// The attacks, as they are put together.
#[derive(Default)]
struct Attacks(Vec<Attack>);

impl Attacks {
    /// The port of the next attack.
    fn port(&self) -> u16 {
        FIRST_PORT + u16::try_from(self.0.len()).expect("some hundred attacks")
    }

    /// What the frames of the next attack end with, and nothing else does.
    fn mark(&self) -> Vec<u8> {
        format!("attack {}", self.port()).into_bytes()
    }

    fn add(
        &mut self,
        class: &'static str,
        name: impl Into<String>,
        shots: Vec<(Role, Vec<u8>)>,
        success: Success,
    ) {
        self.0.push(Attack { class, name: name.into(), shots, success });
    }
}

/// A UDP datagram to that port arrives.
fn to_port(target: Target, port: u16) -> Success {
    Success::Seen(target, Box::new(move |seen| seen.is_udp_to(port)))
}

/// A frame with that end arrives. An Ethernet frame of fewer than 60 bytes may have got some more.
fn marked(target: Target, mark: Vec<u8>) -> Success {
    Success::Seen(target, Box::new(move |seen| seen.ends_with(&mark)))
}

/// A frame with that end arrives from there.
fn marked_from(target: Target, mark: Vec<u8>, from: IpAddr) -> Success {
    Success::Seen(target, Box::new(move |seen| seen.source() == Some(from) && seen.ends_with(&mark)))
}

/// A datagram from one end to another, that bears a mark.
fn datagram(from: Endpoint, to: Endpoint, mark: &[u8]) -> Vec<u8> {
    Frame::new(from, to).udp(mark)
}
