//! What the collector makes of a state folder, whatever is in it: no namespace, no root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ocinet_exporter::scrape::collector::{Collector, Options};
use ocinet_exporter::scrape::snapshot::{Records, Snapshot};
use ocinet_shared::kernel::process::{boot_id, start_time};
use ocinet_shared::model::cidr::Family;
use serde_json::{Value, json};

struct State {
    folder: PathBuf,
    /// It goes with its value.
    _made: tempfile::TempDir,
    collector: Collector,
}

impl State {
    fn new() -> Self {
        let made = tempfile::tempdir().unwrap();
        let folder = made.path().to_owned();
        let enabled = ["records", "pools", "hooks"].into();
        let collector = Collector::new(Options { state: folder.clone(), enabled, cadvisor: false });
        Self { folder, collector, _made: made }
    }

    /// As ocinet writes: under another name, and then renamed.
    fn write(&self, path: &str, content: &str) {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let temporary = path.with_file_name(format!(".{}", path.file_name().unwrap().to_str().unwrap()));
        fs::write(&temporary, content).unwrap();
        fs::rename(temporary, path).unwrap();
    }

    fn write_record(&self, record: &Value) {
        self.write(&format!("containers/{}.json", record["id"].as_str().unwrap()), &record.to_string());
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.folder.join(path)).unwrap();
    }

    fn scrape(&mut self) -> Snapshot {
        self.collector.snapshot()
    }

    fn records(&mut self) -> Records {
        self.scrape().records.unwrap()
    }

    fn ids(&mut self) -> Vec<String> {
        self.scrape().containers.iter().map(|container| container.record.id.to_string()).collect()
    }
}

/// A record of this very process.
fn record(id: &str) -> Value {
    let pid = std::process::id();
    let attachment = json!({
        "interface": "eth0", "driver": "bridge", "network": "default", "parent": "ocinet0", "host_interface": "oc-a",
        "host_ifindex": 7, "mac": null, "mtu": null, "addresses": ["10.90.0.5/16"], "gateways": [],
        "ports": [{"host_address": null, "protocol": "tcp", "host_port": 8080, "container_port": 80}],
    });
    json!({
        "version": 1, "id": id, "boot_id": boot_id().unwrap(), "phase": "ready", "pid": pid,
        "pid_start": start_time(pid).unwrap(), "netns": {"device": 4, "inode": 5}, "bundle": "/bundle",
        "created": 1_790_000_000, "attachments": [attachment], "undo": [], "setup_us": 1,
    })
}

fn with(mut record: Value, key: &str, value: Value) -> Value {
    record[key] = value;
    record
}

/// A pid that no process has: the kernel's largest is 2^22.
const NOBODY: u32 = 1 << 23;

fn success(snapshot: &Snapshot) -> BTreeMap<&'static str, bool> {
    snapshot.sources.iter().map(|source| (source.name, source.success)).collect()
}

#[test]
fn a_host_without_a_container_has_nothing_to_say_and_no_failure() {
    let mut state = State::new();
    let snapshot = state.scrape();
    assert!(success(&snapshot).values().all(|success| *success));
    assert_eq!(snapshot.records, Some(Records::default()));
    assert!(snapshot.containers.is_empty() && snapshot.pools.is_empty() && snapshot.hooks.is_empty());
    fs::remove_dir_all(&state.folder).unwrap();
    assert!(success(&state.scrape()).values().all(|success| *success));
}

#[test]
fn containers_that_live_are_there_by_id() {
    let mut state = State::new();
    for id in ["b", "a-b", "a"] {
        state.write_record(&record(id));
    }
    state.write_record(&with(record("dead"), "pid", json!(NOBODY)));
    state.write_record(&with(record("another"), "pid_start", json!(1)));
    state.write_record(&with(record("begun"), "phase", json!("pending")));
    state.write_record(&with(record("past"), "boot_id", json!("another boot")));
    for pid in [0_u32, u32::MAX] {
        state.write_record(&with(record(&format!("pid-{pid}")), "pid", json!(pid)));
    }
    assert_eq!(state.ids(), ["a", "a-b", "b"]);
    let records = state.records();
    assert_eq!((records.ready, records.pending, records.unreadable), (7, 1, 0));
    state.remove("containers/a-b.json");
    assert_eq!(state.ids(), ["a", "b"]);
    state.write_record(&with(record("b"), "phase", json!("pending")));
    assert_eq!(state.ids(), ["a"]);
}

/// A damaged record of every length is told apart from the rest, which is there.
#[test]
fn a_damaged_record_hides_no_other() {
    let mut state = State::new();
    state.write_record(&record("good"));
    let text = record("bad").to_string();
    for length in (0..text.len()).step_by(7) {
        state.write("containers/bad.json", &text[..length]);
        let snapshot = state.scrape();
        assert!(success(&snapshot)["records"]);
        let records = snapshot.records.unwrap();
        assert_eq!(
            (records.ready, records.unreadable, snapshot.containers.len()),
            (1, 1, 1),
            "{length} bytes"
        );
    }
    for garbage in [
        "null".to_owned(),
        "[".repeat(100_000),
        with(record("bad"), "version", json!(2)).to_string(),
        record("good").to_string(),
        with(record("bad"), "attachments", json!([{"interface": "../x"}])).to_string(),
        "\u{0}".repeat(1000),
    ] {
        state.write("containers/bad.json", &garbage);
        assert_eq!(state.records().unreadable, 1, "{garbage:.40}");
    }
    fs::write(state.folder.join("containers/bad.json"), [0xff, 0xfe]).unwrap();
    fs::create_dir(state.folder.join("containers/folder.json")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", state.folder.join("containers/endless.json")).unwrap();
    nix::unistd::mkfifo(&state.folder.join("containers/pipe.json"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(state.records().unreadable, 4);
    state.write("containers/.good.json", "what is being written");
    state.write("containers/not a record.txt", "");
    assert_eq!(state.ids(), ["good"]);
    state.write("containers/bad.json", &text);
    assert_eq!(state.ids(), ["bad", "good"]);
    assert_eq!(state.records().unreadable, 3);
}

#[test]
fn a_container_whose_elements_make_no_sense_is_there() {
    let mut state = State::new();
    let long = vec![json!({"interface": "x".repeat(300)}); 40];
    let undo = json!([{"delete_elements": {"elements": [
        {"set": "sent4", "key": long}, {"set": "sent4", "key": []}, {"set": "port_in4", "key": [{"port": 1}]},
    ]}}]);
    state.write_record(&with(record("odd"), "undo", undo));
    state.collector = Collector::new(Options {
        state: state.folder.clone(),
        enabled: ["records", "links", "nft"].into(),
        cadvisor: true,
    });
    assert_eq!(state.ids(), ["odd"]);
}

#[test]
fn a_pods_owner_counts_as_long_as_a_member_lives() {
    let mut state = State::new();
    state.write_record(&with(record("owner"), "pid", json!(NOBODY)));
    state.write_record(&with(record("member"), "shares", json!("owner")));
    assert_eq!(state.ids(), ["member", "owner"]);
    let snapshot = state.scrape();
    let interfaces: Vec<usize> =
        snapshot.containers.iter().map(|container| container.interfaces.len()).collect();
    assert_eq!(interfaces, [0, 1]);
    state.write_record(&with(with(record("member"), "shares", json!("owner")), "pid", json!(NOBODY)));
    assert!(state.ids().is_empty());
    state.write_record(&with(with(record("member"), "shares", json!("owner")), "phase", json!("pending")));
    assert!(state.ids().is_empty());
}

#[test]
fn what_was_known_stands_while_the_folder_cannot_be_read() {
    let mut state = State::new();
    state.write_record(&record("web"));
    assert_eq!(state.ids(), ["web"]);
    let folder = state.folder.join("containers");
    fs::rename(&folder, state.folder.join("aside")).unwrap();
    fs::write(&folder, "a file").unwrap();
    let snapshot = state.scrape();
    assert_eq!((success(&snapshot)["records"], success(&snapshot)["hooks"]), (false, true));
    assert_eq!((snapshot.records, snapshot.containers.len()), (None, 1));
    fs::remove_file(&folder).unwrap();
    assert!(state.ids().is_empty());
    fs::rename(state.folder.join("aside"), &folder).unwrap();
    assert_eq!(state.ids(), ["web"]);
    assert!(success(&state.scrape()).values().all(|success| *success));
}

/// Changes within one tick of the kernel's clock leave the folder's time as it is.
#[test]
fn no_change_is_missed_however_quick_it_follows() {
    let mut state = State::new();
    for round in 0..300 {
        let id = format!("c{}", round % 3);
        state.write_record(&record(&id));
        assert_eq!(state.ids(), [id.as_str()], "round {round}");
        state.remove(&format!("containers/{id}.json"));
        assert!(state.ids().is_empty(), "round {round}");
    }
}

#[test]
fn what_is_under_way_and_what_failed_has_a_time() {
    let mut state = State::new();
    assert_eq!(state.records().oldest_pending, None);
    let now = std::time::SystemTime::now();
    let seconds = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for (id, age) in [("old", 600), ("new", 10)] {
        let begun = with(record(id), "phase", json!("pending"));
        state.write_record(&with(begun, "created", json!(seconds - age)));
    }
    let oldest = state.records().oldest_pending.unwrap().as_secs();
    assert!((600..660).contains(&oldest), "{oldest}");
    state.write_record(&with(with(record("old"), "phase", json!("pending")), "created", json!(u64::MAX)));
    assert!(state.records().oldest_pending.is_some());
    assert_eq!(state.records().last_error, None);
    state.write("last-error/web.json", "{}");
    let first = state.records().last_error.unwrap();
    assert!(first.duration_since(now).is_ok_and(|age| age.as_secs() < 60) || first <= now);
    std::thread::sleep(std::time::Duration::from_millis(30));
    state.write("last-error/db.json", "{}");
    assert!(state.records().last_error.unwrap() > first);
    state.remove("last-error/db.json");
    assert_eq!(state.records().last_error, Some(first));
    state.remove("last-error/web.json");
    assert_eq!(state.records().last_error, None);
}

fn network(name: &str) -> Value {
    json!({
        "name": name, "driver": "bridge", "settings": {}, "internal": false, "isolate": true, "mtu": null, "group": 1,
        "subnets": [{"range": "10.90.0.0/24", "gateway": "10.90.0.1"}, {"range": "fd00:90::/64", "gateway": null}],
        "reserved": ["10.90.0.2"],
    })
}

#[test]
fn pools_have_a_size_and_leases() {
    let mut state = State::new();
    state.write("networks/blue.json", &network("blue").to_string());
    let ranged = with(network("red"), "ip_ranges", json!(["10.90.0.128/25"]));
    state.write("networks/red.json", &ranged.to_string());
    for lease in ["10.90.0.5", "10.90.0.6", "fd00:90::5"] {
        state.write(&format!("leases/blue/{lease}"), "web\n");
    }
    let pools = |snapshot: &Snapshot| -> Vec<(String, Family, u128, u64)> {
        let pools = snapshot.pools.iter();
        pools.map(|pool| (pool.network.to_string(), pool.family, pool.size, pool.used)).collect()
    };
    let expected = [
        ("blue".to_owned(), Family::Ipv4, 252, 2),
        ("blue".to_owned(), Family::Ipv6, (1 << 64) - 1, 1),
        ("red".to_owned(), Family::Ipv4, 127, 0),
        ("red".to_owned(), Family::Ipv6, (1 << 64) - 1, 0),
    ];
    assert_eq!(pools(&state.scrape()), expected);
    state.remove("leases/blue/10.90.0.5");
    state.write("networks/damaged.json", "{");
    let snapshot = state.scrape();
    assert!(!success(&snapshot)["pools"] && success(&snapshot)["records"]);
    assert_eq!(pools(&snapshot).len(), 4);
    assert_eq!(snapshot.pools[0].used, 1);
    state.remove("networks/damaged.json");
    state.remove("networks/red.json");
    let snapshot = state.scrape();
    assert!(success(&snapshot)["pools"]);
    assert_eq!(pools(&snapshot).len(), 2);
}

#[test]
fn damaged_counts_of_runs_fail_alone() {
    let mut state = State::new();
    state.write_record(&record("web"));
    let counts = json!({"version": 1, "stages": {"poststop": {
        "results": {"ok": 2}, "buckets": [["0.001", 1], ["0.002", 2]], "count": 2, "sum_us": 2500,
    }}});
    state.write("stats.json", &counts.to_string());
    let snapshot = state.scrape();
    assert!(success(&snapshot)["hooks"]);
    assert_eq!(snapshot.hooks[0].results, [("ok".to_owned(), 2)]);
    state.write("stats.json", "garbage");
    let snapshot = state.scrape();
    assert!(!success(&snapshot)["hooks"] && success(&snapshot)["records"]);
    assert_eq!((snapshot.hooks.len(), snapshot.containers.len()), (0, 1));
    fs::remove_file(state.folder.join("stats.json")).unwrap();
    fs::create_dir(state.folder.join("stats.json")).unwrap();
    assert!(!success(&state.scrape())["hooks"]);
}

/// A scrape leaves everything as it was.
#[test]
fn a_scrape_changes_nothing() {
    let mut state = State::new();
    state.write_record(&record("web"));
    state.write_record(&with(record("dead"), "pid", json!(NOBODY)));
    state.write("networks/blue.json", &network("blue").to_string());
    let before = listing(&state.folder);
    state.scrape();
    assert_eq!(listing(&state.folder), before);
}

fn listing(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(listing(&entry.path()));
        } else {
            let metadata = entry.metadata().unwrap();
            found.push((entry.path(), format!("{:?} {}", metadata.modified().unwrap(), metadata.len())));
        }
    }
    found.sort();
    found
}
