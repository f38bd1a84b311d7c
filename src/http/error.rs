//! Every answer that is not a good one: one table of status, sentence and wait.

use std::{borrow::Cow, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;

use super::reply;
use crate::{
    domain::{channel::ChannelKind, time::retry_after_secs},
    repository::StoreError,
    service::pairing::PairingError,
    telemetry::metrics::Component,
};

/// Why a request gets no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiError {
    NotFound,
    MethodNotAllowed,
    BodyTooLarge,
    TimedOut,
    PairRateLimited(Duration),
    WebhookRateLimited(Duration),
    LockedOut(Duration),
    InvalidCode,
    Unauthorized { token_given: bool },
    WrongSecret,
    InvalidBody,
    InvalidKey,
    InvalidSession,
    KeyRunning(Duration),
    KeyMismatch,
    ProviderFailed,
    Overloaded,
    NotConfigured(ChannelKind),
    InvalidSignature,
    SignatureRateLimited(Duration),
    InvalidPayload,
    InboxFull,
    Storage(StoreError),
    Internal(Cow<'static, str>),
}

/// What was wrong and where, for the log and its counter. The client never sees it.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    pub(super) text: String,
    pub(super) component: Component,
}

/// What became of a request, in one word, for the log and its span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome(pub(super) &'static str);

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl ApiError {
    pub(super) fn internal(cause: impl Into<Cow<'static, str>>) -> Self {
        Self::Internal(cause.into())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::NotConfigured(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::PairRateLimited(_)
            | Self::WebhookRateLimited(_)
            | Self::SignatureRateLimited(_)
            | Self::LockedOut(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::InvalidCode => StatusCode::FORBIDDEN,
            Self::Unauthorized { .. } | Self::WrongSecret | Self::InvalidSignature => {
                StatusCode::UNAUTHORIZED
            }
            Self::InvalidBody | Self::InvalidKey | Self::InvalidSession | Self::InvalidPayload => {
                StatusCode::BAD_REQUEST
            }
            Self::KeyRunning(_) => StatusCode::CONFLICT,
            Self::KeyMismatch => StatusCode::UNPROCESSABLE_ENTITY,
            Self::ProviderFailed | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded | Self::InboxFull | Self::Storage(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn sentence(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::BodyTooLarge => "Request body too large",
            Self::TimedOut => "",
            Self::PairRateLimited(_) => "Too many pairing requests. Please retry later.",
            Self::WebhookRateLimited(_) => "Too many webhook requests. Please retry later.",
            Self::LockedOut(wait) => {
                return format!("Too many failed attempts. Try again in {}s.", retry_after_secs(*wait))
                    .into();
            }
            Self::InvalidCode => "Invalid pairing code",
            Self::Unauthorized { .. } => {
                "Unauthorized — pair first via POST /pair, then send Authorization: Bearer <token>"
            }
            Self::WrongSecret => "Unauthorized — invalid or missing X-Webhook-Secret header",
            Self::InvalidBody => "Invalid JSON body. Expected: {\"message\": \"...\"}",
            Self::InvalidKey => "Invalid idempotency key. Expected 1 to 255 visible ASCII characters",
            Self::InvalidSession => "Invalid session id. Expected 1 to 255 visible ASCII characters",
            Self::KeyRunning(_) => "Request with this idempotency key is still being processed",
            Self::KeyMismatch => "Idempotency key was used with a different request body",
            Self::ProviderFailed => "LLM request failed",
            Self::Overloaded | Self::InboxFull => "Too many requests in flight. Please retry later.",
            Self::NotConfigured(kind) => return format!("{} not configured", kind.title()).into(),
            Self::InvalidSignature => "Invalid signature",
            Self::SignatureRateLimited(_) => {
                "Too many requests with an invalid signature. Please retry later."
            }
            Self::InvalidPayload => "Invalid JSON payload",
            Self::Storage(_) => "Storage unavailable. Please retry later.",
            Self::Internal(_) => "Internal server error",
        })
    }

    fn wait(&self) -> Option<Duration> {
        match self {
            Self::PairRateLimited(wait)
            | Self::WebhookRateLimited(wait)
            | Self::SignatureRateLimited(wait)
            | Self::LockedOut(wait)
            | Self::KeyRunning(wait) => Some(*wait),
            Self::Overloaded | Self::Storage(StoreError::Busy) => Some(Duration::from_secs(1)),
            Self::InboxFull | Self::Storage(StoreError::Full) => Some(Duration::from_secs(30)),
            Self::Storage(_) => Some(Duration::from_secs(5)),
            _ => None,
        }
    }

    fn challenge(&self) -> Option<HeaderValue> {
        match self {
            Self::Unauthorized { token_given: true } => {
                Some(HeaderValue::from_static(r#"Bearer realm="moorgate", error="invalid_token""#))
            }
            Self::Unauthorized { token_given: false } | Self::WrongSecret | Self::InvalidSignature => {
                Some(HeaderValue::from_static(r#"Bearer realm="moorgate""#))
            }
            _ => None,
        }
    }

    /// One word for the log.
    const fn class(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyTooLarge => "body_too_large",
            Self::TimedOut => "timed_out",
            Self::PairRateLimited(_) | Self::WebhookRateLimited(_) | Self::SignatureRateLimited(_) => {
                "rate_limited"
            }
            Self::LockedOut(_) => "locked_out",
            Self::InvalidCode => "invalid_code",
            Self::Unauthorized { .. } => "unauthorized",
            Self::WrongSecret => "wrong_secret",
            Self::InvalidBody => "invalid_body",
            Self::InvalidKey => "invalid_key",
            Self::InvalidSession => "invalid_session",
            Self::KeyRunning(_) => "key_running",
            Self::KeyMismatch => "key_mismatch",
            Self::ProviderFailed => "provider_failed",
            Self::Overloaded => "overloaded",
            Self::NotConfigured(_) => "not_configured",
            Self::InvalidSignature => "invalid_signature",
            Self::InvalidPayload => "invalid_payload",
            Self::InboxFull => "inbox_full",
            Self::Storage(_) => "storage",
            Self::Internal(_) => "internal",
        }
    }

    fn cause(&self) -> Option<Cause> {
        match self {
            Self::Storage(error) => Some(Cause { text: error.to_string(), component: Component::Storage }),
            Self::Internal(cause) => Some(Cause { text: cause.to_string(), component: Component::Gateway }),
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let retry_after = self.wait().map(retry_after_secs);
        let mut response = match &self {
            Self::TimedOut => Response::new(Body::empty()),
            _ => reply::json(self.status(), &ErrorBody { error: &self.sentence(), retry_after }),
        };
        *response.status_mut() = self.status();
        if let Some(secs) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        if let Some(challenge) = self.challenge() {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response.extensions_mut().insert(Outcome(self.class()));
        if let Some(cause) = self.cause() {
            response.extensions_mut().insert(cause);
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Storage(error)
    }
}

impl From<PairingError> for ApiError {
    fn from(error: PairingError) -> Self {
        match error {
            PairingError::Store(error) => Self::Storage(error),
            PairingError::Entropy(error) => Self::internal(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const WAIT: Duration = Duration::from_millis(1500);

    /// Each variant with its status and its body.
    fn table() -> Vec<(ApiError, u16, &'static str)> {
        let storage = r#"{"error":"Storage unavailable. Please retry later.","retry_after":5}"#;
        vec![
            (ApiError::NotFound, 404, r#"{"error":"Not found"}"#),
            (ApiError::MethodNotAllowed, 405, r#"{"error":"Method not allowed"}"#),
            (ApiError::BodyTooLarge, 413, r#"{"error":"Request body too large"}"#),
            (ApiError::TimedOut, 408, ""),
            (
                ApiError::PairRateLimited(WAIT),
                429,
                r#"{"error":"Too many pairing requests. Please retry later.","retry_after":2}"#,
            ),
            (
                ApiError::WebhookRateLimited(WAIT),
                429,
                r#"{"error":"Too many webhook requests. Please retry later.","retry_after":2}"#,
            ),
            (
                ApiError::LockedOut(WAIT),
                429,
                r#"{"error":"Too many failed attempts. Try again in 2s.","retry_after":2}"#,
            ),
            (ApiError::InvalidCode, 403, r#"{"error":"Invalid pairing code"}"#),
            (
                ApiError::Unauthorized { token_given: true },
                401,
                r#"{"error":"Unauthorized — pair first via POST /pair, then send Authorization: Bearer <token>"}"#,
            ),
            (
                ApiError::WrongSecret,
                401,
                r#"{"error":"Unauthorized — invalid or missing X-Webhook-Secret header"}"#,
            ),
            (
                ApiError::InvalidBody,
                400,
                r#"{"error":"Invalid JSON body. Expected: {\"message\": \"...\"}"}"#,
            ),
            (
                ApiError::InvalidKey,
                400,
                r#"{"error":"Invalid idempotency key. Expected 1 to 255 visible ASCII characters"}"#,
            ),
            (
                ApiError::InvalidSession,
                400,
                r#"{"error":"Invalid session id. Expected 1 to 255 visible ASCII characters"}"#,
            ),
            (
                ApiError::KeyRunning(WAIT),
                409,
                r#"{"error":"Request with this idempotency key is still being processed","retry_after":2}"#,
            ),
            (
                ApiError::KeyMismatch,
                422,
                r#"{"error":"Idempotency key was used with a different request body"}"#,
            ),
            (ApiError::ProviderFailed, 500, r#"{"error":"LLM request failed"}"#),
            (
                ApiError::Overloaded,
                503,
                r#"{"error":"Too many requests in flight. Please retry later.","retry_after":1}"#,
            ),
            (ApiError::Storage(StoreError::Unavailable("disk on fire".into())), 503, storage),
            (ApiError::internal("secret cause"), 500, r#"{"error":"Internal server error"}"#),
        ]
    }

    /// Those of the channels.
    fn channel_table() -> Vec<(ApiError, u16, &'static str)> {
        vec![
            (
                ApiError::InboxFull,
                503,
                r#"{"error":"Too many requests in flight. Please retry later.","retry_after":30}"#,
            ),
            (ApiError::NotConfigured(ChannelKind::WhatsApp), 404, r#"{"error":"WhatsApp not configured"}"#),
            (ApiError::NotConfigured(ChannelKind::Linq), 404, r#"{"error":"Linq not configured"}"#),
            (
                ApiError::NotConfigured(ChannelKind::NextcloudTalk),
                404,
                r#"{"error":"Nextcloud Talk not configured"}"#,
            ),
            (ApiError::InvalidSignature, 401, r#"{"error":"Invalid signature"}"#),
            (
                ApiError::SignatureRateLimited(WAIT),
                429,
                r#"{"error":"Too many requests with an invalid signature. Please retry later.","retry_after":2}"#,
            ),
            (ApiError::InvalidPayload, 400, r#"{"error":"Invalid JSON payload"}"#),
        ]
    }

    #[tokio::test]
    async fn every_error_has_its_status_its_sentence_and_its_headers() {
        for (error, status, body) in table().into_iter().chain(channel_table()) {
            let wait = error.wait();
            let response = error.clone().into_response();
            assert_eq!(response.status().as_u16(), status, "{error:?}");
            assert_eq!(response.headers().contains_key(WWW_AUTHENTICATE), status == 401, "{error:?}");
            let retry_after = response.headers().get(RETRY_AFTER).map(|v| v.to_str().unwrap().to_owned());
            assert_eq!(retry_after, wait.map(|wait| retry_after_secs(wait).to_string()), "{error:?}");
            let waits = matches!(status, 429 | 409 | 503);
            assert_eq!(retry_after.is_some(), waits, "every 429, 409 and 503, and nothing else: {error:?}");
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(std::str::from_utf8(&bytes).unwrap(), body);
        }
    }
}
