use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::port::parse_published;
use serde_json::json;

use super::*;
use crate::input::config::Config;
use crate::input::request::Request;

const GROUP: u32 = 0x6f00_0007;
/// The link-local address that the kernel forms from the container's Ethernet address.
const LINK_LOCAL: &str = "fe80::6f:aff:fe5a:7";

fn network(internal: bool) -> Network {
    serde_json::from_value(json!({
        "name": "blue", "driver": "bridge", "settings": {"bridge": "ocinet0"}, "mtu": null, "group": GROUP,
        "subnets": [
            {"range": "10.90.0.0/16", "gateway": "10.90.0.1"}, {"range": "fd00:5a::/64", "gateway": "fd00:5a::1"},
        ],
        "internal": internal, "isolate": true,
        "links": [{"name": "ocinet0", "mac": "02:6f:00:00:00:01", "kind": "bridge"}],
    }))
    .unwrap()
}

fn attachment(parent: Option<&str>, addresses: &[&str]) -> Attachment {
    serde_json::from_value(json!({
        "interface": "eth0", "driver": "bridge", "network": "blue", "parent": parent,
        "host_interface": "oc-a", "host_ifindex": 0, "mac": "02:6f:0a:5a:00:07", "mtu": null,
        "addresses": addresses, "gateways": [], "ports": [],
    }))
    .unwrap()
}

/// The elements of a container with a veth pair as text; the annotations come beside `net.driver=bridge`.
fn of_container(network: &Network, attachment: &Attachment, annotations: &[(&str, &str)]) -> Vec<String> {
    let all = [("net.driver", "bridge")].iter().chain(annotations);
    let all = all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let request = Request::parse(all, &Config::default(), &|_| Ok(None)).unwrap().unwrap();
    let request = &request.attachments[0];
    let addresses: Vec<IpAddr> = attachment.addresses.iter().map(Cidr::address).collect();
    let name: IfName = "oc-a".parse().unwrap();
    texts(&elements(
        &Inputs {
            request,
            network,
            addresses: &addresses,
            ports: &request.ports,
            host_interface: &name,
            shaper: &name,
        },
        attachment,
    ))
}

fn texts(elements: &[Element]) -> Vec<String> {
    elements.iter().map(ToString::to_string).collect()
}

fn ports(texts: &[&str]) -> Vec<PublishedPort> {
    texts.iter().flat_map(|text| parse_published(text).unwrap()).collect()
}

#[test]
fn a_container_on_a_bridge_has_elements_of_both_families() {
    let attachment = attachment(Some("ocinet0"), &["10.90.0.7/16", "fd00:5a::7/64"]);
    let found = of_container(&network(false), &attachment, &[("net.ports", "8080:80")]);
    let of_link = "\"oc-a\" . 02:6f:0a:5a:00:07";
    let expected = [
        // Whether a start that was killed had added its elements is asked of the kernel by the first.
        "bridge ocinet links { \"oc-a\" }".to_owned(),
        "inet ocinet container4 { 10.90.0.7 }".to_owned(),
        "inet ocinet itself4 { 10.90.0.7 . 10.90.0.7 }".to_owned(),
        format!("bridge ocinet source4 {{ {of_link} . 10.90.0.7 }}"),
        "inet ocinet container6 { fd00:5a::7 }".to_owned(),
        "inet ocinet itself6 { fd00:5a::7 . fd00:5a::7 }".to_owned(),
        format!("bridge ocinet source6 {{ {of_link} . fd00:5a::7 }}"),
        format!("bridge ocinet target6 {{ {of_link} . fd00:5a::7 }}"),
        format!("bridge ocinet source6 {{ {of_link} . {LINK_LOCAL} }}"),
        format!("bridge ocinet target6 {{ {of_link} . {LINK_LOCAL} }}"),
        "inet ocinet member4 { 0x6f000007 . 10.90.0.7 }".to_owned(),
        "inet ocinet sent4 { 10.90.0.7 }".to_owned(),
        "inet ocinet received4 { 10.90.0.7 }".to_owned(),
        "inet ocinet masquerade4 { 10.90.0.7 }".to_owned(),
        "inet ocinet publish4 { tcp . 8080 : 10.90.0.7 . 80 }".to_owned(),
        "inet ocinet taken4 { tcp . 8080 }".to_owned(),
        "inet ocinet port_in4 { 10.90.0.7 . tcp . 80 . 8080 }".to_owned(),
        "inet ocinet port_out4 { 10.90.0.7 . tcp . 80 . 8080 }".to_owned(),
        "inet ocinet member6 { 0x6f000007 . fd00:5a::7 }".to_owned(),
        "inet ocinet sent6 { fd00:5a::7 }".to_owned(),
        "inet ocinet received6 { fd00:5a::7 }".to_owned(),
        "inet ocinet masquerade6 { fd00:5a::7 }".to_owned(),
        "inet ocinet publish6 { tcp . 8080 : fd00:5a::7 . 80 }".to_owned(),
        "inet ocinet taken6 { tcp . 8080 }".to_owned(),
        "inet ocinet port_in6 { fd00:5a::7 . tcp . 80 . 8080 }".to_owned(),
        "inet ocinet port_out6 { fd00:5a::7 . tcp . 80 . 8080 }".to_owned(),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_container_on_no_bridge_is_kept_to_its_addresses_by_its_link() {
    let attachment = attachment(None, &["10.90.0.7/16", "fd00:5a::7/64"]);
    let found = of_container(&network(true), &attachment, &[]);
    let expected = [
        "inet ocinet routed { \"oc-a\" }".to_owned(),
        "inet ocinet container4 { 10.90.0.7 }".to_owned(),
        "inet ocinet itself4 { 10.90.0.7 . 10.90.0.7 }".to_owned(),
        "inet ocinet routed_source4 { \"oc-a\" . 10.90.0.7 }".to_owned(),
        "inet ocinet container6 { fd00:5a::7 }".to_owned(),
        "inet ocinet itself6 { fd00:5a::7 . fd00:5a::7 }".to_owned(),
        "inet ocinet routed_source6 { \"oc-a\" . fd00:5a::7 }".to_owned(),
        format!("inet ocinet routed_source6 {{ \"oc-a\" . {LINK_LOCAL} }}"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_container_without_a_link_of_the_hosts_has_no_elements_of_its_own() {
    let mut attachment = attachment(None, &["10.90.0.7/16"]);
    attachment.host_interface = None;
    assert_eq!(of_container(&network(true), &attachment, &[]), Vec::<String>::new());
}

#[test]
fn a_container_leaves_behind_one_address_of_a_family_at_most() {
    let attachment = attachment(Some("ocinet0"), &["10.90.0.7/16", "fd00:5a::7/64"]);
    let (masquerade4, masquerade6) =
        ("inet ocinet masquerade4 { 10.90.0.7 }", "inet ocinet masquerade6 { fd00:5a::7 }");
    let (snat4, snat6) =
        ("inet ocinet snat4 { 10.90.0.7 : 192.0.2.4 }", "inet ocinet snat6 { fd00:5a::7 : 2001:db8::4 }");
    for (annotation, expected) in [
        (None, vec![masquerade4, masquerade6]),
        (Some(("net.masquerade", "false")), vec![]),
        (Some(("net.snat", "192.0.2.4")), vec![snat4, masquerade6]),
        (Some(("net.snat", "192.0.2.4,2001:db8::4")), vec![snat4, snat6]),
    ] {
        let found = of_container(&network(false), &attachment, annotation.as_slice());
        let leaves = |text: &&String| text.contains("masquerade") || text.contains("snat");
        assert_eq!(found.iter().filter(leaves).collect::<Vec<_>>(), expected, "{annotation:?}");
        // No element of an internal network lets anything out.
        let found = of_container(&network(true), &attachment, annotation.as_slice());
        assert!(!found.iter().any(|text| leaves(&text) || text.contains("member")), "{found:?}");
    }
}

#[test]
fn a_container_is_open_to_the_outside_where_it_asks_for_that_alone() {
    let attachment = attachment(Some("ocinet0"), &["10.90.0.7/16", "fd00:5a::7/64"]);
    let expected = ["inet ocinet inbound4 { 10.90.0.7 }", "inet ocinet inbound6 { fd00:5a::7 }"];
    for (value, expected) in [("true", &expected[..]), ("false", &[])] {
        let found = of_container(&network(false), &attachment, &[("net.allow-inbound", value)]);
        let inbound: Vec<_> = found.iter().filter(|text| text.contains("inbound")).collect();
        assert_eq!(inbound, expected);
    }
}

#[test]
fn one_port_of_two_host_addresses_is_counted_once() {
    let attachment = attachment(Some("ocinet0"), &["10.90.0.7/16", "fd00:5a::7/64"]);
    let asked = [("net.ports", "192.0.2.1:53:53/udp,192.0.2.2:53:53/udp,[2001:db8::1]:53:5353/udp")];
    let found = of_container(&network(false), &attachment, &asked);
    let of_ports: Vec<_> = found
        .iter()
        .filter(|text| ["publish", "taken", "port_"].iter().any(|set| text.contains(set)))
        .collect();
    let expected = [
        "inet ocinet publish4_bound { 192.0.2.1 . udp . 53 : 10.90.0.7 . 53 }",
        "inet ocinet port_in4 { 10.90.0.7 . udp . 53 . 53 }",
        "inet ocinet port_out4 { 10.90.0.7 . udp . 53 . 53 }",
        "inet ocinet publish4_bound { 192.0.2.2 . udp . 53 : 10.90.0.7 . 53 }",
        "inet ocinet publish6_bound { 2001:db8::1 . udp . 53 : fd00:5a::7 . 5353 }",
        "inet ocinet port_in6 { fd00:5a::7 . udp . 5353 . 53 }",
        "inet ocinet port_out6 { fd00:5a::7 . udp . 5353 . 53 }",
    ];
    assert_eq!(of_ports, expected);
}

#[test]
fn who_shares_the_addresses_of_another_publishes_and_does_not_count_twice() {
    let addresses: Vec<Cidr> = ["10.90.0.7/16", "fd00:5a::7/64"].map(|cidr| cidr.parse().unwrap()).to_vec();
    let own = ports(&["192.0.2.1:53:53/udp", "0.0.0.0:81:81"]);
    let of_81 = [
        "inet ocinet publish4 { tcp . 81 : 10.90.0.7 . 81 }",
        "inet ocinet taken4 { tcp . 81 }",
        "inet ocinet port_in4 { 10.90.0.7 . tcp . 81 . 81 }",
        "inet ocinet port_out4 { 10.90.0.7 . tcp . 81 . 81 }",
    ];
    let publish = "inet ocinet publish4_bound { 192.0.2.1 . udp . 53 : 10.90.0.7 . 53 }";
    let counters = [
        "inet ocinet port_in4 { 10.90.0.7 . udp . 53 . 53 }",
        "inet ocinet port_out4 { 10.90.0.7 . udp . 53 . 53 }",
    ];
    for (of_owner, is_counted) in [
        (&[][..], false),
        (&["192.0.2.2:53:53/udp"], true),
        (&["192.0.2.2:53:53/tcp"], false),
        (&["192.0.2.2:54:53/udp"], false),
    ] {
        let found = published(&own, &addresses, &ports(of_owner));
        let counters = if is_counted { &[][..] } else { &counters };
        assert_eq!(texts(&found), [&[publish][..], counters, &of_81].concat(), "{of_owner:?}");
    }
}

#[test]
fn what_publishes_a_port_is_found_by_the_port() {
    let cidr: [Cidr; 2] = ["10.90.0.7/16", "fd00:5a::7/64"].map(|cidr| cidr.parse().unwrap());
    for (cidr, publishes) in cidr.iter().zip(["publish4 { tcp . 80 }", "publish6 { tcp . 80 }"]) {
        let port = ports(&["80:8080"])[0];
        let publish = publish(&port, cidr);
        let wildcard = wildcard_element(&port, cidr.family());
        assert_eq!(wildcard.to_string(), format!("inet ocinet {publishes}"));
        assert_eq!(publish_of_taken(&taken(&port, cidr.family()).unwrap()), Some(wildcard));
        assert_eq!(publish_of_taken(&publish), None);
        assert_eq!(address_of(&publish.value_bytes()), Some(cidr.address()));
        assert_eq!(address_of(&publish.value_bytes()[1..]), None);
    }
}

#[test]
fn udp_ports_are_told_with_their_family_and_host_address() {
    let cidr: [Cidr; 2] = ["10.90.0.7/16", "fd00:5a::7/64"].map(|cidr| cidr.parse().unwrap());
    let asked = ports(&["80:80", "53:5353/udp", "192.0.2.1:54:53/udp"]);
    let elements = published(&asked, &cidr, &[]);
    let told = |family, bound: Option<&str>, port| NowPublished {
        family,
        bound: bound.map(|address| address.parse().unwrap()),
        port,
    };
    let expected = [
        told(Family::Ipv4, None, 53),
        told(Family::Ipv4, Some("192.0.2.1"), 54),
        told(Family::Ipv6, None, 53),
    ];
    assert_eq!(udp_ports(elements.iter()), expected);
}

#[test]
fn a_network_is_known_to_the_rules_by_its_group() {
    let (within, internal, open) = (
        "inet ocinet within { 0x6f000007 . 0x6f000007 }",
        "inet ocinet internal { 0x6f000007 }",
        "inet ocinet open { 0x6f000007 }",
    );
    for (group, is_internal, isolate, expected) in [
        (GROUP, false, true, vec![within]),
        (GROUP, true, true, vec![within, internal]),
        (GROUP, false, false, vec![within, open]),
        // The host does not route for it.
        (0, true, false, vec![]),
    ] {
        let network = Network { group, isolate, ..network(is_internal) };
        assert_eq!(texts(&network_elements(&network)), expected);
    }
}

#[test]
fn a_tunnels_end_is_kept_from_the_gateways_of_other_hosts() {
    let mut network = Network { group: 0, ..network(false) };
    let tunnel = json!({
        "name": "ocx0", "mac": "02:6f:00:00:00:02", "kind": "vxlan", "bridge": "ocinet0", "vni": 42, "port": 4789,
        "local": null, "parent": null, "group": null, "peers": [],
    });
    network.links.push(serde_json::from_value(tunnel).unwrap());
    let expected = [
        "bridge ocinet tunnels { \"ocx0\" }",
        "bridge ocinet tunnels_out { \"ocx0\" }",
        "bridge ocinet gateways { \"ocx0\" . 02:6f:00:00:00:01 }",
        "bridge ocinet gateways4 { \"ocx0\" . 10.90.0.1 }",
        "bridge ocinet gateways6 { \"ocx0\" . fd00:5a::1 }",
        "inet ocinet overlays { 4789 . 42 }",
    ];
    assert_eq!(texts(&network_elements(&network)), expected);
}
