//! What becomes of a call: on disk before it is answered, once for each message, and never dropped silently.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::{until_sql, with_whatsapp};
use crate::support::{
    gateway::Gateway,
    raw::{Raw, soon},
    sender::{say, text_message, whatsapp_call, whatsapp_payload},
};

const OK: &str = r#"{"status":"ok"}"#;
const FROM: &str = "15551234567";

/// Failure 7: channel webhooks run the model inside the request.
#[tokio::test]
async fn a_call_is_answered_while_the_model_works() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    gateway.model.hold();
    say(&gateway.client, "wamid.0", FROM, "the first opens the connection").await.assert_is(200, OK);
    say(&gateway.client, "wamid.1", FROM, "hello").await.assert_is(200, OK);
    gateway.model.wait_for_calls(1).await;
    assert_eq!(platform.calls().len(), 0);
    gateway.model.release();
    platform.wait_for_texts(2).await;
    assert_eq!(platform.texts()[1], "hello!");
    assert_eq!(gateway.model.held_on(), ["calls"]);
}

/// Failure 7: a batch of five is cut at three, and the redelivery answers one and two again.
#[tokio::test]
async fn a_batch_is_accepted_as_a_whole_and_its_redelivery_changes_nothing() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    let batch: Vec<_> = (0..5).map(|n| text_message(&format!("wamid.{n}"), FROM, &format!("m{n}"))).collect();
    let payload = whatsapp_payload(&batch);
    gateway.model.hold();
    gateway.client.send(whatsapp_call(&gateway.client, &payload)).await.assert_is(200, OK);
    assert_eq!(gateway.sql("SELECT count(*) FROM message"), "5", "all of it is on disk");
    gateway.client.send(whatsapp_call(&gateway.client, &payload)).await.assert_is(200, OK);
    gateway.model.release();
    platform.wait_for_texts(5).await;
    gateway.client.send(whatsapp_call(&gateway.client, &payload)).await.assert_is(200, OK);
    until_sql(&gateway, "SELECT count(*) FROM delivery WHERE state = 'sent'", "5").await;
    assert_eq!(platform.texts(), ["m0!", "m1!", "m2!", "m3!", "m4!"]);
    assert_eq!(gateway.model.calls(), 5);
    let known = r#"zeroclaw_channel_items_total{channel="whatsapp",outcome="known"}"#;
    assert_eq!(gateway.metric(known).await, 10);
}

/// Failure 8: a redelivery is a second model call and a second reply; a captured signed request replays for ever. Failure 14:
/// what is remembered of a message is stored twice by a retry.
#[tokio::test]
async fn a_message_is_answered_once_however_often_it_comes_also_after_a_restart() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    let payload = whatsapp_payload(&[text_message("wamid.1", FROM, "hello")]);
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let (client, request) = (gateway.client.clone(), whatsapp_call(&gateway.client, &payload));
        calls.spawn(async move { client.send(request).await });
    }
    calls.join_all().await.iter().for_each(|reply| reply.assert_is(200, OK));
    platform.wait_for_texts(1).await;
    let gateway = gateway.restart().await;
    gateway.client.send(whatsapp_call(&gateway.client, &payload)).await.assert_is(200, OK);
    gateway.clock.advance(Duration::from_hours(7 * 24));
    gateway.sweep().await;
    gateway.client.send(whatsapp_call(&gateway.client, &payload)).await.assert_is(200, OK);
    assert_eq!((platform.texts(), gateway.model.calls()), (vec!["hello!".to_owned()], 1));
    assert_eq!(gateway.sql("SELECT count(*) FROM message; SELECT count(*) FROM delivery"), "1\n1");
}

/// Failure 8: when the ids are forgotten, so old a message is no longer taken.
#[tokio::test]
async fn a_message_that_is_older_than_the_memory_of_ids_is_not_taken_again() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    let payload = whatsapp_payload(&[text_message("wamid.1", FROM, "hello")]);
    gateway.client.send(whatsapp_call(&gateway.client, &payload)).await.assert_is(200, OK);
    platform.wait_for_texts(1).await;
    gateway.clock.advance(Duration::from_hours(10 * 24));
    gateway.sweep().await;
    assert_eq!(gateway.sql("SELECT count(*) FROM received_id"), "0");
    let replayed = gateway.client.send(whatsapp_call(&gateway.client, &payload)).await;
    assert_eq!(replayed.status, 503, "if it is the clock that is wrong, Meta will send it again");
    let old = r#"zeroclaw_channel_items_total{channel="whatsapp",outcome="too_old"}"#;
    assert_eq!((gateway.metric(old).await, gateway.model.calls()), (1, 1));
}

#[tokio::test]
async fn a_full_inbox_answers_503_and_takes_the_redelivery_when_there_is_room() {
    let (gateway, platform) = with_whatsapp(&[("channels_config.max_waiting_messages", "3")]).await;
    gateway.model.hold();
    for n in 0..3 {
        say(&gateway.client, &format!("wamid.{n}"), FROM, &format!("m{n}")).await.assert_is(200, OK);
    }
    let full = r#"{"error":"Too many requests in flight. Please retry later.","retry_after":30}"#;
    say(&gateway.client, "wamid.3", FROM, "m3").await.assert_is(503, full);
    let gateway = gateway.restart().await;
    say(&gateway.client, "wamid.3", FROM, "m3").await.assert_is(503, full);
    assert_eq!(gateway.metric("zeroclaw_inbox_waiting").await, 3);
    gateway.model.release();
    platform.wait_for_texts(3).await;
    gateway.until_metric("zeroclaw_inbox_waiting", 0).await;
    say(&gateway.client, "wamid.3", FROM, "m3").await.assert_is(200, OK);
    platform.wait_for_texts(4).await;
    let refused = r#"zeroclaw_channel_calls_total{channel="whatsapp",outcome="inbox_full"}"#;
    assert_eq!(gateway.metric(refused).await, 1);
}

#[tokio::test]
async fn a_call_is_refused_while_the_database_takes_no_writes_and_accepted_afterwards() {
    let (gateway, platform) = with_whatsapp(&[("database.busy_timeout_ms", "50")]).await;
    let locked = crate::support::transaction::Transaction::begin(&gateway.database());
    let refused = say(&gateway.client, "wamid.1", FROM, "hello").await;
    refused.assert_is(503, r#"{"error":"Storage unavailable. Please retry later.","retry_after":1}"#);
    drop(locked);
    say(&gateway.client, "wamid.1", FROM, "hello").await.assert_is(200, OK);
    platform.wait_for_texts(1).await;
    assert_eq!(gateway.model.calls(), 1);
}

#[tokio::test]
async fn a_payload_without_messages_is_accepted_and_leaves_no_row() {
    let (gateway, _platform) = with_whatsapp(&[]).await;
    for payload in [json!({}), json!({ "entry": [] }), whatsapp_payload(&[])] {
        gateway.client.send(whatsapp_call(&gateway.client, &payload)).await.assert_is(200, OK);
    }
    assert_eq!(gateway.sql("SELECT count(*) FROM message"), "0");
}

#[tokio::test]
async fn the_channels_are_in_the_health() {
    let channels = async |gateway: &Gateway| {
        let health = gateway.client.get("/health").await.json();
        health["runtime"]["components"]["channels"].as_str().unwrap().to_owned()
    };
    assert_eq!(channels(&Gateway::start().await).await, "disabled");
    let (gateway, platform) = with_whatsapp(&[]).await;
    assert_eq!(channels(&gateway).await, "ok");
    platform.always(crate::support::platform::Behaviour::Refuse(500, None));
    say(&gateway.client, "wamid.1", FROM, "hello").await.assert_is(200, OK);
    until_sql(&gateway, "SELECT error_class FROM delivery", "overloaded").await;
    assert_eq!(channels(&gateway).await, "degraded");
    platform.always(crate::support::platform::Behaviour::Take);
    gateway.clock.advance(Duration::from_secs(2));
    gateway.sweep().await;
    until_sql(&gateway, "SELECT state FROM delivery", "sent").await;
    assert_eq!(channels(&gateway).await, "ok");
}

/// A payload may be as old as its sender's clock: only what this gateway can have seen before is taken for a replay.
#[tokio::test]
async fn a_message_from_before_the_gateway_was_there_is_taken() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    let mut message = text_message("wamid.1", FROM, "hello");
    message["timestamp"] = json!("1504902988");
    gateway
        .client
        .send(whatsapp_call(&gateway.client, &whatsapp_payload(&[message])))
        .await
        .assert_is(200, OK);
    platform.wait_for_texts(1).await;
}

/// A large batch is written some messages at a time, and is answered when all of them are on disk.
#[tokio::test]
async fn a_batch_of_many_messages_is_accepted_in_pieces_and_as_a_whole() {
    let (gateway, _platform) = with_whatsapp(&[]).await;
    gateway.model.hold();
    let batch: Vec<_> =
        (0..1000).map(|n| text_message(&format!("wamid.{n}"), FROM, &format!("m{n}"))).collect();
    gateway.client.send(whatsapp_call(&gateway.client, &whatsapp_payload(&batch))).await.assert_is(200, OK);
    assert_eq!(gateway.sql("SELECT count(*), count(DISTINCT platform_id) FROM message"), "1000|1000");
    assert_eq!(gateway.sql("SELECT text FROM message ORDER BY id LIMIT 1 OFFSET 700"), "m700");
    gateway.model.release();
}

/// What strangers may make the gateway hold in memory is bounded.
#[tokio::test]
async fn only_so_many_large_bodies_are_read_at_once() {
    let (gateway, _platform) = with_whatsapp(&[]).await;
    let call = "POST /whatsapp HTTP/1.1\r\nHost: x\r\nContent-Length: 3145728\r\n\r\nx";
    let mut replies = JoinSet::new();
    for _ in 0..22 {
        let mut raw = Raw::connect(gateway.address()).await;
        replies.spawn(async move { raw.ask(call).await });
    }
    let refused = r#"{"error":"Too many requests in flight. Please retry later.","retry_after":1}"#;
    soon(replies.join_next()).await.unwrap().unwrap().assert_is(503, refused);
    say(&gateway.client, "wamid.1", FROM, "hello").await.assert_is(200, OK);
}
