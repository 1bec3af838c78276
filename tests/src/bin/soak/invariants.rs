//! What must hold at every moment, whatever was killed.

use std::collections::BTreeMap;
use std::fs;

use ocinet_tests::lab::Host;
use serde_json::Value;

/// Records that are ready have distinct addresses, Ethernet addresses and published ports.
///
/// # Panics
/// When two have the same.
pub fn check(host: &Host) {
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let entries = fs::read_dir(host.state_dir().join("containers")).expect("the folder of records");
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_record = name.ends_with(".json") && !name.starts_with('.');
        // One that is being detached may be gone by now; whole it always is.
        let Some(text) = is_record.then(|| fs::read_to_string(entry.path()).ok()).flatten() else { continue };
        let record: Value = serde_json::from_str(&text).expect("a whole record");
        if record["phase"] != "ready" {
            continue;
        }
        let id = record["id"].as_str().unwrap_or_default();
        for attachment in record["attachments"].as_array().into_iter().flatten() {
            let of = |what: &str| attachment[what].as_array().cloned().unwrap_or_default();
            let ports = of("ports").into_iter().map(|port| {
                format!("port {} {} {}", port["host_address"], port["protocol"], port["host_port"])
            });
            let addresses = of("addresses").into_iter().map(|address| format!("address {address}"));
            let network = attachment["network"].to_string();
            let mac = format!("{} on network {network}", attachment["mac"]);
            for owned in ports.chain(addresses).chain([mac]) {
                claim(&mut owners, owned, id, host);
            }
        }
    }
}

/// The records are not read at one moment: who had it first may have given it back since.
fn claim(owners: &mut BTreeMap<String, String>, owned: String, id: &str, host: &Host) {
    if let Some(other) = owners.insert(owned.clone(), id.to_owned()) {
        let path = host.state_dir().join(format!("containers/{other}.json"));
        let still: Option<Value> =
            fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok());
        let holds =
            still.is_some_and(|record| record["phase"] == "ready" && record.to_string().contains(&owned));
        assert!(!holds, "{owned} is {other}'s and {id}'s");
    }
}
