//! The whole page of a snapshot, in both formats, against golden files: `UPDATE_EXPECT=1 cargo test -p ocinet-exporter
//! --test page` writes them anew. And the table of metrics: against the page, and against docs/metrics.md.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod checker;
mod fixture;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use expect_test::expect_file;
use ocinet_exporter::render::exposition::Format;
use ocinet_exporter::render::metrics::{Description, table, write};
use ocinet_exporter::scrape::collector::{Options, SOURCES, default_sources};
use ocinet_exporter::scrape::snapshot::Snapshot;

use checker::{Family, check};

fn page(snapshot: &Snapshot, cadvisor: bool, format: Format) -> String {
    let options = Options { state: "/run/ocinet".into(), enabled: default_sources(), cadvisor };
    let mut text = String::from("before");
    write(snapshot, &options, format, &mut text);
    // The compiler's version changes with the compiler.
    let version = format!("rustversion=\"{}\"", env!("OCINET_RUSTC_VERSION"));
    assert!(text.contains(&version));
    text.strip_prefix("before").expect("it is appended").replace(&version, "rustversion=\"1.91.0\"")
}

fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    expect_file![path].assert_eq(actual);
}

#[test]
fn the_whole_page_as_text() {
    let page = page(&fixture::snapshot(), true, Format::Text);
    check(&page, Format::Text);
    golden("page.txt", &page);
}

#[test]
fn the_whole_page_as_openmetrics() {
    let page = page(&fixture::snapshot(), true, Format::OpenMetrics);
    check(&page, Format::OpenMetrics);
    golden("page.openmetrics.txt", &page);
}

#[test]
fn a_scrape_that_found_nothing_says_so() {
    for format in [Format::Text, Format::OpenMetrics] {
        let families = check(&page(&fixture::failed(), false, format), format);
        let names: Vec<&str> = families.iter().map(|family| family.name.trim_end_matches("_info")).collect();
        assert_eq!(
            names,
            [
                "ocinet_scrape_source_success",
                "ocinet_scrape_source_duration_seconds",
                "ocinet_exporter_build"
            ]
        );
        assert!(families[0].samples.iter().all(|sample| sample.value == 0.0));
    }
}

#[test]
fn both_formats_say_the_same() {
    let snapshot = fixture::snapshot();
    let samples = |format| {
        let families = check(&page(&snapshot, true, format), format);
        let samples = families.into_iter().flat_map(|family| family.samples);
        // The one difference between their series: OpenMetrics writes 1.0 where the text format writes 1.
        let plain = |value: String| value.strip_suffix(".0").map_or(value.clone(), str::to_owned);
        samples
            .map(|mut sample| {
                sample
                    .labels
                    .iter_mut()
                    .filter(|(name, _)| name == "le")
                    .for_each(|(_, le)| *le = plain(le.clone()));
                sample
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(samples(Format::Text), samples(Format::OpenMetrics));
}

fn family<'a>(families: &'a [Family], name: &str) -> &'a Family {
    families.iter().find(|family| family.name == name).unwrap_or_else(|| panic!("{name}"))
}

/// The fixture has something of everything.
#[test]
fn every_metric_is_on_the_page_with_the_labels_of_the_table() {
    let families = check(&page(&fixture::snapshot(), true, Format::Text), Format::Text);
    for Description { name, kind, help, labels: expected, .. } in table() {
        let family = family(&families, &name);
        assert_eq!((family.kind.as_str(), family.help.as_str()), (kind.name(Format::Text), help.as_str()));
        for sample in &family.samples {
            let labels: Vec<&str> =
                sample.labels.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "le").collect();
            assert_eq!(labels, expected, "{name}");
        }
    }
    assert_eq!(families.len(), table().count());
}

#[test]
fn cadvisors_names_are_there_only_when_asked_for() {
    let families = check(&page(&fixture::snapshot(), false, Format::Text), Format::Text);
    let foreign = |metric: &Description| metric.name.starts_with("container_");
    assert_eq!(table().filter(foreign).count(), 8);
    assert_eq!(families.len(), table().count() - 8);
    assert!(families.iter().all(|family| !family.name.starts_with("container_")));
}

#[test]
fn every_metric_has_a_source_that_there_is() {
    let sources: BTreeSet<&str> = SOURCES.iter().map(|source| source.name).collect();
    let named: BTreeSet<&str> = table().filter_map(|metric| metric.source).collect();
    assert_eq!(named, sources);
}

/// The rows that docs/metrics.md has, and no others.
#[test]
fn the_reference_has_every_metric() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = fs::read_to_string(path).unwrap();
    let documented: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let row = |Description { name, kind, help, labels, source }| {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, source) = (kind.name(Format::OpenMetrics), source.unwrap_or("always"));
        format!("| `{name}` | {kind} | {} | {help} | {source} |", labels.join(" "))
    };
    let rows: Vec<String> = table().map(row).collect();
    for row in &rows {
        assert!(documented.contains(&row.as_str()), "docs/metrics.md lacks this row:\n{row}");
    }
    for row in documented {
        assert!(rows.iter().any(|known| known == row), "docs/metrics.md has a row of no metric:\n{row}");
    }
}
