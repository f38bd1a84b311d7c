//! Every metric of the gateway, each behind a typed method.
//!
//! No call site names a metric or spells a label, so a series cannot be misspelt, and no label can take a value that a
//! stranger chose. The names are those of the gateway that Moorgate replaces, so its dashboards keep working.
//!
//! ```
//! use std::time::Duration;
//!
//! use moorgate::telemetry::Metrics;
//! use moorgate::telemetry::metrics::{HttpMethod, HttpRoute, HttpStatus};
//!
//! let metrics = Metrics::prometheus("zeroclaw")?;
//! metrics.http.record(HttpRoute::Health, HttpMethod::Get, HttpStatus::Ok, Duration::from_millis(2));
//! let line = r#"zeroclaw_http_requests_total{method="GET",route="/health",status="200"} 1"#;
//! assert!(metrics.render().lines().any(|shown| shown == line));
//! # Ok::<(), moorgate::telemetry::MetricsError>(())
//! ```
//!
//! Counters with few label values are shown at zero from the start. A series with more labels (route, model) is shown
//! from its first use. Numbers live in memory and start at zero with the process, as Prometheus expects.

mod admission;
mod agent;
mod backup;
mod channel;
mod connection;
mod exposition;
mod http;
mod instrument;
mod label;
mod own;
mod store;
mod supervision;
mod turn;
mod writer;

#[cfg(test)]
mod tests;

use opentelemetry::metrics::{MeterProvider as _, NoopMeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use thiserror::Error;

use self::{exposition::Exposition, instrument::Meter};
use super::{otlp::Otlp, trace::Traces};

pub use admission::{AdmissionMetrics, IdempotencyOutcome, PairingOutcome, RateOutcome, RateScope};
pub use agent::{AgentMetrics, AttemptMetrics, Component, ModelMetrics, NotCalled, ProviderLabel};
pub use backup::{BackupMetrics, BackupOutcome};
pub use channel::{CallOutcome, ChannelMetrics, DeliveryOutcome, Direction, ItemOutcome};
pub use connection::ConnectionMetrics;
pub use http::{HttpMethod, HttpMetrics, HttpRoute, HttpStatus};
pub use instrument::{Level, LevelGuard};
pub use own::{OwnMetrics, Push, SpanLoss};
pub use store::{RemovedKind, StoreMetrics};
pub use supervision::SupervisionMetrics;
pub use turn::{TurnMetrics, TurnOutcome};
pub use writer::{WriterErrorKind, WriterMetrics};

/// The `Content-Type` of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What [`Metrics::render`] returns when metrics are off.
const DISABLED: &str =
    "# Prometheus backend not enabled. Set [observability] backend = \"prometheus\" in config.\n";

/// Why metrics could not be set up.
#[derive(Debug, Error)]
pub enum MetricsError {
    /// The namespace cannot begin a metric name.
    #[error(
        "bad metrics namespace {given:?}: expected a letter, then letters, digits and underscores, 64 at most"
    )]
    Namespace {
        /// What was given instead.
        given: String,
    },
    /// OpenTelemetry refused the exporter.
    #[error("the metrics exporter could not be built")]
    Exporter(#[from] opentelemetry_sdk::error::OTelSdkError),
    /// The registry refused the metrics of the process.
    #[error("the process metrics could not be registered")]
    Process(#[from] prometheus::Error),
}

/// All instruments, by area. Share it in an `Arc`; every method takes `&self` and none blocks on I/O but
/// [`Metrics::render`].
pub struct Metrics {
    /// Answered requests.
    pub http: HttpMetrics,
    /// Pairing, rate limits, idempotency.
    pub admission: AdmissionMetrics,
    /// Turns.
    pub turns: TurnMetrics,
    /// Agent runs, language models, errors.
    pub agent: AgentMetrics,
    /// The database writer.
    pub writer: WriterMetrics,
    /// Backups.
    pub backups: BackupMetrics,
    /// Chat channels.
    pub channels: ChannelMetrics,
    /// Parts that run by themselves.
    pub supervision: SupervisionMetrics,
    /// TCP connections.
    pub connections: ConnectionMetrics,
    /// What the database holds and lets go.
    pub store: StoreMetrics,
    /// Telemetry itself.
    pub own: OwnMetrics,
    /// Spans, which go wherever the instruments go.
    pub traces: Traces,
    exposition: Option<Exposition>,
    /// Never read, but when the last clone of it is dropped every metric is gone.
    _provider: Option<SdkMeterProvider>,
}

impl Metrics {
    /// Metrics that [`Metrics::render`] shows, each name but the standard ones beginning with `namespace` and an
    /// underscore.
    ///
    /// # Errors
    ///
    /// [`MetricsError::Namespace`] if no metric name can begin like that; the others do not happen with a new registry.
    pub fn prometheus(namespace: &str) -> Result<Self, MetricsError> {
        Self::new(namespace, true, None)
    }

    /// Metrics that nobody sees: every method does nothing.
    #[must_use]
    pub fn disabled() -> Self {
        let meter = Meter::new(NoopMeterProvider::new().meter("moorgate"), String::new());
        Self::of(&meter, None, None, Traces::disabled())
    }

    /// Metrics that [`Metrics::render`] shows if they are to be `shown`, and that are pushed if there is somebody to push
    /// them to.
    ///
    /// # Errors
    ///
    /// As [`Metrics::prometheus`].
    pub fn new(namespace: &str, shown: bool, pushed: Option<&Otlp>) -> Result<Self, MetricsError> {
        let prefix = prefix(namespace)?;
        if !shown && pushed.is_none() {
            return Ok(Self::disabled());
        }
        let mut provider = SdkMeterProvider::builder();
        let mut exposition = None;
        if shown {
            let (shown, reader) = Exposition::new(&prefix)?;
            (exposition, provider) = (Some(shown), provider.with_reader(reader));
        }
        if let Some(otlp) = pushed {
            provider = provider.with_reader(otlp.reader()).with_resource(otlp.resource());
        }
        let provider = provider.build();
        let meter = Meter::new(provider.meter("moorgate"), prefix);
        let traces = pushed.map_or_else(Traces::disabled, Otlp::traces);
        Ok(Self::of(&meter, exposition, Some(provider), traces))
    }

    fn of(
        meter: &Meter,
        exposition: Option<Exposition>,
        provider: Option<SdkMeterProvider>,
        traces: Traces,
    ) -> Self {
        Self {
            http: HttpMetrics::new(meter),
            admission: AdmissionMetrics::new(meter),
            turns: TurnMetrics::new(meter),
            agent: AgentMetrics::new(meter),
            writer: WriterMetrics::new(meter),
            backups: BackupMetrics::new(meter),
            channels: ChannelMetrics::new(meter),
            supervision: SupervisionMetrics::new(meter),
            connections: ConnectionMetrics::new(meter),
            store: StoreMetrics::new(meter),
            own: OwnMetrics::new(meter),
            traces,
            exposition,
            _provider: provider,
        }
    }

    /// The metrics now, in Prometheus text format 0.0.4. Reads `/proc` for the figures of the process.
    #[must_use]
    pub fn render(&self) -> String {
        self.exposition.as_ref().map_or_else(|| DISABLED.to_owned(), Exposition::render)
    }
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
