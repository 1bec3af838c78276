use ocinet_shared::kernel::link::ChildKind;
use ocinet_shared::model::link_mode::MacvlanMode;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::record::SharedLink;
use serde_json::json;

use super::*;
use crate::input::config::Config;
use crate::plan::step::MakeChild;

fn request(annotations: &[(&str, &str)]) -> Request {
    let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Request::parse(annotations, &Config::default(), &|_| Ok(None)).unwrap().expect("net. annotations")
}

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

#[test]
fn an_interfaces_own_table_has_the_number_in_its_name() {
    for (interface, used, expected) in [
        ("eth0", &[][..], 100),
        ("eth7", &[], 107),
        ("wan2", &[100, 101], 102),
        ("eth99", &[], 199),
        ("eth100", &[], 100),
        ("eth255", &[], 155),
        // No number, two numbers and one that is too large.
        ("lan", &[], 100),
        ("eth0.7", &[], 100),
        ("eth256", &[], 100),
        // The next that is free, from the first again behind the last.
        ("eth7", &[107, 108], 109),
        ("eth98", &[198, 199, 100], 101),
    ] {
        assert_eq!(table_of(&name(interface), used), expected, "{interface} beside {used:?}");
    }
}

#[test]
fn two_interfaces_on_one_link_have_two_ethernet_addresses() {
    let on = |link: &str| SharedLink::Parent(name(link));
    let mac = |last| Mac([2, 0, 0, 0, 0, last]);
    let claims = |of: [(SharedLink, Mac); 2]| of.map(|(on, mac)| Step::ClaimMac { on, mac });
    assert_eq!(check_macs(&claims([(on("eth7"), mac(1)), (on("eth7"), mac(2))])), Ok(()));
    assert_eq!(check_macs(&claims([(on("eth7"), mac(1)), (on("eth8"), mac(1))])), Ok(()));
    let refused = check_macs(&claims([(on("eth7"), mac(1)), (on("eth7"), mac(1))])).unwrap_err();
    assert!(refused.to_string().contains("two interfaces on the parent eth7 have 02:00:00:00:00:01"));
}

#[test]
fn a_link_inside_the_container_is_found_by_its_namespaces_number() {
    let kind = ChildKind::Macvlan(MacvlanMode::Bridge);
    let child = Step::MakeChild(MakeChild {
        parent: name("eth7"),
        kind,
        interface: name("eth0"),
        mac: None,
        mtu: None,
    });
    let plan = |steps| Plan { steps, attachments: Vec::new() };
    assert!(plan(vec![Step::BringUpLoopback, child]).needs_namespace_number());
    assert!(!plan(vec![Step::BringUpLoopback]).needs_namespace_number());
}

/// The record has it, so that it can be told again where an engine wrote the files anew.
#[test]
fn the_record_has_what_the_containers_files_are_told() {
    let resolver = ToldResolver {
        asked: NameServers { servers: vec!["192.0.2.53".parse().unwrap()], search: Vec::new() },
        host: None,
    };
    let hosts = ToldHosts { own: None, asked: vec![("10.90.0.7".parse().unwrap(), "db".to_owned())] };
    let asked = [("net.driver", "none"), ("net.dns", "192.0.2.53"), ("net.hosts", "db:10.90.0.7")];
    for (count, expected) in [
        (1, Told::default()),
        (2, Told { resolver: Some(resolver.clone()), hosts: None }),
        (3, Told { resolver: Some(resolver), hosts: Some(hosts) }),
    ] {
        let request = request(&asked[..count]);
        let plan = Plan::standalone(&request, request.standalone.unwrap()).unwrap();
        assert_eq!(plan.told(), expected);
    }
}

#[test]
fn who_shares_the_attachments_of_another_takes_its_share_first() {
    let owner: Record = serde_json::from_value(json!({
        "version": 1, "id": "owner", "boot_id": "b", "phase": "ready", "pid": 1, "pid_start": 1,
        "netns": {"device": 4, "inode": 7}, "created": 0, "setup_us": 0, "undo": [],
        "attachments": [{
            "interface": "eth0", "driver": "bridge", "network": "default", "parent": "ocinet0",
            "host_interface": "oc-aaaaaaaaaaaa", "host_ifindex": 7, "mac": "02:6f:0a:5a:00:07", "mtu": null,
            "addresses": ["10.90.0.7/16"], "gateways": ["10.90.0.1"], "ports": [],
        }],
    }))
    .unwrap();
    let request = request(&[("net.driver", "bridge"), ("net.hosts", "gw:host-gateway")]);
    let plan = Plan::shared(&request, &owner, HostNames::default()).unwrap();
    let gateway = ("10.90.0.1".parse().unwrap(), "gw".to_owned());
    let hosts = Step::WriteHosts(ToldHosts { own: None, asked: vec![gateway] });
    assert_eq!(plan.steps, [Step::Share(owner.id), hosts]);
    assert_eq!(plan.attachments, owner.attachments);
}
