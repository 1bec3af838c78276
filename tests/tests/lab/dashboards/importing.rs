//! That the dashboards are whole: Grafana imports them, every panel explains itself, and one leads to the other.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::{Dashboard, list, packaging, text};

/// Those that Grafana 10 to 12 write; a later Grafana brings an earlier one up by itself.
const SCHEMAS: std::ops::RangeInclusive<u64> = 38..=41;

#[test]
fn dashboards_import_without_a_question() {
    for dashboard in Dashboard::all() {
        let (file, json) = (&dashboard.file, &dashboard.json);
        assert_eq!(*file, format!("{}.json", dashboard.uid()));
        assert_eq!(json["tags"], json!(["ocinet"]), "{file}");
        assert_eq!(json["id"], Value::Null, "{file}: an id is of one Grafana");
        assert!(json["schemaVersion"].as_u64().is_some_and(|version| SCHEMAS.contains(&version)), "{file}");
        assert!(json.get("__inputs").is_none() && json.get("__requires").is_none(), "{file}");
        let names: Vec<_> = dashboard.variables().iter().map(|variable| text(variable, "name")).collect();
        assert_eq!(names, ["datasource", "job", "instance", "container"], "{file}");
        let source = &dashboard.variables()[0];
        assert_eq!((text(source, "type"), text(source, "query")), ("datasource", "prometheus"), "{file}");
        let chosen = json!({"type": "prometheus", "uid": "${datasource}"});
        let asking = dashboard.panels().chain(&dashboard.variables()[1..]);
        let asking = asking.chain(dashboard.panels().flat_map(|panel| list(panel, "targets")));
        for item in asking {
            assert_eq!(item["datasource"], chosen, "{file}: {item}");
        }
    }
}

/// Indented by two and in the alphabetical order of keys, as Grafana exports them: a change shows as what it is.
#[test]
fn dashboards_are_written_in_one_form() {
    for Dashboard { file, json } in Dashboard::all() {
        let text = fs::read_to_string(packaging("grafana").join(&file)).expect("read it");
        assert!(text == serde_json::to_string_pretty(&json).expect("JSON") + "\n", "{file}");
    }
}

#[test]
fn no_panel_lies_on_another() {
    for dashboard in Dashboard::all() {
        let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
        for item in dashboard.items() {
            let title = text(item, "title");
            let side = |name: &str| item["gridPos"][name].as_u64().expect("a number");
            let (x, y, width, height) = (side("x"), side("y"), side("w"), side("h"));
            assert!(width > 0 && height > 0 && x + width <= 24, "{title} is not within the 24 columns");
            for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
                assert!(cells.insert(cell), "{title} lies on another panel");
            }
            assert!(ids.insert(item["id"].as_u64()), "{title} has another's id");
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    for dashboard in Dashboard::all() {
        let mut titles = BTreeSet::new();
        for panel in dashboard.panels() {
            let title = text(panel, "title");
            assert!(titles.insert(title), "two panels are called {title}");
            assert!(text(panel, "description").ends_with('.'), "{title}: a description in sentences");
            assert!(!text(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{title}: a unit");
            assert!(!list(panel, "targets").is_empty(), "{title}: a query");
            let references: BTreeSet<_> =
                list(panel, "targets").iter().map(|target| text(target, "refId")).collect();
            assert_eq!(references.len(), list(panel, "targets").len(), "{title}: queries of one name");
        }
    }
}

#[test]
fn dashboards_lead_to_each_other() {
    let dashboards = Dashboard::all();
    let [container, host] = &dashboards[..] else { panic!("{} dashboards", dashboards.len()) };
    assert_eq!((container.uid(), host.uid()), ("ocinet-container", "ocinet-host"));
    for dashboard in &dashboards {
        let link = &dashboard.json["links"][0];
        assert_eq!((text(link, "type"), &link["tags"]), ("dashboards", &json!(["ocinet"])));
        assert_eq!((&link["includeVars"], &link["keepTime"]), (&json!(true), &json!(true)));
    }
    let links = links(&host.json);
    assert!(links.len() > 5, "{links:?}");
    for link in links {
        let (to, arguments) = link.split_once('?').expect("a link with variables");
        assert_eq!(to, "/d/ocinet-container");
        let given = arguments.split('&').filter_map(|argument| argument.strip_prefix("var-"));
        let given: Vec<_> =
            given.filter_map(|argument| argument.split_once('=')).map(|(name, _)| name).collect();
        let wanted: Vec<_> = container.variables().iter().map(|variable| text(variable, "name")).collect();
        assert_eq!(given, wanted);
    }
}

/// Every `url` inside that is not empty.
fn links(json: &Value) -> Vec<&str> {
    match json {
        Value::Object(object) => {
            let own = object.get("url").and_then(Value::as_str).filter(|url| !url.is_empty());
            own.into_iter().chain(object.values().flat_map(links)).collect()
        }
        Value::Array(items) => items.iter().flat_map(links).collect(),
        _ => Vec::new(),
    }
}
