use std::net::UdpSocket;

use ocinet_shared::model::cidr::Cidr;
use ocinet_shared::model::port::parse_published;
use ocinet_shared::model::port_elements::{publish, taken};

use super::*;

const MAC: Mac = Mac([2, 0x6f, 0x0a, 0x5a, 0, 7]);

fn name(text: &str) -> ContainerId {
    text.parse().unwrap()
}

fn port(text: &str) -> PublishedPort {
    parse_published(text).unwrap()[0]
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A state folder in which container `web` has something of each kind.
fn with_web(made: &tempfile::TempDir) -> StateDir {
    let (state, web) = (StateDir::new(made.path().join("state")), name("web"));
    let claims = [
        state.lease_path(&name("blue"), address("10.90.0.7")),
        state.lease_path(&name("blue"), address("fd00:5a::7")),
        state.mac_claim_path(&SharedLink::Parent("eth7".parse().unwrap()), MAC),
        state.port_claim_path(&port("192.0.2.1:53:53/udp")).unwrap(),
    ];
    assert!(claims.iter().all(|claim| leases::take(&state, claim, &web).unwrap()));
    state
}

/// Who has it, and the message.
fn told(conflict: &Conflict) -> (Option<&str>, bool, String) {
    let by = conflict.by.as_ref().map(ContainerId::as_str);
    (by, conflict.is_given_back, conflict.error.without_hint())
}

#[test]
fn a_conflict_names_the_container_that_has_it() {
    let made = tempfile::tempdir().unwrap();
    let state = with_web(&made);
    let lease = of_lease(&state, &name("blue"), address("10.90.0.7"));
    assert_eq!(lease.what, Wanted::Address(address("10.90.0.7")));
    let of_web = |text: &str| (Some("web"), false, text.to_owned());
    assert_eq!(told(&lease), of_web("cannot lease 10.90.0.7 from network blue: container web has it"));
    let mac = of_mac(&state, &SharedLink::Parent("eth7".parse().unwrap()), MAC);
    assert_eq!(mac.what, Wanted::Mac(MAC));
    let text = "cannot use the Ethernet address 02:6f:0a:5a:00:07 on the parent eth7: container web has it";
    assert_eq!(told(&mac), of_web(text));
    let wanted = port("192.0.2.1:53:5353/udp");
    let claim = of_claim(&state, &wanted, &state.port_claim_path(&wanted).unwrap());
    assert_eq!(claim.what, Wanted::Port(53));
    assert_eq!(told(&claim), of_web("cannot publish port 53/udp: container web holds it"));
    assert!([lease, mac, claim].iter().all(|conflict| conflict.error.exit_code() == 4));
}

#[test]
fn what_nobody_has_any_more_was_given_back() {
    let made = tempfile::tempdir().unwrap();
    let state = with_web(&made);
    // The same address of another network, and the same Ethernet address on another link.
    let lease = of_lease(&state, &name("red"), address("10.90.0.7"));
    let text = "cannot lease 10.90.0.7 from network red: another container has it";
    assert_eq!(told(&lease), (None, true, text.to_owned()));
    assert!(of_mac(&state, &SharedLink::Parent("eth8".parse().unwrap()), MAC).is_given_back);
    assert!(of_mac(&state, &SharedLink::Network(name("eth7")), MAC).is_given_back);
    let path = state.lease_path(&name("blue"), address("10.90.0.7"));
    leases::release(&state, &path, &name("web")).unwrap();
    assert!(of_lease(&state, &name("blue"), address("10.90.0.7")).is_given_back);
}

/// It is there: whoever waits for it to be given back would wait in vain.
#[test]
fn what_cannot_be_read_was_not_given_back() {
    let made = tempfile::tempdir().unwrap();
    let state = with_web(&made);
    let path = state.lease_path(&name("blue"), address("10.90.0.8"));
    std::fs::write(&path, "../no id\n").unwrap();
    let lease = of_lease(&state, &name("blue"), address("10.90.0.8"));
    let text = "cannot lease 10.90.0.8 from network blue: another container has it";
    assert_eq!(told(&lease), (None, false, text.to_owned()));
}

#[test]
fn a_published_port_is_its_containers_whose_address_it_leads_to() {
    let made = tempfile::tempdir().unwrap();
    let state = with_web(&made);
    for (published, leads_to, by) in [
        ("8080:80", "10.90.0.7/16", Some("web")),
        ("8080:80", "fd00:5a::7/64", Some("web")),
        ("192.0.2.1:8080:80", "10.90.0.7/16", Some("web")),
        ("8080:80", "10.90.0.8/16", None),
        ("8080:80", "fd00:5a::8/64", None),
    ] {
        let element = publish(&port(published), &leads_to.parse::<Cidr>().unwrap());
        let found = of_element(&state, &element, Some(&element.value_bytes()));
        assert_eq!(found.what, Wanted::Port(8080));
        let holder = by.map_or("another container".to_owned(), |by| format!("container {by}"));
        let text = format!("cannot publish port 8080/tcp: {holder} holds it");
        assert_eq!(told(&found), (by, false, text), "{published} {leads_to}");
        // It is not there any more.
        let found = of_element(&state, &element, None);
        assert_eq!((found.by, found.is_given_back), (None, true));
    }
    let other = taken(&port("8080:80"), Family::Ipv4).unwrap();
    let found = of_element(&state, &other, Some(&[]));
    assert_eq!(found.what, Wanted::Port(0));
    let text = "cannot publish port inet ocinet taken4 { tcp . 8080 }: another container holds it";
    assert_eq!(told(&found), (None, false, text.to_owned()));
}

#[test]
fn a_process_that_holds_a_port_is_named() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let number = socket.local_addr().unwrap().port();
    let error = of_host_port(address("127.0.0.1"), &port(&format!("127.0.0.1:{number}:53/udp")));
    let text = error.without_hint();
    assert!(text.starts_with(&format!("cannot publish port {number}/udp: process ")), "{text}");
    let by = format!("(pid {})", std::process::id());
    assert!(text.ends_with(&format!("{by} holds it")), "{text}");
    assert!(of_udp_port(number).ends_with(&by));
}

#[test]
fn an_address_of_nobody_is_not_this_hosts() {
    // Of a range for documents (RFC 5737).
    let error = not_local(&port("192.0.2.99:80:80"));
    let text = "cannot publish port 192.0.2.99:80:80/tcp: 192.0.2.99 is not an address of this host";
    assert_eq!(error.without_hint(), text);
    let error = not_own("do it".to_owned(), address("192.0.2.99"), ("net.local", "another"));
    assert_eq!(error.without_hint(), "cannot do it: net.local is not an address of this host");
}
