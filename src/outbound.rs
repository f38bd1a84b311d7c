//! The one client for calls to other servers: of models, of chat platforms. TLS is rustls with ring, system proxies are
//! honoured, redirects are not followed, and no call waits or reads without a limit.
//!
//! What the other side sent never gets into an error, and neither does an address.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::redirect::Policy;
use serde::Serialize;

use crate::{domain::secret::Secret, telemetry::trace};

mod otlp;

pub use otlp::OtlpClient;

#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;

/// The longest response that is read, in bytes.
const MAX_RESPONSE: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause that another server can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// The client could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up: {0}")]
pub struct SetupError(String);

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There was no connection: nothing was sent.
    #[error("no connection: {0}")]
    NotSent(String),
    /// The connection broke. Whether the other side acted on the call is not known.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The time for the call, given here, was over. Whether the other side acted on it is not known.
    #[error("no answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The response is longer than 1 MiB.
    #[error("the response is longer than 1 MiB")]
    TooLong,
}

/// Makes calls, each within the same time. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    timeout: Duration,
}

impl Client {
    /// A client whose calls take at most `timeout`, from connecting to the last byte.
    ///
    /// # Errors
    /// [`SetupError`] if TLS cannot be set up.
    pub fn new(timeout: Duration) -> Result<Self, SetupError> {
        Self::build(reqwest::Client::builder(), timeout)
    }

    /// The same, but past every proxy: for a gateway on this machine.
    ///
    /// # Errors
    /// [`SetupError`] if TLS cannot be set up.
    pub fn direct(timeout: Duration) -> Result<Self, SetupError> {
        Self::build(reqwest::Client::builder().no_proxy(), timeout)
    }

    fn build(builder: reqwest::ClientBuilder, timeout: Duration) -> Result<Self, SetupError> {
        // One for the process; it is there already if another client was set up before.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = builder.redirect(Policy::none()).connect_timeout(CONNECT_TIMEOUT).build();
        let http = http.map_err(|error| SetupError(error.without_url().to_string()))?;
        Ok(Self { http, timeout })
    }

    /// The same connections with another time for each call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { http: self.http.clone(), timeout }
    }

    /// Posts JSON, and reads the head of the response whatever its status.
    ///
    /// # Errors
    /// [`CallError`] if there is no response.
    pub async fn post_json(
        &self,
        url: &str,
        headers: HeaderMap,
        body: &(impl Serialize + Sync),
    ) -> Result<Response, CallError> {
        self.send(self.http.post(url).headers(headers).json(body)).await
    }

    /// Posts bytes.
    async fn post_bytes(&self, url: &str, headers: HeaderMap, body: Bytes) -> Result<Response, CallError> {
        self.send(self.http.post(url).headers(headers).body(body)).await
    }

    /// Gets an address, without any secret, and reads the head of the response whatever its status.
    ///
    /// # Errors
    /// [`CallError`] if there is no response.
    pub async fn get(&self, url: &str) -> Result<Response, CallError> {
        self.send(self.http.get(url)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, CallError> {
        let mut context = HeaderMap::new();
        trace::inject(&mut context);
        match request.headers(context).timeout(self.timeout).send().await {
            Ok(response) => Ok(Response { response, timeout: self.timeout }),
            Err(error) => Err(call_error(error, self.timeout)),
        }
    }
}

/// A response whose head was read.
#[derive(Debug)]
pub struct Response {
    response: reqwest::Response,
    timeout: Duration,
}

impl Response {
    /// Its status; a redirect is a response like any other.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The pause that it asks for.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.response.headers())
    }

    /// Its body, of at most 1 MiB.
    ///
    /// # Errors
    /// [`CallError`] if it is longer, or not read to its end.
    pub async fn body(mut self) -> Result<Vec<u8>, CallError> {
        let mut body = Vec::new();
        while let Some(chunk) =
            self.response.chunk().await.map_err(|error| call_error(error, self.timeout))?
        {
            if body.len() + chunk.len() > MAX_RESPONSE {
                return Err(CallError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn call_error(error: reqwest::Error, timeout: Duration) -> CallError {
    // A connection that takes too long to set up is a time-out as well, but one before anything was sent.
    if error.is_connect() || error.is_builder() {
        CallError::NotSent(error.without_url().to_string())
    } else if error.is_timeout() {
        CallError::TimedOut(timeout)
    } else {
        CallError::Broken(error.without_url().to_string())
    }
}

/// One word for a status that is no success, for the database and the log.
#[must_use]
pub const fn status_class(code: u16) -> &'static str {
    match code {
        401 | 403 => "unauthorized",
        408 => "timed_out",
        429 => "rate_limited",
        500.. => "overloaded",
        _ => "refused",
    }
}

/// Whether the same call may succeed after this status.
#[must_use]
pub const fn is_transient_status(code: u16) -> bool {
    matches!(code, 408 | 429 | 500..)
}

/// `Authorization: Bearer …`, marked so that nothing prints it.
///
/// # Errors
/// [`SetupError`] if the token has characters that no header may have.
pub fn bearer(token: &Secret) -> Result<HeaderValue, SetupError> {
    secret_header(&Secret::new(format!("Bearer {}", token.expose())))
}

/// A secret as the value of a header, marked so that nothing prints it.
///
/// # Errors
/// [`SetupError`] if it has characters that no header may have.
pub fn secret_header(secret: &Secret) -> Result<HeaderValue, SetupError> {
    let mut value = HeaderValue::try_from(secret.expose())
        .map_err(|_| SetupError("a key or token has characters that no header may have".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Text as one segment of a URL's path; `None` if it is blank, or would be taken for a step within the path.
#[must_use]
pub fn path_segment(text: &str) -> Option<String> {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let is_segment = !text.trim().is_empty() && !matches!(text, "." | "..");
    is_segment.then(|| utf8_percent_encode(text, RESERVED).to_string())
}

/// The pause that `Retry-After` asks for (RFC 9110, 10.2.3), at most a day. A date is taken relative to the response's
/// own `Date`, so that it does not matter whose clock is wrong; a date without one says nothing.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let sent = date(headers.get(header::DATE)?.to_str().ok()?)?;
        date(text)?.duration_since(sent).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}
