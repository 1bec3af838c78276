//! Connections of the host's own that have the port which a container publishes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ocinet_tests::lab::{DUAL, HOST4, HOST6, HeldPort, Lab, PEER4, PEER6, Server};

use crate::conflict::refused_as_it_is;
use crate::reach::reaches;
use crate::reload::Connection;

/// The first container's tables turn connection tracking on: until then the kernel remembers no connection, and the next
/// packet of one looks like the first.
#[test]
#[ignore = "needs root"]
fn a_connection_of_the_hosts_own_goes_on_when_its_port_is_published() {
    for (peer, host) in [(PEER4, HOST4), (PEER6, HOST6)] {
        let lab = Lab::new();
        let outward = Connection::new(&lab.host, &lab.peer, 5000, SocketAddr::new(peer, 5000));
        let served = Connection::new(&lab.peer, &lab.host, 40_001, SocketAddr::new(host, 40_001));
        let own = Connection::new(&lab.host, &lab.host, 5001, SocketAddr::new(host, 5001));
        let loopback: IpAddr = if host.is_ipv6() { host } else { Ipv4Addr::LOCALHOST.into() };
        let local = Connection::new(&lab.host, &lab.host, 5002, SocketAddr::new(loopback, 5002));
        let (first, second, third) = (outward.client_port(), own.client_port(), local.client_port());
        let ports = format!("{first}:80,40001:80,{second}:80,{third}:80");
        let web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", &ports)]);
        let server = Server::tcp(&web.net, 80, "web");
        for connection in [&outward, &own, &local] {
            connection.is_told("after");
            connection.carries("in the end");
        }
        // Here the client is the one that sends to the published port.
        served.carries("after");
        assert_eq!(server.all_clients(), [] as [IpAddr; 0]);
        for port in [first, 40_001, second, third] {
            reaches(&lab.peer, host, port, "web");
        }
        outward.is_told("beside others");
        served.carries("beside others");
    }
}

/// Nothing tells a datagram of a connection from any other's.
#[test]
#[ignore = "needs root"]
fn a_udp_port_that_a_connected_socket_of_the_host_has_is_not_published() {
    let lab = Lab::new();
    let own = IpAddr::from(Ipv4Addr::LOCALHOST);
    for (any, peer, more) in [
        (Ipv4Addr::UNSPECIFIED.into(), PEER4, ""),
        (Ipv6Addr::UNSPECIFIED.into(), PEER6, "[::]:"),
        (own, own, ""),
    ] {
        let holder = HeldPort::udp_connected(&lab.host, any, 40_000, peer);
        let ports = format!("{more}40000:53/udp");
        let asked = [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", &ports)];
        refused_as_it_is(&lab, &asked, 4, &holder.named());
        drop(holder);
        let app = lab.attach("app", &asked);
        let server = Server::udp(&app.net, 53, "app");
        let to = SocketAddr::new(if peer.is_ipv6() { HOST6 } else { HOST4 }, 40_000);
        let answer = ocinet_tests::lab::ask_udp(&lab.peer, to, crate::PATIENCE).expect("an answer");
        assert_eq!(answer.from, "app");
        drop(server);
        lab.detach(app);
    }
}
