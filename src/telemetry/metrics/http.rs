//! Metrics of the HTTP surface: one record per answered request.
//!
//! This is on the path of every request. A record is two array look-ups, one atomic addition and one short lock.

use std::time::Duration;

use opentelemetry::KeyValue;

use super::instrument::{LazyDurations, LazyTotals, Level, Meter, Total, counter};
use super::label::{Label, labels};

labels! {
    /// The matched route of a request.
    HttpRoute {
        /// `GET /health`.
        Health => "/health",
        /// `GET /ready`.
        Ready => "/ready",
        /// `GET /metrics`.
        Metrics => "/metrics",
        /// `POST /pair`.
        Pair => "/pair",
        /// `POST /webhook`.
        Webhook => "/webhook",
        /// `GET` and `POST /whatsapp`.
        Whatsapp => "/whatsapp",
        /// `POST /linq`.
        Linq => "/linq",
        /// `POST /nextcloud-talk`.
        NextcloudTalk => "/nextcloud-talk",
        /// No route matched.
        Other => "other",
    }
}

impl HttpRoute {
    /// The route with this path. No route has parameters, so its path is its label.
    #[must_use]
    pub fn from_path(path: &str) -> Self {
        Self::ALL.iter().copied().find(|route| route.as_str() == path).unwrap_or(Self::Other)
    }
}

labels! {
    /// The method of a request.
    HttpMethod {
        /// `GET`.
        Get => "GET",
        /// `POST`.
        Post => "POST",
        /// `HEAD`.
        Head => "HEAD",
        /// `OPTIONS`.
        Options => "OPTIONS",
        /// `PUT`.
        Put => "PUT",
        /// `PATCH`.
        Patch => "PATCH",
        /// `DELETE`.
        Delete => "DELETE",
        /// Any other token: a client may invent one.
        Other => "other",
    }
}

impl HttpMethod {
    /// The method with this name, which is case-sensitive (RFC 9110, section 9.1).
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::ALL.iter().copied().find(|method| method.as_str() == name).unwrap_or(Self::Other)
    }
}

labels! {
    /// The status of a response.
    HttpStatus {
        /// OK.
        Ok => "200",
        /// Bad Request.
        BadRequest => "400",
        /// Unauthorized.
        Unauthorized => "401",
        /// Forbidden.
        Forbidden => "403",
        /// Not Found.
        NotFound => "404",
        /// Method Not Allowed.
        MethodNotAllowed => "405",
        /// Request Timeout.
        RequestTimeout => "408",
        /// Conflict.
        Conflict => "409",
        /// Content Too Large.
        ContentTooLarge => "413",
        /// Unsupported Media Type.
        UnsupportedMediaType => "415",
        /// Unprocessable Content.
        UnprocessableContent => "422",
        /// Too Many Requests.
        TooManyRequests => "429",
        /// Internal Server Error.
        InternalServerError => "500",
        /// Service Unavailable.
        ServiceUnavailable => "503",
        /// A status that the gateway has no table entry for.
        Other => "other",
    }
}

impl HttpStatus {
    /// The label for a status code.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            200 => Self::Ok,
            400 => Self::BadRequest,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::RequestTimeout,
            409 => Self::Conflict,
            413 => Self::ContentTooLarge,
            415 => Self::UnsupportedMediaType,
            422 => Self::UnprocessableContent,
            429 => Self::TooManyRequests,
            500 => Self::InternalServerError,
            503 => Self::ServiceUnavailable,
            _ => Self::Other,
        }
    }
}

impl HttpMethod {
    /// The value of the attribute `http.request.method`.
    const fn semantic(self) -> &'static str {
        match self {
            Self::Other => "_OTHER",
            named => named.as_str(),
        }
    }
}

/// The buckets that the convention advises, with finer ones below and coarser ones above.
const SECONDS: [f64; 20] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    30.0, 60.0, 120.0,
];

const METHODS: usize = HttpMethod::ALL.len();
const STATUSES: usize = HttpStatus::ALL.len();
const SERIES: usize = HttpRoute::ALL.len() * METHODS * STATUSES;

// From 2,000 label sets on, OpenTelemetry puts every new one into a single overflow series.
const _: () = assert!(SERIES < 2000);

/// Requests: how many are at work, how many were answered and how long they took.
///
/// Two instruments are those of the semantic conventions, under their names and with their attributes
/// (<https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>).
pub struct HttpMetrics {
    requests: LazyTotals,
    durations: LazyDurations,
    active: Box<[Level]>,
    hung_up: Total,
    no_room: Total,
}

impl HttpMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let help = "HTTP requests answered, by route, method and status";
        let requests = counter(meter, "http_requests_total", help);
        let durations = meter
            .standard
            .f64_histogram("http.server.request.duration")
            .with_unit("s")
            .with_description("Duration of HTTP server requests: from request head to response head")
            .with_boundaries(SECONDS.to_vec())
            .build();
        Self {
            requests: LazyTotals::new(requests, SERIES),
            durations: LazyDurations::new(durations, SERIES),
            active: active(meter),
            hung_up: Total::new(
                meter,
                "http_requests_hung_up_total",
                "HTTP requests whose client hung up before the answer",
            ),
            no_room: Total::new(
                meter,
                "large_bodies_refused_total",
                "Large bodies that were not read because others took all the memory there is for them",
            ),
        }
    }

    /// Counts a request as at work until it has [`ended`](Self::ended).
    pub fn begun(&self, method: HttpMethod) {
        self.active[method.index()].raise(1);
    }

    /// It is no longer at work.
    pub fn ended(&self, method: HttpMethod) {
        self.active[method.index()].lower(1);
    }

    /// Counts a request whose client did not wait for the answer.
    pub fn hung_up(&self) {
        self.hung_up.increment();
    }

    /// Counts a large body that there was no room for.
    pub fn no_room(&self) {
        self.no_room.increment();
    }

    /// Counts one answered request.
    pub fn record(&self, route: HttpRoute, method: HttpMethod, status: HttpStatus, elapsed: Duration) {
        let series = (route.index() * METHODS + method.index()) * STATUSES + status.index();
        self.requests.increment(series, || {
            [
                KeyValue::new("method", method.as_str()),
                KeyValue::new("route", route.as_str()),
                KeyValue::new("status", status.as_str()),
            ]
        });
        self.durations.record(series, elapsed, || attributes(route, method, status));
    }
}

/// What the convention says of an answered request. A route that there is not, and a status that has no entry, are left
/// out.
fn attributes(route: HttpRoute, method: HttpMethod, status: HttpStatus) -> Vec<KeyValue> {
    let mut attributes =
        vec![KeyValue::new("http.request.method", method.semantic()), KeyValue::new("url.scheme", "http")];
    if route != HttpRoute::Other {
        attributes.push(KeyValue::new("http.route", route.as_str()));
    }
    if let Ok(code) = status.as_str().parse::<i64>() {
        attributes.push(KeyValue::new("http.response.status_code", code));
        if code >= 500 {
            attributes.push(KeyValue::new("error.type", status.as_str()));
        }
    }
    attributes
}

/// `http.server.active_requests`: a level for each method.
fn active(meter: &Meter) -> Box<[Level]> {
    let levels: Box<[Level]> = HttpMethod::ALL.iter().map(|_| Level::default()).collect();
    let seen = levels.clone();
    let builder = meter
        .standard
        .i64_observable_up_down_counter("http.server.active_requests")
        .with_unit("{request}")
        .with_description("Number of active HTTP server requests");
    let _ = builder
        .with_callback(move |to| {
            for (method, level) in HttpMethod::ALL.iter().zip(&seen) {
                let labels = [
                    KeyValue::new("http.request.method", method.semantic()),
                    KeyValue::new("url.scheme", "http"),
                ];
                to.observe(level.get().try_into().unwrap_or(i64::MAX), &labels);
            }
        })
        .build();
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_label_is_the_code_it_stands_for() {
        for code in 100..600 {
            let label = HttpStatus::from_code(code);
            assert!(label == HttpStatus::Other || label.as_str() == code.to_string(), "{code}");
        }
        for label in HttpStatus::ALL.iter().filter(|label| **label != HttpStatus::Other) {
            assert_eq!(HttpStatus::from_code(label.as_str().parse().unwrap()), *label);
        }
    }

    #[test]
    fn what_a_client_invents_becomes_other() {
        for path in ["", "/wp-login.php", "/webhook/", "/webhook/more", "/%77ebhook"] {
            assert_eq!(HttpRoute::from_path(path), HttpRoute::Other, "{path}");
        }
        assert_eq!(HttpRoute::from_path("/webhook"), HttpRoute::Webhook);
        assert_eq!(HttpMethod::from_name("get"), HttpMethod::Other);
        assert_eq!(HttpMethod::from_name("BREW"), HttpMethod::Other);
        assert_eq!(HttpMethod::from_name("HEAD"), HttpMethod::Head);
        assert_eq!(HttpStatus::from_code(299), HttpStatus::Other);
        assert_eq!(HttpStatus::from_code(u16::MAX), HttpStatus::Other);
    }
}
