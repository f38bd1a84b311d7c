//! `GET /ready`: whether to send requests here. Reads memory only.

use axum::{extract::State, response::Response};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use serde::Serialize;

use super::{reply, state::AppState};
use crate::domain::health;

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<&'static str>,
}

/// Ready, or why not.
pub(super) async fn get(State(state): State<AppState>) -> Response {
    answer([
        ("storage", !state.status.takes_writes()),
        ("shutting_down", state.stopping.is_cancelled()),
        ("provider", state.turns.provider_health() == health::State::Error),
    ])
}

/// Not ready, if one of the reasons holds.
fn answer(reasons: [(&'static str, bool); 3]) -> Response {
    let reasons: Vec<_> = reasons.into_iter().filter_map(|(reason, holds)| holds.then_some(reason)).collect();
    if reasons.is_empty() {
        return reply::json(StatusCode::OK, &Ready { status: "ready", reasons });
    }
    let mut response = reply::json(StatusCode::SERVICE_UNAVAILABLE, &Ready { status: "not ready", reasons });
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn every_reason_is_said() {
        for (storage, stopping, provider, status, body) in [
            (false, false, false, 200, r#"{"status":"ready"}"#),
            (true, false, false, 503, r#"{"status":"not ready","reasons":["storage"]}"#),
            (false, true, false, 503, r#"{"status":"not ready","reasons":["shutting_down"]}"#),
            (false, false, true, 503, r#"{"status":"not ready","reasons":["provider"]}"#),
            (true, true, false, 503, r#"{"status":"not ready","reasons":["storage","shutting_down"]}"#),
        ] {
            let response =
                answer([("storage", storage), ("shutting_down", stopping), ("provider", provider)]);
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503);
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
        }
    }
}
