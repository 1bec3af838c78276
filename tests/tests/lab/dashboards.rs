//! The dashboards and rules in packaging/: that they are whole, that they ask for what the exporter has, and that a real
//! Prometheus answers them.

mod contract;
mod importing;
mod live;
mod naming;
mod promql;
mod rules;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ocinet_tests::lab::{Finished, command, finish};
use serde_json::Value;

/// A dashboard that ocinet ships.
struct Dashboard {
    file: String,
    json: Value,
}

/// One query of a panel.
struct Query<'a> {
    panel: &'a str,
    reference: &'a str,
    expression: &'a str,
    legend: &'a str,
}

fn packaging(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(folder)
}

/// The files of a folder in packaging/ whose names end so, by name.
fn shipped(folder: &str, end: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(packaging(folder)).expect("a folder in packaging/");
    let files = files.map(|entry| entry.expect("a file").path());
    let mut files: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    files.sort();
    assert!(!files.is_empty(), "packaging/{folder} has no {end}");
    files
}

/// promtool, in a folder.
#[track_caller]
fn promtool(folder: &Path, arguments: &[&str]) -> Finished {
    let mut promtool = command("promtool");
    promtool.args(arguments).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(promtool.spawn().expect("promtool, of the package prometheus"), &[])
}

impl Dashboard {
    fn all() -> Vec<Self> {
        let load = |path: PathBuf| {
            let file = path.file_name().expect("a name").to_string_lossy().into_owned();
            let text = fs::read_to_string(path).expect("read a dashboard");
            let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
            Self { file, json }
        };
        shipped("grafana", ".json").into_iter().map(load).collect()
    }

    fn uid(&self) -> &str {
        text(&self.json, "uid")
    }

    /// Everything on it, headings of rows too.
    fn items(&self) -> &[Value] {
        list(&self.json, "panels")
    }

    fn panels(&self) -> impl Iterator<Item = &Value> {
        self.items().iter().filter(|item| text(item, "type") != "row")
    }

    fn queries(&self) -> impl Iterator<Item = Query<'_>> {
        self.panels().flat_map(|panel| {
            list(panel, "targets").iter().map(|target| Query {
                panel: text(panel, "title"),
                reference: text(target, "refId"),
                expression: text(target, "expr"),
                legend: text(target, "legendFormat"),
            })
        })
    }

    fn variables(&self) -> &[Value] {
        list(&self.json["templating"], "list")
    }

    /// The names and queries of the variables that ask Prometheus.
    fn variable_queries(&self) -> impl Iterator<Item = (&str, &str)> {
        let queries = self.variables().iter().filter(|variable| text(variable, "type") == "query");
        queries.map(|variable| (text(variable, "name"), text(&variable["query"], "query")))
    }
}

#[track_caller]
fn text<'a>(json: &'a Value, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_else(|| panic!("{key} of {} is no text", json["title"]))
}

#[track_caller]
fn list<'a>(json: &'a Value, key: &str) -> &'a [Value] {
    json[key].as_array().unwrap_or_else(|| panic!("{key} of {} is no list", json["title"]))
}
