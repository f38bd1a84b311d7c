//! The body of `POST /webhook`.

use axum::{
    BoxError,
    body::{Body, HttpBody as _},
};
use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;

use crate::{domain::message::MessageText, http::error::ApiError};

#[derive(Deserialize)]
struct WebhookRequest {
    message: String,
}

/// Reads the body to its end, unless it gets too long. Most bodies come in one piece, which is not copied.
pub(in crate::http) async fn read_body(body: Body, max_bytes: usize) -> Result<Bytes, ApiError> {
    let mut body = Limited::new(body, max_bytes);
    let Some(first) = body.frame().await else { return Ok(Bytes::new()) };
    let first = first.map_err(|error| refusal(&error))?.into_data().unwrap_or_default(); // else it is trailers
    if body.is_end_stream() {
        return Ok(first);
    }
    let rest = body.collect().await.map_err(|error| refusal(&error))?.to_bytes();
    Ok(if rest.is_empty() { first } else { [first, rest].concat().into() })
}

fn refusal(error: &BoxError) -> ApiError {
    if error.is::<LengthLimitError>() { ApiError::BodyTooLarge } else { ApiError::InvalidBody }
}

/// Takes the message out of the body.
pub(in crate::http) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<MessageText, ApiError> {
    if !is_json(headers) {
        return Err(ApiError::InvalidBody);
    }
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::InvalidBody); // serde would also read the fields out of an array
    }
    let request: WebhookRequest = serde_json::from_slice(body).map_err(|_| ApiError::InvalidBody)?;
    MessageText::new(request.message).ok_or(ApiError::InvalidBody)
}

/// `application/json` or `application/<anything>+json` (RFC 6839), with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let media_type = value.split(';').next().unwrap_or_default().trim();
    let Some((kind, subtype)) = media_type.split_once('/') else { return false };
    let ending = subtype.rsplit_once('+').map_or(subtype, |(_, suffix)| suffix);
    kind.eq_ignore_ascii_case("application") && ending.eq_ignore_ascii_case("json")
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    #[tokio::test]
    async fn a_body_is_read_whole_in_however_many_pieces_it_comes() {
        let body = |pieces: &[&'static str]| {
            let frames = stream::iter(pieces.to_vec()).map(|piece| Ok::<_, Error>(Frame::data(piece.into())));
            Body::new(StreamBody::new(frames.chain(stream::iter([Ok(Frame::trailers(HeaderMap::new()))]))))
        };
        for pieces in [&[][..], &["", "whole"], &["w", "", "ho", "le"]] {
            let whole = read_body(body(pieces), 5).await.unwrap();
            assert_eq!(whole, pieces.concat(), "{pieces:?}");
        }
        assert_eq!(read_body(body(&["wh", "ole"]), 4).await, Err(ApiError::BodyTooLarge));
        let cut = stream::iter([Ok(Frame::data("wh".into())), Err(Error::other("the client is gone"))]);
        assert_eq!(read_body(Body::new(StreamBody::new(cut)), 5).await, Err(ApiError::InvalidBody));
    }

    fn parse_as(content_type: &str, body: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        parse(&headers, body.as_bytes()).ok().map(|text| text.as_str().to_owned())
    }

    #[test]
    fn json_in_every_spelling_of_its_type_is_read() {
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json"] {
            assert_eq!(parse_as(kind, r#"{"message":"hi","more":[1]}"#).as_deref(), Some("hi"), "{kind}");
        }
        for kind in ["text/json", "application/x-www-form-urlencoded", "json", "application/"] {
            assert_eq!(parse_as(kind, r#"{"message":"hi"}"#), None, "{kind}");
        }
    }

    #[test]
    fn what_is_not_a_message_is_refused() {
        let deep = format!("{{\"message\":\"hi\",\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let odd = [
            "",
            "{",
            r#"["hi"]"#,
            "[]",
            "5",
            "{}",
            r#"{"message":5}"#,
            r#"{"message":" "}"#,
            r#"{"message":"\ud800"}"#,
        ];
        for body in odd {
            assert_eq!(parse_as("application/json", body), None, "{body}");
        }
        parse_as("application/json", &deep); // either answer is right, as long as there is one
        assert_eq!(parse_as("application/json", r#"{"message":"\u0000"}"#).as_deref(), Some("\0"));
    }
}
