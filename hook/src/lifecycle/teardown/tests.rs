use ocinet_shared::model::mac::Mac;
use serde_json::json;

use super::*;

const OWN: Mac = Mac([2, 0x6f, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0x6f, 0, 0, 0, 2]);

fn attachment(driver: &str, mac: Option<Mac>) -> Attachment {
    serde_json::from_value(json!({
        "interface": "eth0", "driver": driver, "network": "lan", "parent": "eth7", "host_interface": null,
        "host_ifindex": 0, "mac": mac, "mtu": null, "addresses": [], "gateways": [], "ports": [],
    }))
    .unwrap()
}

fn link(kind: &str, mac: Mac, alias: &str) -> Link {
    Link {
        index: 7,
        name: "eth0".to_owned(),
        kind: kind.to_owned(),
        mac: Some(mac),
        is_up: true,
        has_carrier: true,
        is_settling: false,
        is_loopback: false,
        is_ethernet: true,
        mtu: 1500,
        group: 0,
        controller: None,
        alias: alias.to_owned(),
        peer: None,
        peer_namespace: None,
        vxlan: None,
    }
}

/// The number by which the host knew the container's namespace may be another's by now.
#[test]
fn a_link_inside_a_namespace_is_taken_away_from_its_container_alone() {
    let (macvlan, ipvlan) = (attachment("macvlan", Some(OWN)), attachment("ipvlan", None));
    for (found, of_record, expected) in [
        (link("macvlan", OWN, "ocinet container web"), Some(&macvlan), true),
        // By its id, whatever else was changed inside.
        (link("macvlan", OTHER, "ocinet container web"), Some(&macvlan), true),
        (link("macvlan", OWN, "ocinet container db"), Some(&macvlan), false),
        (link("macvlan", OWN, "ocinet container web2"), Some(&macvlan), false),
        (link("macvlan", OWN, "somebody's"), Some(&macvlan), false),
        // Before anything could write the id.
        (link("macvlan", OWN, ""), Some(&macvlan), true),
        (link("macvlan", OTHER, ""), Some(&macvlan), false),
        (link("veth", OWN, ""), Some(&macvlan), false),
        (link("macvlan", OWN, ""), None, false),
        // An ipvlan has its parent's Ethernet address.
        (link("ipvlan", OTHER, ""), Some(&ipvlan), true),
        (link("macvlan", OTHER, ""), Some(&ipvlan), false),
    ] {
        let is_taken = is_own(&found, &"web".parse().unwrap(), of_record);
        assert_eq!(is_taken, expected, "{found:?} {of_record:?}");
    }
}

#[test]
fn what_a_start_left_that_came_to_no_record_is_removed() {
    let made = tempfile::tempdir().unwrap();
    let folder = made.path();
    let (state, id) = (StateDir::new(folder), "web".parse().unwrap());
    let record = state.record_path(&id);
    std::fs::create_dir_all(record.parent().unwrap()).unwrap();
    let claim = record.with_file_name(".web.claim");
    let (half, whole) = (vec![temporary_path(&record)], vec![temporary_path(&record), claim.clone()]);
    for left in [Vec::new(), half, vec![claim], whole] {
        for has_record in [false, true] {
            let all = left.iter().chain(has_record.then_some(&record));
            all.clone().for_each(|path| std::fs::write(path, "").unwrap());
            remove_unrecorded(&state, &id).unwrap();
            // A container is detached by what its record says, and with it what lies beside it.
            assert!(all.clone().all(|path| path.exists() == has_record), "{left:?} {has_record}");
            all.for_each(|path| drop(std::fs::remove_file(path)));
        }
    }
}
