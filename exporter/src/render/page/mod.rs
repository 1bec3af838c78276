//! The live status page: one document with its style and script in it. It works without the script; the script reads the
//! page again every few seconds, and adds the rates.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

use crate::render::page::text::{Bytes, Text, Time, plural};
use crate::scrape::snapshot::Snapshot;

mod containers;
mod host;
mod text;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// Two dots, as before the title.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='6' \
                    cy='8' r='5' fill='%230b7a75'/%3E%3Ccircle cx='12' cy='8' r='3' fill='%23d98a1f'/%3E%3C/svg%3E";
/// How long a set-up may be unfinished before the page reports it.
const PENDING_FOR_LONG: Duration = Duration::from_secs(60);

/// What is the same at every scrape.
#[derive(Debug, Clone)]
pub struct StatusPage {
    /// The machine's name.
    pub host: String,
    /// The path of the metrics.
    pub telemetry_path: String,
}

/// The Content-Security-Policy of the page: its own style and script, the page itself to read again, and nothing else.
#[must_use]
pub fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())));
    format!(
        "default-src 'none'; style-src {}; script-src {}; img-src data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

impl StatusPage {
    /// Writes the page of a snapshot that was taken at `now`.
    pub fn write(&self, snapshot: &Snapshot, now: SystemTime, out: &mut String) {
        let host = Text(&self.host);
        let milliseconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let _ = write!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\">\n<title>{host} · ocinet</title>\n<link rel=\"icon\" \
             href=\"{ICON}\">\n<style>{STYLE}</style>\n</head>\n<body>\n<header><h1>ocinet <span>on \
             {host}</span></h1><p id=\"state\" role=\"status\"></p></header>\n<main data-time=\"{milliseconds}\">\n"
        );
        tiles(snapshot, out);
        trouble(snapshot, out);
        containers::write(&snapshot.containers, out);
        host::write(snapshot, out);
        let _ = write!(
            out,
            "</main>\n<footer><a href=\"{}\">metrics</a> for Prometheus, version {}</footer>\n\
             <script>{SCRIPT}</script>\n</body>\n</html>\n",
            Text(&self.telemetry_path),
            env!("CARGO_PKG_VERSION")
        );
    }
}

fn tiles(snapshot: &Snapshot, out: &mut String) {
    let ports: usize = snapshot.containers.iter().map(|container| container.record.ports().count()).sum();
    let containers = snapshot.containers.len();
    let total = |sum: fn(&containers::Totals) -> u64| {
        Bytes(snapshot.containers.iter().map(|container| sum(&containers::Totals::of(container))).sum())
    };
    let (received, sent) = (total(|totals| totals.received), total(|totals| totals.sent));
    let _ = writeln!(
        out,
        "<ul class=\"tiles\"><li><b>{containers}</b><span>{}</span></li><li><b>{ports}</b><span>published \
         {}</span></li><li class=\"in\"><b data-total=\"in\">{received}</b><span>received by \
         containers</span></li><li class=\"out\"><b data-total=\"out\">{sent}</b><span>sent by \
         containers</span></li></ul>",
        plural(containers, "container", "containers"),
        plural(ports, "port", "ports"),
    );
}

fn trouble(snapshot: &Snapshot, out: &mut String) {
    let mut said: Vec<String> = Vec::new();
    for source in snapshot.sources.iter().filter(|source| !source.success) {
        said.push(format!("The source {} failed: what it counts is missing here.", source.name));
    }
    if let Some(tables) = snapshot.tables {
        for (family, _) in
            [("inet", tables.inet), ("bridge", tables.bridge)].iter().filter(|(_, there)| !there)
        {
            said.push(format!(
                "The nftables table {family} ocinet is not there: published ports do not work."
            ));
        }
    }
    if let Some(records) = snapshot.records {
        if records.unreadable > 0 {
            said.push(format!("{} of the records cannot be read.", records.unreadable));
        }
        if let Some(age) = records.oldest_pending.filter(|age| *age > PENDING_FOR_LONG) {
            said.push(format!("A start or a stop has been unfinished for {}.", Time(age)));
        }
    }
    if !said.is_empty() {
        let _ = write!(out, "<ul class=\"trouble\">");
        for line in said {
            let _ = write!(out, "<li>{}</li>", Text(&line));
        }
        let _ = writeln!(out, "</ul>");
    }
}

#[cfg(test)]
mod tests;
