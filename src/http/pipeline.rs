//! What every request goes through, whatever its route: it gets its id and the headers that all answers have, is watched,
//! bounded in length and in time, and answered even if its handler panics.
//!
//! This is one future around the router rather than layers in it. axum keeps each layer, with all below it, and the future of
//! each in boxes of their own, and a request that waits for its batch to be written would wait in all of them.

use std::{convert::Infallible, panic::AssertUnwindSafe, time::Duration};

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::Request,
    response::{IntoResponse as _, Response},
};
use futures_util::{
    FutureExt as _,
    future::{Either, ready},
};
use http::{
    HeaderValue, Method, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderMap},
};
use tower::Service as _;
use tower_http::timeout::Timeout;

use super::{
    error::{ApiError, Cause, Outcome},
    fixed::{NO_STORE, SECURITY_HEADERS, X_REQUEST_ID},
    server::Responder,
    state::AppState,
    watch::Watch,
};
use crate::{repository::StoreError, telemetry::metrics::HttpRoute};

/// How much longer a request may take whose hit cannot be written.
const LONGEST_FLUSH: Duration = Duration::from_secs(1);

/// All routes, and the way to them.
#[derive(Clone)]
pub struct Pipeline {
    state: AppState,
    routes: Timeout<Router>,
}

impl Responder for Pipeline {
    fn respond(&self, request: Request) -> impl Future<Output = Response> + Send {
        let mut watch = Watch::begin(&self.state, &request);
        watch.scope().run(self.answer(request)).map(move |mut response| {
            let extensions = response.extensions_mut();
            let (outcome, cause) = (extensions.remove::<Outcome>(), extensions.remove::<Cause>());
            watch.answered(&response, outcome, cause.as_ref());
            let (id, cacheable) = (watch.take_id(), watch.route == HttpRoute::Metrics);
            add_headers(response.headers_mut(), id, cacheable);
            response
        })
    }
}

impl Pipeline {
    /// The way to these routes.
    #[must_use]
    pub(super) fn new(state: AppState, routes: Router) -> Self {
        let time = state.settings.request_timeout;
        Self { routes: Timeout::with_status_code(routes, StatusCode::REQUEST_TIMEOUT, time), state }
    }

    /// The answer of the route, or why there is none. Futures that are put together take less room than `async` ones, which hold
    /// what they wait for twice.
    fn answer(&self, request: Request) -> impl Future<Output = Response> + Send + use<'_> {
        let is_head = request.method() == Method::HEAD;
        let routed = if self.is_too_long(&request) {
            Either::Left(ready(Err(ApiError::BodyTooLarge)))
        } else {
            Either::Right(caught(self.routes.clone().call(request)))
        };
        routed.then(async move |routed| {
            let error = match routed {
                Ok(response) if response.status() == StatusCode::REQUEST_TIMEOUT => self.timed_out().await,
                Ok(response) => return response,
                Err(error) => error,
            };
            let response = error.into_response();
            if is_head { without_body(response) } else { response }
        })
    }

    /// Whether the body says that it is too long: then it is refused before it is read, and before anything is counted. If it says
    /// nothing, whoever reads it counts.
    fn is_too_long(&self, request: &Request) -> bool {
        let length =
            request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        length
            .is_some_and(|length| length > self.state.settings.max_body_bytes_of(request.uri().path()) as u64)
    }

    /// The answer to a request that takes too long. What it had begun goes on: claimed work is not the request's. Its hit is on
    /// disk before it is answered.
    async fn timed_out(&self) -> ApiError {
        match tokio::time::timeout(LONGEST_FLUSH, self.state.limits.flush()).await {
            Ok(Ok(())) => ApiError::TimedOut,
            Ok(Err(error)) => ApiError::Storage(error),
            Err(_) => ApiError::Storage(StoreError::Busy),
        }
    }
}

/// What comes of a call of the router, also by a panic.
fn caught(
    call: impl Future<Output = Result<Response, Infallible>>,
) -> impl Future<Output = Result<Response, ApiError>> {
    AssertUnwindSafe(call).catch_unwind().map(|ended| match ended {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(never)) => match never {},
        Err(_) => Err(ApiError::internal("a handler panicked")),
    })
}

/// An answer to `HEAD`. The router sees to its own.
fn without_body(mut response: Response) -> Response {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(|_| Body::empty())
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_like_any_other_failure() {
        let panics = async { panic!("a handler panics on purpose") };
        assert_eq!(caught(panics).await.unwrap_err(), ApiError::internal("a handler panicked"));
    }

    #[tokio::test]
    async fn an_answer_to_head_has_the_length_of_the_body_that_it_leaves_out() {
        let full = ApiError::BodyTooLarge.into_response();
        let length = full.body().size_hint().exact().unwrap();
        let response = without_body(full);
        assert_eq!(response.headers()[CONTENT_LENGTH], length.to_string());
        assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
}
