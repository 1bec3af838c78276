//! The annotation reference says which driver has which option; the kernel is asked.

use std::collections::BTreeMap;

use ocinet_tests::lab::{Lab, Sandbox};

use crate::ipvlan::kernel_has_ipvlan;
use crate::life::used;
use crate::options::{BRIDGE, MACVLAN, VETH, VXLAN};

/// The keys of the reference's table, and the drivers that it says have them.
fn reference() -> Vec<(String, Vec<&'static str>)> {
    const DRIVERS: [&str; 5] = ["bridge", "veth", "macvlan", "ipvlan", "vxlan"];
    let text = include_str!("../../../docs/annotations.md");
    let mut found = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| `net.")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [keys, _, _, drivers, ..] = cells[..] else { continue };
        let has = |driver: &&str| match drivers.trim().strip_prefix("all") {
            Some(but) => !but.contains(*driver),
            None => drivers.split([' ', ';']).any(|word| word == *driver),
        };
        let of_key: Vec<&str> = DRIVERS.into_iter().filter(has).collect();
        for key in keys.split('`').filter(|word| word.starts_with("net.") && *word != "net.driver") {
            found.push((key.to_owned(), of_key.clone()));
        }
    }
    assert!(found.len() > 25, "{found:?}");
    found
}

fn sample(key: &str, driver: &str) -> &'static str {
    let of = |bridge, veth, vxlan, lan| match driver {
        "bridge" => bridge,
        "veth" => veth,
        "vxlan" => vxlan,
        _ => lan,
    };
    match key {
        "net.network" | "net.bridge" | "net.ifname" => "other0",
        "net.subnet" => {
            of("10.95.0.0/24", "10.95.0.0/24", "10.99.0.0/16,fd00:99::/64", "198.51.100.0/24,2001:db8:1::/64")
        }
        "net.gateway" => of("10.90.0.9", "10.94.0.9", "10.99.0.9", "198.51.100.1"),
        "net.ip-range" => of("10.90.7.0/24", "10.94.0.64/26", "10.99.0.64/26", "198.51.100.96/27"),
        "net.ip" => of("10.90.0.7", "10.94.0.7", "10.99.0.7", "198.51.100.97"),
        "net.mac" => "02:00:00:00:00:07",
        "net.mtu" => "1300",
        "net.routes" => of(
            "192.0.2.0/24 via 10.90.0.1",
            "192.0.2.0/24 via 10.94.0.1",
            "192.0.2.0/24 via 10.99.0.1",
            "192.0.2.0/24 via 198.51.100.1",
        ),
        "net.ports" => "8080:80",
        "net.masquerade" | "net.isolate" => "false",
        "net.internal" | "net.allow-inbound" | "net.host-access" => "true",
        "net.snat" => "198.51.100.12",
        "net.rate-in" | "net.rate-out" => "20mbit",
        "net.parent" => "eth0",
        "net.mode" => {
            if driver == "ipvlan" {
                "l3"
            } else {
                "vepa"
            }
        }
        "net.vni" => "8",
        "net.port" => "4790",
        "net.local" => "198.51.100.10",
        "net.peers" => "198.51.100.32",
        "net.group" => "239.1.1.1",
        other => panic!("no sample of {other}"),
    }
}

/// Every driver takes each key that the reference says it has, down to the kernel, and refuses each other one.
#[test]
#[ignore = "needs root"]
fn every_driver_has_the_options_that_the_reference_says() {
    let lab = Lab::new();
    used(&lab);
    let has_ipvlan = kernel_has_ipvlan();
    for (driver, base) in
        [("bridge", BRIDGE), ("veth", VETH), ("macvlan", MACVLAN), ("ipvlan", MACVLAN), ("vxlan", VXLAN)]
    {
        for (key, drivers) in reference() {
            let value = sample(&key, driver);
            let mut asked: BTreeMap<&str, &str> = base.iter().copied().collect();
            asked.insert("net.driver", driver);
            if key == "net.group" {
                asked.remove("net.peers");
            }
            asked.insert(&key, value);
            let asked: Vec<(&str, &str)> = asked.into_iter().collect();
            let mut sandbox = Sandbox::new("web");
            let finished = lab.create(&sandbox, &asked);
            let wanted = match drivers.contains(&driver) {
                false => 3,
                true if driver == "ipvlan" && !has_ipvlan => 5,
                true => 0,
            };
            assert_eq!(finished.code, wanted, "{key}={value} by {driver}: {}", finished.stderr);
            let says = if wanted == 3 { "does not support it" } else { "" };
            assert!(finished.stderr.contains(says), "{}", finished.stderr);
            sandbox.end();
            assert_eq!(lab.poststop("web").code, 0);
        }
    }
}
