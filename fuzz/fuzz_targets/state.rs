//! The state that a runtime writes to a hook: read as each command reads it. What createRuntime accepts, the others do.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinet::input::oci_state::{BundleConfig, parse_create, parse_plan, parse_start, parse_stop, read};

fuzz_target!(|bytes: &[u8]| {
    assert!(read(bytes).is_ok_and(|all| all == bytes));
    let plan = parse_plan(bytes);
    let start = parse_start(bytes);
    let stop = parse_stop(bytes);
    if let Ok(container) = parse_create(bytes) {
        assert!(container.pid > 0);
        assert_eq!(plan.expect("plan reads what createRuntime reads").id, container.id);
        assert_eq!(start.expect("poststart reads what createRuntime reads").id, container.id);
        assert_eq!(stop.expect("poststop reads what createRuntime reads").id, container.id);
        assert!(!container.id.as_str().contains('/') && !container.id.as_str().starts_with('.'));
    }
    let _ = BundleConfig::parse(bytes);
});
