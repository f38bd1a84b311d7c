//! `GET /ready`: whether to send requests here. Reads memory only.

use axum::{extract::State, response::Response};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use serde::Serialize;

use super::{reply, state::AppState};

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<&'static str>,
}

/// Ready, or why not.
pub(super) async fn get(State(state): State<AppState>) -> Response {
    let reasons =
        [("storage", !state.status.status().writes), ("shutting_down", state.stopping.is_cancelled())];
    let reasons: Vec<_> = reasons.into_iter().filter_map(|(reason, holds)| holds.then_some(reason)).collect();
    if reasons.is_empty() {
        return reply::json(StatusCode::OK, &Ready { status: "ready", reasons });
    }
    let mut response = reply::json(StatusCode::SERVICE_UNAVAILABLE, &Ready { status: "not ready", reasons });
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
