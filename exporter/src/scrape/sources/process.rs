//! The resources of the exporter's own process, by the prometheus crate.

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricType;

/// Reads them; none if /proc cannot be read.
#[must_use]
pub fn read(collector: &ProcessCollector) -> Vec<(String, f64)> {
    let families = collector.collect();
    let value = |family: &prometheus::proto::MetricFamily| {
        let metric = family.get_metric().first()?;
        let value = match family.get_field_type() {
            MetricType::COUNTER => metric.get_counter().get_value(),
            _ => metric.get_gauge().get_value(),
        };
        Some((family.name().to_owned(), value))
    };
    families.iter().filter_map(value).collect()
}
