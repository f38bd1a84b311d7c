//! The text that `GET /metrics` answers with: Prometheus text format 0.0.4.

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
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
    /// Never read, but when the last clone of it is dropped every metric is gone from the registry.
    _provider: SdkMeterProvider,
}

impl Exposition {
    /// An empty registry, and the meter whose instruments it shows under `namespace`.
    pub(super) fn new(namespace: &str) -> Result<(Self, Meter), MetricsError> {
        let prefix = prefix(namespace)?;
        let registry = Registry::new();
        register_process(&registry)?;
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .with_namespace(prefix.clone())
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build()?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("moorgate");
        Ok((Self { registry, prefix, _provider: provider }, meter))
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

/// The namespace with the underscore that separates it from a name.
fn prefix(namespace: &str) -> Result<String, MetricsError> {
    let first = namespace.chars().next().is_some_and(|first| first.is_ascii_alphabetic());
    let rest = namespace.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !first || !rest || namespace.len() > 64 {
        return Err(MetricsError::Namespace { given: namespace.to_owned() });
    }
    Ok(format!("{}_", namespace.trim_end_matches('_')))
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
