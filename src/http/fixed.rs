//! Headers that every answer has, whoever gives it: a handler, a layer or the connection layer.

use http::{
    HeaderName,
    header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS},
};

/// The id of the request, the caller's or one of ours.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The headers that tell a browser not to do anything with an answer.
pub(super) const SECURITY_HEADERS: [(HeaderName, &str); 4] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

/// `Cache-Control` of all answers but those of `/metrics`.
pub(super) const NO_STORE: &str = "no-store";
