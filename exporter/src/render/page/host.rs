//! What the page says below the containers: address pools, runs of the hooks, sources.

use std::fmt::Write as _;

use crate::render::page::text::{Count, Text, Time};
use crate::scrape::snapshot::{HookRuns, Pool, Snapshot, SourceReport};

pub(super) fn write(snapshot: &Snapshot, out: &mut String) {
    let _ = writeln!(out, "<div class=\"columns\">");
    section("Address pools", &snapshot.pools, pool, out);
    section("Hooks", &snapshot.hooks, hook, out);
    section("Sources", &snapshot.sources, source, out);
    let _ = writeln!(out, "</div>");
}

fn section<T>(title: &str, rows: &[T], row: fn(&T, &mut String), out: &mut String) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(out, "<section><h2>{title}</h2><div class=\"sheet\"><table><tbody>");
    for each in rows {
        row(each, out);
    }
    let _ = writeln!(out, "</tbody></table></div></section>");
}

fn pool(Pool { network, family, size, used }: &Pool, out: &mut String) {
    let used = Count(*used);
    // A pool of IPv6 may have more addresses than a meter or a reader can tell from infinity.
    let share = match u64::try_from(*size) {
        Ok(size) => format!("<meter value=\"{}\" max=\"{size}\"></meter>{used} of {}", used.0, Count(size)),
        Err(_) => format!("{used}"),
    };
    let _ = writeln!(
        out,
        "<tr><th scope=\"row\">{} <span class=\"about\">{family}</span></th><td class=\"right\">{share}</td></tr>",
        Text(network)
    );
}

fn hook(runs: &HookRuns, out: &mut String) {
    let total: u64 = runs.results.iter().map(|(_, count)| count).sum();
    let average =
        if total == 0 { String::new() } else { format!("{:.1} ms", runs.seconds * 1e3 / total as f64) };
    let results: Vec<String> =
        runs.results.iter().map(|(result, count)| format!("{} {result}", Count(*count))).collect();
    let _ = writeln!(
        out,
        "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"right\">{average}</td></tr>",
        Text(&runs.stage),
        Text(results.join(", "))
    );
}

fn source(SourceReport { name, success, duration }: &SourceReport, out: &mut String) {
    let (class, said) = if *success { ("note", "") } else { ("failed", "failed") };
    let _ = writeln!(
        out,
        "<tr><th scope=\"row\">{name}</th><td class=\"{class}\">{said}</td><td class=\"right\">{}</td></tr>",
        Time(*duration)
    );
}
