//! The two text formats: Prometheus's own, 0.0.4, and OpenMetrics 1.0.0. Nothing is kept besides the one text.

use std::borrow::Borrow;
use std::fmt::Write as _;

use crate::render::labels::{LabelSet, escape};

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
    /// They only rise, until they start again at 0.
    Counter,
    /// They rise and fall.
    Gauge,
    /// They are 1; the labels carry the information.
    Info,
    /// Counts of what took no longer than a bound.
    Histogram,
}

impl Kind {
    /// The format's word for it. The text format has no word for an info, and calls it a gauge.
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

/// What a metric is called, and what it means.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// The name of its series, in the text format also the metric's own.
    pub name: &'a str,
    /// What its numbers are.
    pub kind: Kind,
    /// What it means, as a sentence.
    pub help: &'a str,
}

impl Header<'_> {
    /// What can be said of it, with its labels and the source that it comes from.
    #[must_use]
    pub fn describe(&self, labels: &[&str], source: Option<&'static str>) -> Description {
        Description {
            name: self.name.to_owned(),
            kind: self.kind,
            help: self.help.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            source,
        }
    }
}

/// What a series says now.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: there is no such series.
    Missing,
    /// A whole number.
    Whole(u64),
    /// A whole number that may be larger.
    Large(u128),
    /// Any other number.
    Real(f64),
    /// Counts of what took no longer than a bound.
    Histogram(Histogram),
}

/// Upper bounds and how many took no longer, cumulative, without the last one (`+Inf`); the sum and the number of all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// Bounds and counts.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all.
    pub sum: f64,
    /// How many there are.
    pub count: u64,
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<bool> for Value {
    fn from(is_true: bool) -> Self {
        Self::Whole(is_true.into())
    }
}

impl From<u128> for Value {
    fn from(number: u128) -> Self {
        Self::Large(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Missing, Into::into)
    }
}

/// A metric, and what it says of a `T`.
pub struct Metric<T> {
    /// Its header.
    pub header: Header<'static>,
    /// What it says.
    pub value: fn(&T) -> Value,
}

/// Metrics of the same things, and so with the same labels.
pub struct Group<T: 'static> {
    /// The names of the labels, but for a histogram's bounds.
    pub labels: &'static [&'static str],
    /// The source that they come from; none where they are always there.
    pub source: Option<&'static str>,
    /// The metrics, in their order.
    pub metrics: &'static [Metric<T>],
}

impl<T> Group<T> {
    /// What the table says of each.
    pub fn describe(&self) -> impl Iterator<Item = Description> {
        self.metrics.iter().map(|metric| metric.header.describe(self.labels, self.source))
    }

    /// Writes every metric of the things that there are, in their order.
    pub fn write(&self, things: &[(impl Borrow<LabelSet>, impl Borrow<T>)], writer: &mut Writer<'_>) {
        for Metric { header, value } in self.metrics {
            writer.metric(
                header,
                things.iter().map(|(labels, thing)| (labels.borrow(), value(thing.borrow()))),
            );
        }
    }
}

/// What can be said of a metric without a snapshot.
#[derive(Debug, Clone)]
pub struct Description {
    /// The name of its series in the text format.
    pub name: String,
    /// What its numbers are.
    pub kind: Kind,
    /// What it means, as a sentence.
    pub help: String,
    /// The names of the labels, but for a histogram's bounds.
    pub labels: Vec<String>,
    /// The source that it comes from; none where it is always there.
    pub source: Option<&'static str>,
}

/// A metric of numbers that only rise, until they start again at 0.
pub const fn counter<T>(name: &'static str, help: &'static str, value: fn(&T) -> Value) -> Metric<T> {
    Metric { header: Header { name, kind: Kind::Counter, help }, value }
}

/// A metric of numbers that rise and fall.
pub const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> Value) -> Metric<T> {
    Metric { header: Header { name, kind: Kind::Gauge, help }, value }
}

/// A metric that says by its labels what a thing is.
pub const fn info<T>(name: &'static str, help: &'static str) -> Metric<T> {
    Metric { header: Header { name, kind: Kind::Info, help }, value: |_| Value::Whole(1) }
}

/// A metric of how long something took.
pub const fn histogram<T>(name: &'static str, help: &'static str, value: fn(&T) -> Value) -> Metric<T> {
    Metric { header: Header { name, kind: Kind::Histogram, help }, value }
}

/// 2^53: up to here a float has every whole number.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// The units that a metric's name can end with.
const UNITS: [&str; 2] = ["bytes", "seconds"];

/// A text that is being written.
pub struct Writer<'a> {
    out: &'a mut String,
    format: Format,
}

impl<'a> Writer<'a> {
    /// Appends to a text.
    pub fn new(out: &'a mut String, format: Format) -> Self {
        Self { out, format }
    }

    /// A metric with its series; nothing where it has none.
    pub fn metric<'l>(&mut self, header: &Header<'_>, series: impl Iterator<Item = (&'l LabelSet, Value)>) {
        let mut has_header = false;
        for (labels, value) in series {
            if matches!(value, Value::Missing) {
                continue;
            }
            if !has_header {
                self.header(header);
                has_header = true;
            }
            match value {
                Value::Missing => {}
                Value::Whole(number) => self.number(header.name, labels, number),
                Value::Large(number) => self.display(header.name, labels, number),
                Value::Real(number) => self.real(header.name, labels, number),
                Value::Histogram(histogram) => self.histogram(header.name, labels, &histogram),
            }
        }
    }

    fn header(&mut self, &Header { name, kind, help }: &Header<'_>) {
        let family = match self.format {
            Format::Text => name,
            Format::OpenMetrics => name.strip_suffix(kind.suffix()).unwrap_or(name),
        };
        self.texts(&["# HELP ", family, " "]);
        escape(help, self.format == Format::OpenMetrics, self.out);
        self.texts(&["\n# TYPE ", family, " ", kind.name(self.format), "\n"]);
        if self.format == Format::OpenMetrics
            && let Some((_, unit)) = family.rsplit_once('_')
            && UNITS.contains(&unit)
        {
            self.texts(&["# UNIT ", family, " ", unit, "\n"]);
        }
    }

    /// Without the formatting machinery, which costs more than what it writes.
    fn texts(&mut self, texts: &[&str]) {
        self.out.reserve(texts.iter().map(|text| text.len()).sum());
        texts.iter().for_each(|text| self.out.push_str(text));
    }

    fn number(&mut self, name: &str, labels: &LabelSet, value: u64) {
        self.texts(&[name, labels.as_str(), " "]);
        push_number(value, self.out);
        self.out.push('\n');
    }

    fn display(&mut self, name: &str, labels: &LabelSet, value: impl std::fmt::Display) {
        self.texts(&[name, labels.as_str(), " "]);
        let _ = writeln!(self.out, "{value}");
    }

    fn real(&mut self, name: &str, labels: &LabelSet, value: f64) {
        // Most are whole, and so small that a float has all their digits.
        if (0.0..=LARGEST_WHOLE).contains(&value) && value.fract() == 0.0 && value.is_sign_positive() {
            self.number(name, labels, value as u64);
        } else {
            self.display(name, labels, value);
        }
    }

    fn histogram(&mut self, name: &str, labels: &LabelSet, Histogram { buckets, sum, count }: &Histogram) {
        let bucket = [name, "_bucket"].concat();
        let mut text = String::new();
        for (bound, count) in buckets {
            text.clear();
            // OpenMetrics writes a bound as a number with a fraction.
            let _ = match self.format {
                Format::Text => write!(text, "{bound}"),
                Format::OpenMetrics => write!(text, "{bound:?}"),
            };
            self.number(&bucket, &labels.clone().with("le", &text), *count);
        }
        self.number(&bucket, &labels.clone().with("le", "+Inf"), *count);
        self.real(&[name, "_sum"].concat(), labels, *sum);
        self.number(&[name, "_count"].concat(), labels, *count);
    }

    /// The end of the text.
    pub fn end(self) {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
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
            let header = Header { name, kind, help: "It says \"a\\b\"." };
            Writer::new(&mut text, format).header(&header);
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
