//! `POST /nextcloud-talk`: real Activity Streams, signatures with a random that is good once, signed replies.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::until_sql;
use crate::support::{
    gateway::Gateway,
    platform::{Behaviour, Platform},
    sender::{Setting, TALK_SECRET, hmac_hex, talk, talk_call, talk_payload},
    transaction::Transaction,
    wait::until,
};

const OK: &str = r#"{"status":"ok"}"#;
const REFUSED: &str = r#"{"error":"Invalid signature"}"#;

async fn with_talk(more: &[Setting<'_>]) -> (Gateway, Platform) {
    let platform = Platform::start();
    let settings: Vec<_> = talk(&platform).into_iter().chain(more.iter().copied()).collect();
    (Gateway::start_with(&settings).await, platform)
}

/// Failure 10: real Nextcloud Talk payloads are dropped with 200.
#[tokio::test]
async fn a_message_of_talk_is_answered_in_its_room_with_a_signed_reply() {
    let (gateway, platform) = with_talk(&[]).await;
    let payload = talk_payload("room1", 42, "alice", "hello");
    gateway.client.send(talk_call(&gateway.client, &payload, "random-1")).await.assert_is(200, OK);
    platform.wait_for_texts(1).await;
    let call = &platform.calls()[0];
    assert_eq!(call.path, "/ocs/v2.php/apps/spreed/api/v1/bot/room1/message");
    assert_eq!(call.headers["ocs-apirequest"], "true");
    let random = call.headers["x-nextcloud-talk-bot-random"].as_bytes();
    let signature = call.headers["x-nextcloud-talk-bot-signature"].to_str().unwrap();
    assert_eq!(
        signature,
        hmac_hex(TALK_SECRET.as_bytes(), &[random, b"hello!"]),
        "it is over the text alone"
    );
    assert_eq!((&call.body["message"], &call.body["replyTo"]), (&json!("hello!"), &json!(42)));
    assert_eq!(gateway.sql("SELECT sender, room FROM conversation"), "users/alice|room1");
}

/// Failure 8: a captured signed request replays for ever.
#[tokio::test]
async fn a_random_is_good_once_within_a_day_also_after_a_restart() {
    let (gateway, platform) = with_talk(&[]).await;
    let (first, second) =
        (talk_payload("room1", 1, "alice", "one"), talk_payload("room1", 2, "alice", "two"));
    gateway.client.send(talk_call(&gateway.client, &first, "random-1")).await.assert_is(200, OK);
    gateway.client.send(talk_call(&gateway.client, &first, "random-1")).await.assert_is(401, REFUSED);
    gateway.client.send(talk_call(&gateway.client, &second, "random-1")).await.assert_is(401, REFUSED);
    let gateway = gateway.restart().await;
    gateway.client.send(talk_call(&gateway.client, &second, "random-1")).await.assert_is(401, REFUSED);
    gateway.client.send(talk_call(&gateway.client, &first, "random-2")).await.assert_is(200, OK);
    platform.wait_for_texts(1).await;
    assert_eq!(
        gateway.sql("SELECT count(*) FROM message"),
        "1",
        "the same message by another random changes nothing"
    );
    gateway.clock.advance(Duration::from_hours(23));
    gateway.sweep().await;
    gateway.client.send(talk_call(&gateway.client, &second, "random-1")).await.assert_is(401, REFUSED);
    gateway.clock.advance(Duration::from_hours(1));
    gateway.sweep().await;
    assert_eq!(gateway.sql("SELECT count(*) FROM received_nonce"), "0");
}

/// What could not be accepted has not used up its random.
#[tokio::test]
async fn a_call_that_met_a_full_inbox_may_come_again() {
    let (gateway, platform) = with_talk(&[("channels_config.max_waiting_messages", "1")]).await;
    gateway.model.hold();
    let (first, second) =
        (talk_payload("room1", 1, "alice", "one"), talk_payload("room1", 2, "alice", "two"));
    gateway.client.send(talk_call(&gateway.client, &first, "random-1")).await.assert_is(200, OK);
    assert_eq!(gateway.client.send(talk_call(&gateway.client, &second, "random-2")).await.status, 503);
    gateway.model.release();
    platform.wait_for_texts(1).await;
    gateway.until_metric("zeroclaw_inbox_waiting", 0).await;
    gateway.client.send(talk_call(&gateway.client, &second, "random-2")).await.assert_is(200, OK);
    platform.wait_for_texts(2).await;
}

#[tokio::test]
async fn two_calls_with_one_random_at_once_are_one() {
    let (gateway, platform) = with_talk(&[("database.busy_timeout_ms", "60000")]).await;
    // They wait for the database, and of so many the writer leaves some to be written together in the next transaction.
    let locked = Transaction::begin(&gateway.database());
    let mut calls = JoinSet::new();
    for id in 1..=24 {
        let payload = talk_payload("room1", id, "alice", "hello");
        let (client, request) = (gateway.client.clone(), talk_call(&gateway.client, &payload, "random-1"));
        calls.spawn(async move { client.send(request).await.status });
    }
    until("7 calls wait", async || gateway.metric("zeroclaw_writer_queue_depth").await >= 7).await;
    drop(locked);
    let statuses = calls.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    platform.wait_for_texts(1).await;
    assert_eq!(gateway.sql("SELECT count(*) FROM message"), "1");
}

#[tokio::test]
async fn the_same_number_in_two_rooms_is_two_messages() {
    let (gateway, platform) = with_talk(&[]).await;
    for room in ["room1", "room2"] {
        let payload = talk_payload(room, 1, "alice", room);
        gateway
            .client
            .send(talk_call(&gateway.client, &payload, &format!("random-{room}")))
            .await
            .assert_is(200, OK);
    }
    platform.wait_for_texts(2).await;
}

/// Failure 12: with or without `users/`.
#[tokio::test]
async fn the_allow_list_takes_users_with_and_without_their_prefix() {
    for entry in ["alice", "users/alice"] {
        let (gateway, platform) = with_talk(&[("channels_config.nextcloud_talk.allowed_users", entry)]).await;
        let stranger = talk_payload("room1", 1, "mallory", "a stranger");
        gateway.client.send(talk_call(&gateway.client, &stranger, "random-1")).await.assert_is(200, OK);
        let friend = talk_payload("room1", 2, "alice", "a friend");
        gateway.client.send(talk_call(&gateway.client, &friend, "random-2")).await.assert_is(200, OK);
        platform.wait_for_texts(1).await;
        assert_eq!(platform.texts(), ["a friend!"]);
    }
}

#[tokio::test]
async fn replies_may_be_signed_with_a_secret_of_their_own_and_calls_be_unsigned() {
    let (gateway, platform) = with_talk(&[
        ("channels_config.nextcloud_talk.webhook_secret", ""),
        ("channels_config.nextcloud_talk.allow_unsigned", "true"),
        ("channels_config.nextcloud_talk.app_token", "another-secret"),
    ])
    .await;
    let payload = talk_payload("room1", 1, "alice", "hello");
    let request = gateway.client.request(reqwest::Method::POST, "/nextcloud-talk").body(payload.to_string());
    gateway.client.send(request).await.assert_is(200, OK);
    platform.wait_for_texts(1).await;
    let call = &platform.calls()[0];
    let random = call.headers["x-nextcloud-talk-bot-random"].as_bytes();
    assert_eq!(
        call.headers["x-nextcloud-talk-bot-signature"].to_str().unwrap(),
        hmac_hex(b"another-secret", &[random, b"hello!"])
    );
}

#[tokio::test]
async fn every_try_of_a_reply_has_a_random_of_its_own() {
    let (gateway, platform) = with_talk(&[]).await;
    platform.always(Behaviour::Refuse(500, None));
    let payload = talk_payload("room1", 1, "alice", "hello");
    gateway.client.send(talk_call(&gateway.client, &payload, "random-1")).await.assert_is(200, OK);
    until_sql(&gateway, "SELECT attempts, error_class FROM delivery", "1|overloaded").await;
    platform.always(Behaviour::Take);
    gateway.clock.advance(Duration::from_secs(2));
    gateway.sweep().await;
    platform.wait_for_texts(1).await;
    let randoms: Vec<_> =
        platform.calls().iter().map(|call| call.headers["x-nextcloud-talk-bot-random"].clone()).collect();
    assert_ne!(randoms[0], randoms[1]);
}
