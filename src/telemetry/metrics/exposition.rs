//! The text that `GET /metrics` answers with: Prometheus text format 0.0.4.

use opentelemetry_prometheus::PrometheusExporter;
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use super::instrument::HistogramSpec;
use super::{MetricsError, agent, writer};

/// Histograms without labels. OpenTelemetry shows them from their first value on only.
const IDLE: [&HistogramSpec; 3] = [&writer::BATCH, &writer::COMMIT, &agent::LATENCY];

/// The registry behind `/metrics`.
pub(super) struct Exposition {
    registry: Registry,
    prefix: String,
}

impl Exposition {
    /// An empty registry, and the reader that fills it when it is asked; idle histograms have names with `prefix`.
    pub(super) fn new(prefix: &str) -> Result<(Self, PrometheusExporter), MetricsError> {
        let registry = Registry::new();
        register_process(&registry)?;
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build()?;
        Ok((Self { registry, prefix: prefix.to_owned() }, exporter))
    }

    /// Every metric as text.
    pub(super) fn render(&self) -> String {
        let mut families = self.registry.gather();
        for spec in IDLE {
            let name = format!("{}{}", self.prefix, spec.name);
            if let Err(position) = families.binary_search_by(|family| family.name().cmp(&name)) {
                families.insert(position, idle(name, spec));
            }
        }
        let mut text = String::with_capacity(32 * 1024);
        if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
            tracing::error!(error = %error, "metrics are cut short");
        }
        text
    }
}

/// CPU, memory, threads and file descriptors of this process, under the names every Prometheus client uses.
#[cfg(target_os = "linux")]
fn register_process(registry: &Registry) -> Result<(), MetricsError> {
    use prometheus::process_collector::ProcessCollector;

    Ok(registry.register(Box::new(ProcessCollector::for_self()))?)
}

/// The process metrics are read from `/proc`, which other systems do not have.
#[cfg(not(target_os = "linux"))]
fn register_process(_: &Registry) -> Result<(), MetricsError> {
    Ok(())
}

/// A histogram that has not seen a value.
fn idle(name: String, spec: &HistogramSpec) -> MetricFamily {
    let bucket = |bound: &f64| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(spec.bounds.iter().map(bucket).collect());
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    let mut family = MetricFamily::default();
    family.set_name(name);
    family.set_help(spec.help.to_owned());
    family.set_field_type(MetricType::HISTOGRAM);
    family.set_metric(vec![metric]);
    family
}
