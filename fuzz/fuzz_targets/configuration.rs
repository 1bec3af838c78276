//! The configuration: read, or refused with a place inside the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinet::input::config;

fuzz_target!(|text: &str| {
    match config::parse(text) {
        Ok(_) => {}
        Err(cause) => {
            let line = cause.strip_prefix("line ").and_then(|rest| rest.split_once(','));
            let line: usize = line.and_then(|(line, _)| line.parse().ok()).expect("a line");
            assert!(line >= 1 && line <= text.matches('\n').count() + 1, "{cause}");
            assert!(!cause.contains('\n'), "{cause}");
        }
    }
});
