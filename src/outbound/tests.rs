use proptest::prelude::*;

use super::{
    test_server::{Reaction, TestServer},
    *,
};

const SOON: Duration = Duration::from_secs(30);

async fn call(url: &str, timeout: Duration) -> Result<(u16, Vec<u8>), CallError> {
    let response = Client::new(timeout).unwrap().post_json(url, HeaderMap::new(), &"hi").await?;
    Ok((response.status().as_u16(), response.body().await?))
}

async fn react(reaction: Reaction, timeout: Duration) -> Result<(u16, Vec<u8>), CallError> {
    let server = TestServer::start([reaction]).await;
    call(&server.url, timeout).await
}

#[tokio::test]
async fn an_answer_of_any_status_is_read() {
    assert_eq!(react(Reaction::status(200, "yes"), SOON).await, Ok((200, b"yes".to_vec())));
    assert_eq!(react(Reaction::status(503, "no"), SOON).await, Ok((503, b"no".to_vec())));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = TestServer::start([Reaction::status(200, "")]).await;
    let target: &'static str = Box::leak(elsewhere.url.clone().into_boxed_str());
    let headers: &'static _ = Box::leak(Box::new([("location", target)]));
    assert_eq!(react(Reaction::Answer(307, headers, String::new()), SOON).await, Ok((307, Vec::new())));
    assert!(elsewhere.calls().is_empty());
}

#[tokio::test]
async fn a_call_that_never_left_is_told_from_one_in_doubt() {
    let nobody = "http://127.0.0.1:1"; // of a free port somebody else may be listening a moment later
    assert!(matches!(call(nobody, SOON).await, Err(CallError::NotSent(_))));
    assert!(matches!(call("http://[", SOON).await, Err(CallError::NotSent(_))));
    assert!(matches!(react(Reaction::HangUp, SOON).await, Err(CallError::Broken(_))));
    let short = Duration::from_millis(50);
    assert_eq!(react(Reaction::Silence, short).await, Err(CallError::TimedOut(short)));
}

#[tokio::test]
async fn a_body_of_one_mebibyte_is_read_and_a_longer_one_is_not() {
    let body = "x".repeat(MAX_RESPONSE);
    assert_eq!(react(Reaction::status(200, &body), SOON).await, Ok((200, body.clone().into_bytes())));
    assert_eq!(react(Reaction::status(200, &(body + "x")), SOON).await, Err(CallError::TooLong));
}

#[tokio::test]
async fn an_error_does_not_show_the_address() {
    let error = call("http://127.0.0.1:1/v1/15551234567?key=s3cret", SOON).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    assert!(!format!("{error} {error:?}").contains("1555"), "{error}");
}

#[test]
fn a_bearer_token_does_not_show_itself() {
    let value = bearer(&Secret::new("s3cret")).unwrap();
    assert_eq!(value.as_bytes(), b"Bearer s3cret");
    assert!(!format!("{value:?}").contains("s3cret"));
    let error = bearer(&Secret::new("s3cret\n")).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
}

#[test]
fn a_path_segment_stays_one_segment() {
    for (text, segment) in [
        ("550e8400-e29b", Some("550e8400-e29b")),
        ("a/../b?c#d%2F", Some("a%2F..%2Fb%3Fc%23d%252F")),
        ("ü +", Some("%C3%BC%20%2B")),
        ("...", Some("...")),
        ("..", None),
        (".", None),
        (" ", None),
        ("", None),
    ] {
        assert_eq!(path_segment(text).as_deref(), segment, "{text}");
    }
}

fn wait(retry_after_text: &[u8], date: Option<&'static str>) -> Option<u64> {
    let mut headers = HeaderMap::new();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_bytes(retry_after_text).unwrap());
    if let Some(date) = date {
        headers.insert(header::DATE, HeaderValue::from_static(date));
    }
    retry_after(&headers).map(|wait| wait.as_secs())
}

#[test]
fn a_pause_is_read_in_seconds_and_as_a_date() {
    let noon = Some("Sun, 06 Nov 1994 12:00:00 GMT");
    for (text, date, secs) in [
        ("0", None, Some(0)),
        ("120", None, Some(120)),
        ("86401", None, Some(86_400)),
        ("99999999999999999999999999", None, Some(86_400)),
        ("Sun, 06 Nov 1994 12:02:00 GMT", noon, Some(120)),
        ("Sunday, 06-Nov-94 12:02:00 GMT", noon, Some(120)),
        ("Sun, 06 Nov 1994 11:00:00 GMT", noon, Some(0)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", noon, Some(86_400)),
        ("Sun, 06 Nov 1994 12:02:00 GMT", None, None),
        ("Sun, 06 Nov 1994 12:02:00 GMT", Some("now"), None),
        ("-5", None, None),
        ("1.5", None, None),
        ("", None, None),
        ("soon", noon, None),
    ] {
        assert_eq!(wait(text.as_bytes(), date), secs, "{text} {date:?}");
    }
    assert_eq!(wait(b"\xff", noon), None);
    assert_eq!(retry_after(&HeaderMap::new()), None);
}

proptest! {
    #[test]
    fn a_hostile_pause_is_at_most_a_day(text in "[ -~]{0,40}|[0-9]{1,40}") {
        prop_assert!(wait(text.as_bytes(), Some("Sun, 06 Nov 1994 12:00:00 GMT")).is_none_or(|secs| secs <= 86_400));
    }
}
