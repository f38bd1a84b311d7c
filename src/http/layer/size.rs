//! A body that says it is too long is refused before it is read, and before anything is counted.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::header::CONTENT_LENGTH;

use crate::http::{error::ApiError, state::AppState};

/// Lets the request pass if its `Content-Length` is within the limit, or if it has none: then whoever reads the body
/// counts.
pub(in crate::http) async fn limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let length =
        request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > state.settings.max_body_bytes_of(request.uri().path()) as u64) {
        return ApiError::BodyTooLarge.into_response();
    }
    next.run(request).await
}
