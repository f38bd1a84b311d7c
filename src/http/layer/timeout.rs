//! A request that takes too long is answered 408. What it had begun goes on: claimed work is not the request's.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{
    http::{error::ApiError, state::AppState},
    repository::StoreError,
};

/// How much longer a request may take whose hit cannot be written.
const LONGEST_FLUSH: Duration = Duration::from_secs(1);

/// Runs the request within its time. The hit of a request that is cut is on disk before it is answered.
pub(in crate::http) async fn limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(state.settings.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => match tokio::time::timeout(LONGEST_FLUSH, state.limits.flush()).await {
            Ok(Ok(())) => ApiError::TimedOut.into_response(),
            Ok(Err(error)) => ApiError::Storage(error).into_response(),
            Err(_) => ApiError::Storage(StoreError::Busy).into_response(),
        },
    }
}
