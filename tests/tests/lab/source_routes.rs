//! Packets to the host that say to whom it is to send them on, on a host whose administrator lets it.

use std::net::{IpAddr, SocketAddr};

use ocinet_tests::lab::{
    Attached, Capture, Endpoint, Frame, Lab, PEER4, PEER6, Seen, Server, Wire, link_address, source_routes,
};

use crate::disguise::{Guards, host_end};

fn container(lab: &Lab, driver: &str, number: u8, more: &[(&str, &str)]) -> Attached {
    let (network, subnet) = (format!("net{number}"), format!("10.9{number}.0.0/24,fd00:9{number}::/64"));
    let (vni, address) = (number.to_string(), format!("10.9{number}.0.7,fd00:9{number}::7"));
    let mut annotations = vec![("net.driver", driver), ("net.network", &network), ("net.subnet", &subnet)];
    annotations.push(("net.ip", &address));
    if driver == "vxlan" {
        annotations.push(("net.vni", &vni));
    }
    annotations.extend(more);
    lab.attach(&network, &annotations)
}

/// Sends what the gateway is to send on to `hop`. It knows the connection, and this is not the first such packet of it.
fn send_by_gateway(lab: &Lab, from: &Attached, number: u8, hop: IpAddr) {
    let ipv6 = hop.is_ipv6();
    let link = from.record["attachments"][0]["parent"].as_str().map_or_else(|| host_end(from), str::to_owned);
    let gateway = if ipv6 { format!("fd00:9{number}::1") } else { format!("10.9{number}.0.1") };
    let own = Endpoint::new(link_address(&from.net, "eth0"), from.address(ipv6), 40000);
    let frame =
        Frame::new(own, Endpoint::new(link_address(&lab.host, &link), gateway.parse().unwrap(), 7000));
    let mut datagram = frame.udp(b"on");
    if !ipv6 {
        // Its checksum would be wrong at the other address.
        datagram[40..42].fill(0);
    }
    let wire = Wire::of(&from.net, "eth0");
    for packet in [frame.echo(b"on"), datagram] {
        wire.send(&packet);
        for (_, routed) in source_routes(&frame, &packet, hop) {
            (0..2).for_each(|_| wire.send(&routed));
        }
    }
}

/// Neither another network nor what listens on 127.0.0.1, and no internal network reaches the LAN: also without rules, or
/// without filters.
#[test]
#[ignore = "needs root"]
fn the_host_sends_nothing_on_by_a_containers_source_route() {
    for driver in ["bridge", "veth", "vxlan"] {
        for guards in Guards::ALL {
            let lab = Lab::new();
            lab.obey_source_routes();
            let (red, blue) = (container(&lab, driver, 3, &[]), container(&lab, driver, 4, &[]));
            let inside = container(&lab, driver, 5, &[("net.internal", "true")]);
            guards.alone(&lab, &[&red, &blue, &inside].map(host_end));
            let local = Server::udp_at(&lab.host, SocketAddr::new([127, 0, 0, 1].into(), 7000), "loopback");
            let [at_red, at_peer] = [&red.net, &lab.peer].map(Capture::new);
            for ipv6 in [false, true] {
                send_by_gateway(&lab, &blue, 4, red.address(ipv6));
                send_by_gateway(&lab, &inside, 5, red.address(ipv6));
                send_by_gateway(&lab, &inside, 5, if ipv6 { PEER6 } else { PEER4 });
            }
            send_by_gateway(&lab, &blue, 4, [127, 0, 0, 1].into());
            let what = format!("{driver}, {guards:?}");
            let came = |seen: &Seen| seen.ends_with(b"on");
            assert!(!at_red.drain().iter().any(came), "{what}: at another network");
            assert!(!at_peer.drain().iter().any(came), "{what}: an internal network's at the LAN");
            assert!(local.clients().is_empty(), "{what}: at the host's loopback");
        }
    }
}

/// A link of ocinet's that was made otherwise is named.
#[test]
#[ignore = "needs root"]
fn a_link_that_obeys_source_routes_is_named() {
    let lab = Lab::new();
    let app = container(&lab, "bridge", 3, &[]);
    let bridge = app.record["attachments"][0]["parent"].as_str().unwrap();
    let settings = [("ipv4", "accept_source_route"), ("ipv6", "seg6_enabled"), ("ipv6", "rpl_seg_enabled")];
    for (family, setting) in settings {
        lab.host.sysctl(&format!("{family}/conf/{bridge}/{setting}"), "1");
        let said = lab.run(&["check"], "").stdout;
        assert!(said.contains(&format!("{setting} is 1 instead of 0")), "{said}");
    }
}
