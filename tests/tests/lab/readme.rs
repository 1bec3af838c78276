//! What README.md, SECURITY.md and the pages in docs/ say is backed by tests: each that they name is there.

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

fn read(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    fs::read_to_string(path).expect("read the page")
}

/// A word between backticks that could be a test's name: several words of lower case.
fn named(page: &str) -> BTreeSet<String> {
    let text = read(page);
    let is_name = |word: &&str| {
        word.matches('_').count() >= 2
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    // These name nothing else by such words.
    let is_about_tests = ["docs/evidence.md", "docs/files.md"].contains(&page);
    let rows = text.lines().filter(|line| is_about_tests || line.starts_with('|') || line.contains("(`"));
    rows.flat_map(|line| line.split('`').skip(1).step_by(2)).filter(is_name).map(str::to_owned).collect()
}

/// What stands under a heading `## HEADING` of a page.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, after) = page.split_once(&format!("\n## {heading}\n")).expect("the section");
    after.split("\n## ").next().expect("a section")
}

/// The rows of a section's first table, without the bars at their ends.
fn first_table(section: &str) -> Vec<&str> {
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    rows.map_while(|row| row.strip_prefix("| ")?.strip_suffix(" |")).collect()
}

/// Whether a cell names a test, or leads to where tests are named.
fn is_evidence(cell: &str) -> bool {
    cell.contains("](") || cell.contains('`')
}

/// README.md has the statements; docs/evidence.md has the same with their tests.
#[test]
fn every_test_that_the_pages_name_is_there() {
    let known = known();
    let pages = [
        ("README.md", 0),
        ("docs/annotations.md", 4),
        ("docs/attacks.md", 15),
        ("docs/doctor.md", 20),
        ("docs/evidence.md", 250),
        ("docs/files.md", 25),
    ];
    for (page, least) in pages {
        let named = named(page);
        assert!(named.len() >= least, "{page} names {} tests", named.len());
        let missing: Vec<&String> = named.difference(&known).collect();
        assert!(missing.is_empty(), "{page} names tests that are not there: {missing:?}");
    }
}

/// The same words on both pages, so that an auditor finds the tests of what he has read.
#[test]
fn every_promise_has_its_evidence() {
    let (security, evidence) = (read("SECURITY.md"), read("docs/evidence.md"));
    let promises = section(&security, "What is promised").lines();
    let promises: Vec<&str> = promises.filter_map(|line| line.strip_prefix("- ")).collect();
    let rows = first_table(section(&evidence, "What SECURITY.md promises"));
    let rows: Vec<(&str, &str)> = rows.iter().filter_map(|row| row.split_once(" | ")).collect();
    assert!(promises.len() > 20, "{} promises", promises.len());
    assert_eq!(promises, rows.iter().map(|(promise, _)| *promise).collect::<Vec<_>>());
    let bare: Vec<_> = rows.iter().filter(|(_, cell)| !is_evidence(cell)).collect();
    assert!(bare.is_empty(), "{bare:?}");
}

/// The promise about "Who reaches whom" in README.md is as good as the tests of each row, which docs/evidence.md names.
#[test]
fn every_row_of_who_reaches_whom_has_its_tests() {
    let (readme, evidence) = (read("README.md"), read("docs/evidence.md"));
    let said = first_table(section(&readme, "Who reaches whom"));
    let shown = first_table(section(&evidence, "Who reaches whom"));
    let shown: Vec<(&str, &str)> = shown.iter().filter_map(|row| row.rsplit_once(" | ")).collect();
    assert!(said.len() > 15, "{} rows", said.len());
    assert_eq!(said, shown.iter().map(|(row, _)| *row).collect::<Vec<_>>());
    let bare: Vec<_> = shown.iter().filter(|(_, tests)| !is_evidence(tests)).collect();
    assert!(bare.is_empty(), "{bare:?}");
}
