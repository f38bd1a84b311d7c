//! `POST /linq`: both payload versions, both signatures, and a name for each reply that Linq knows again.

use std::time::Duration;

use serde_json::json;

use super::until_sql;
use crate::support::{
    gateway::Gateway,
    platform::{Behaviour, Platform},
    sender::{Setting, linq, linq_call, linq_payload},
};

const OK: &str = r#"{"status":"ok"}"#;
const NOW: i64 = 1_790_000_000;
const FROM: &str = "+15552223333";

async fn with_linq(more: &[Setting<'_>]) -> (Gateway, Platform) {
    let platform = Platform::start();
    let settings: Vec<_> = linq(&platform).into_iter().chain(more.iter().copied()).collect();
    (Gateway::start_with(&settings).await, platform)
}

/// Failure 10: current Linq payloads are dropped with 200, because only an older shape is read.
#[tokio::test]
async fn both_payload_versions_are_answered_in_their_chat() {
    let (gateway, platform) = with_linq(&[]).await;
    let old = json!({
        "event_type": "message.received", "event_id": "event-2",
        "data": {
            "is_from_me": false, "from": "15552223333", "chat_id": "chat/1",
            "message": { "id": "m", "parts": [{ "type": "text", "value": "old" }] },
        },
    });
    let new = linq_payload("event-1", "chat/1", FROM, "new");
    gateway.client.send(linq_call(&gateway.client, &new, NOW)).await.assert_is(200, OK);
    platform.wait_for_texts(1).await;
    gateway.client.send(linq_call(&gateway.client, &old, NOW)).await.assert_is(200, OK);
    platform.wait_for_texts(2).await;
    assert_eq!(platform.texts(), ["new!", "old!"]);
    let call = &platform.calls()[0];
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/chats/chat%2F1/messages"));
    assert_eq!(call.headers["authorization"], "Bearer api-token");
    assert_eq!(call.body["message"]["parts"], json!([{ "type": "text", "value": "new!" }]));
}

#[tokio::test]
async fn a_redelivered_event_changes_nothing() {
    let (gateway, platform) = with_linq(&[]).await;
    let payload = linq_payload("event-1", "chat-1", FROM, "hello");
    for seconds in [0, 60, 120] {
        gateway.client.send(linq_call(&gateway.client, &payload, NOW + seconds)).await.assert_is(200, OK);
    }
    platform.wait_for_texts(1).await;
    assert_eq!((gateway.sql("SELECT count(*) FROM message"), gateway.model.calls()), ("1".into(), 1));
}

/// Failure 8: a captured signed request replays for ever.
#[tokio::test]
async fn a_call_that_was_signed_long_ago_or_for_later_is_refused() {
    let (gateway, _platform) = with_linq(&[]).await;
    let payload = linq_payload("event-1", "chat-1", FROM, "hello");
    for at in [NOW - 301, NOW + 301, 0, i64::MIN, i64::MAX] {
        let reply = gateway.client.send(linq_call(&gateway.client, &payload, at)).await;
        reply.assert_is(401, r#"{"error":"Invalid signature"}"#);
    }
    for at in [NOW - 300, NOW + 300] {
        gateway.client.send(linq_call(&gateway.client, &payload, at)).await.assert_is(200, OK);
    }
}

/// A reply that may have arrived is sent again under the same name, so that it is not there twice.
#[tokio::test]
async fn every_try_of_a_reply_has_the_same_name_and_no_other_reply_has_it() {
    let (gateway, platform) = with_linq(&[]).await;
    platform.always(Behaviour::HangUp);
    gateway
        .client
        .send(linq_call(&gateway.client, &linq_payload("event-1", "chat-1", FROM, "one"), NOW))
        .await;
    until_sql(&gateway, "SELECT attempts, in_doubt FROM delivery", "1|1").await;
    platform.always(Behaviour::Take);
    gateway.clock.advance(Duration::from_secs(2));
    gateway.sweep().await;
    platform.wait_for_texts(1).await;
    gateway
        .client
        .send(linq_call(&gateway.client, &linq_payload("event-2", "chat-1", FROM, "two"), NOW))
        .await;
    platform.wait_for_texts(2).await;
    let names: Vec<_> =
        platform.calls().iter().map(|call| call.body["message"]["idempotency_key"].clone()).collect();
    assert_eq!(names.len(), 3);
    assert!(names[0].is_string() && names[0] == names[1] && names[1] != names[2], "{names:?}");
}

#[tokio::test]
async fn a_chat_that_is_gone_is_begun_anew() {
    let (gateway, platform) = with_linq(&[]).await;
    platform
        .behave(|call| if call.path == "/chats" { Behaviour::Take } else { Behaviour::Refuse(404, None) });
    gateway
        .client
        .send(linq_call(&gateway.client, &linq_payload("event-1", "chat-1", FROM, "hello"), NOW))
        .await;
    platform.wait_for_texts(1).await;
    let call = platform.calls().pop().unwrap();
    assert_eq!((call.path.as_str(), &call.body["from"]), ("/chats", &json!("+15550001111")));
    assert_eq!((&call.body["to"], call.text()), (&json!([FROM]), "hello!"));
}

#[tokio::test]
async fn the_allow_list_decides_who_is_answered() {
    let (gateway, platform) = with_linq(&[("channels_config.linq.allowed_senders", "+1 555 222-3333")]).await;
    let stranger = linq_payload("event-1", "chat-1", "+15559999999", "a stranger");
    gateway.client.send(linq_call(&gateway.client, &stranger, NOW)).await.assert_is(200, OK);
    let friend = linq_payload("event-2", "chat-1", FROM, "a friend");
    gateway.client.send(linq_call(&gateway.client, &friend, NOW)).await.assert_is(200, OK);
    platform.wait_for_texts(1).await;
    assert_eq!(platform.texts(), ["a friend!"]);
}

#[tokio::test]
async fn unsigned_calls_are_taken_only_where_that_is_allowed() {
    let (gateway, platform) = with_linq(&[
        ("channels_config.linq.signing_secret", ""),
        ("channels_config.linq.allow_unsigned", "true"),
    ])
    .await;
    let payload = linq_payload("event-1", "chat-1", FROM, "hello");
    let request = gateway.client.request(reqwest::Method::POST, "/linq").body(payload.to_string());
    gateway.client.send(request).await.assert_is(200, OK);
    platform.wait_for_texts(1).await;
}
