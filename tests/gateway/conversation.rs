//! Conversations: what the model is told of what was said before.

mod channel;
mod crash;

use std::time::Duration;

use reqwest::RequestBuilder;

use crate::support::{
    client::{Posted, Reply},
    gateway::{Gateway, until_sql},
    process::LONGEST_WAIT,
};

const OPEN: (&str, &str) = ("gateway.require_pairing", "false");

fn message_in(gateway: &Gateway, token: &str, session: &str, text: &str) -> RequestBuilder {
    gateway.client.message(token, None, text).header("X-Session-Id", session)
}

async fn post_in(gateway: &Gateway, token: &str, session: &str, text: &str) -> Reply {
    gateway.client.send(message_in(gateway, token, session, text)).await
}

/// Posts in the background.
fn post_apart(gateway: &Gateway, session: &str, text: &str) -> Posted {
    let (client, request) = (gateway.client.clone(), message_in(gateway, "", session, text));
    tokio::spawn(async move { client.try_send(request).await })
}

/// Waits until so many messages are on record as running.
async fn until_running(gateway: &Gateway, messages: usize) {
    until_sql(gateway, "SELECT count(*) FROM message WHERE state = 'running'", &messages.to_string()).await;
}

#[tokio::test]
async fn a_session_carries_its_turns_in_order_also_after_a_restart() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    for text in ["one", "two"] {
        post_in(&gateway, &token, "main", text)
            .await
            .assert_is(200, &format!(r#"{{"response":"{text}!","model":"test-model-1"}}"#));
    }
    assert_eq!(gateway.model.history_of("one"), [""; 0]);
    assert_eq!(gateway.model.history_of("two"), ["one", "one!"]);
    let gateway = gateway.restart().await;
    post_in(&gateway, &token, "main", "three").await;
    assert_eq!(gateway.model.history_of("three"), ["one", "one!", "two", "two!"]);
    let seen = "SELECT channel, sender, room, turns, waiting FROM v_conversation";
    assert_eq!(gateway.sql(seen), "webhook|token:1|main|3|0");
}

#[tokio::test]
async fn a_message_without_a_session_stands_alone() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    post_in(&gateway, &token, "main", "one").await;
    for text in ["two", "three"] {
        gateway.client.post(&token, None, text).await;
        assert_eq!(gateway.model.history_of(text), [""; 0]);
    }
    post_in(&gateway, &token, "main", "four").await;
    assert_eq!(gateway.model.history_of("four"), ["one", "one!"]);
}

#[tokio::test]
async fn no_client_reads_anothers_conversation() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let other = gateway.client.paired(&gateway.another_code().await).await;
    post_in(&gateway, &token, "main", "my secret").await;
    for (token, session, text) in
        [(&other, "main", "two"), (&token, "Main", "three"), (&token, "main2", "four")]
    {
        post_in(&gateway, token, session, text).await;
        assert_eq!(gateway.model.history_of(text), [""; 0], "{text}");
    }
    post_in(&gateway, &token, "main", "five").await;
    assert_eq!(gateway.model.history_of("five"), ["my secret", "my secret!"]);

    let gateway = Gateway::start_with(&[OPEN]).await;
    post_in(&gateway, "", "main", "my secret").await;
    let stranger = gateway.client.seen_from("127.0.0.2");
    stranger.send(stranger.message("", None, "two").header("X-Session-Id", "main")).await;
    assert_eq!(gateway.model.history_of("two"), [""; 0]);
}

#[tokio::test]
async fn as_many_turns_are_told_again_as_configured() {
    for (turns, told) in [("2", &["two", "two!", "three", "three!"][..]), ("0", &[])] {
        let gateway = Gateway::start_with(&[OPEN, ("conversation.history_turns", turns)]).await;
        for text in ["one", "two", "three", "four"] {
            post_in(&gateway, "", "main", text).await;
        }
        assert_eq!(gateway.model.history_of("four"), told);
    }
}

#[tokio::test]
async fn as_many_characters_are_told_again_as_configured() {
    // "two" and "two!" have 7 characters, "drei" and "drei!" 9.
    for (chars, told) in
        [("16", &["two", "two!", "dréi", "dréi!"][..]), ("15", &["dréi", "dréi!"]), ("8", &[])]
    {
        let gateway = Gateway::start_with(&[OPEN, ("conversation.history_max_chars", chars)]).await;
        for text in ["one", "two", "dréi", "four"] {
            post_in(&gateway, "", "main", text).await;
        }
        assert_eq!(gateway.model.history_of("four"), told, "{chars}");
    }
}

#[tokio::test]
async fn turns_of_one_session_wait_for_each_other_and_other_sessions_do_not() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    gateway.model.hold_message("one");
    let first = post_apart(&gateway, "main", "one");
    gateway.model.wait_for_calls(1).await;
    until_running(&gateway, 1).await; // turns are told in the order of their records
    let second = post_apart(&gateway, "main", "two");
    until_running(&gateway, 2).await;
    let third = post_apart(&gateway, "main", "three");
    until_running(&gateway, 3).await;
    post_in(&gateway, "", "other", "meanwhile").await;
    assert_eq!(gateway.model.calls(), 2, "the turns behind the first wait");
    gateway.model.release();
    for posted in [first, second, third] {
        let reply = tokio::time::timeout(LONGEST_WAIT, posted).await.unwrap().unwrap().unwrap();
        assert_eq!(reply.status, 200);
    }
    assert_eq!(gateway.model.history_of("two"), ["one", "one!"]);
    assert_eq!(gateway.model.history_of("three"), ["one", "one!", "two", "two!"]);
}

#[tokio::test]
async fn as_many_turns_of_a_session_wait_as_configured() {
    let gateway = Gateway::start_with(&[OPEN, ("conversation.max_waiting", "1")]).await;
    gateway.model.hold();
    let held: Vec<Posted> = ["one", "two"].map(|text| post_apart(&gateway, "main", text)).into();
    until_running(&gateway, 2).await;
    let keyed = || gateway.client.message("", Some("order-1"), "three").header("X-Session-Id", "main");
    let error = r#"{"error":"Too many requests in flight. Please retry later.","retry_after":1}"#;
    gateway.client.send(keyed()).await.assert_is(503, error);
    gateway.model.release();
    for posted in held {
        assert_eq!(posted.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(gateway.client.send(keyed()).await.status, 200);
    assert_eq!(gateway.model.history_of("three").len(), 4);
}

/// A conversation that has outgrown the model goes on, with less of it.
#[tokio::test]
async fn a_conversation_that_is_too_long_for_the_model_is_told_again_without_its_older_half() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    for text in ["one", "two", "three", "four", "five"] {
        post_in(&gateway, "", "main", text).await;
    }
    gateway.model.take_history(2);
    post_in(&gateway, "", "main", "six")
        .await
        .assert_is(200, r#"{"response":"six!","model":"test-model-1"}"#);
    assert_eq!(gateway.model.history_of("six"), ["four", "four!", "five", "five!"]);
    assert_eq!(gateway.sql("SELECT provider_calls FROM message WHERE text = 'six'"), "2");
    gateway.model.take_history(0);
    post_in(&gateway, "", "main", "seven")
        .await
        .assert_is(200, r#"{"response":"seven!","model":"test-model-1"}"#);
    assert_eq!(gateway.model.history_of("seven"), [""; 0]);
}

#[tokio::test]
async fn failures_replays_and_erased_answers_are_no_turns() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    let keyed = || gateway.client.message("", Some("order-1"), "one").header("X-Session-Id", "main");
    gateway.client.send(keyed()).await;
    gateway.model.fail(Some(moorgate::provider::ProviderError::BadResponse("test")));
    assert_eq!(post_in(&gateway, "", "main", "two").await.status, 500);
    gateway.model.fail(None);
    assert_eq!(gateway.client.send(keyed()).await.header("idempotency-replayed"), Some("true"));
    post_in(&gateway, "", "main", "three").await;
    assert_eq!(gateway.model.history_of("three"), ["one", "one!"]);
    gateway.sql("UPDATE message SET answer = '' WHERE text = 'one'");
    post_in(&gateway, "", "main", "four").await;
    assert_eq!(gateway.model.history_of("four"), ["three", "three!"]);
}

#[tokio::test]
async fn a_bad_session_id_is_refused_and_touches_no_key() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let error = r#"{"error":"Invalid session id. Expected 1 to 255 visible ASCII characters"}"#;
    let long = "s".repeat(256);
    for session in ["", "a b", &long, "\u{e9}"] {
        let request = gateway.client.message(&token, Some("order-1"), "hello");
        let value = reqwest::header::HeaderValue::from_bytes(session.as_bytes()).unwrap();
        gateway.client.send(request.header("X-Session-Id", value)).await.assert_is(400, error);
    }
    let twice = message_in(&gateway, &token, "one", "hello").header("X-Session-Id", "two");
    gateway.client.send(twice).await.assert_is(400, error);
    assert_eq!(
        gateway.sql("SELECT (SELECT count(*) FROM idempotency_key), (SELECT count(*) FROM message)"),
        "0|0"
    );
    let request =
        gateway.client.message(&token, Some("order-1"), "hello").header("X-Session-Id", "s".repeat(255));
    assert_eq!(gateway.client.send(request).await.status, 200);
}

#[tokio::test]
async fn a_conversation_that_is_over_is_forgotten_with_its_last_message() {
    let settings = [OPEN, ("database.message_retention_days", "1"), ("gateway.idempotency_ttl_secs", "1")];
    let gateway = Gateway::start_with(&settings).await;
    post_in(&gateway, "", "old", "one").await;
    gateway.clock.advance(Duration::from_hours(20));
    post_in(&gateway, "", "young", "two").await;
    gateway.clock.advance(Duration::from_hours(5));
    gateway.sweep().await;
    assert_eq!(gateway.sql("SELECT room FROM conversation"), "young");
    post_in(&gateway, "", "old", "three").await;
    assert_eq!(gateway.model.history_of("three"), [""; 0]);
    assert_eq!(gateway.sql("SELECT room, id > 2 FROM conversation ORDER BY id"), "young|0\nold|1");
}

/// A model's control characters reach callers of the API as they are, in JSON; the length is bounded for all.
#[tokio::test]
async fn a_reply_over_the_bound_is_cut_with_a_mark_and_counted() {
    let gateway = Gateway::start_with(&[OPEN, ("conversation.max_reply_chars", "16")]).await;
    gateway.model.say("sixteen chars ok");
    let whole = r#"{"response":"sixteen chars ok","model":"test-model-1"}"#;
    gateway.client.post("", None, "hello").await.assert_is(200, whole);
    assert_eq!(gateway.metric("zeroclaw_replies_cut_total").await, 0);
    gateway.model.say("seventeen chars no");
    let cut = r#"{"response":"seventeen ch […]","model":"test-model-1"}"#;
    let reply = gateway.client.post("", Some("order-1"), "hello").await;
    reply.assert_is(200, cut);
    assert_eq!(
        gateway.client.post("", Some("order-1"), "hello").await.json()["response"],
        reply.json()["response"]
    );
    assert_eq!(gateway.metric("zeroclaw_replies_cut_total").await, 1);
}
