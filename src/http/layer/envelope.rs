//! The outermost layer: request id, security headers, and all that is seen of a request.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{
    HeaderValue,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};

use super::watch::{Watch, X_REQUEST_ID};
use crate::{
    http::{
        error::{Cause, Outcome},
        state::AppState,
    },
    telemetry::metrics::HttpRoute,
};

/// Wraps one request.
pub(in crate::http) async fn wrap(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let mut watch = Watch::begin(state, &request);
    let mut response = watch.scope().run(next.run(request)).await;
    let extensions = response.extensions_mut();
    let (outcome, cause) = (extensions.remove::<Outcome>(), extensions.remove::<Cause>());
    add_headers(response.headers_mut(), watch.id.clone(), watch.route == HttpRoute::Metrics);
    watch.answered(&response, outcome, cause.as_ref());
    response
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
