//! Links, addresses and routes of a namespace, read by the crate `rtnetlink`. It has none of ocinet's code, and no more than the
//! types of messages in common with it.
//!
//! A question is asked by a socket that is opened inside the namespace. The kernel answers within the system call that asks,
//! so that nothing has to wait for an answer, and no runtime is needed.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BufMut;
use futures_util::TryStreamExt as _;
use futures_util::future::{Either, select};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::{
    InfoData, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use rtnetlink::sys::{AsyncSocket, Socket, SocketAddr};
use rtnetlink::{Handle, new_connection_with_socket};

use super::netns::Netns;

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its kind, as `ip link add type` names it; empty for lo.
    pub kind: String,
    /// The largest packet.
    pub mtu: usize,
    /// Its Ethernet address; empty where it has none.
    pub mac: Vec<u8>,
    /// Its group.
    pub group: u32,
    /// The number of the link below it, or of its peer.
    pub below: Option<u32>,
    /// Whether it is up and its operational state says so.
    pub is_up: bool,
    /// Whether it is up without a carrier.
    pub lacks_carrier: bool,
    /// The number and the port of a tunnel of VXLAN.
    pub vxlan: Option<(u32, u16)>,
}

impl Link {
    fn of(message: LinkMessage) -> Self {
        let flags = message.header.flags;
        let (up, running) = (flags.contains(LinkFlags::Up), flags.contains(LinkFlags::Running));
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind: String::new(),
            mtu: 0,
            mac: Vec::new(),
            group: 0,
            below: None,
            is_up: false,
            lacks_carrier: up && !running,
            vxlan: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = usize::try_from(mtu).expect("64 bits"),
                LinkAttribute::Address(mac) => link.mac = mac,
                LinkAttribute::Group(group) => link.group = group,
                LinkAttribute::Link(below) => link.below = Some(below),
                LinkAttribute::OperState(state) => link.is_up = up && state == State::Up,
                LinkAttribute::LinkInfo(infos) => infos.into_iter().for_each(|info| link.learn(info)),
                _ => {}
            }
        }
        link
    }

    fn learn(&mut self, info: LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => self.kind = kind.to_string(),
            LinkInfo::Data(InfoData::Vxlan(parts)) => {
                let (mut number, mut port) = (0, 0);
                for part in parts {
                    match part {
                        InfoVxlan::Id(id) => number = id,
                        InfoVxlan::Port(of) => port = of,
                        _ => {}
                    }
                }
                self.vxlan = Some((number, port));
            }
            _ => {}
        }
    }
}

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The length of its prefix.
    pub length: u8,
    /// The number of its link.
    pub link: u32,
    /// Whether it is valid beyond its link.
    pub is_global: bool,
    /// Whether the kernel still asks for somebody else who has it.
    pub is_tentative: bool,
    /// Whether somebody else has it.
    pub is_taken: bool,
}

impl Address {
    fn of(message: AddressMessage) -> Option<Self> {
        let (mut address, mut local) = (None, None);
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Address(ip) => address = Some(ip),
                AddressAttribute::Local(ip) => local = Some(ip),
                AddressAttribute::Flags(all) => flags = all,
                _ => {}
            }
        }
        Some(Self {
            // Where both are there, the other is the peer's.
            ip: local.or(address)?,
            length: message.header.prefix_len,
            link: message.header.index,
            is_global: message.header.scope == AddressScope::Universe,
            is_tentative: flags.contains(AddressFlags::Tentative),
            is_taken: flags.contains(AddressFlags::Dadfailed),
        })
    }
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The number of its table.
    pub table: u32,
    /// Whether it leads to this host itself.
    pub is_local: bool,
    /// Where it leads and the length of that prefix; none is everywhere.
    pub to: Option<(IpAddr, u8)>,
    /// Who sends on.
    pub via: Option<IpAddr>,
    /// The number of the link by which packets leave.
    pub link: Option<u32>,
    /// The largest packet, where it is said.
    pub mtu: Option<u32>,
}

impl Route {
    /// The table that is meant where none is named.
    pub const MAIN: u32 = 254;

    fn of(message: RouteMessage) -> Self {
        let length = message.header.destination_prefix_length;
        let mut route = Self {
            table: message.header.table.into(),
            is_local: message.header.kind == RouteType::Local,
            to: None,
            via: None,
            link: None,
            mtu: None,
        };
        for attribute in message.attributes {
            match attribute {
                RouteAttribute::Table(table) => route.table = table,
                RouteAttribute::Destination(to) => route.to = plain(&to).map(|to| (to, length)),
                RouteAttribute::Gateway(via) => route.via = plain(&via),
                RouteAttribute::Via(RouteVia::Inet6(via)) => route.via = Some(via.into()),
                RouteAttribute::Oif(link) => route.link = Some(link),
                RouteAttribute::Metrics(metrics) => {
                    route.mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        route
    }
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

impl Netns {
    /// All links.
    ///
    /// # Panics
    /// When the kernel refuses, here and below.
    #[must_use]
    #[track_caller]
    pub fn links(&self) -> Vec<Link> {
        let asked = ask(self, |handle| handle.link().get().execute().map_ok(Link::of).try_collect());
        asked.expect("list the links")
    }

    /// The links whose names begin so.
    #[must_use]
    #[track_caller]
    pub fn links_named(&self, beginning: &str) -> Vec<Link> {
        self.links().into_iter().filter(|link| link.name.starts_with(beginning)).collect()
    }

    /// The links of a kind.
    #[must_use]
    #[track_caller]
    pub fn links_of_kind(&self, kind: &str) -> Vec<Link> {
        self.links().into_iter().filter(|link| link.kind == kind).collect()
    }

    /// The link of a name, which must be there.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    #[track_caller]
    pub fn link(&self, name: &str) -> Link {
        let found = self.links().into_iter().find(|link| link.name == name);
        found.unwrap_or_else(|| panic!("there is no link {name}"))
    }

    /// All addresses of a link, which must be there.
    #[must_use]
    #[track_caller]
    pub fn addresses(&self, link: &str) -> Vec<Address> {
        let index = self.link(link).index;
        self.all_addresses().into_iter().filter(|address| address.link == index).collect()
    }

    /// All addresses.
    #[must_use]
    #[track_caller]
    pub fn all_addresses(&self) -> Vec<Address> {
        let asked = ask(self, |handle| handle.address().get().execute().try_collect::<Vec<_>>());
        asked.expect("list the addresses").into_iter().filter_map(Address::of).collect()
    }

    /// The link-local address of a link.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    #[track_caller]
    pub fn link_local(&self, link: &str) -> Ipv6Addr {
        let own = self.addresses(link).into_iter().filter(|address| !address.is_global);
        let own = own.filter_map(|address| match address.ip {
            IpAddr::V6(ip) => Some(ip),
            IpAddr::V4(_) => None,
        });
        own.take(1).last().expect("a link-local address")
    }

    /// The routes of all tables of a family.
    #[must_use]
    #[track_caller]
    pub fn routes(&self, ipv6: bool) -> Vec<Route> {
        self.ask_for_routes(question(ipv6)).expect("list the routes")
    }

    /// The default routes of a family in the main table.
    #[must_use]
    #[track_caller]
    pub fn default_routes(&self, ipv6: bool) -> Vec<Route> {
        let is_default = |route: &Route| route.table == Route::MAIN && route.to.is_none();
        self.routes(ipv6).into_iter().filter(is_default).collect()
    }

    /// The route that a packet takes to an address, if there is one.
    #[must_use]
    #[track_caller]
    pub fn route_to(&self, to: IpAddr) -> Option<Route> {
        let mut question = question(to.is_ipv6());
        question.header.destination_prefix_length = if to.is_ipv4() { 32 } else { 128 };
        question.attributes.push(RouteAttribute::Destination(to.into()));
        self.ask_for_routes(question).ok()?.pop()
    }

    /// Whether the link of a name is there and up, and the host itself answers at each of its IPv6 addresses: the kernel
    /// makes their routes some moments after the addresses.
    #[must_use]
    #[track_caller]
    pub fn is_settled(&self, link: &str) -> bool {
        let routes = self.routes(true);
        let answers =
            |own: &Address| routes.iter().any(|route| route.is_local && route.to == Some((own.ip, 128)));
        self.link(link).is_up && self.addresses(link).iter().filter(|own| own.ip.is_ipv6()).all(answers)
    }

    fn ask_for_routes(&self, question: RouteMessage) -> Result<Vec<Route>, rtnetlink::Error> {
        ask(self, |handle| handle.route().get(question).execute().map_ok(Route::of).try_collect())
    }
}

fn question(ipv6: bool) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message
}

/// Asks by a socket of the namespace, and waits for the whole answer.
#[track_caller]
fn ask<T: Send, F>(net: &Netns, question: impl FnOnce(Handle) -> F + Send) -> T
where
    F: Future<Output = T>,
{
    net.within(|| {
        let (connection, handle, _) =
            new_connection_with_socket::<Asking>().expect("open a socket of rtnetlink");
        // The connection goes on for as long as there is a handle.
        let answer = pin!(question(handle.clone()));
        let mut both = pin!(select(answer, connection));
        let mut context = Context::from_waker(Waker::noop());
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match both.as_mut().poll(&mut context) {
                Poll::Ready(Either::Left((answer, _))) => return answer,
                Poll::Ready(Either::Right(_)) => panic!("rtnetlink ended without an answer"),
                Poll::Pending => assert!(Instant::now() < deadline, "the kernel does not answer"),
            }
        }
    })
}

/// A socket that never waits.
struct Asking(Socket);

impl AsyncSocket for Asking {
    fn socket_ref(&self) -> &Socket {
        &self.0
    }

    fn socket_mut(&mut self) -> &mut Socket {
        &mut self.0
    }

    fn new(protocol: isize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    fn poll_send(&self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        at_once(self.0.send(bytes, 0))
    }

    fn poll_send_to(&self, _: &mut Context<'_>, bytes: &[u8], to: &SocketAddr) -> Poll<io::Result<usize>> {
        at_once(self.0.send_to(bytes, to, 0))
    }

    fn poll_recv<B: BufMut>(&self, _: &mut Context<'_>, buffer: &mut B) -> Poll<io::Result<()>> {
        at_once(self.0.recv(buffer, 0)).map_ok(drop)
    }

    fn poll_recv_from<B: BufMut>(&self, _: &mut Context<'_>, buffer: &mut B) -> Poll<io::Result<SocketAddr>> {
        at_once(self.0.recv_from(buffer, 0)).map_ok(|(_, from)| from)
    }

    fn poll_recv_from_full(&self, _: &mut Context<'_>) -> Poll<io::Result<(Vec<u8>, SocketAddr)>> {
        at_once(self.0.recv_from_full())
    }
}

fn at_once<T>(done: io::Result<T>) -> Poll<io::Result<T>> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// What ip(8) makes is read as it was made.
    #[test]
    #[ignore = "needs root"]
    fn what_is_made_is_read() {
        let net = Netns::new();
        net.batch(
            "link add end0 address 02:00:00:00:00:07 mtu 1400 group 77 type veth peer name end1\n\
             link set end1 up\nlink set end0 up\n\
             link add lan0 link end0 type macvlan\nlink add tunnel0 type vxlan id 7 dstport 4789\n\
             addr add 192.0.2.1/24 dev end0\naddr add 2001:db8::1/64 dev end0 nodad\n\
             route add default via 192.0.2.254\nroute add 2001:db8:7::/48 via 2001:db8::fe\n\
             route add 198.51.100.0/24 via 192.0.2.253 mtu 1300 table 5270\n",
        );
        assert!(crate::lab::until(|| net.is_settled("end0")));
        let (end, tunnel) = (net.link("end0"), net.link("tunnel0"));
        assert_eq!((end.kind.as_str(), end.mtu, end.group), ("veth", 1400, 77));
        assert_eq!((end.mac, end.below), (vec![2, 0, 0, 0, 0, 7], Some(net.link("end1").index)));
        assert_eq!((tunnel.vxlan, tunnel.below), (Some((7, 4789)), None));
        assert_eq!(net.link("lan0").below, Some(end.index));
        assert!(!tunnel.is_up && !tunnel.lacks_carrier);
        assert_eq!(net.links_of_kind("vxlan"), [tunnel]);
        assert_eq!(net.links_named("end").len(), 2);

        let global: Vec<(IpAddr, u8)> = net
            .addresses("end0")
            .into_iter()
            .filter(|own| own.is_global)
            .map(|own| (own.ip, own.length))
            .collect();
        let (four, six) = (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        assert_eq!(global, [(four.into(), 24), (six.into(), 64)]);

        let gateway = |last| Some(IpAddr::from(Ipv4Addr::new(192, 0, 2, last)));
        let defaults = net.default_routes(false);
        assert_eq!((defaults.len(), defaults[0].via, defaults[0].link), (1, gateway(254), Some(end.index)));
        assert!(net.default_routes(true).is_empty());
        let special: Vec<Route> = net.routes(false).into_iter().filter(|route| route.table == 5270).collect();
        assert_eq!((special.len(), special[0].via, special[0].mtu), (1, gateway(253), Some(1300)));
        let by = net.route_to("2001:db8:7::7".parse().unwrap()).expect("a route");
        assert_eq!(by.via, Some("2001:db8::fe".parse().unwrap()));
        assert!(net.route_to(four.into()).expect("a route").is_local);
        assert_eq!(net.route_to("2001:db8:8::8".parse().unwrap()), None);
    }
}
