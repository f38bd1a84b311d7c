//! In order within a conversation, side by side between conversations.

use std::time::Duration;

use moorgate::provider::ProviderError;
use serde_json::json;

use super::{until_sql, with_whatsapp};
use crate::support::{
    gateway::Gateway,
    platform::{Behaviour, Platform},
    sender::{linq, linq_call, linq_payload, say, whatsapp, whatsapp_call, whatsapp_payload},
};

/// Failure 13: messages of one sender run in parallel and are answered out of order.
#[tokio::test]
async fn messages_of_one_sender_are_worked_on_one_after_the_other() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    gateway.model.hold();
    for n in 0..10 {
        say(&gateway.client, &format!("wamid.{n}"), "1555", &format!("m{n}")).await;
    }
    gateway.model.wait_for_calls(1).await;
    assert_eq!(gateway.sql("SELECT text FROM message WHERE state = 'running'"), "m0");
    gateway.model.release();
    platform.wait_for_texts(10).await;
    let expected: Vec<_> = (0..10).map(|n| format!("m{n}!")).collect();
    assert_eq!(platform.texts(), expected);
}

#[tokio::test]
async fn a_slow_conversation_does_not_hold_up_another() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    gateway.model.hold_message("slow");
    say(&gateway.client, "wamid.1", "1555", "slow").await;
    say(&gateway.client, "wamid.2", "1555", "behind it").await;
    say(&gateway.client, "wamid.3", "1666", "quick").await;
    platform.wait_for_texts(1).await;
    assert_eq!(platform.texts(), ["quick!"]);
    gateway.model.release();
    platform.wait_for_texts(3).await;
    assert_eq!(platform.texts(), ["quick!", "slow!", "behind it!"]);
}

/// Failure 13: what failed and is tried again is still answered before what came after it.
#[tokio::test]
async fn order_holds_when_the_model_fails_for_a_while() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    gateway.model.fail(Some(ProviderError::Unreachable("refused".into())));
    say(&gateway.client, "wamid.1", "1555", "first").await;
    until_sql(&gateway, "SELECT state, error_class, attempts FROM message", "accepted|unreachable|1").await;
    gateway.model.fail(None);
    say(&gateway.client, "wamid.2", "1555", "second").await;
    say(&gateway.client, "wamid.3", "1666", "another's").await;
    platform.wait_for_texts(1).await;
    assert_eq!(platform.texts(), ["another's!"], "the first is not due yet, and the second waits for it");
    gateway.clock.advance(Duration::from_secs(2));
    gateway.sweep().await;
    platform.wait_for_texts(3).await;
    assert_eq!(platform.texts(), ["another's!", "first!", "second!"]);
}

/// Failure 13: a reply that did not go out holds back those behind it.
#[tokio::test]
async fn order_holds_when_the_platform_fails_for_a_while() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    platform.always(Behaviour::Refuse(503, None));
    say(&gateway.client, "wamid.1", "1555", "first").await;
    until_sql(&gateway, "SELECT state, error_class, attempts FROM delivery", "due|overloaded|1").await;
    say(&gateway.client, "wamid.2", "1555", "second").await;
    platform.always(Behaviour::Take);
    gateway.clock.advance(Duration::from_secs(2));
    gateway.sweep().await;
    platform.wait_for_texts(2).await;
    assert_eq!(platform.texts(), ["first!", "second!"]);
}

/// A busy channel leaves workers for the others, and they take turns.
#[tokio::test]
async fn a_busy_channel_leaves_a_worker_for_another() {
    let platform = Platform::start();
    let mut settings = whatsapp(&platform);
    settings.extend(linq(&platform));
    settings.push(("channels_config.workers", "2"));
    let gateway = Gateway::start_with(&settings).await;
    gateway.model.hold_message("slow");
    for n in 0..10 {
        say(&gateway.client, &format!("wamid.{n}"), &format!("1555{n}"), "slow").await;
    }
    gateway.model.wait_for_calls(1).await;
    let payload = linq_payload("event-1", "chat-1", "+15552223333", "from Linq");
    gateway
        .client
        .send(linq_call(&gateway.client, &payload, 1_790_000_000))
        .await
        .assert_is(200, r#"{"status":"ok"}"#);
    platform.wait_for_texts(1).await;
    assert_eq!((platform.texts(), gateway.model.calls()), (vec!["from Linq!".to_owned()], 2));
    gateway.model.release();
    platform.wait_for_texts(11).await;
}

#[tokio::test]
async fn no_more_conversations_are_worked_on_than_there_are_workers() {
    let (gateway, platform) = with_whatsapp(&[("channels_config.workers", "3")]).await;
    gateway.model.hold();
    for n in 0..10 {
        say(&gateway.client, &format!("wamid.{n}"), &format!("1555{n}"), "hello").await;
    }
    gateway.model.wait_for_calls(3).await;
    gateway.until_metric("zeroclaw_inbox_workers_busy", 3).await;
    assert_eq!(
        (gateway.model.calls(), gateway.sql("SELECT count(*) FROM message WHERE state = 'running'")),
        (3, "3".into())
    );
    gateway.model.release();
    platform.wait_for_texts(10).await;
}

/// A picture is answered in its turn, too: not before what came earlier, and not in the midst of a long answer.
#[tokio::test]
async fn a_notice_waits_for_its_turn() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    let long = "word ".repeat(1500);
    gateway.model.hold();
    say(&gateway.client, "wamid.1", "1555", &long).await;
    let picture = json!({ "from": "1555", "id": "wamid.2", "type": "image", "image": { "id": "1" } });
    let call = whatsapp_call(&gateway.client, &whatsapp_payload(&[picture]));
    assert_eq!(gateway.client.send(call).await.status, 200);
    gateway.model.wait_for_calls(1).await;
    gateway.model.release();
    platform.wait_for_texts(3).await;
    assert_eq!(platform.texts()[2], "Sorry, I can only understand text messages.");
}

/// An edit by hand of when a conversation is due is found, and so is the end of what it waits for.
#[tokio::test]
async fn a_pause_that_is_shortened_by_hand_is_over() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    platform.always(Behaviour::Refuse(429, Some(3600)));
    say(&gateway.client, "wamid.1", "1555", "first").await;
    until_sql(&gateway, "SELECT state, error_class FROM delivery", "due|rate_limited").await;
    platform.always(Behaviour::Take);
    gateway.sql("UPDATE delivery SET next_attempt_at_ms = NULL");
    gateway.sweep().await;
    platform.wait_for_texts(1).await;
}
