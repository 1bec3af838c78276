//! What the exporter counts of itself, by name: what its registry says, in the text formats of all other metrics.

use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use crate::render::exposition::{Description, Header, Histogram, Kind, Value, Writer};
use crate::render::labels::LabelSet;
use crate::scrape::own_metrics::OwnMetrics;

/// What the registry says of them.
pub(super) fn table() -> Vec<Description> {
    let families = OwnMetrics::new().map(|own| own.gather()).unwrap_or_default();
    let describe = |family: &MetricFamily| {
        let labels = family.get_metric().first().map_or(&[][..], |metric| metric.get_label());
        header(family).describe(&labels.iter().map(LabelPair::name).collect::<Vec<_>>(), None)
    };
    families.iter().map(describe).collect()
}

pub(super) fn write(families: &[MetricFamily], writer: &mut Writer<'_>) {
    families.iter().for_each(|family| write_family(family, writer));
}

fn header(family: &MetricFamily) -> Header<'_> {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::HISTOGRAM => Kind::Histogram,
        _ => Kind::Gauge,
    };
    Header { name: family.name(), kind, help: family.help() }
}

fn write_family(family: &MetricFamily, writer: &mut Writer<'_>) {
    let header = header(family);
    let metrics = family.get_metric();
    let label_set = |metric: &Metric| {
        metric
            .get_label()
            .iter()
            .fold(LabelSet::default(), |all, label| all.with(label.name(), label.value()))
    };
    let value = |metric: &Metric| match header.kind {
        Kind::Counter => metric.get_counter().get_value().into(),
        Kind::Histogram => Value::Histogram(histogram(metric.get_histogram())),
        _ => metric.get_gauge().get_value().into(),
    };
    let labels: Vec<LabelSet> = metrics.iter().map(label_set).collect();
    writer.metric(&header, labels.iter().zip(metrics.iter().map(value)));
}

fn histogram(histogram: &proto::Histogram) -> Histogram {
    let buckets = histogram.get_bucket().iter();
    Histogram {
        buckets: buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())).collect(),
        sum: histogram.get_sample_sum(),
        count: histogram.get_sample_count(),
    }
}
