//! The two text formats: Prometheus's own, 0.0.4, and OpenMetrics 1.0.0. Nothing is kept besides the one text.

use std::fmt::Write as _;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

/// What a metric's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They rise until they begin anew.
    Counter,
    /// They rise and fall.
    Gauge,
    /// They are 1, and the labels are what is said.
    Info,
    /// Counts of what took no longer than a bound.
    Histogram,
}

impl Kind {
    /// The format's word for it; before OpenMetrics, what is only labels was a gauge.
    #[must_use]
    pub fn name(self, format: Format) -> &'static str {
        match (self, format) {
            (Self::Counter, _) => "counter",
            (Self::Gauge, _) | (Self::Info, Format::Text) => "gauge",
            (Self::Info, Format::OpenMetrics) => "info",
            (Self::Histogram, _) => "histogram",
        }
    }

    /// What the names of its series end with, where OpenMetrics leaves it out of the metric's own.
    fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }
}

/// The units that a metric's name can end with.
const UNITS: [&str; 2] = ["bytes", "seconds"];

/// A text under way.
pub struct Page<'a> {
    out: &'a mut String,
    format: Format,
}

impl<'a> Page<'a> {
    /// Appends to a text.
    pub fn new(out: &'a mut String, format: Format) -> Self {
        Self { out, format }
    }

    /// What comes before a metric's series. `name` is the series' own.
    pub fn header(&mut self, name: &str, kind: Kind, help: &str) {
        let family = match self.format {
            Format::Text => name,
            Format::OpenMetrics => name.strip_suffix(kind.suffix()).unwrap_or(name),
        };
        let _ = write!(self.out, "# HELP {family} ");
        escape(help, self.format == Format::OpenMetrics, self.out);
        let _ = write!(self.out, "\n# TYPE {family} {}\n", kind.name(self.format));
        if self.format == Format::OpenMetrics
            && let Some((_, unit)) = family.rsplit_once('_')
            && UNITS.contains(&unit)
        {
            let _ = writeln!(self.out, "# UNIT {family} {unit}");
        }
    }

    /// A series of a whole number. `labels` is what [`Labels`] made.
    pub fn number(&mut self, name: &str, labels: &str, value: u64) {
        self.out.reserve(name.len() + labels.len() + 22);
        self.out.push_str(name);
        self.out.push_str(labels);
        self.out.push(' ');
        push_number(value, self.out);
        self.out.push('\n');
    }

    /// A series of any other number.
    pub fn value(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.out, "{name}{labels} {value}");
    }

    /// A histogram's upper bound, as its label has it: OpenMetrics wants to see that it is no whole number.
    #[must_use]
    pub fn bound(&self, bound: f64) -> String {
        match self.format {
            Format::Text => format!("{bound}"),
            Format::OpenMetrics => format!("{bound:?}"),
        }
    }

    /// The end of the text.
    pub fn end(self) {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
    }
}

/// A series' labels under way, in braces.
#[derive(Debug, Clone, Default)]
pub struct Labels(String);

impl Labels {
    /// The same with a further label.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        // The closing brace makes room.
        self.0.pop();
        self.0.reserve(name.len() + value.len() + 5);
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(name);
        self.0.push_str("=\"");
        escape(value, true, &mut self.0);
        self.0.push_str("\"}");
        self
    }

    /// The text; empty without a label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Backslashes and line feeds, and quotation marks within quotation marks.
fn escape(text: &str, quotes: bool, out: &mut String) {
    if !text.bytes().any(|byte| matches!(byte, b'\\' | b'\n' | b'"')) {
        out.push_str(text);
        return;
    }
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

/// Without the formatting machinery: a page has 30,000 numbers.
fn push_number(mut value: u64, out: &mut String) {
    let mut digits = [0_u8; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&digits[first..]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_is_escaped() {
        let labels = Labels::default().with("id", "a\"b\\c\nd{}é").with("name", "");
        assert_eq!(labels.as_str(), "{id=\"a\\\"b\\\\c\\nd{}é\",name=\"\"}");
    }

    #[test]
    fn numbers_are_written_in_full() {
        for value in [0, 9, 10, 12_345, u64::MAX] {
            let mut text = String::new();
            push_number(value, &mut text);
            assert_eq!(text, value.to_string());
        }
    }

    #[test]
    fn a_header_in_both_formats() {
        let header = |format, name, kind| {
            let mut text = String::new();
            Page::new(&mut text, format).header(name, kind, "It says \"a\\b\".");
            text
        };
        assert_eq!(
            header(Format::Text, "x_bytes_total", Kind::Counter),
            "# HELP x_bytes_total It says \"a\\\\b\".\n# TYPE x_bytes_total counter\n"
        );
        assert_eq!(
            header(Format::OpenMetrics, "x_bytes_total", Kind::Counter),
            "# HELP x_bytes It says \\\"a\\\\b\\\".\n# TYPE x_bytes counter\n# UNIT x_bytes bytes\n"
        );
        assert!(header(Format::OpenMetrics, "x_info", Kind::Info).contains("# TYPE x info\n"));
        assert!(header(Format::Text, "x_info", Kind::Info).contains("# TYPE x_info gauge\n"));
    }
}
