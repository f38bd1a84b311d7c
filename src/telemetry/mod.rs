//! What the gateway tells its operator: metrics for `GET /metrics`, log lines for standard error.
//!
//! Owns every metric name, every label value and the log format. Must not decide anything, hold state that an answer
//! depends on, or see a secret: what is counted here may be read by anyone who can reach `/metrics`.

pub mod logs;
pub mod metrics;

pub use logs::{LogError, LogFormat};
pub use metrics::{Metrics, MetricsError};
