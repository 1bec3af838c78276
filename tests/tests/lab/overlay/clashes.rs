//! What is in a tunnel's way: one line that says what it is, and nothing changed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ocinet_tests::lab::{DUAL, HOST4, HeldPort, Lab, Server, until};

use super::{Overlay, SUBNET, Underlay};
use crate::conflict::refused_as_it_is;
use crate::life::used;
use crate::reach::reaches;

const PEERS: &str = "198.51.100.31";

/// The tables are there, and stay.
fn lab_in_use() -> Lab {
    let lab = Lab::new();
    used(&lab);
    lab
}

/// A start on network vxlan-7 as its first container's, but for `more`; an empty value leaves a key out.
#[track_caller]
fn refused(lab: &Lab, more: &[(&str, &str)], code: i32, says: &str) {
    let mut annotations = vec![
        ("net.driver", "vxlan"),
        ("net.vni", "7"),
        ("net.subnet", SUBNET),
        ("net.ip", "10.99.0.9,fd00:99::9"),
        ("net.peers", PEERS),
    ];
    annotations.retain(|(key, _)| !more.iter().any(|(other, _)| other == key));
    annotations.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    refused_as_it_is(lab, &annotations, code, says);
}

#[test]
#[ignore = "needs root"]
fn a_number_that_another_link_has() {
    let lab = lab_in_use();
    lab.host.batch("link add vx0 type vxlan id 7 dstport 4789 local 198.51.100.10\n");
    refused(&lab, &[], 4, "cannot use VNI 7 on UDP port 4789: the link vx0 has it already;");
    lab.host.batch("link del vx0\nlink add vx1 type vxlan id 7 dstport 4789 group 239.9.9.9 dev eth0\n");
    let says = "the link vx1 has it already, towards 239.9.9.9;";
    refused(&lab, &[], 4, says);
    refused(&lab, &[("net.peers", ""), ("net.group", "239.1.1.7")], 4, says);
    // On another port it is another number.
    let other = [("net.driver", "vxlan"), ("net.vni", "7"), ("net.port", "4790"), ("net.subnet", SUBNET)];
    let _other = lab.attach("other", &[&other[..], &[("net.ip", "10.99.0.9")]].concat());
}

#[test]
#[ignore = "needs root"]
fn a_udp_port_that_something_else_has() {
    let lab = lab_in_use();
    let any6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    for address in [Ipv4Addr::UNSPECIFIED.into(), HOST4, any6] {
        let holder = HeldPort::udp(&lab.host, address, 4789);
        refused(&lab, &[], 4, &format!("cannot tunnel by UDP port 4789: {}", holder.named()));
    }
    let holder = HeldPort::udp(&lab.host, any6, 4789);
    refused(&lab, &[("net.peers", "2001:db8:1::31")], 4, &holder.named());
    drop(holder);
    // A link that takes all numbers of the port, as other overlays on a host have it.
    lab.host.batch("link add flow0 type vxlan external dstport 4789\nlink set flow0 up\n");
    refused(&lab, &[], 4, "the VXLAN link flow0 holds it");
    lab.host.batch("link del flow0\n");
    let web =
        lab.attach("web", &[("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "4789:53/udp")]);
    refused(&lab, &[], 4, "container web publishes it");
    lab.detach(web);
    assert!(until(|| lab.host.links_named("oc-").is_empty()));
    let bound = format!("{HOST4}:4789:53/udp");
    let web = lab.attach("web", &[("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", &bound)]);
    refused(&lab, &[], 4, "container web publishes it");
    lab.detach(web);
}

#[test]
#[ignore = "needs root"]
fn a_tunnels_port_is_not_published() {
    let overlay = Overlay::new(Underlay::Peers4);
    let _a = overlay.attach(0, 10, &[]);
    let published = [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "4789:53/udp")];
    refused_as_it_is(&overlay.lab, &published, 4, "the VXLAN link oc-vni7 holds it");
    let bound = format!("{HOST4}:4789:53/udp");
    let bound = [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", bound.as_str())];
    refused_as_it_is(&overlay.lab, &bound, 4, "the VXLAN link oc-vni7 holds it");
    // TCP's port of the same number is another.
    let tcp = [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "4789:80")];
    let web = overlay.lab.attach("web", &tcp);
    let _server = Server::tcp(&web.net, 80, "web");
    reaches(&overlay.lab.peer, HOST4, 4789, "web");
}

#[test]
#[ignore = "needs root"]
fn links_of_others_that_have_the_names() {
    let lab = lab_in_use();
    lab.host.batch("link add oc-vxlan-7 type bridge\n");
    refused(&lab, &[], 4, "oc-vxlan-7 exists and is a bridge that ocinet did not make for this network");
    refused(&lab, &[("net.bridge", "eth0")], 4, "eth0 exists and is not a bridge");
    lab.host.batch("link add oc-vni7 type bridge\n");
    refused(&lab, &[("net.bridge", "free0")], 4, "oc-vni7 exists and is not a vxlan");
    lab.host.batch("link del oc-vni7\nlink add oc-vni7 type vxlan id 99 dstport 4799\n");
    let says = "oc-vni7 exists and is a vxlan that ocinet did not make for this network";
    refused(&lab, &[("net.bridge", "free0")], 4, says);
}

#[test]
#[ignore = "needs root"]
fn what_contradicts_the_network_as_it_is() {
    let overlay = Overlay::new(Underlay::Peers4);
    let lab = &overlay.lab;
    let plain = ("net.peers", PEERS);
    let _a = overlay.attach(0, 10, &[plain, ("net.local", "198.51.100.10")]);
    let here = [("net.network", "vxlan-7"), ("net.local", "198.51.100.10")];
    for (key, value, has) in [
        ("net.vni", "8", "7"),
        ("net.port", "4790", "4789"),
        ("net.peers", "198.51.100.32", PEERS),
        ("net.local", "198.51.100.12", "198.51.100.10"),
        ("net.parent", "eth0", "none"),
        ("net.bridge", "other0", "oc-vxlan-7"),
        ("net.subnet", "10.99.0.0/24", SUBNET),
        ("net.gateway", "10.99.0.254", "10.99.0.1,fd00:99::1"),
        ("net.internal", "true", "false"),
    ] {
        let mut annotations = here.to_vec();
        annotations.retain(|(other, _)| *other != key);
        annotations.push((key, value));
        let both = format!("{key} asks for {value}, but the network was made with {has}");
        refused(lab, &annotations, 4, &both);
    }
    let group = [("net.peers", ""), ("net.group", "239.1.1.7")];
    refused(lab, &group, 4, "net.group asks for 239.1.1.7, but the network was made with none");
    let bridge = [("net.driver", "bridge"), ("net.network", "vxlan-7")];
    refused_as_it_is(lab, &bridge, 4, "net.driver asks for bridge, but the network was made with vxlan");
    // What is left out is shared, and so is what is repeated, in whatever order.
    let _b = overlay.attach(0, 11, &[plain]);
    let _c = lab.attach("c", &[("net.network", "vxlan-7"), ("net.ip", "10.99.0.12,fd00:99::12")]);
}

#[test]
#[ignore = "needs root"]
fn a_number_that_another_network_has() {
    let overlay = Overlay::new(Underlay::Group4);
    let _a = overlay.attach(0, 10, &[]);
    let other = [("net.network", "other"), ("net.subnet", "10.98.0.0/24"), ("net.ip", "10.98.0.9")];
    refused(&overlay.lab, &other, 4, "cannot use the VNI 7: it is the vxlan of network vxlan-7;");
    let port = [&other[..], &[("net.port", "4790")]].concat();
    refused(&overlay.lab, &port, 4, "cannot use the VNI 7: it is the vxlan of network vxlan-7;");
    let subnet = [("net.vni", "8"), ("net.subnet", "10.99.0.0/16")];
    refused(&overlay.lab, &subnet, 4, "it overlaps the subnet of network vxlan-7;");
}

#[test]
#[ignore = "needs root"]
fn an_underlay_that_is_not_there() {
    let lab = lab_in_use();
    refused(
        &lab,
        &[("net.local", "192.0.2.1")],
        4,
        "cannot tunnel from 192.0.2.1: it is not an address of this host",
    );
    refused(&lab, &[("net.parent", "eth9")], 4, "cannot use eth9 as the parent: there is no such link");
    refused(&lab, &[("net.parent", "lo")], 3, "\"lo\" is a reserved name");
    refused(&lab, &[("net.local", "2001:db8:1::10")], 3, "mix IPv4 and IPv6");
    lab.host.batch("link set eth0 mtu 1300\n");
    refused(
        &lab,
        &[],
        3,
        "IPv6 needs an MTU of 1280, and packets leave the host by a link that has room for 1250",
    );
    refused(&lab, &[("net.mtu", "1200")], 3, "1200 is less than the 1280 that IPv6 needs");
    let _small = lab.attach(
        "small",
        &[("net.driver", "vxlan"), ("net.vni", "7"), ("net.subnet", "10.99.0.0/24"), ("net.ip", "10.99.0.9")],
    );
}
