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
mod turn;
mod writer;

#[cfg(test)]
mod tests;

use opentelemetry::metrics::{Meter, MeterProvider, NoopMeterProvider};
use thiserror::Error;

use exposition::Exposition;

pub use admission::{AdmissionMetrics, IdempotencyOutcome, PairingOutcome, RateOutcome, RateScope};
pub use agent::{AgentMetrics, AttemptMetrics, Component, ModelMetrics, ProviderLabel};
pub use backup::{BackupMetrics, BackupOutcome};
pub use channel::{CallOutcome, ChannelMetrics, DeliveryOutcome, Direction, ItemOutcome};
pub use connection::ConnectionMetrics;
pub use http::{HttpMethod, HttpMetrics, HttpRoute, HttpStatus};
pub use instrument::{Level, LevelGuard};
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
    /// TCP connections.
    pub connections: ConnectionMetrics,
    exposition: Option<Exposition>,
}

impl Metrics {
    /// Metrics that [`Metrics::render`] shows, each name beginning with `namespace` and an underscore.
    ///
    /// # Errors
    ///
    /// [`MetricsError::Namespace`] if no metric name can begin like that; the others do not happen with a new registry.
    pub fn prometheus(namespace: &str) -> Result<Self, MetricsError> {
        let (exposition, meter) = Exposition::new(namespace)?;
        Ok(Self::new(&meter, Some(exposition)))
    }

    /// Metrics that nobody sees: every method does nothing.
    #[must_use]
    pub fn disabled() -> Self {
        Self::new(&NoopMeterProvider::new().meter("moorgate"), None)
    }

    fn new(meter: &Meter, exposition: Option<Exposition>) -> Self {
        Self {
            http: HttpMetrics::new(meter),
            admission: AdmissionMetrics::new(meter),
            turns: TurnMetrics::new(meter),
            agent: AgentMetrics::new(meter),
            writer: WriterMetrics::new(meter),
            backups: BackupMetrics::new(meter),
            channels: ChannelMetrics::new(meter),
            connections: ConnectionMetrics::new(meter),
            exposition,
        }
    }

    /// The metrics now, in Prometheus text format 0.0.4. Reads `/proc` for the figures of the process.
    #[must_use]
    pub fn render(&self) -> String {
        self.exposition.as_ref().map_or_else(|| DISABLED.to_owned(), Exposition::render)
    }
}
