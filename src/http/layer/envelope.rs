//! The outermost layer: request id, security headers, and all that is seen of a request.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, HeaderMap},
};

use super::watch::Watch;
use crate::{
    http::{
        error::{Cause, Outcome},
        fixed::{NO_STORE, SECURITY_HEADERS, X_REQUEST_ID},
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
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !cacheable {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(NO_STORE));
    }
}
