//! `GET /metrics`: all figures, for Prometheus.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::header::CONTENT_TYPE;

use super::state::AppState;
use crate::telemetry::metrics;

/// The text exposition, whatever `Accept` says.
pub(super) async fn get(State(state): State<AppState>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], state.metrics.render()).into_response()
}
