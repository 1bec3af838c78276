//! The log on standard error, in the two forms that exporters of Prometheus have: logfmt and JSON.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use ocinet_shared::one_line::{in_json, is_unseen};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `key=value`, quoted where it must be.
    Logfmt,
    /// One object a line.
    Json,
}

/// Starts the log; what is below `level` is left out.
pub fn start(level: LevelFilter, format: Format) {
    let subscriber = tracing_subscriber::registry().with(Lines(format).with_filter(level));
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Writes each event as one line, with one write, so that lines of several threads do not mix.
struct Lines(Format);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut time = String::new();
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = line(self.0, &time, *event.metadata().level(), &fields);
        // If standard error is closed, there is nowhere to report that.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        if field.name() == "message" {
            self.message = value;
        } else {
            self.others.push((field.name(), value));
        }
    }
}

fn line(format: Format, time: &str, level: Level, fields: &Fields) -> String {
    let level = level.as_str().to_ascii_lowercase();
    let known = [("time", time), ("level", &level), ("msg", &fields.message)];
    let others = fields.others.iter().map(|(key, value)| (*key, value.as_str()));
    let mut line = String::new();
    for (key, value) in known.into_iter().chain(others) {
        let _ = match format {
            Format::Logfmt if is_bare(value) => write!(line, " {key}={value}"),
            Format::Logfmt => write!(line, " {key}={}", quoted(value)),
            Format::Json => write!(line, ",\"{key}\":{}", quoted(value)),
        };
    }
    let rest = line.get(1..).unwrap_or_default();
    match format {
        Format::Logfmt => format!("{rest}\n"),
        Format::Json => format!("{{{rest}}}\n"),
    }
}

fn is_bare(value: &str) -> bool {
    !value.is_empty() && !value.chars().any(|c| c.is_whitespace() || is_unseen(c) || "=\"\\".contains(c))
}

/// As JSON has it, which is how logfmt is quoted too.
fn quoted(value: &str) -> String {
    in_json(&serde_json::Value::from(value).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_line_in_both_formats_whatever_is_in_it() {
        let fields = Fields {
            message: "Listening on".to_owned(),
            others: vec![("address", "[::]:9477".to_owned()), ("odd", "a\n\"b\"\u{202e}".to_owned())],
        };
        assert_eq!(
            line(Format::Logfmt, "T", Level::INFO, &fields),
            "time=T level=info msg=\"Listening on\" address=[::]:9477 odd=\"a\\n\\\"b\\\"\\u202e\"\n"
        );
        let json = line(Format::Json, "T", Level::WARN, &fields);
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&parsed["level"], &parsed["odd"]), (&"warn".into(), &"a\n\"b\"\u{202e}".into()));
        assert_eq!(json.matches('\n').count(), 1);
    }
}
