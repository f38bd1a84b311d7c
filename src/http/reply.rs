//! JSON responses.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde::Serialize;

use super::error::ApiError;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// The headers of an answer to `/webhook`, for which there is room from the start.
const HEADERS: usize = 12;

/// A response with a JSON body, its fields in the order in which they are declared.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            *response.status_mut() = status;
            *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response
        }
        Err(error) => ApiError::internal(error.to_string()).into_response(),
    }
}

/// The only value of a header, trimmed; `None` if it is missing or given more than once.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes().trim_ascii())
}
