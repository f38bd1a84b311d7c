//! Bodies: how long they may be, and when they are read.

use super::*;

const LIMIT: usize = 65_536;

/// A body with a message, of exactly so many bytes.
fn body_of(bytes: usize) -> String {
    let body = format!(r#"{{"message":"{}"}}"#, "x".repeat(bytes - r#"{"message":""}"#.len()));
    assert_eq!(body.len(), bytes);
    body
}

fn chunk(bytes: &str) -> String {
    format!("{:x}\r\n{bytes}\r\n", bytes.len())
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_accepted_and_one_byte_more_is_not() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    for chunked in [false, true] {
        for (bytes, status) in [(LIMIT, 200), (LIMIT + 1, 413)] {
            let body = body_of(bytes);
            let (framing, sent) = if chunked {
                ("Transfer-Encoding: chunked\r\n".to_owned(), chunk(&body) + "0\r\n\r\n")
            } else {
                (format!("Content-Length: {bytes}\r\n"), body)
            };
            let request = webhook_head(&token, &framing) + &sent;
            let reply = Raw::connect(gateway.address()).await.ask(request).await;
            assert_eq!(reply.status, status, "{bytes} bytes, chunked: {chunked}");
            if status == 413 {
                reply.assert_is(413, TOO_LARGE);
            }
        }
    }
    assert_eq!(gateway.sql("SELECT group_concat(length(text)) FROM message"), "65522,65522");
}

/// Failure 27: the body was read before anything was tested. Here not a byte of it is ever sent.
#[tokio::test]
async fn a_body_that_says_it_is_too_long_is_refused_before_it_is_sent_on_every_route() {
    let gateway = Gateway::start().await;
    for line in ["POST /webhook", "POST /pair", "GET /health", "GET /ready", "PUT /webhook", "POST /nothing"]
    {
        for bytes in ["65537", "9223372036854775807"] {
            let request = format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {bytes}\r\n\r\n");
            let reply = Raw::connect(gateway.address()).await.ask(request).await;
            reply.assert_is(413, TOO_LARGE);
            assert_eq!(reply.header("connection"), Some("close"));
        }
    }
    assert_eq!(gateway.sql("SELECT count(*) FROM rate_hit"), "0", "it was not counted");
}

/// Failure 27: the body was read to its end before its length was tested: a chunked one that never ends was read for ever.
#[tokio::test]
async fn a_chunked_body_is_refused_as_soon_as_it_is_too_long() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let mut connection = Raw::connect(gateway.address()).await;
    connection.send(webhook_head(&token, "Transfer-Encoding: chunked\r\n")).await;
    connection.send(chunk(&"x".repeat(LIMIT))).await;
    // Its last chunk never comes.
    connection.send(chunk("x")).await;
    connection.reply().await.assert_is(413, TOO_LARGE);
}

#[tokio::test]
async fn a_client_that_never_stops_sending_reads_its_413() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let mut connection = Raw::connect(gateway.address()).await;
    connection.send(webhook_head(&token, "Transfer-Encoding: chunked\r\n")).await;
    let reply = connection.keep_sending(chunk(&"x".repeat(1000)).into_bytes()).reply().await;
    reply.assert_is(413, TOO_LARGE);
    gateway.until_metric("zeroclaw_connections_open", 1).await;
}

/// Failure 27: the body was read and parsed before the limit was tested: a 429 cost 64 KB and up to 30 s.
#[tokio::test]
async fn a_429_is_given_before_the_body_is_sent() {
    let (gateway, token) = Gateway::paired_with(&[("gateway.webhook_rate_limit_per_minute", "1")]).await;
    gateway.client.post(&token, None, "hello").await;
    let head = webhook_head(&token, "Content-Length: 60000\r\n");
    let reply = Raw::connect(gateway.address()).await.ask(&head).await;
    reply.assert_is(429, r#"{"error":"Too many webhook requests. Please retry later.","retry_after":60}"#);
    let head = webhook_head("zc_wrong", "Content-Length: 60000\r\n");
    assert_eq!(Raw::connect(gateway.address()).await.ask(&head).await.status, 401);
    assert_eq!(Raw::connect(gateway.address()).await.ask(&head).await.status, 429);
}

/// Failure 27: whoever may not post had the body read all the same.
#[tokio::test]
async fn a_401_is_given_before_the_body_is_sent() {
    let (gateway, token) = Gateway::paired_with(&[("channels_config.webhook.secret", "s3cret")]).await;
    for token in ["zc_wrong", &token] {
        let head = webhook_head(token, "Content-Length: 60000\r\n");
        assert_eq!(Raw::connect(gateway.address()).await.ask(&head).await.status, 401);
    }
}

#[tokio::test]
async fn pairing_does_not_wait_for_a_body() {
    let gateway = Gateway::start().await;
    let code = gateway.code.as_ref().unwrap();
    let head =
        format!("POST /pair HTTP/1.1\r\nHost: x\r\nX-Pairing-Code: {code}\r\nContent-Length: 60000\r\n\r\n");
    let reply = Raw::connect(gateway.address()).await.ask(head).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it_only_if_its_body_is_wanted() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let expecting = "Content-Length: 19\r\nExpect: 100-continue\r\n";
    let mut connection = Raw::connect(gateway.address()).await;
    connection.send(webhook_head(&token, expecting)).await;
    assert_eq!(connection.interim().await, 100);
    let reply = connection.ask(r#"{"message":"hello"}"#).await;
    reply.assert_is(200, r#"{"response":"hello!","model":"test-model-1"}"#);
    let mut connection = Raw::connect(gateway.address()).await;
    connection.send(webhook_head("zc_wrong", expecting)).await;
    assert_eq!(connection.interim().await, 401);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_message() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    for (headers, part) in [
        ("Content-Length: 1000\r\n", r#"{"message":"hello"}"#),
        ("Transfer-Encoding: chunked\r\n", "13\r\n{\"message\":\"hello\"}\r\n"),
        ("Transfer-Encoding: chunked\r\n", "zz\r\n{\"message\":\"hello\"}\r\n0\r\n\r\n"),
    ] {
        let mut connection = Raw::connect(gateway.address()).await;
        connection.send(webhook_head(&token, headers) + part).await;
        connection.finish().await;
        let answer = connection.rest().await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "), "{}", answer.escape_ascii());
    }
    assert_eq!(gateway.model.calls(), 0);
    assert_eq!(gateway.client.get("/ready").await.status, 200);
}
