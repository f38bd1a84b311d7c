//! `[observability]`: metrics and logs.

use super::reader::Reader;

/// What the gateway tells about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observability {
    /// What `GET /metrics` serves.
    pub backend: MetricsBackend,
    /// What every metric's name begins with: `[a-z_][a-z0-9_]*`.
    pub namespace: String,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// The least severe events to log.
    pub log_level: LogLevel,
}

/// What `GET /metrics` serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsBackend {
    /// The metrics, in the Prometheus text format.
    Prometheus,
    /// A line that says how to switch them on.
    None,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// How severe an event is, the most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something should be looked at.
    Warn,
    /// Something changed.
    Info,
    /// What the gateway decides.
    Debug,
    /// What the gateway does.
    Trace,
}

impl Observability {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let backends = [("prometheus", MetricsBackend::Prometheus), ("none", MetricsBackend::None)];
        let levels = [
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ];
        Self {
            backend: r.word("observability.backend", &backends),
            namespace: read_namespace(r),
            log_format: r
                .word("observability.log_format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            log_level: r.word("observability.log_level", &levels),
        }
    }
}

fn read_namespace(r: &mut Reader<'_>) -> String {
    let key = "observability.namespace";
    r.text_that(key, "a lower-case letter, then at most 63 such letters, digits and underscores", |text| {
        text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    })
}
