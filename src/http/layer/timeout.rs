//! A request that takes too long is answered 408. What it had begun goes on: claimed work is not the request's.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::http::{error::ApiError, state::AppState};

/// Runs the request within its time. The hit of a request that is cut is on disk before it is answered.
pub(in crate::http) async fn limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(state.settings.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => match state.limits.flush().await {
            Ok(()) => ApiError::TimedOut.into_response(),
            Err(error) => ApiError::Storage(error).into_response(),
        },
    }
}
