//! Keys and work over a stop and a start.

use std::time::Duration;

use super::*;
use crate::support::gateway::until_sql;

/// Failure 5: keys vanished at a restart, so a deploy ran retries twice.
#[tokio::test]
async fn an_answered_key_lives_on_over_a_restart_and_no_longer_than_without_one() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    gateway.client.post(&token, Some("order-1"), "hello").await;
    gateway.clock.advance(Duration::from_millis(299_999));
    let gateway = gateway.restart().await;
    assert_replayed(&gateway.client.post(&token, Some("order-1"), "hello").await);
    gateway.client.post(&token, Some("order-1"), "bye").await.assert_is(422, OTHER_BODY);
    gateway.clock.advance(Duration::from_millis(1));
    assert_answered(&gateway.client.post(&token, Some("order-1"), "hello").await);
    assert_eq!(gateway.model.calls(), 2);
}

/// Failure 5: which keys to drop first was forgotten with them.
#[tokio::test]
async fn the_oldest_key_is_dropped_first_also_after_a_restart() {
    let (gateway, token) = Gateway::paired_with(&[("gateway.idempotency_max_keys", "2")]).await;
    for key in ["1", "2"] {
        gateway.client.post(&token, Some(key), "hello").await;
    }
    let gateway = gateway.restart().await;
    gateway.client.post(&token, Some("3"), "hello").await;
    assert_eq!(gateway.sql("SELECT key FROM idempotency_key ORDER BY answered_no"), "2\n3");
}

/// Failure 5: work that ran at a stop was gone; its retry found the key burnt, or ran beside it.
#[tokio::test]
async fn work_that_outlasts_the_stop_is_resumed_and_its_answer_is_what_the_retry_gets() {
    let (gateway, token) = Gateway::paired_with(&[UNLIMITED, ("gateway.shutdown_grace_secs", "0")]).await;
    let first = post_and_hold(&gateway, &token, Some("order-1"), "hello").await;
    gateway.client.post(&token, Some("order-1"), "hello").await.assert_is(409, STILL_RUNNING);

    let gateway = gateway.restart().await;
    assert!(first.result().await.is_err(), "its connection was cut");
    until_asked(&gateway, 2).await;
    gateway.client.post(&token, Some("order-1"), "hello").await.assert_is(409, STILL_RUNNING);
    gateway.client.post(&token, Some("order-1"), "bye").await.assert_is(422, OTHER_BODY);
    gateway.model.release();
    assert_replayed(&until_answered(&gateway, &token, "order-1", "hello").await);
    assert_eq!(gateway.model.calls(), 2);
    assert_eq!(gateway.model.held_on(), ["calls"], "the first one was cut");
    assert_eq!(gateway.sql("SELECT state, attempts, answer FROM message"), "answered|1|hello!");
    assert_eq!(gateway.metric(r#"zeroclaw_turns_total{outcome="resumed"}"#).await, 1);
}

#[tokio::test]
async fn a_message_without_a_key_that_outlasts_the_stop_is_marked_interrupted_and_not_run_again() {
    let (gateway, token) = Gateway::paired_with(&[("gateway.shutdown_grace_secs", "0")]).await;
    let first = post_and_hold(&gateway, &token, None, "hello").await;
    until_sql(&gateway, "SELECT state FROM message", "running").await; // some milliseconds after the model is asked
    let gateway = gateway.restart().await;
    assert!(first.result().await.is_err());
    assert_eq!(gateway.sql("SELECT state FROM message"), "interrupted");
    assert_eq!(gateway.metric(r#"zeroclaw_turns_total{outcome="interrupted"}"#).await, 1);
    gateway.model.release();
    assert_eq!(gateway.model.calls(), 1);
}

/// Failure 32, at the stop of the server itself: the answer of a request in flight was cut.
#[tokio::test]
async fn a_stop_waits_for_the_answer_of_a_request_in_flight() {
    let (mut gateway, token) = Gateway::paired_with(&[]).await;
    let first = post_and_hold(&gateway, &token, Some("order-1"), "hello").await;
    let model = gateway.model.clone();
    // The stop has begun when the model goes on.
    soon(async { tokio::join!(gateway.stop(), async { model.release() }) }).await;
    assert_answered(&first.reply().await);
    assert_eq!(gateway.sql("SELECT state FROM idempotency_key"), "answered");
}

/// A clock that was set back once made answered keys older at every start from then on, until they were free.
#[tokio::test]
async fn an_answered_key_keeps_its_age_over_all_restarts_after_the_clock_was_set_back() {
    let (mut gateway, token) = Gateway::paired_with(&[]).await;
    gateway.client.post(&token, Some("order-1"), "hello").await;
    gateway.stop().await;
    gateway.clock.step_wall(-240_000);
    for _ in 0..3 {
        gateway = gateway.restart().await;
        assert_replayed(&gateway.client.post(&token, Some("order-1"), "hello").await);
    }
    gateway.clock.advance(Duration::from_mins(5));
    assert_answered(&gateway.client.post(&token, Some("order-1"), "hello").await);
}
