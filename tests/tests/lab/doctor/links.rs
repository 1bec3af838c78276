//! Links, addresses, routes and neighbours of containers.

use std::net::SocketAddr;

use ocinet_tests::lab::{WAN4, ask_tcp, full_size_ping};

use super::Ward;
use crate::PATIENCE;

fn host_end(ward: &Ward) -> String {
    ward.web.record["attachments"][0]["host_interface"].as_str().unwrap().to_owned()
}

#[test]
fn links_that_are_down() {
    for (driver, is_bridge) in [("bridge", true), ("bridge", false), ("veth", false)] {
        let ward = Ward::new(driver);
        let link = if is_bridge { "ocinet0".to_owned() } else { host_end(&ward) };
        ward.lab.host.ok(&["ip", "link", "set", &link, "down"]);
        assert!(ward.is_silent(false));
        let mut mend = ward.finds(&format!("link {link} of "));
        // The addresses and routes that the kernel took with it are found once it is up.
        for _ in 0..3 {
            for command in &mend {
                ward.lab.host.ok(&["sh", "-c", command]);
            }
            if ward.lab.run(&["doctor"], "").code == 0 {
                break;
            }
            mend = ward.finds("");
        }
        ward.mend(&["true".to_owned()]);
    }
}

#[test]
fn an_interface_that_is_down_in_the_container() {
    for driver in ["bridge", "veth"] {
        let ward = Ward::new(driver);
        ward.web.net.ok(&["ip", "link", "set", "eth0", "down"]);
        assert!(ward.is_silent(false));
        let mend = ward.finds("eth0 of container web is down");
        ward.mend(&mend);
    }
}

#[test]
fn an_address_that_the_container_lost() {
    let ward = Ward::new("bridge");
    ward.web.net.ok(&["ip", "address", "del", &format!("{}/16", ward.web.address(false)), "dev", "eth0"]);
    assert!(ward.is_silent(false));
    let mend = ward.finds("eth0 of container web does not have its address");
    ward.mend(&mend);
}

#[test]
fn a_default_route_that_the_container_lost() {
    for driver in ["bridge", "veth"] {
        for family in ["-4", "-6"] {
            let ward = Ward::new(driver);
            ward.web.net.ok(&["ip", family, "route", "del", "default"]);
            assert!(ward.is_silent(family == "-6"));
            let mend = ward.finds("container web has no default route");
            ward.mend(&mend);
        }
    }
}

#[test]
fn a_link_that_is_no_port_of_its_bridge() {
    let ward = Ward::new("bridge");
    ward.lab.host.ok(&["ip", "link", "set", &host_end(&ward), "nomaster"]);
    assert!(ward.is_silent(false));
    let mend = ward.finds("is not a port of ocinet0");
    ward.mend(&mend);
}

#[test]
fn a_gateway_that_the_bridge_lost() {
    let ward = Ward::new("bridge");
    ward.lab.host.ok(&["ip", "address", "del", "fd00:90::1/64", "dev", "ocinet0"]);
    let mend = ward.finds("ocinet0 does not have the gateway fd00:90::1");
    ward.mend(&mend);
}

#[test]
fn a_containers_address_that_the_host_has_too() {
    let ward = Ward::new("bridge");
    ward.lab.host.ok(&["ip", "address", "add", &format!("{}/32", ward.web.address(false)), "dev", "eth0"]);
    assert!(ward.is_silent(false));
    let mend = ward.finds("is also the host's own, on eth0");
    ward.mend(&mend);
}

#[test]
fn a_route_that_leads_past_the_network() {
    for driver in ["bridge", "veth"] {
        let ward = Ward::new(driver);
        let own = ward.web.address(false);
        if driver == "bridge" {
            ward.lab.host.batch(&format!("route add {own}/32 via {WAN4} dev eth0\n"));
        } else {
            ward.lab.host.batch(&format!("route del {own}/32\n"));
        }
        assert!(ward.is_silent(false));
        let mend = ward.finds("the host's route to ");
        ward.mend(&mend);
    }
}

#[test]
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
        assert!(ward.is_silent(false));
        let mend = ward.finds("for 02:00:00:00:00:99");
        ward.mend(&mend);
    }
}

#[test]
fn a_way_out_with_a_smaller_mtu() {
    let ward = Ward::new("bridge");
    ward.lab.host.ok(&["ip", "link", "set", "eth0", "mtu", "1400"]);
    assert!(!full_size_ping(&ward.web.net, WAN4, 1500 - 28));
    let mend = ward.finds("has an MTU of 1500, the host's eth0 1400");
    ward.mend(&mend);
    assert!(full_size_ping(&ward.web.net, WAN4, 1400 - 28));
    let host = SocketAddr::new(ocinet_tests::lab::HOST4, 8080);
    assert!(ask_tcp(&ward.lab.peer, host, PATIENCE).is_some());
}
