//! The page for people: one document with its style and script in it. What it shows, it shows without the script too; the
//! script reads the page again every few seconds, and adds the rates.

use std::fmt::{self, Display, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ocinet_shared::one_line::is_unseen;
use ring::digest::{SHA256, digest};

use crate::scrape::snapshot::Snapshot;

mod containers;
mod host;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// Two dots, as before the title.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='6' \
                    cy='8' r='5' fill='%230b7a75'/%3E%3Ccircle cx='12' cy='8' r='3' fill='%23d98a1f'/%3E%3C/svg%3E";
/// How long a set-up may be unfinished before the page calls it trouble.
const PENDING_FOR_LONG: Duration = Duration::from_secs(60);

/// What every page has in common.
#[derive(Debug, Clone)]
pub struct Page {
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

impl Page {
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
            said.push(format!("A set-up or its taking back has been unfinished for {}.", Time(age)));
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

fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// A text as HTML has it, in an element or in a quoted attribute: whatever it says, it is only a text.
struct Text<T>(T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape(f), "{}", self.0)
    }
}

struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                // Nothing can turn the direction of the text around it, or hide in it.
                c if is_unseen(c) => write!(self.0, "{}", c.escape_unicode())?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// An amount of bytes, in decimal units with two or three digits.
struct Bytes(u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut amount = self.0 as f64;
        let mut units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"].into_iter();
        let mut unit = units.next().unwrap_or_default();
        while amount >= 999.5 {
            let Some(next) = units.next() else { break };
            (amount, unit) = (amount / 1000.0, next);
        }
        let digits = if unit == "B" || amount >= 99.5 { 0 } else { 1 };
        write!(f, "{amount:.digits$} {unit}")
    }
}

/// A number with its thousands apart.
struct Count(u64);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// A duration in its largest unit.
struct Time(Duration);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{:.1} ms", self.0.as_secs_f64() * 1e3),
            seconds @ ..120 => write!(f, "{seconds} s"),
            seconds @ ..7200 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} h", seconds / 3600),
        }
    }
}

#[cfg(test)]
mod tests;
