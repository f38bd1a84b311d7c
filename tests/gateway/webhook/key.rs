//! Idempotency keys: how they are written, whose they are, and how many are kept.

use super::*;

/// Sends "hello" with these header lines besides the token.
async fn post_with(gateway: &Gateway, token: &str, headers: &str) -> Reply {
    let headers = format!("Authorization: Bearer {token}\r\n{headers}");
    Raw::connect(gateway.address()).await.ask(message_bytes(&headers, "hello")).await
}

#[tokio::test]
async fn a_key_may_be_bare_or_quoted_in_either_header_or_in_both() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    assert_answered(&post_with(&gateway, &token, "X-Idempotency-Key: order-1\r\n").await);
    for headers in [
        "Idempotency-Key: order-1\r\n",
        "Idempotency-Key: \"order-1\"\r\n",
        "X-Idempotency-Key: \t \"order-1\" \r\n",
        "X-Idempotency-Key: order-1\r\nIdempotency-Key: \"order-1\"\r\n",
        "Idempotency-Key: order-1\r\nIdempotency-Key: order-1\r\n",
    ] {
        assert_replayed(&post_with(&gateway, &token, headers).await);
    }
    assert_eq!(gateway.model.calls(), 1);
    assert_eq!(gateway.sql("SELECT key FROM idempotency_key"), "order-1");
}

#[tokio::test]
async fn two_headers_with_different_keys_are_refused() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    for headers in [
        "X-Idempotency-Key: a\r\nIdempotency-Key: b\r\n",
        "X-Idempotency-Key: a\r\nIdempotency-Key: A\r\n",
        "Idempotency-Key: a\r\nIdempotency-Key: b\r\n",
        "Idempotency-Key: a\r\nX-Idempotency-Key:\r\n",
    ] {
        post_with(&gateway, &token, headers).await.assert_is(400, INVALID_KEY);
    }
    assert_eq!(gateway.model.calls(), 0);
}

/// Failure 4: keys had no length limit: 64 KiB of key were kept in memory.
#[tokio::test]
async fn a_key_has_1_to_255_characters() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let longest = "k".repeat(255);
    assert_answered(&post_with(&gateway, &token, &format!("Idempotency-Key: {longest}\r\n")).await);
    assert_replayed(&post_with(&gateway, &token, &format!("Idempotency-Key: \"{longest}\"\r\n")).await);
    for key in [String::new(), "\"\"".into(), "k".repeat(256), format!("\"{longest}k\""), "k".repeat(65_536)]
    {
        let reply = post_with(&gateway, &token, &format!("Idempotency-Key: {key}\r\n")).await;
        reply.assert_is(400, INVALID_KEY);
    }
    assert_eq!(gateway.model.calls(), 1);
}

#[tokio::test]
async fn a_key_is_visible_ascii() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    for key in ["a b", "a\tb", "é", "\u{80}", "\"a", "a b\"", r#""a\x""#] {
        let reply = post_with(&gateway, &token, &format!("Idempotency-Key: {key}\r\n")).await;
        reply.assert_is(400, INVALID_KEY);
    }
    assert_eq!(gateway.model.calls(), 0);
    let all = (b'!'..=b'~').map(char::from).collect::<String>();
    assert_answered(&post_with(&gateway, &token, &format!("Idempotency-Key: {all}\r\n")).await);
}

/// Failure 4: keys were global: one client's `order-1` swallowed another's.
#[tokio::test]
async fn a_key_belongs_to_the_token_that_used_it() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let other = gateway.client.paired(&gateway.another_code().await).await;
    assert_answered(&gateway.client.post(&token, Some("order-1"), "hello").await);
    assert_answered(&gateway.client.post(&other, Some("order-1"), "hello").await);
    assert_eq!(gateway.model.calls(), 2);
    assert_replayed(&gateway.client.post(&token, Some("order-1"), "hello").await);
    gateway.client.post(&other, Some("order-1"), "bye").await.assert_is(422, OTHER_BODY);
    assert_eq!(gateway.model.calls(), 2);
}

#[tokio::test]
async fn without_pairing_a_key_belongs_to_the_address() {
    let gateway = Gateway::start_with(&[("gateway.require_pairing", "false")]).await;
    let request = message_bytes("Idempotency-Key: order-1\r\n", "hello");
    let mut here = Raw::connect(gateway.address()).await;
    let mut there = Raw::connect_from([127, 0, 0, 2].into(), gateway.address()).await;
    assert_answered(&here.ask(&request).await);
    assert_answered(&there.ask(&request).await);
    assert_replayed(&here.ask(&request).await);
    let stranger = message_bytes("Authorization: Bearer zc_wrong\r\nIdempotency-Key: order-1\r\n", "hello");
    assert_replayed(&here.ask(stranger).await);
    assert_eq!(gateway.model.calls(), 2);
    assert_eq!(gateway.sql("SELECT owner FROM idempotency_key ORDER BY 1"), "addr:127.0.0.1\naddr:127.0.0.2");
}

/// Failure 4: keys were not bound to the body: another message under the same key was never answered.
#[tokio::test]
async fn a_key_with_another_body_is_refused_and_stays_as_it_was() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let first = post_and_hold(&gateway, &token, Some("order-1"), "hello").await;
    gateway.client.post(&token, Some("order-1"), "bye").await.assert_is(422, OTHER_BODY);
    gateway.model.release();
    assert_answered(&first.reply().await);
    gateway.client.post(&token, Some("order-1"), "bye").await.assert_is(422, OTHER_BODY);
    let spaced = gateway.client.message(&token, Some("order-1"), "").body(r#"{ "message":"hello"}"#);
    gateway.client.send(spaced).await.assert_is(422, OTHER_BODY);
    assert_replayed(&gateway.client.post(&token, Some("order-1"), "hello").await);
    assert_eq!(gateway.model.calls(), 1);
}

#[tokio::test]
async fn a_refused_request_touches_no_key() {
    let settings =
        [("gateway.webhook_rate_limit_per_minute", "3"), ("channels_config.webhook.secret", "s3cret")];
    let (gateway, token) = Gateway::paired_with(&settings).await;
    let client = &gateway.client;
    let keyed = |token: &str, message: &str| client.message(token, Some("order-1"), message);
    let secret = |request: reqwest::RequestBuilder| request.header("X-Webhook-Secret", "s3cret");
    assert_eq!(client.send(secret(keyed("zc_wrong", "a"))).await.status, 401);
    assert_eq!(client.send(keyed(&token, "b")).await.status, 401);
    assert_eq!(client.send(secret(keyed(&token, " "))).await.status, 400);
    assert_eq!(client.send(secret(keyed(&token, &"x".repeat(65_536)))).await.status, 413);
    assert_answered(&client.send(secret(keyed(&token, "hello"))).await);
    assert_eq!(client.send(secret(keyed(&token, "c"))).await.status, 429);
    assert_eq!(gateway.sql("SELECT key, state FROM idempotency_key"), "order-1|answered");
}

/// Failure 4: 10,000 cheap keys of one client flushed everyone's.
#[tokio::test]
async fn one_clients_keys_do_not_flush_another_clients() {
    let (gateway, token) = Gateway::paired_with(&[UNLIMITED, ("gateway.idempotency_max_keys", "3")]).await;
    let flooder = gateway.client.paired(&gateway.another_code().await).await;
    assert_answered(&gateway.client.post(&token, Some("order-1"), "hello").await);
    for n in 0..20 {
        gateway.client.post(&flooder, Some(&format!("key-{n}")), "flood").await;
    }
    assert_replayed(&gateway.client.post(&token, Some("order-1"), "hello").await);
    assert_eq!(
        gateway.sql("SELECT key FROM idempotency_key WHERE owner = 'token:2' ORDER BY answered_no"),
        "key-17\nkey-18\nkey-19"
    );
}

/// Failure 4: which key was dropped was left to chance.
#[tokio::test]
async fn the_oldest_answered_key_is_dropped_first() {
    let (gateway, token) = Gateway::paired_with(&[UNLIMITED, ("gateway.idempotency_max_keys", "3")]).await;
    for key in ["1", "2", "3", "4"] {
        assert_answered(&gateway.client.post(&token, Some(key), "hello").await);
    }
    for key in ["2", "3", "4"] {
        assert_replayed(&gateway.client.post(&token, Some(key), "hello").await);
    }
    assert_answered(&gateway.client.post(&token, Some("1"), "hello").await);
    assert_answered(&gateway.client.post(&token, Some("2"), "hello").await);
    assert_replayed(&gateway.client.post(&token, Some("4"), "hello").await);
    assert_eq!(gateway.model.calls(), 6);
}

/// Failure 4: a flood of keys could drop one whose work still ran, which then ran twice.
#[tokio::test]
async fn a_running_key_is_never_dropped() {
    let (gateway, token) = Gateway::paired_with(&[UNLIMITED, ("gateway.idempotency_max_keys", "2")]).await;
    gateway.model.hold_message("hello");
    let first = post_in_background(&gateway, &token, Some("slow"), "hello");
    until_asked(&gateway, 1).await;
    for n in 0..10 {
        let reply = gateway.client.post(&token, Some(&format!("key-{n}")), "flood").await;
        assert_eq!(reply.status, 200);
    }
    gateway.client.post(&token, Some("slow"), "hello").await.assert_is(409, STILL_RUNNING);
    assert_eq!(gateway.sql("SELECT key FROM idempotency_key WHERE state = 'running'"), "slow");
    gateway.model.release();
    assert_answered(&first.reply().await);
    assert_replayed(&gateway.client.post(&token, Some("slow"), "hello").await);
    assert_eq!(gateway.model.calls(), 11);
    assert_eq!(gateway.sql("SELECT count(*) FROM idempotency_key"), "2");
}
