//! Ethernet addresses: on one link, no two containers have the same, and who is second is told who is first.

use ocinet_tests::lab::{Attached, Lab, Sandbox, Server, Snapshot};

use crate::conflict::refused_as_it_is as refused;
use crate::life::used;
use crate::options::{Asked, BRIDGE, MACVLAN, VETH, VXLAN, with};
use crate::reach::reaches;

const MAC: (&str, &str) = ("net.mac", "02:00:5e:10:00:07");

fn mac_of(of: &Attached) -> String {
    of.record["attachments"][0]["mac"].as_str().unwrap().to_owned()
}

#[track_caller]
fn is_reached(lab: &Lab, of: &Attached) {
    let _server = Server::tcp(&of.net, 80, "web");
    let from = if of.record["attachments"][0]["driver"] == "macvlan" { &lab.peer } else { &lab.host };
    for ipv6 in [false, true] {
        reaches(from, of.address(ipv6), 80, "web");
    }
}

#[test]
#[ignore = "needs root"]
fn one_ethernet_address_for_two_containers_on_a_link() {
    for asked in [BRIDGE, VXLAN, MACVLAN] {
        let lab = Lab::new();
        let _first = lab.attach("first", asked);
        let web = lab.attach("web", &with(asked, &[MAC]));
        refused(&lab, &with(asked, &[MAC]), 4, "02:00:5e:10:00:07 on");
        refused(&lab, &with(asked, &[MAC]), 4, "container web has it; hint: give another net.mac");
        is_reached(&lab, &web);
        lab.detach(web);
        let again = lab.attach("again", &with(asked, &[MAC]));
        is_reached(&lab, &again);
    }
}

/// Of another network on the same parent.
#[test]
#[ignore = "needs root"]
fn one_ethernet_address_for_two_networks_on_a_parent() {
    let lab = Lab::new();
    used(&lab);
    let _web = lab.attach("web", &with(MACVLAN, &[MAC, ("net.network", "one")]));
    let other = [
        ("net.driver", "macvlan"),
        ("net.network", "two"),
        ("net.ip", "192.0.2.7"),
        ("net.subnet", "192.0.2.0/24"),
        MAC,
    ];
    refused(&lab, &other, 4, "container web has it");
}

#[test]
#[ignore = "needs root"]
fn an_ethernet_address_that_goes_with_anothers_ip_address() {
    for (asked, ip, ip2) in [
        (BRIDGE, "10.90.0.7,fd00:90::7", "10.90.0.8,fd00:90::8"),
        (MACVLAN, "198.51.100.70,2001:db8:1::6470", "198.51.100.71,2001:db8:1::6471"),
    ] {
        let lab = Lab::new();
        let web = lab.attach("web", &[asked, &[("net.ip", ip)]].concat());
        let mac = mac_of(&web);
        refused(&lab, &[asked, &[("net.mac", mac.as_str())]].concat(), 4, "container web has it");
        lab.detach(web);
        // And the other way round: who asks for the address, and who is given another one.
        let odd = lab.attach("odd", &[asked, &[("net.ip", ip2), ("net.mac", mac.as_str())]].concat());
        refused(&lab, &[asked, &[("net.ip", ip)]].concat(), 4, "container odd has it");
        let all: Vec<Attached> = (0..5).map(|n| lab.attach(&format!("c{n}"), asked)).collect();
        assert!(all.iter().all(|one| mac_of(one) != mac));
        is_reached(&lab, &odd);
        is_reached(&lab, &all[4]);
    }
}

/// A container on a link of its own shares it with nobody, and two networks share no link.
#[test]
#[ignore = "needs root"]
fn one_ethernet_address_on_links_apart() {
    let lab = Lab::new();
    let mut all = Vec::new();
    for (id, asked) in [("a", VETH), ("b", VETH), ("c", BRIDGE), ("d", MACVLAN), ("e", VXLAN)] {
        all.push(lab.attach(id, &with(asked, &[MAC])));
    }
    all.iter().for_each(|web| is_reached(&lab, web));
}

#[test]
#[ignore = "needs root"]
fn two_interfaces_of_one_container_have_two_ethernet_addresses() {
    let lab = Lab::new();
    used(&lab);
    let twice: Asked = &[
        ("net.eth0.driver", "macvlan"),
        ("net.eth0.ip", "198.51.100.70"),
        ("net.eth0.mac", "02:00:5e:10:00:07"),
        ("net.eth1.driver", "macvlan"),
        ("net.eth1.network", "two"),
        ("net.eth1.subnet", "192.0.2.0/24"),
        ("net.eth1.ip", "192.0.2.7"),
        ("net.eth1.mac", "02:00:5e:10:00:07"),
    ];
    refused(&lab, twice, 3, "two interfaces on the parent eth0 have 02:00:5e:10:00:07");
}

/// A pod's members share one interface, whose Ethernet address they all may name.
#[test]
#[ignore = "needs root"]
fn members_of_a_pod_name_one_ethernet_address() {
    let lab = Lab::new();
    let web = lab.attach("web", &with(BRIDGE, &[MAC]));
    let member = Sandbox::beside("member", &web.net);
    let created = lab.create(&member, &with(BRIDGE, &[MAC]));
    assert_eq!((created.code, created.stderr.as_str()), (0, ""));
}

/// A claim without a record is gc's, and check knows one that is missing.
#[test]
#[ignore = "needs root"]
fn claims_of_ethernet_addresses_are_checked_and_collected() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let web = lab.attach("web", &with(BRIDGE, &[MAC]));
    let claim = lab.state_dir().join("macs/networks/default").join(MAC.1);
    assert_eq!(std::fs::read_to_string(&claim).unwrap(), "web\n");
    assert_eq!(lab.run(&["check"], "").code, 0);
    std::fs::rename(&claim, lab.state_dir().join("macs/networks/default/02:00:00:00:00:01")).unwrap();
    let said = lab.run(&["check"], "");
    let missing = "the claim of 02:00:5e:10:00:07 on network default is missing";
    assert!(said.code == 1 && said.stdout.contains(missing), "{}", said.stdout);
    lab.detach(web);
    let said = lab.run(&["gc"], "");
    let found = "container web has no record, but the Ethernet address 02:00:00:00:00:01 on network default";
    assert!(said.stdout.contains(found), "{}{}", said.stdout, said.stderr);
    before.assert_is_back(&lab, "gc");
}
