//! `[observability]`: metrics, logs and traces.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    base_url::{BASE_URL, BaseUrl},
    reader::Reader,
};
use crate::domain::secret::Secret;

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
    /// Which requests have a line in the log.
    pub request_log: RequestLog,
    /// Where traces and metrics are pushed to; `None`: nowhere.
    pub otlp: Option<Otlp>,
}

/// A receiver of traces and metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Otlp {
    /// Its address, without a slash at its end.
    pub endpoint: String,
    /// What it wants to be told with each push, each marked as sensitive.
    pub headers: HeaderMap,
    /// From one push of the metrics to the next.
    pub interval: Duration,
    /// How many of the traces that begin here are kept, from 0 to 1.
    pub sample_ratio: f64,
}

impl Eq for Otlp {}

/// Which requests have a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestLog {
    /// Each.
    All,
    /// Those that failed here, and those whose client hung up.
    Failed,
    /// None.
    Off,
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
        let lines = [("all", RequestLog::All), ("failed", RequestLog::Failed), ("off", RequestLog::Off)];
        Self {
            backend: r.word("observability.backend", &backends),
            namespace: read_namespace(r),
            log_format: r
                .word("observability.log_format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            log_level: r.word("observability.log_level", &levels),
            request_log: r.word("observability.request_log", &lines),
            otlp: Otlp::read(r),
        }
    }
}

impl Otlp {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        const HEADERS: &str = "observability.otlp_headers";
        let endpoint = r.optional_text("observability.otlp_endpoint");
        let headers = r.secret(HEADERS, "observability.otlp_headers_file");
        let headers = headers.map_or_else(|| Some(HeaderMap::new()), |text| parse_headers(&text));
        if headers.is_none() {
            let must = "name=value, separated by commas, with names and values that a header may have";
            r.problem(HEADERS, format!("{HEADERS} must be {must}"));
        }
        let interval = r.seconds("observability.otlp_interval_secs", 1..=3600);
        let sample_ratio = r.number("observability.trace_sample_ratio", 0.0..=1.0);
        let endpoint =
            check_endpoint(r, &endpoint?, headers.as_ref().is_some_and(|headers| !headers.is_empty()));
        Some(Self { endpoint, headers: headers.unwrap_or_default(), interval, sample_ratio })
    }
}

/// Receivers are often near, and what they are told is no secret: only keys for them must not go out in the clear.
fn check_endpoint(r: &mut Reader<'_>, given: &str, has_headers: bool) -> String {
    const KEY: &str = "observability.otlp_endpoint";
    match BaseUrl::parse(given) {
        Some(url) if has_headers && url.is_plain_to_another_machine() => {
            r.warning(KEY, format!("{KEY} is plain http: the headers for it can be read on the way"));
        }
        Some(_) => {}
        None => r.problem(KEY, format!("{KEY} must be {BASE_URL}")),
    }
    given.trim_end_matches('/').to_owned()
}

/// `None` if it is anything but names and values.
fn parse_headers(text: &Secret) -> Option<HeaderMap> {
    let pairs = text.expose().split(',').map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let mut value = HeaderValue::try_from(value.trim()).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name.trim()).ok()?, value))
    });
    pairs.collect()
}

fn read_namespace(r: &mut Reader<'_>) -> String {
    let key = "observability.namespace";
    r.text_that(key, "a lower-case letter, then at most 63 such letters, digits and underscores", |text| {
        text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    })
}
