//! What a client asks for in its headers: a format, a compression, and an answer in time.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{ACCEPT, ACCEPT_ENCODING};

use crate::render::exposition::Format;

/// How long an answer may take where the client does not say.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest that a client can ask for.
const LONGEST: Duration = Duration::from_secs(600);
/// How much earlier than the client's own time-out the answer has to be there, at most.
const MARGIN: Duration = Duration::from_millis(500);

/// One element of an Accept or Accept-Encoding header (RFC 9110, 12.4.2 and 12.5).
struct Offer<'a> {
    value: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths; 0 is a refusal.
    weight: u16,
}

fn offers<'a>(headers: &'a HeaderMap, name: &hyper::header::HeaderName) -> Vec<Offer<'a>> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(offer).collect()
}

fn offer(text: &str) -> Offer<'_> {
    let mut parts = text.split(';').map(str::trim);
    let value = parts.next().unwrap_or_default();
    let mut offer = Offer { value, parameters: Vec::new(), weight: 1000 };
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        if name.eq_ignore_ascii_case("q") {
            offer.weight = weight(value);
        } else {
            offer.parameters.push((name, value));
        }
    }
    offer
}

/// An invalid weight counts as a refusal.
fn weight(text: &str) -> u16 {
    let value: f32 = text.parse().unwrap_or(0.0);
    if (0.0..=1.0).contains(&value) { (value * 1000.0).round() as u16 } else { 0 }
}

/// The supported format with the highest weight; the text format if the client accepts none.
#[must_use]
pub fn format(headers: &HeaderMap) -> Format {
    let mut best = (0, Format::Text);
    for offer in offers(headers, &ACCEPT) {
        let version =
            offer.parameters.iter().find(|(name, _)| *name == "version").map(|(_, version)| *version);
        let format = match (offer.value.to_ascii_lowercase().as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => Format::OpenMetrics,
            ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Format::Text,
            _ => continue,
        };
        if offer.weight > best.0 {
            best = (offer.weight, format);
        }
    }
    best.1
}

/// Whether the client wants the answer compressed.
#[must_use]
pub fn gzip(headers: &HeaderMap) -> bool {
    let offers = offers(headers, &ACCEPT_ENCODING);
    let weight = |name: &str| {
        offers.iter().find(|offer| offer.value.eq_ignore_ascii_case(name)).map(|offer| offer.weight)
    };
    let gzip = weight("gzip").or_else(|| weight("x-gzip")).or_else(|| weight("*")).unwrap_or(0);
    gzip > 0 && gzip >= weight("identity").unwrap_or(0)
}

/// How long the answer may take: a little less than the client waits, so that it still gets one.
#[must_use]
pub fn patience(headers: &HeaderMap) -> Duration {
    let asked = headers.get("X-Prometheus-Scrape-Timeout-Seconds").and_then(|value| value.to_str().ok());
    let asked =
        asked.and_then(|text| text.trim().parse().ok()).and_then(|s| Duration::try_from_secs_f64(s).ok());
    match asked {
        Some(asked) if !asked.is_zero() => {
            let asked = asked.min(LONGEST);
            asked - MARGIN.min(asked / 10)
        }
        _ => PATIENCE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn the_format_is_the_one_that_the_client_likes_best() {
        // As sent by Prometheus 2.42, by 3, by a browser, by curl.
        let openmetrics = [
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "text/plain; q=0.3, Application/OpenMetrics-Text; version=\"1.0.0\"; Q=0.4",
        ];
        for accept in openmetrics {
            assert_eq!(format(&headers("accept", accept)), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "*/*",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=wrong,text/plain;q=0.1",
            "text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0.8",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
            ",;,",
        ] {
            assert_eq!(format(&headers("accept", accept)), Format::Text, "{accept}");
        }
        assert_eq!(format(&HeaderMap::new()), Format::Text);
    }

    #[test]
    fn gzip_is_sent_to_whoever_wants_it() {
        for wanted in ["gzip", "deflate, gzip;q=0.5", "*", "identity;q=0.5, gzip", "GZIP"] {
            assert!(gzip(&headers("accept-encoding", wanted)), "{wanted}");
        }
        for not in ["", "identity", "gzip;q=0", "deflate", "gzip;q=0.1, identity", "*;q=0", "gzip;q=0, *"] {
            assert!(!gzip(&headers("accept-encoding", not)), "{not}");
        }
        assert!(!gzip(&HeaderMap::new()));
    }

    #[test]
    fn the_answer_is_there_before_the_client_gives_up() {
        let patience = |text| patience(&headers("x-prometheus-scrape-timeout-seconds", text));
        assert_eq!(patience("10"), Duration::from_millis(9500));
        assert_eq!(patience("1.000000"), Duration::from_millis(900));
        assert_eq!(patience("0.5"), Duration::from_millis(450));
        assert_eq!(patience("1e12"), LONGEST - MARGIN);
        for nonsense in ["", "0", "-1", "NaN", "inf", "10s", "1e400"] {
            assert_eq!(patience(nonsense), PATIENCE, "{nonsense}");
        }
    }
}
