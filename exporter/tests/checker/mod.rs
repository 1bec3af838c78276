//! Checks a page line by line against the rules of its format, as far as ocinet's pages can break them.

use std::collections::{BTreeMap, BTreeSet};

use ocinet_exporter::render::exposition::Format;

/// A sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its name.
    pub name: String,
    /// Its labels, unescaped, in their order.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

/// A metric with its samples.
#[derive(Debug, Clone, Default)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge`, `info` or `histogram`.
    pub kind: String,
    /// Its unit; empty without.
    pub unit: String,
    /// Its meaning.
    pub help: String,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// Reads a page; panics where it breaks a rule.
pub fn check(page: &str, format: Format) -> Vec<Family> {
    let body = match format {
        Format::Text => page,
        Format::OpenMetrics => page.strip_suffix("# EOF\n").expect("the text ends with # EOF"),
    };
    assert!(body.is_empty() || body.ends_with('\n'), "the last line ends");
    let mut families: Vec<Family> = Vec::new();
    for line in body.lines() {
        assert!(!line.is_empty() && line.trim() == line, "{line:?}");
        match line.strip_prefix("# ") {
            Some(comment) => read_comment(comment, format, &mut families),
            None => {
                let sample = read_sample(line);
                let family = families.last_mut().expect("a header comes first");
                let suffixes: &[&str] = match (family.kind.as_str(), format) {
                    ("counter", Format::OpenMetrics) => &["_total"],
                    ("info", _) => &["_info"],
                    ("histogram", _) => &["_bucket", "_sum", "_count"],
                    _ => &[""],
                };
                let belongs = |suffix: &&str| sample.name.strip_suffix(*suffix) == Some(family.name.as_str());
                assert!(suffixes.iter().any(belongs), "{line} under {}", family.name);
                assert!(family.kind != "info" || sample.value == 1.0, "{line}");
                assert!(family.kind != "counter" || sample.value >= 0.0, "{line}");
                family.samples.push(sample);
            }
        }
    }
    let names: BTreeSet<&str> = families.iter().map(|family| family.name.as_str()).collect();
    assert_eq!(names.len(), families.len(), "no metric comes twice");
    families.iter().for_each(|family| check_family(family, format));
    families
}

fn read_comment(comment: &str, format: Format, families: &mut Vec<Family>) {
    let mut words = comment.splitn(3, ' ');
    let (keyword, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    if keyword == "HELP" {
        let help = unescape(rest);
        families.push(Family { name: name.to_owned(), help, ..Family::default() });
        return;
    }
    let family = families.last_mut().expect("HELP comes first");
    assert_eq!(family.name, name);
    assert!(family.samples.is_empty(), "{comment} before the samples");
    match keyword {
        "TYPE" if family.kind.is_empty() => family.kind = rest.to_owned(),
        "UNIT" if format == Format::OpenMetrics && family.unit.is_empty() => {
            assert!(name.ends_with(&format!("_{rest}")), "{comment}");
            family.unit = rest.to_owned();
        }
        _ => panic!("{comment}"),
    }
}

fn check_family(family: &Family, format: Format) {
    let Family { name, kind, unit, help, samples } = family;
    assert!(!kind.is_empty() && help.ends_with('.') && !samples.is_empty(), "{name}");
    let mut seen = BTreeSet::new();
    for sample in samples {
        let mut labels = sample.labels.clone();
        labels.sort();
        let names: BTreeSet<&String> = labels.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), labels.len(), "a label comes twice: {sample:?}");
        assert!(seen.insert((sample.name.clone(), labels)), "a series comes twice: {sample:?}");
    }
    match format {
        Format::Text => assert!(kind != "info" && (kind != "counter" || name.ends_with("_total")), "{name}"),
        Format::OpenMetrics => {
            assert!(!name.ends_with("_total") && !name.ends_with("_info"), "{name}");
            for known in ["bytes", "seconds"] {
                assert_eq!(name.ends_with(&format!("_{known}")), unit == known, "{name}");
            }
        }
    }
    if kind == "histogram" {
        check_histogram(family, format);
    }
}

fn check_histogram(family: &Family, format: Format) {
    let without_bound = |sample: &Sample| {
        let labels = sample.labels.iter().filter(|(name, _)| name != "le");
        labels.cloned().collect::<Vec<_>>()
    };
    let mut groups: BTreeMap<Vec<(String, String)>, Vec<&Sample>> = BTreeMap::new();
    for sample in &family.samples {
        groups.entry(without_bound(sample)).or_default().push(sample);
    }
    for samples in groups.values() {
        let of = |suffix: &str| {
            let name = format!("{}_{suffix}", family.name);
            samples.iter().filter(move |sample| sample.name == name).copied().collect::<Vec<_>>()
        };
        let bound = |sample: &Sample| {
            let (_, text) = sample.labels.iter().find(|(name, _)| name == "le").expect("le");
            assert!(
                format == Format::Text || text == "+Inf" || text.contains('.'),
                "{text} is not canonical"
            );
            text.replace("+Inf", "inf").parse::<f64>().expect("a bound")
        };
        let buckets: Vec<(f64, f64)> =
            of("bucket").into_iter().map(|sample| (bound(sample), sample.value)).collect();
        assert!(
            buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1),
            "{buckets:?}"
        );
        let [count] = of("count")[..] else { panic!("one count") };
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, count.value)));
        assert_eq!(of("sum").len(), 1);
    }
}

fn read_sample(line: &str) -> Sample {
    let name_end = line.find(['{', ' ']).expect("a value");
    let (name, rest) = line.split_at(name_end);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    assert!(name.chars().all(is_name) && !name.starts_with(|c: char| c.is_ascii_digit()), "{line}");
    let (labels, value) = match rest.strip_prefix('{') {
        None => (Vec::new(), rest),
        Some(rest) => read_labels(rest),
    };
    let value = value.strip_prefix(' ').expect("a space before the value");
    Sample { name: name.to_owned(), labels, value: value.parse().unwrap_or_else(|_| panic!("{line}")) }
}

/// The labels, and what follows the closing brace.
fn read_labels(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut labels = Vec::new();
    loop {
        let (name, behind) = rest.split_once("=\"").expect("a label");
        let mut escaped = false;
        let end = behind.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let (value, behind) = behind.split_at(end.expect("a closing quotation mark"));
        labels.push((name.to_owned(), unescape(value)));
        let behind = &behind[1..];
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None => return (labels, behind.strip_prefix('}').expect("a closing brace")),
        }
    }
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.push(match characters.next() {
                Some('n') => '\n',
                Some(other @ ('\\' | '"')) => other,
                other => panic!("{other:?} after a backslash"),
            }),
            other => plain.push(other),
        }
    }
    plain
}
