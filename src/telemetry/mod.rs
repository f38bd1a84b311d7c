//! What the gateway tells its operator: metrics for `GET /metrics`, log lines for standard error, and spans and metrics for an
//! OTLP receiver.
//!
//! Owns every metric name, every label value, every span and the log format. Must not decide anything, hold state that an
//! answer depends on, or see a secret: what is counted here may be read by anyone who can reach `/metrics`.

pub mod logs;
pub mod metrics;
pub mod otlp;
pub mod scope;
pub mod trace;

pub use logs::{LogError, LogFormat};
pub use metrics::{Metrics, MetricsError};
