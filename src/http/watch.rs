//! What is seen of a request: its metrics, its span and its one log line, also if its client hangs up.

use std::{sync::Arc, time::Duration};

use axum::{body::HttpBody as _, extract::Request, response::Response};
use http::{HeaderMap, HeaderValue, header::CONTENT_LENGTH};

use crate::{
    http::{
        error::{Cause, Outcome},
        fixed::X_REQUEST_ID,
        state::{AppState, RequestLog},
    },
    telemetry::{
        logs::REQUEST,
        metrics::{HttpMethod, HttpRoute, HttpStatus},
        scope::{Queries, Scope},
        trace::Span,
    },
};

const LONGEST_REQUEST_ID: usize = 128;

/// A request under way. Dropped before it was answered, its client has hung up.
pub(super) struct Watch<'s> {
    state: &'s AppState,
    id: HeaderValue,
    pub(super) route: HttpRoute,
    method: HttpMethod,
    body_bytes: Option<u64>,
    started: Duration,
    queries: Option<Arc<Queries>>,
    span: Span,
    is_answered: bool,
}

/// How a request ended.
struct End<'a> {
    /// 0: there was no answer.
    status: u16,
    outcome: &'static str,
    body_bytes: Option<u64>,
    cause: Option<&'a Cause>,
}

impl<'s> Watch<'s> {
    pub(super) fn begin(state: &'s AppState, request: &Request) -> Self {
        let route = HttpRoute::from_path(request.uri().path());
        let method = HttpMethod::from_name(request.method().as_str());
        state.metrics.http.begun(method);
        let length = request.headers().get(CONTENT_LENGTH);
        let is_counted = state.settings.request_log != RequestLog::Off || state.metrics.traces.is_on();
        Self {
            id: own_id(request.headers()).unwrap_or_else(|| state.request_ids.next()),
            route,
            method,
            body_bytes: length.and_then(|length| length.to_str().ok()?.parse().ok()),
            started: state.clock.monotonic(),
            queries: is_counted.then(Arc::default),
            span: state.metrics.traces.request(request.headers(), method, route),
            is_answered: false,
            state,
        }
    }

    /// Its id, for its answer, once that is noted.
    pub(super) fn take_id(&mut self) -> HeaderValue {
        std::mem::replace(&mut self.id, HeaderValue::from_static(""))
    }

    /// The scope of the work for it.
    pub(super) fn scope(&self) -> Scope {
        self.span.scope().counting(self.queries.clone())
    }

    /// Notes its answer.
    pub(super) fn answered(&mut self, response: &Response, outcome: Option<Outcome>, cause: Option<&Cause>) {
        self.is_answered = true;
        let status = response.status().as_u16();
        let outcome = outcome.map_or_else(|| outcome_of(status), |it| it.0);
        let elapsed = self.elapsed();
        self.state.metrics.http.record(self.route, self.method, HttpStatus::from_code(status), elapsed);
        self.span.answered(status);
        self.span.set("moorgate.outcome", outcome);
        if let Some(cause) = cause {
            self.state.metrics.agent.error(cause.component);
        }
        self.log(elapsed, &End { status, outcome, body_bytes: response.body().size_hint().exact(), cause });
    }

    fn elapsed(&self) -> Duration {
        self.state.clock.monotonic().saturating_sub(self.started)
    }

    /// The one line.
    fn log(&mut self, elapsed: Duration, end: &End<'_>) {
        let queries = self.queries.as_ref().map_or(0, |queries| queries.count());
        self.span.set("moorgate.queries", u64::from(queries));
        let is_wanted = match self.state.settings.request_log {
            RequestLog::All => true,
            RequestLog::Failed => end.status == 0 || end.status >= 500,
            RequestLog::Off => false,
        };
        if !is_wanted && end.cause.is_none() {
            return;
        }
        let request_id = self.id.to_str().unwrap_or_default();
        let (method, route) = (self.method.as_str(), self.route.as_str());
        let (status, outcome) = (end.status, end.outcome);
        let (request_bytes, response_bytes) = (self.body_bytes, end.body_bytes);
        let trace_id = self.span.trace_id();
        let micros = u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX);
        let duration_ms = f64::from(micros) / 1000.0;
        macro_rules! line {
            ($level:ident, $($cause:tt)*) => {
                tracing::$level!(
                    target: REQUEST, request_id, method, route, status, outcome, duration_ms, queries,
                    request_bytes, response_bytes, trace_id, $($cause)*
                )
            };
        }
        if let Some(cause) = end.cause {
            line!(error, cause = cause.text, "a request failed");
        } else {
            line!(info, "request");
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.state.metrics.http.ended(self.method);
        if !self.is_answered {
            self.state.metrics.http.hung_up();
            self.span.fail("hung_up");
            self.log(self.elapsed(), &End { status: 0, outcome: "hung_up", body_bytes: None, cause: None });
        }
    }
}

/// The outcome of an answer that says none.
const fn outcome_of(status: u16) -> &'static str {
    match status {
        ..400 => "ok",
        400..500 => "refused",
        500.. => "failed",
    }
}

/// The caller's request id, if it is 1 to 128 visible ASCII characters.
fn own_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(X_REQUEST_ID)?;
    let valid =
        (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    valid.then(|| id.clone())
}
