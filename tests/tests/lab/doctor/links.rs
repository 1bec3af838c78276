//! Links, addresses, routes and neighbours of containers.

use std::net::SocketAddr;

use ocinet_tests::lab::{HOST4, Lab, WAN4, ask_tcp, full_size_ping, link_address, ping, until};

use super::{EVIL, Ward, does_nothing_else};
use crate::{PATIENCE, SILENCE};

fn host_end(ward: &Ward) -> String {
    ward.web.record["attachments"][0]["host_interface"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs root"]
fn links_that_are_down() {
    for (driver, is_bridge) in [("bridge", true), ("bridge", false), ("veth", false)] {
        let ward = Ward::new(driver);
        let link = if is_bridge { "ocinet0".to_owned() } else { host_end(&ward) };
        ward.lab.host.ok(&["ip", "link", "set", &link, "down"]);
        ward.is_silent(false);
        let mut fix = ward.finds(&format!("link {link} of "));
        // The addresses and routes that the kernel took with it are found once it is up.
        for _ in 0..3 {
            for command in &fix {
                ward.lab.host.ok(&["sh", "-c", command]);
            }
            if ward.lab.run(&["doctor"], "").code == 0 {
                break;
            }
            fix = ward.finds("");
        }
        ward.fix(&["true".to_owned()]);
    }
}

#[test]
#[ignore = "needs root"]
fn a_bridge_with_another_ethernet_address() {
    let ward = Ward::new("bridge");
    ward.lab.host.ok(&["ip", "link", "set", "ocinet0", "address", "02:00:00:00:00:02"]);
    let fix = ward.finds("ocinet0 of network default has another Ethernet address than ocinet gave it");
    ward.fix(&fix);
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_is_down_in_the_container() {
    for driver in ["bridge", "veth"] {
        let ward = Ward::new(driver);
        ward.web.net.ok(&["ip", "link", "set", "eth0", "down"]);
        ward.is_silent(false);
        let fix = ward.finds("eth0 of container web is down");
        ward.fix(&fix);
    }
}

#[test]
#[ignore = "needs root"]
fn an_address_that_the_container_lost() {
    let ward = Ward::new("bridge");
    ward.web.net.ok(&["ip", "address", "del", &format!("{}/16", ward.web.address(false)), "dev", "eth0"]);
    ward.is_silent(false);
    let fix = ward.finds("eth0 of container web does not have its address");
    ward.fix(&fix);
}

#[test]
#[ignore = "needs root"]
fn a_default_route_that_the_container_lost() {
    for driver in ["bridge", "veth"] {
        for family in ["-4", "-6"] {
            let ward = Ward::new(driver);
            ward.web.net.ok(&["ip", family, "route", "del", "default"]);
            ward.is_silent(family == "-6");
            let fix = ward.finds("container web has no default route");
            ward.fix(&fix);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn the_default_route_of_a_container_on_two_networks() {
    let ward = Ward::new("bridge");
    let two = ward.lab.attach("two", &[("net.eth0.network", "red"), ("net.eth1.network", "blue")]);
    ward.is_sound();
    assert!(ping(&two.net, WAN4, PATIENCE));
    two.net.ok(&["ip", "route", "del", "default"]);
    assert!(!ping(&two.net, WAN4, SILENCE));
    let said = ward.lab.run(&["doctor", "two"], "");
    assert_eq!(said.code, 1, "{}", said.stdout);
    let fix = said.stdout.lines().find_map(|line| line.strip_prefix("  $ ")).expect("a command");
    assert!(fix.contains("ip route add default"), "{}", said.stdout);
    ward.lab.host.ok(&["sh", "-c", fix]);
    assert!(ping(&two.net, WAN4, PATIENCE));
    ward.is_sound();
}

#[test]
#[ignore = "needs root"]
fn a_link_that_is_no_port_of_its_bridge() {
    let ward = Ward::new("bridge");
    ward.lab.host.ok(&["ip", "link", "set", &host_end(&ward), "nomaster"]);
    ward.is_silent(false);
    let fix = ward.finds("is not a port of ocinet0");
    ward.fix(&fix);
}

#[test]
#[ignore = "needs root"]
fn a_gateway_that_the_bridge_lost() {
    let ward = Ward::new("bridge");
    ward.lab.host.ok(&["ip", "address", "del", "fd00:90::1/64", "dev", "ocinet0"]);
    let fix = ward.finds("ocinet0 does not have the gateway fd00:90::1");
    ward.fix(&fix);
}

#[test]
#[ignore = "needs root"]
fn a_containers_address_that_the_host_has_too() {
    let ward = Ward::new("bridge");
    ward.lab.host.ok(&["ip", "address", "add", &format!("{}/32", ward.web.address(false)), "dev", "eth0"]);
    ward.is_silent(false);
    let fix = ward.finds("is also the host's own, on eth0");
    ward.fix(&fix);
}

#[test]
#[ignore = "needs root"]
fn a_wide_route_where_the_networks_own_is_gone() {
    for (own, wide, ipv6) in [
        ("10.90.0.0/16", "10.0.0.0/8 dev vpn0", false),
        ("fd00:90::/64", "fd00::/8 dev vpn0", true),
        ("fd00:90::/64", "unreachable fd00::/8", true),
    ] {
        let ward = Ward::new("bridge");
        let host = &ward.lab.host;
        host.batch(&format!(
            "link add vpn0 type bridge\nlink set vpn0 up\nroute add {wide}\nroute del {own} dev ocinet0\n"
        ));
        ward.is_silent(ipv6);
        let fix = ward.finds("the host");
        assert_eq!(fix, [format!("ip route add {own} dev ocinet0")]);
        ward.fix(&fix);
    }
}

#[test]
#[ignore = "needs root"]
fn a_route_that_leads_past_the_network() {
    for (driver, link) in [("bridge", "eth0"), ("bridge", EVIL), ("veth", "")] {
        let ward = Ward::new(driver);
        let own = ward.web.address(false);
        if link == EVIL {
            ward.lab.host.batch(&format!(
                "link add '{EVIL}' type bridge\nlink set '{EVIL}' up\nroute add {own}/32 dev '{EVIL}'\n"
            ));
        } else if driver == "bridge" {
            ward.lab.host.batch(&format!("route add {own}/32 via {WAN4} dev eth0\n"));
        } else {
            ward.lab.host.batch(&format!("route del {own}/32\n"));
        }
        ward.is_silent(false);
        let fix = ward.finds("the host's route to ");
        ward.fix(&fix);
        does_nothing_else();
    }
}

#[test]
#[ignore = "needs root"]
fn a_neighbour_entry_that_is_not_the_containers() {
    for driver in ["bridge", "veth"] {
        let ward = Ward::new(driver);
        let own = ward.web.address(false).to_string();
        let link = if driver == "bridge" { "ocinet0".to_owned() } else { host_end(&ward) };
        ward.lab.host.ok(&[
            "ip",
            "neighbour",
            "replace",
            &own,
            "lladdr",
            "02:00:00:00:00:99",
            "dev",
            &link,
            "nud",
            "permanent",
        ]);
        ward.is_silent(false);
        let fix = ward.finds("for 02:00:00:00:00:99");
        ward.fix(&fix);
    }
}

#[test]
#[ignore = "needs root"]
fn a_way_out_with_a_smaller_mtu() {
    let ward = Ward::new("bridge");
    ward.lab.host.ok(&["ip", "link", "set", "eth0", "mtu", "1400"]);
    assert!(!full_size_ping(&ward.web.net, WAN4, 1500 - 28));
    let fix = ward.finds("has an MTU of 1500, the host's eth0 1400");
    ward.fix(&fix);
    assert!(full_size_ping(&ward.web.net, WAN4, 1400 - 28));
    let host = SocketAddr::new(HOST4, 8080);
    assert!(ask_tcp(&ward.lab.peer, host, PATIENCE).is_some());
}

/// A VPN that came up later, and leads parts of everywhere.
#[test]
#[ignore = "needs root"]
fn a_vpn_with_a_smaller_mtu() {
    let ward = Ward::new("bridge");
    ward.lab
        .host
        .batch("link add vpn0 mtu 1380 type bridge\nlink set vpn0 up\nroute add 0.0.0.0/2 dev vpn0\n");
    let fix = ward.finds("has an MTU of 1500, the host's vpn0 1380");
    ward.fix(&fix);
}

/// The exit code, and what doctor says.
#[track_caller]
fn said(lab: &Lab) -> (i32, String) {
    let said = lab.run(&["doctor"], "");
    assert_eq!(said.stderr, "", "{}", said.stdout);
    (said.code, said.stdout)
}

#[test]
#[ignore = "needs root"]
fn another_machine_of_the_lan_with_a_containers_address() {
    for (address, prefix) in [("198.51.100.130", 24), ("2001:db8:1::130", 64)] {
        let lab = Lab::new();
        let web = lab.attach("web", &[("net.driver", "macvlan"), ("net.ip", address)]);
        assert_eq!(said(&lab).0, 0);
        lab.peer.batch(&format!("address add {address}/{prefix} dev eth0 nodad\n"));
        // The kernel joins the group in which an IPv6 address is asked for some moments later.
        let own = address.parse().unwrap();
        assert!(until(|| lab.peer.route_to(own).is_some_and(|route| route.is_local)));
        let (code, text) = said(&lab);
        assert_eq!(code, 1, "{text}");
        let other = link_address(&lab.peer, "eth0").map(|byte| format!("{byte:02x}")).join(":");
        assert!(text.contains(&format!("has {address} of container web")) && text.contains(&other), "{text}");
        let own = web.record["attachments"][0]["mac"].as_str().unwrap();
        for net in [&lab.peer, &lab.wan] {
            assert!(!net.ok(&["ip", "neighbour"]).contains(own), "nobody learns the container's address");
        }
        lab.peer.batch(&format!("address del {address}/{prefix} dev eth0\n"));
        let (code, text) = said(&lab);
        assert_eq!(code, 0, "{text}");
        lab.detach(web);
    }
}
