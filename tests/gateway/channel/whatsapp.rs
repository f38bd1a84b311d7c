//! `/whatsapp`: Meta's question, signatures, sizes, other numbers, allow-lists.

use serde_json::{Value, json};

use super::with_whatsapp;
use crate::support::{
    client::Client,
    gateway::Gateway,
    sender::{PHONE_NUMBER_ID, say, text_message, whatsapp_call, whatsapp_payload},
};

const OK: &str = r#"{"status":"ok"}"#;

#[tokio::test]
async fn meta_is_told_that_the_callback_is_ours() {
    let (gateway, _platform) = with_whatsapp(&[]).await;
    for (query, status, body) in [
        ("hub.mode=subscribe&hub.verify_token=verify-token&hub.challenge=12%2034", 200, "12 34"),
        ("hub.challenge=1&hub.verify_token=verify-token&hub.mode=subscribe", 200, "1"),
        ("hub.mode=subscribe&hub.verify_token=verify-token", 400, "Missing hub.challenge"),
        ("hub.mode=subscribe&hub.verify_token=verify-tokem&hub.challenge=1", 403, "Forbidden"),
        ("hub.mode=subscribe&hub.verify_token=&hub.challenge=1", 403, "Forbidden"),
        ("hub.mode=subscribe&hub.challenge=1", 403, "Forbidden"),
        ("hub.mode=unsubscribe&hub.verify_token=verify-token&hub.challenge=1", 403, "Forbidden"),
        ("", 403, "Forbidden"),
    ] {
        let reply = gateway.client.get(&format!("/whatsapp?{query}")).await;
        assert_eq!((reply.status, reply.text.as_str()), (status, body), "{query}");
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
        reply.assert_common_headers();
    }
}

/// Failure 15: an empty `verify_token` matches an empty query.
#[tokio::test]
async fn no_verify_token_of_ours_matches_nothing() {
    let (gateway, _platform) = with_whatsapp(&[("channels_config.whatsapp.verify_token", "")]).await;
    for query in
        ["hub.mode=subscribe&hub.verify_token=&hub.challenge=1", "hub.mode=subscribe&hub.challenge=1"]
    {
        assert_eq!(gateway.client.get(&format!("/whatsapp?{query}")).await.status, 403);
    }
}

#[tokio::test]
async fn a_channel_that_is_not_configured_is_not_there() {
    let gateway = Gateway::start().await;
    for (path, body) in [
        ("/whatsapp", r#"{"error":"WhatsApp not configured"}"#),
        ("/linq", r#"{"error":"Linq not configured"}"#),
        ("/nextcloud-talk", r#"{"error":"Nextcloud Talk not configured"}"#),
    ] {
        let request = gateway.client.request(reqwest::Method::POST, path).body("{}");
        gateway.client.send(request).await.assert_is(404, body);
    }
    let reply = gateway.client.get("/whatsapp?hub.mode=subscribe&hub.verify_token=&hub.challenge=1").await;
    assert_eq!((reply.status, reply.text.as_str()), (404, "WhatsApp not configured"));
    assert_eq!(gateway.client.get("/linq").await.header("allow"), Some("POST"));
    assert_eq!(gateway.client.get("/nextcloud-talk").await.status, 405);
}

#[tokio::test]
async fn what_is_not_signed_by_meta_is_refused_and_counted_against_its_address() {
    let (gateway, _platform) =
        with_whatsapp(&[("channels_config.bad_signature_rate_limit_per_minute", "3")]).await;
    let payload = whatsapp_payload(&[text_message("wamid.1", "1555", "hello")]);
    let refused = |client: &Client, signature: Option<&str>| {
        let request = client.request(reqwest::Method::POST, "/whatsapp").body(payload.to_string());
        match signature {
            Some(signature) => request.header("X-Hub-Signature-256", signature),
            None => request,
        }
    };
    let zeros = format!("sha256={}", "0".repeat(64));
    for (signature, left) in [(None, 2), (Some(zeros.as_str()), 1), (Some("sha256=zz"), 0)] {
        let reply = gateway.client.send(refused(&gateway.client, signature)).await;
        reply.assert_is(401, r#"{"error":"Invalid signature"}"#);
        assert_eq!(reply.left("signature"), left);
    }
    let limited = gateway.client.send(refused(&gateway.client, None)).await;
    let error =
        r#"{"error":"Too many requests with an invalid signature. Please retry later.","retry_after":60}"#;
    limited.assert_is(429, error);
    // The platform's own calls are not limited, from the same address either, and a restart forgets no hit.
    let gateway = gateway.restart().await;
    assert_eq!(gateway.client.send(refused(&gateway.client, None)).await.status, 429);
    for n in 0..5 {
        say(&gateway.client, &format!("wamid.{n}"), "1555", "hello").await.assert_is(200, OK);
    }
    let other = gateway.client.seen_from("127.0.0.2");
    let request = other.request(reqwest::Method::POST, "/whatsapp").body("{}");
    assert_eq!(other.send(request).await.status, 401);
}

#[tokio::test]
async fn the_signature_is_checked_before_the_payload_is_read() {
    let (gateway, _platform) = with_whatsapp(&[]).await;
    let request = gateway.client.request(reqwest::Method::POST, "/whatsapp").body("not json");
    assert_eq!(gateway.client.send(request).await.status, 401);
    for odd in ["not json", "", "[]", "5", "{", "\"text\""] {
        let signature = crate::support::sender::hmac_hex(b"app-secret", &[odd.as_bytes()]);
        let request = gateway.client.request(reqwest::Method::POST, "/whatsapp").body(odd);
        let reply =
            gateway.client.send(request.header("X-Hub-Signature-256", format!("sha256={signature}"))).await;
        reply.assert_is(400, r#"{"error":"Invalid JSON payload"}"#);
    }
}

#[tokio::test]
async fn a_signed_batch_may_be_3_mb_long_and_no_longer() {
    const LIMIT: usize = 3 * 1024 * 1024;
    let (gateway, platform) = with_whatsapp(&[]).await;
    let payload = |length: usize| {
        let mut payload = whatsapp_payload(&[text_message("wamid.1", "1555", "hello")]);
        payload["padding"] = Value::String(String::new());
        let padding = length - payload.to_string().len();
        payload["padding"] = Value::String("x".repeat(padding));
        payload
    };
    let too_long = gateway.client.send(whatsapp_call(&gateway.client, &payload(LIMIT + 1))).await;
    too_long.assert_is(413, r#"{"error":"Request body too large"}"#);
    gateway.client.send(whatsapp_call(&gateway.client, &payload(LIMIT))).await.assert_is(200, OK);
    platform.wait_for_texts(1).await;
    let other = gateway.client.request(reqwest::Method::POST, "/linq").body("x".repeat(65_537));
    assert_eq!(gateway.client.send(other).await.status, 413, "every other route takes 64 KiB");

    let (gateway, _platform) = with_whatsapp(&[("channels_config.whatsapp.max_body_bytes", "2000")]).await;
    assert_eq!(gateway.client.send(whatsapp_call(&gateway.client, &payload(2001))).await.status, 413);
    assert_eq!(gateway.client.send(whatsapp_call(&gateway.client, &payload(2000))).await.status, 200);
}

/// Failure 11: two phone numbers on one Meta app, and the other number's messages are answered from this one.
#[tokio::test]
async fn messages_for_another_number_are_left_alone() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    let mut payload = whatsapp_payload(&[text_message("wamid.1", "1555", "not for us")]);
    payload["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"] = json!("999");
    gateway.client.send(whatsapp_call(&gateway.client, &payload)).await.assert_is(200, OK);
    let other = r#"zeroclaw_channel_items_total{channel="whatsapp",outcome="other_number"}"#;
    assert_eq!(gateway.metric(other).await, 1);
    payload["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"] = json!(PHONE_NUMBER_ID);
    gateway.client.send(whatsapp_call(&gateway.client, &payload)).await.assert_is(200, OK);
    platform.wait_for_texts(1).await;
    assert_eq!(gateway.sql("SELECT count(*) FROM message"), "1");
}

/// Failure 12: an allow-list entry `15551234567` or `+1 555 123-4567` never matches, silently.
#[tokio::test]
async fn allow_lists_match_however_a_number_is_written() {
    for entry in ["15551234567", "+15551234567", "+1 555 123-4567", "1 (555) 123.4567"] {
        let (gateway, platform) = with_whatsapp(&[("channels_config.whatsapp.allowed_numbers", entry)]).await;
        say(&gateway.client, "wamid.1", "15559999999", "a stranger").await.assert_is(200, OK);
        say(&gateway.client, "wamid.2", "15551234567", "a friend").await.assert_is(200, OK);
        platform.wait_for_texts(1).await;
        assert_eq!(
            (platform.texts(), gateway.sql("SELECT count(*) FROM message")),
            (vec!["a friend!".to_owned()], "1".into())
        );
    }
}

/// Failure 12: an empty list lets nobody in.
#[tokio::test]
async fn an_empty_allow_list_lets_nobody_in() {
    let (gateway, _platform) = with_whatsapp(&[("channels_config.whatsapp.allowed_numbers", "")]).await;
    say(&gateway.client, "wamid.1", "1555", "hello").await.assert_is(200, OK);
    let refused = r#"zeroclaw_channel_items_total{channel="whatsapp",outcome="not_allowed"}"#;
    assert_eq!((gateway.metric(refused).await, gateway.sql("SELECT count(*) FROM message")), (1, "0".into()));
}

/// Failure 16: without a secret only an explicit setting lets unsigned requests in.
#[tokio::test]
async fn unsigned_calls_are_taken_only_where_that_is_allowed() {
    let unsigned =
        [("channels_config.whatsapp.app_secret", ""), ("channels_config.whatsapp.allow_unsigned", "true")];
    let (gateway, platform) = with_whatsapp(&unsigned).await;
    let payload = whatsapp_payload(&[text_message("wamid.1", "1555", "hello")]);
    let request = gateway.client.request(reqwest::Method::POST, "/whatsapp").body(payload.to_string());
    gateway.client.send(request).await.assert_is(200, OK);
    platform.wait_for_texts(1).await;
    let long = gateway.client.request(reqwest::Method::POST, "/whatsapp").body("x".repeat(65_537));
    assert_eq!(
        gateway.client.send(long).await.status,
        413,
        "what anyone may send is not larger than elsewhere"
    );
}
