//! That dashboards ask for metrics and labels that there are, and narrow every question to what was chosen.

use std::fs;

use super::promql::{Names, names};
use super::{Dashboard, Query, contract, promtool, shipped, text};

/// Labels that Prometheus adds to what it scrapes.
const ADDED: [&str; 2] = ["job", "instance"];

/// Requires that every metric and label of an expression exists. What a recording rule makes counts as a metric.
#[track_caller]
pub(super) fn assert_known(names: &Names<'_>, place: &str) {
    for selector in &names.selectors {
        let labels = contract::labels(selector.metric);
        let labels = labels.unwrap_or_else(|| panic!("{place}: the exporter has no {}", selector.metric));
        for (label, _) in &selector.labels {
            let known = labels.contains(label) || ADDED.contains(label);
            assert!(known, "{place}: {} has no label {label}", selector.metric);
        }
    }
    for label in &names.grouped {
        let has = |metric| contract::labels(metric).is_some_and(|labels| labels.contains(label));
        let known = names.selectors.iter().any(|selector| has(selector.metric)) || ADDED.contains(label);
        assert!(known, "{place}: nothing in it has a label {label}");
    }
}

/// What an expression asks with everything chosen that a dashboard leaves to choose.
pub(super) fn filled(expression: &str, values: &[(&str, &str)]) -> String {
    let filled = values.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value));
    assert!(!filled.contains('$'), "a variable is left in {filled}");
    filled
}

#[test]
fn dashboards_ask_only_for_what_the_exporter_has() {
    for dashboard in Dashboard::all() {
        let asked = dashboard.queries().map(|query| (query.panel, query.expression));
        for (place, expression) in asked.chain(dashboard.variable_queries()) {
            // What label_values() is to list stands behind its selector like a metric.
            let (expression, listed) = match expression.strip_prefix("label_values(") {
                Some(rest) => rest.trim_end_matches(')').rsplit_once(", ").expect("a selector and a label"),
                None => (expression, "job"),
            };
            let mut names = names(expression);
            names.grouped.push(listed);
            assert!(!names.selectors.is_empty(), "{place} asks for nothing");
            assert_known(&names, place);
        }
    }
}

#[test]
fn every_panel_shows_the_chosen_host_and_container_alone() {
    for dashboard in Dashboard::all() {
        let several: Vec<_> =
            dashboard.variables().iter().filter(|variable| variable["multi"] == true).collect();
        let operator =
            |name| if several.iter().any(|variable| text(variable, "name") == name) { "=~" } else { "=" };
        for Query { panel, expression, .. } in dashboard.queries() {
            let names = names(expression);
            for selector in &names.selectors {
                let of_container =
                    contract::labels(selector.metric).is_some_and(|labels| labels.contains(&"name"));
                let container = of_container.then_some(("name", "$container"));
                let chosen = [Some(("job", "$job")), Some(("instance", "$instance")), container];
                for (label, variable) in chosen.into_iter().flatten() {
                    assert!(
                        selector.labels.contains(&(label, variable)),
                        "{panel}: {label} of {}",
                        selector.metric
                    );
                    let matcher = format!("{label}{}\"{variable}\"", operator(&variable[1..]));
                    assert!(expression.contains(&matcher), "{panel}: no {matcher}");
                }
            }
        }
    }
}

#[test]
fn rates_and_sums_cover_what_grafana_draws() {
    for dashboard in Dashboard::all() {
        for Query { panel, expression, .. } in dashboard.queries() {
            for selector in names(expression).selectors {
                let counts =
                    ["_total", "_bucket", "_sum", "_count"].iter().any(|end| selector.metric.ends_with(end));
                let ranges: &[_] = match selector.function {
                    "rate" => &[Some("$__rate_interval")],
                    "increase" => &[Some("$__range"), Some("$__rate_interval")],
                    _ => &[None],
                };
                assert!(ranges.contains(&selector.range), "{panel}: {selector:?}");
                // The one counter that is shown as it is.
                let bare = counts && selector.range.is_none() && panel != "Hook runs since the host started";
                assert!(!bare, "{panel}: a counter without its rate, {selector:?}");
            }
        }
    }
}

#[test]
fn legends_name_labels_that_the_query_keeps() {
    for dashboard in Dashboard::all() {
        for Query { panel, expression, legend, .. } in dashboard.queries() {
            let names = names(expression);
            let named = legend.split("{{").skip(1).map(|rest| rest.split("}}").next().expect("a label"));
            for label in named {
                let grouped = !names.grouped.is_empty();
                let kept = names.grouped.contains(&label) || (!grouped && ADDED.contains(&label));
                assert!(kept, "{panel}: {legend} of {expression}");
            }
        }
    }
}

/// Nobody but Prometheus knows its language: the expressions go through promtool as rules.
#[test]
#[ignore = "needs promtool"]
fn prometheus_accepts_every_expression() {
    let dashboards = Dashboard::all();
    let chosen = [
        ("$__rate_interval", "1m"),
        ("$__range", "1h"),
        ("$job", "j"),
        ("$instance", "i"),
        ("$container", "c"),
    ];
    let mut rules = String::from("groups:\n  - name: panels\n    rules:\n");
    for (number, query) in dashboards.iter().flat_map(Dashboard::queries).enumerate() {
        rules += &format!(
            "      - record: panel_{number}\n        expr: '{}'\n",
            filled(query.expression, &chosen)
        );
    }
    let folder = tempfile::tempdir().expect("make a folder");
    let check = |rules: &str| {
        fs::write(folder.path().join("panels.yml"), rules).expect("write the rules");
        promtool(folder.path(), &["check", "rules", "panels.yml"])
    };
    let (accepted, refused) = (check(&rules), check(&rules.replacen("sum by", "sum bye", 1)));
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    assert_ne!(refused.code, 0, "promtool accepts anything");
    assert_eq!(shipped("grafana", ".json").len(), dashboards.len());
}
