//! The rules for Prometheus: that promtool accepts them, that their unit tests pass, and that a wrong rule fails its own.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::naming::assert_known;
use super::promql::names;
use super::{contract, packaging, promtool, shipped};

/// A rule of a file, by where it stands in the file's text.
struct Rule {
    name: String,
    rule: Range<usize>,
    expression: Range<usize>,
}

/// The rules of a file, which has each rule's `expr` before what follows it.
fn rules(text: &str) -> Vec<Rule> {
    let begins: Vec<_> = ["      - alert: ", "      - record: "]
        .iter()
        .flat_map(|key| text.match_indices(key).map(|(at, _)| (at, at + key.len())))
        .collect();
    let mut ends: Vec<_> = begins.iter().map(|(at, _)| *at).chain([text.len()]).collect();
    ends.sort_unstable();
    let rule = |(at, name): &(usize, usize)| {
        let end = *ends.iter().find(|end| *end > at).expect("an end");
        let key = "        expr: ";
        let expression = at + text[*at..end].find(key).expect("an expression") + key.len();
        // It goes on for as long as lines are indented deeper than its key.
        let mut length = 0;
        for (number, line) in text[expression..end].split_inclusive('\n').enumerate() {
            if number > 0 && !line.starts_with("          ") {
                break;
            }
            length += line.len();
        }
        let name = text[*name..].lines().next().expect("a name").to_owned();
        Rule { name, rule: *at..end, expression: expression..expression + length }
    };
    begins.iter().map(rule).collect()
}

fn files() -> Vec<(PathBuf, String)> {
    let files = shipped("prometheus", ".yml").into_iter();
    let files = files.filter(|path| !path.ends_with("prometheus.yml") && !is_test(path));
    files.map(|path| (path.clone(), fs::read_to_string(path).expect("read rules"))).collect()
}

fn is_test(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".test.yml")
}

/// The expression of a rule without the sign of YAML for several lines.
fn expression<'a>(text: &'a str, rule: &Rule) -> &'a str {
    text[rule.expression.clone()].trim_start_matches("|\n")
}

#[test]
#[ignore = "needs promtool"]
fn rules_and_their_unit_tests_pass_promtool() {
    let folder = packaging("prometheus");
    let names = |test| {
        let paths = shipped("prometheus", ".yml").into_iter();
        let paths = paths.filter(move |path| is_test(path) == test && !path.ends_with("prometheus.yml"));
        paths.map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
    };
    let (rules, tests): (Vec<_>, Vec<_>) = (names(false).collect(), names(true).collect());
    assert_eq!(rules.len(), tests.len(), "every file of rules has its tests");
    let run = |words: &[&str], files: &[String]| {
        let words: Vec<_> = words.iter().copied().chain(files.iter().map(String::as_str)).collect();
        promtool(&folder, &words).ok()
    };
    assert!(!run(&["check", "rules"], &rules).contains(" 0 rules found"));
    run(&["test", "rules"], &tests);
    run(&["check", "config", "--syntax-only"], &["prometheus.yml".to_owned()]);
}

#[test]
fn rules_ask_only_for_what_the_exporter_has() {
    for (_, text) in files() {
        for rule in rules(&text) {
            let names = names(expression(&text, &rule));
            assert!(!names.selectors.is_empty(), "{} asks for nothing", rule.name);
            assert_known(&names, &rule.name);
        }
    }
}

/// By Prometheus' custom: what the labels left over are, the metric, what was done to it.
#[test]
fn recording_rules_are_called_by_what_they_record() {
    let (_, text) =
        files().into_iter().find(|(path, _)| path.ends_with("ocinet.recording.yml")).expect("rules");
    for rule in rules(&text) {
        let names = names(expression(&text, &rule));
        let [selector] = &names.selectors[..] else { panic!("{} records several metrics", rule.name) };
        let level = if selector.metric.contains("_published_port_") { "port" } else { "container" };
        let metric = selector.metric.trim_end_matches("_total");
        let range = selector.range.expect("a range");
        assert_eq!(rule.name, format!("{level}:{metric}:{}{range}", selector.function));
        let added = ["job", "instance"];
        let known = added.iter().chain(contract::labels(selector.metric).expect("a metric"));
        let mut kept: Vec<_> =
            known.copied().filter(|label| !["interface", "host_address"].contains(label)).collect();
        // Without a grouping, what it records has every label of its metric.
        let all = contract::labels(selector.metric).into_iter().flatten().chain(&added);
        let mut grouped: Vec<_> =
            if names.grouped.is_empty() { all.copied().collect() } else { names.grouped };
        kept.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(grouped, kept, "{}", rule.name);
    }
}

#[test]
fn every_alert_says_how_grave_it_is_and_what_it_means() {
    let (_, text) =
        files().into_iter().find(|(path, _)| path.ends_with("ocinet.alerts.yml")).expect("alerts");
    let (alerts, example) =
        (rules(&text), fs::read_to_string(packaging("prometheus").join("prometheus.yml")));
    assert!(alerts.len() > 8);
    for Rule { name, rule, .. } in &alerts {
        let rule = &text[rule.clone()];
        assert!(name.starts_with("Ocinet"), "{name}");
        let grave =
            ["severity: warning", "severity: critical"].iter().any(|severity| rule.contains(severity));
        assert!(grave && rule.contains("summary: ") && rule.contains("description: "), "{name}");
    }
    assert!(example.expect("the example").contains("- job_name: ocinet\n"), "the job that alerts look for");
}

/// What can be wrong with a rule: each place of `from` in its expression, or in the whole rule, becomes `to`.
const WRONG: &[(&str, &str)] = &[
    (" == ", " != "),
    (" >= ", " < "),
    (" > ", " <= "),
    (" < ", " >= "),
    (" == 0", " == 1"),
    (" 60", " 30"),
    (" 60", " 180"),
    (" 0.9", " 0.5"),
    (" 0.9", " 0.95"),
    (" < 1", " < 0.5"),
    (" < 1", " < 2"),
    (" > 1", " > 0.4"),
    (" > 1", " > 3"),
    (" 0.01", " 0.004"),
    (" 0.01", " 0.03"),
    ("{job=\"ocinet\"}", ""),
    ("{result!=\"ok\"}", ""),
    ("{phase=\"unreadable\"}", ""),
    ("{driver=~\"bridge|veth|vxlan\"}", ""),
    (" and", " unless"),
    (" unless", " and"),
    (" or\n", " unless\n"),
    ("job, ", ""),
    (", instance", ""),
    (", id", ""),
    (", name", ""),
    (", protocol", ""),
    (", host_port", ""),
    (", container_port", ""),
    ("[15m]", "[30m]"),
    ("offset 15m", "offset 1m"),
    ("_receive_", "_transmit_"),
    ("_transmit_", "_receive_"),
    ("ocinet_", "ocinet_other_"),
    ("up{", "down{"),
    ("absent", "sum"),
    ("sum", "max"),
    ("rate", "delta"),
    ("for: 1m", "for: 0m"),
    ("for: 5m", "for: 0m"),
    ("for: 10m", "for: 0m"),
    ("for: 15m", "for: 0m"),
    ("for: 1m", "for: 2m"),
    ("for: 5m", "for: 6m"),
    ("for: 10m", "for: 15m"),
    ("for: 15m", "for: 16m"),
];

/// A rule with one thing wrong in it.
struct Mutant {
    /// Where in the file, and what stands there instead.
    change: (Range<usize>, String),
    says: String,
}

fn mutants(text: &str, rule: &Rule) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (from, to) in WRONG {
        let scope = if from.starts_with("for") { &rule.rule } else { &rule.expression };
        for (at, _) in text[scope.clone()].match_indices(from) {
            let at = scope.start + at;
            let change = (at..at + from.len(), (*to).to_owned());
            let says = format!("{}: {from:?} at {} is {to:?}", rule.name, at - rule.rule.start);
            mutants.push(Mutant { change, says });
        }
    }
    mutants
}

/// One mutant of every rule goes into one run: rules do not depend on each other, and promtool names those that fail.
#[test]
#[ignore = "needs promtool"]
fn a_wrong_rule_fails_its_unit_test() {
    for (path, text) in files() {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let test = name.replace(".yml", ".test.yml");
        let folder = tempfile::tempdir().expect("make a folder");
        fs::copy(packaging("prometheus").join(&test), folder.path().join(&test)).expect("copy the tests");
        let rules = rules(&text);
        let mut left: Vec<_> = rules.iter().map(|rule| (rule, mutants(&text, rule))).collect();
        assert!(left.iter().all(|(_, mutants)| mutants.len() > 1));
        let mut survivors = Vec::new();
        while left.iter().any(|(_, mutants)| !mutants.is_empty()) {
            let round: Vec<_> =
                left.iter_mut().filter_map(|(rule, mutants)| Some((*rule, mutants.pop()?))).collect();
            fs::write(folder.path().join(&name), with_changes(&text, &round)).expect("write the rules");
            let said = promtool(folder.path(), &["test", "rules", &test]);
            let failed = said.stdout + &said.stderr;
            let named = |rule: &Rule| {
                [format!("alertname: {},", rule.name), format!("\"round({})\"", rule.name)]
                    .iter()
                    .any(|name| failed.contains(name))
            };
            let survived = round.into_iter().filter(|(rule, _)| !named(rule));
            survivors.extend(survived.map(|(_, mutant)| format!("{}\n{failed}", mutant.says)));
        }
        assert!(survivors.is_empty(), "no unit test fails where\n{}", survivors.join("\n"));
    }
}

fn with_changes(text: &str, round: &[(&Rule, Mutant)]) -> String {
    let mut changes: Vec<_> = round.iter().map(|(_, mutant)| &mutant.change).collect();
    changes.sort_by_key(|(at, _)| std::cmp::Reverse(at.start));
    let mut text = text.to_owned();
    for (at, to) in changes {
        text.replace_range(at.clone(), to);
    }
    text
}
