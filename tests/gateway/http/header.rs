//! The headers that every response has.

use std::collections::BTreeSet;

use super::*;

/// Every kind of response that the gateway gives, but for those of `/metrics`.
async fn replies_of_every_kind() -> Vec<Reply> {
    let settings = [
        ("gateway.request_timeout_secs", "2"),
        ("gateway.max_in_flight", "1"),
        ("gateway.pair_rate_limit_per_minute", "2"),
    ];
    let (gateway, token) = Gateway::paired_with(&settings).await;
    let client = &gateway.client;
    let mut replies = vec![
        client.get("/health").await,
        client.get("/ready").await,
        client.post(&token, Some("order-1"), "hello").await,
        client.post(&token, Some("order-1"), "hello").await,
        client.post(&token, Some("order-1"), "bye").await,
        client.post(&token, Some("bad key"), "hello").await,
        client.post(&token, None, " ").await,
        client.post("", None, "hello").await,
        client.pair("000000").await,
        client.pair("000000").await,
        client.get("/nothing").await,
        client.get("/webhook").await,
        client.post(&token, None, &"x".repeat(65_536)).await,
    ];
    gateway.model.fail(Some(moorgate::provider::ProviderError::Status { code: 500, retry_after: None }));
    replies.push(client.post(&token, None, "hello").await);
    gateway.model.fail(None);
    gateway.model.hold();
    replies.push(client.post(&token, Some("order-2"), "hello").await);
    replies.push(client.post(&token, Some("order-2"), "hello").await);
    replies.push(client.post(&token, Some("order-3"), "hello").await);
    gateway.model.release();
    replies
}

#[tokio::test]
async fn every_kind_of_response_has_the_headers_that_protect_it() {
    let replies = replies_of_every_kind().await;
    let statuses: BTreeSet<_> = replies.iter().map(|reply| reply.status).collect();
    let expected = [200, 400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 500, 503];
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), expected);
    for reply in &replies {
        reply.assert_common_headers();
        let kind = (reply.status != 408).then_some("application/json; charset=utf-8");
        assert_eq!(reply.header("content-type"), kind, "{reply:?}");
        for name in ["server", "x-powered-by", "access-control-allow-origin", "set-cookie"] {
            assert_eq!(reply.header(name), None);
        }
    }
    let ids: BTreeSet<_> = replies.iter().map(|reply| reply.header("x-request-id")).collect();
    assert_eq!(ids.len(), replies.len(), "each has an id of its own");
}

async fn id_for(connection: &mut Raw, given: &[u8]) -> String {
    let request = [b"GET /ready HTTP/1.1\r\nHost: x\r\nX-Request-Id: ", given, b"\r\n\r\n"].concat();
    connection.ask(request).await.header("x-request-id").unwrap().to_owned()
}

#[tokio::test]
async fn a_request_id_of_1_to_128_visible_characters_is_kept() {
    let gateway = Gateway::start().await;
    let mut connection = Raw::connect(gateway.address()).await;
    let all = (b'!'..=b'~').map(char::from).collect::<String>();
    for id in ["1", "req-42", &"x".repeat(128), &all] {
        assert_eq!(id_for(&mut connection, id.as_bytes()).await, id);
    }
}

#[tokio::test]
async fn any_other_request_id_is_replaced_by_a_new_one() {
    let gateway = Gateway::start().await;
    let mut connection = Raw::connect(gateway.address()).await;
    let long = "x".repeat(129);
    let mut seen = BTreeSet::new();
    for id in [&b""[..], b"a b", b"a\tb", "é".as_bytes(), b"\xff", long.as_bytes()] {
        let new = id_for(&mut connection, id).await;
        assert!(!new.is_empty() && new.bytes().all(|b| b.is_ascii_graphic()) && new.len() <= 128, "{new}");
        assert!(seen.insert(new), "an id was given twice");
    }
}

#[tokio::test]
async fn the_callers_request_id_comes_back_with_a_refusal_too() {
    let gateway = Gateway::start().await;
    let mut connection = Raw::connect(gateway.address()).await;
    for line in ["GET /nothing", "GET /webhook", "POST /webhook"] {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nX-Request-Id: req-42\r\n\r\n");
        assert_eq!(connection.ask(request).await.header("x-request-id"), Some("req-42"));
    }
}

#[tokio::test]
async fn header_bytes_that_are_no_text_harm_nobody() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let body = br#"{"message":"hello"}"#;
    for name in ["User-Agent", "Accept", "X-Forwarded-For", "X-Anything", "X-Webhook-Secret"] {
        let mut head = webhook_head(&token, &format!("Content-Length: 19\r\n{name}: ?"));
        head.truncate(head.len() - 3);
        let request = [head.as_bytes(), b"\xff\x80\xc3\r\n\r\n", body].concat();
        let reply = Raw::connect(gateway.address()).await.ask(request).await;
        reply.assert_is(200, r#"{"response":"hello!","model":"test-model-1"}"#);
    }
}
