//! The outermost layer: request id, security headers, metrics, and the one log line of a request that failed inside.

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::{
    HeaderName, HeaderValue,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};

use crate::{
    http::{error::Cause, state::AppState},
    telemetry::metrics::{HttpMethod, HttpRoute, HttpStatus},
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_REQUEST_ID: usize = 128;

/// Wraps one request.
pub(in crate::http) async fn wrap(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let started = state.clock.monotonic();
    let id = own_id(request.headers()).unwrap_or_else(|| state.next_request_id());
    let route = HttpRoute::from_pattern(request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
    let method = HttpMethod::from_name(request.method().as_str());
    let mut response = next.run(request).await;
    if let Some(Cause { text, component }) = response.extensions_mut().remove() {
        tracing::error!(request_id = ?id, cause = text, status = response.status().as_u16(), "a request failed");
        state.metrics.agent.error(component);
    }
    add_headers(response.headers_mut(), id, route == HttpRoute::Metrics);
    let elapsed = state.clock.monotonic().saturating_sub(started);
    state.metrics.http.record(route, method, HttpStatus::from_code(response.status().as_u16()), elapsed);
    response
}

/// The caller's request id, if it is 1 to 128 visible ASCII characters.
fn own_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(X_REQUEST_ID)?;
    let valid =
        (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    valid.then(|| id.clone())
}

fn add_headers(headers: &mut HeaderMap, id: HeaderValue, cacheable: bool) {
    headers.insert(X_REQUEST_ID, id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    if !cacheable {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
