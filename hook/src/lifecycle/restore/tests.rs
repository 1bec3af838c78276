use ocinet_shared::kernel::process;
use ocinet_shared::model::container_id::ContainerId;
use serde_json::json;

use super::*;

const BOOT: &str = "this boot";

/// A record of a container whose process is this test's.
fn record(id: &str) -> Record {
    let pid = std::process::id();
    serde_json::from_value(json!({
        "version": 1, "id": id, "boot_id": BOOT, "phase": "ready", "pid": pid,
        "pid_start": process::start_time(pid).unwrap(), "netns": {"device": 4, "inode": 7}, "created": 0,
        "setup_us": 1, "attachments": [], "undo": [],
    }))
    .unwrap()
}

/// A record of a container that has ended: a process that was started at another time has its number.
fn dead(id: &str) -> Record {
    let living = record(id);
    Record { pid_start: living.pid_start + 1, ..living }
}

fn write(state: &StateDir, record: &Record) {
    state.replace(&state.record_path(&record.id), &serde_json::to_vec(record).unwrap()).unwrap();
}

fn ids(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.id.as_str()).collect()
}

#[test]
fn what_is_put_back_is_of_containers_that_are_attached_and_live() {
    let made = tempfile::tempdir().unwrap();
    let state = StateDir::new(made.path().join("state"));
    let elsewhere = serde_json::from_value(json!({"device": 4, "inode": 8})).unwrap();
    for record in [
        record("web"),
        Record { phase: Phase::Pending, ..record("half") },
        dead("dead"),
        Record { boot_id: "another boot".to_owned(), ..record("old") },
        // Its member lives on in its namespace.
        dead("owner"),
        Record { shares: Some("owner".parse().unwrap()), ..record("member") },
        // One that is in another namespace keeps nothing alive.
        Record { shares: Some("dead".parse().unwrap()), netns: elsewhere, ..record("stranger") },
    ] {
        write(&state, &record);
    }
    for (owner, member) in [("owner", "member"), ("dead", "stranger")] {
        pod_members::add(&state, &owner.parse().unwrap(), &member.parse().unwrap()).unwrap();
    }
    let broken: ContainerId = "broken".parse().unwrap();
    state.replace(&state.record_path(&broken), b"{").unwrap();
    let live = live_records(&state, BOOT).unwrap();
    let mut live = ids(&live);
    live.sort_unstable();
    assert_eq!(live, ["member", "owner", "stranger", "web"]);
}

#[test]
fn what_is_being_taken_back_is_not_put_back() {
    let made = tempfile::tempdir().unwrap();
    let folder = made.path().join("state");
    let (state, other) = (StateDir::new(&folder), StateDir::new(&folder));
    let all = ["web", "gone", "changed", "ending"].map(record);
    all.iter().for_each(|record| write(&state, record));
    let staying = || staying_containers(&state, all.clone()).unwrap();
    assert_eq!(ids(&staying()), ["web", "gone", "changed", "ending"]);

    state.remove(&state.record_path(&all[1].id)).unwrap();
    write(&state, &Record { phase: Phase::Pending, ..all[2].clone() });
    let lock = other.lock(Locked::EndingContainer(&all[3].id)).unwrap();
    assert_eq!(ids(&staying()), ["web"]);
    drop(lock);
    // Who ended it may have failed: its record is as it was.
    assert_eq!(ids(&staying()), ["web", "ending"]);
    // The lock of a network of the same name is another.
    let _lock = other.lock(Locked::EndingNetwork(&all[0].id)).unwrap();
    assert_eq!(ids(&staying()), ["web", "ending"]);
}

#[test]
fn a_network_that_is_being_removed_is_not_put_back() {
    let made = tempfile::tempdir().unwrap();
    let folder = made.path().join("state");
    let (state, other) = (StateDir::new(&folder), StateDir::new(&folder));
    let network = |name: &str| -> Network {
        serde_json::from_value(json!({
            "name": name, "driver": "veth", "settings": {}, "subnets": [], "internal": false, "isolate": true,
            "mtu": null, "group": 7,
        }))
        .unwrap()
    };
    let all = ["blue", "gone", "changed", "ending"].map(network);
    let put = |network: &Network| {
        let text = serde_json::to_vec(network).unwrap();
        state.replace(&state.network_path(&network.name), &text).unwrap();
    };
    all.iter().for_each(put);
    let names = || -> Vec<String> {
        staying_networks(&state, all.clone()).unwrap().iter().map(|of| of.name.to_string()).collect()
    };
    assert_eq!(names(), ["blue", "gone", "changed", "ending"]);
    state.remove(&state.network_path(&all[1].name)).unwrap();
    put(&Network { group: 8, ..all[2].clone() });
    let lock = other.lock(Locked::EndingNetwork(&all[3].name)).unwrap();
    assert_eq!(names(), ["blue"]);
    drop(lock);
    assert_eq!(names(), ["blue", "ending"]);
}

#[test]
fn tables_are_made_anew_by_deleting_them_and_restoring() {
    let both = ["nft delete table inet ocinet", "nft delete table bridge ocinet", "ocinet reload"];
    assert_eq!(anew(&[Table::Inet, Table::Bridge]), both);
    assert_eq!(anew(&[Table::Bridge]), both[1..]);
}

#[test]
fn a_change_that_fails_is_a_fault_of_the_rules() {
    for (error, expected) in [
        (ChangeError::NoTable, "the table is not there"),
        (ChangeError::Exists(3), "an element is there already"),
    ] {
        let error = change_error(error);
        let text = format!("cannot change the elements of table inet ocinet: {expected}");
        assert_eq!((error.without_hint(), error.class()), (text, "nftables"));
    }
}
