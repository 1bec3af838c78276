//! What README.md and SECURITY.md say is backed by tests: each that they name is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The names of the lab's tests, and of those that need no lab.
fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let folders = [
        "tests/lab",
        "../hook/tests",
        "../packaging/tests",
        "../exporter/tests",
        "../hook/src",
        "../shared/src",
        "../exporter/src",
    ];
    let mut folders = folders.map(|folder| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("read the folder").map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            if entry.path().extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = fs::read_to_string(entry.path()).expect("read a file");
            let tests =
                text.split("#[test]").skip(1).filter_map(|test| test.split_once("fn ")?.1.split_once('('));
            known.extend(tests.map(|(name, _)| name.to_owned()));
        }
    }
    known
}

/// A word between backticks that could be a test's name: several words of lower case.
fn named(page: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let text = fs::read_to_string(path).expect("read the page");
    let is_name = |word: &&str| {
        word.matches('_').count() >= 2
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let rows = text.lines().filter(|line| line.starts_with('|') || line.contains("(`"));
    rows.flat_map(|line| line.split('`').skip(1).step_by(2)).filter(is_name).map(str::to_owned).collect()
}

#[test]
fn every_test_that_the_pages_name_is_there() {
    let known = known();
    for (page, least) in [("README.md", 70), ("SECURITY.md", 5), ("docs/doctor.md", 20)] {
        let named = named(page);
        assert!(named.len() >= least, "{page} names {} tests", named.len());
        let missing: Vec<&String> = named.difference(&known).collect();
        assert!(missing.is_empty(), "{page} names tests that are not there: {missing:?}");
    }
}
