//! The files of the state folder: what is read is written so that it reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinet_shared::model::hook_stats::HookStats;
use ocinet_shared::model::network::Network;
use ocinet_shared::model::record::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

fn written_reads_the_same<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_vec(&value).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<T>(&written).expect("what was written can be read"), value);
    }
}

fuzz_target!(|bytes: &[u8]| {
    written_reads_the_same::<Record>(bytes);
    written_reads_the_same::<Network>(bytes);
    if let Ok(record) = serde_json::from_slice::<Record>(bytes) {
        for element in record.owned.iter().flat_map(elements) {
            let _ = (element.key_bytes(), element.to_string());
        }
    }
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = HookStats::parse(text);
    }
});

fn elements(owned: &ocinet_shared::model::record::Owned) -> &[ocinet_shared::model::element::Element] {
    match owned {
        ocinet_shared::model::record::Owned::Elements { elements } => elements,
        _ => &[],
    }
}
