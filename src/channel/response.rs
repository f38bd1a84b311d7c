//! What a platform's response to a sent message means.

use std::time::Duration;

use http::StatusCode;

use super::{Accepted, Retry, SendError, json::Object};
use crate::outbound::{CallError, Response, is_transient_status, status_class};

impl SendError {
    /// It would fail again.
    pub(super) const fn never(class: &'static str) -> Self {
        Self { class, retry: Retry::Never, in_doubt: false }
    }

    /// It may succeed later.
    pub(super) const fn later(class: &'static str, pause: Option<Duration>) -> Self {
        Self { class, retry: Retry::After(pause), in_doubt: false }
    }

    /// What a status says that is no success.
    pub(super) fn of_status(status: StatusCode, pause: Option<Duration>) -> Self {
        match status.as_u16() {
            413 => Self::never("too_long"),
            // A time-out on the way says nothing about what lies behind it.
            code @ (408 | 502 | 504) => Self { in_doubt: true, ..Self::later(status_class(code), pause) },
            code if is_transient_status(code) => Self::later(status_class(code), pause),
            code => Self::never(status_class(code)),
        }
    }
}

impl From<CallError> for SendError {
    fn from(error: CallError) -> Self {
        let (class, in_doubt) = match error {
            CallError::NotSent(_) => ("unreachable", false),
            CallError::Broken(_) => ("unreachable", true),
            CallError::TimedOut(_) => ("timed_out", true),
            CallError::TooLong => ("bad_response", true),
        };
        Self { class, retry: Retry::After(None), in_doubt }
    }
}

/// The id in the body of a success. One that cannot be read takes nothing away from the success.
pub(super) async fn accepted(response: Response, id: fn(&Object<'_>) -> Option<String>) -> Accepted {
    let body = response.body().await.unwrap_or_default();
    Accepted { platform_id: Object::read(&body).and_then(|body| id(&body)) }
}
