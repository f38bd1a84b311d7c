//! Metrics of the HTTP surface: one record per answered request.
//!
//! This is on the path of every request. A record is two array look-ups, one atomic addition and one short lock.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::instrument::{HistogramSpec, LazyDurations, LazyTotals, counter};
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
    /// The route with this pattern. A request that matched none has no pattern.
    #[must_use]
    pub fn from_pattern(pattern: Option<&str>) -> Self {
        let Some(pattern) = pattern else { return Self::Other };
        Self::ALL.iter().copied().find(|route| route.as_str() == pattern).unwrap_or(Self::Other)
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

const DURATION: HistogramSpec = HistogramSpec {
    name: "http_request_duration_seconds",
    help: "Time from request head to response head in seconds, by route and method",
    bounds: &[
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        120.0,
    ],
};

const METHODS: usize = HttpMethod::ALL.len();
const STATUSES: usize = HttpStatus::ALL.len();
const ENDPOINTS: usize = HttpRoute::ALL.len() * METHODS;

// From 2,000 label sets on, OpenTelemetry puts every new one into a single overflow series.
const _: () = assert!(ENDPOINTS * STATUSES < 2000);

/// Answered requests and how long they took.
pub struct HttpMetrics {
    requests: LazyTotals,
    durations: LazyDurations,
}

impl HttpMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let help = "HTTP requests answered, by route, method and status";
        let requests = counter(meter, "http_requests_total", help);
        Self {
            requests: LazyTotals::new(requests, ENDPOINTS * STATUSES),
            durations: LazyDurations::new(DURATION.seconds(meter), ENDPOINTS),
        }
    }

    /// Counts one answered request.
    pub fn record(&self, route: HttpRoute, method: HttpMethod, status: HttpStatus, elapsed: Duration) {
        let endpoint = route.index() * METHODS + method.index();
        let labels = || [KeyValue::new("method", method.as_str()), KeyValue::new("route", route.as_str())];
        self.requests.increment(endpoint * STATUSES + status.index(), || {
            let [method, route] = labels();
            [method, route, KeyValue::new("status", status.as_str())]
        });
        self.durations.record(endpoint, elapsed, labels);
    }
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
        assert_eq!(HttpRoute::from_pattern(None), HttpRoute::Other);
        assert_eq!(HttpRoute::from_pattern(Some("/wp-login.php")), HttpRoute::Other);
        assert_eq!(HttpRoute::from_pattern(Some("/webhook")), HttpRoute::Webhook);
        assert_eq!(HttpMethod::from_name("get"), HttpMethod::Other);
        assert_eq!(HttpMethod::from_name("BREW"), HttpMethod::Other);
        assert_eq!(HttpMethod::from_name("HEAD"), HttpMethod::Head);
        assert_eq!(HttpStatus::from_code(299), HttpStatus::Other);
        assert_eq!(HttpStatus::from_code(u16::MAX), HttpStatus::Other);
    }
}
