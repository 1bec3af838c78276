use super::*;
use crate::input::annotations::Sorted;
use crate::model::driver_spec::Driver;

/// Reads what one annotation says to a driver.
fn read<T>(
    driver: &str,
    key: &str,
    text: &str,
    read: impl Fn(&mut For<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let Driver::Network(driver) = Driver::find(driver).unwrap() else { panic!("{driver} has no networks") };
    let sorted = Sorted::new([(format!("net.{key}"), text.to_owned())]).unwrap().unwrap();
    let annotations = &mut sorted.attachments.into_iter().next().unwrap();
    read(&mut For { annotations, driver })
}

#[test]
fn items_are_separated_by_commas_or_else_by_spaces() {
    for (text, expected) in [
        ("a", &["a"][..]),
        ("a,b", &["a", "b"]),
        ("a, b ,c", &["a", "b", "c"]),
        ("a b  c ", &["a", "b", "c"]),
        // A value that is left out is noticed.
        ("a,,b", &["a", "", "b"]),
        ("a,", &["a", ""]),
    ] {
        assert_eq!(items(text).collect::<Vec<_>>(), expected, "{text:?}");
    }
}

#[test]
fn some_addresses_are_no_containers() {
    for (address, kind) in [
        ("0.0.0.0", Some("reserved")),
        ("0.255.255.255", Some("reserved")),
        ("1.0.0.0", None),
        ("127.0.0.1", Some("loopback")),
        ("169.254.7.7", Some("link-local")),
        ("224.0.0.1", Some("multicast")),
        ("239.255.255.255", Some("multicast")),
        ("240.0.0.0", Some("reserved")),
        ("255.255.255.255", Some("reserved")),
        ("::", Some("reserved")),
        ("::1", Some("loopback")),
        ("fe80::1", Some("link-local")),
        ("ff02::1", Some("multicast")),
        ("fd00::1", None),
    ] {
        assert_eq!(unusable(address.parse().unwrap()), kind, "{address}");
    }
}

#[test]
fn a_number_is_written_in_one_way() {
    let mtu = |text| read("bridge", "mtu", text, |of| of.mtu());
    for (text, expected) in [("68", 68), ("1400", 1400), ("65535", 65_535)] {
        assert_eq!(mtu(text), Ok(Some(expected)));
    }
    for (bad, says) in [
        ("0", "out of range"),
        ("67", "out of range"),
        ("65536", "out of range"),
        ("99999999999", "out of range"),
        ("01400", "is not a number"),
        ("+1400", "is not a number"),
        ("00", "is not a number"),
        ("1 400", "is not a number"),
    ] {
        assert!(mtu(bad).unwrap_err().to_string().contains(says), "{bad}");
    }
}

#[test]
fn a_rate_is_in_bits_a_second() {
    let rate = |text| read("bridge", "rate-in", text, |of| of.rate("rate-in"));
    for (text, expected) in [
        ("16000", 16_000),
        ("16000bit", 16_000),
        ("16kbit", 16_000),
        ("2mbit", 2_000_000),
        ("400gbit", 400_000_000_000),
    ] {
        assert_eq!(rate(text), Ok(Some(expected)), "{text}");
    }
    for bad in ["", "mbit", "15999", "15kbit", "401gbit", "20000000000gbit", "1Mbit", "1.5mbit", "-1mbit"] {
        assert!(rate(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_overlay_is_told_of_1024_other_hosts() {
    let peers = |count: u32| {
        let all: Vec<String> =
            (1..=count).map(|number| std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string()).collect();
        read("vxlan", "peers", &all.join(","), |of| Ok(of.driver_request()?.texts().remove("peers")))
    };
    assert_eq!(peers(1024).unwrap().unwrap().split(',').count(), 1024);
    let refused = peers(1025).unwrap_err().to_string();
    assert!(refused.contains("more than 1024 addresses") && refused.contains("net.group"), "{refused}");
}

#[test]
fn a_tunnels_end_and_its_group_are_one_address_each() {
    let setting = |key: &'static str, text: &str| {
        read("vxlan", key, text, |of| Ok(of.driver_request()?.texts().remove(key)))
            .map(Option::unwrap_or_default)
    };
    for (key, good, bad) in [
        ("local", "192.0.2.1", &["192.0.2.1,192.0.2.2", "239.1.1.1", "0.0.0.0"][..]),
        ("group", "239.1.1.1", &["239.1.1.1,239.1.1.2", "192.0.2.1"]),
        (
            "peers",
            "192.0.2.1,192.0.2.2",
            &["192.0.2.1,2001:db8::1", "192.0.2.1,192.0.2.1", "ff05::100", "::"],
        ),
    ] {
        assert_eq!(setting(key, good).unwrap(), good);
        for bad in bad {
            assert!(setting(key, bad).is_err(), "{key}={bad}");
        }
    }
    assert_eq!(setting("peers", "192.0.2.2,192.0.2.1").unwrap(), "192.0.2.1,192.0.2.2");
}

#[test]
fn a_subnet_has_room_for_a_gateway_and_a_container() {
    let usable = |text: &str| text.parse::<UsableSubnet>();
    for good in ["10.0.0.0/8", "10.0.0.0/30", "fd00::/16", "fd00::/126"] {
        assert_eq!(usable(good).unwrap().0.to_string(), good);
        assert_eq!(UsableSubnet::try_from(good.to_owned()), usable(good));
    }
    for bad in
        ["8.0.0.0/7", "10.0.0.0/31", "fc00::/15", "fd00::/127", "10.0.0.1/24", "224.0.0.0/24", "fe80::/64"]
    {
        assert!(usable(bad).is_err(), "{bad}");
    }
}
