//! Duplicates: while the first request runs, and after it.

use std::time::Duration;

use moorgate::provider::ProviderError;

use super::*;

/// Failure 2: a concurrent duplicate was told "already processed" while the first still ran.
#[tokio::test]
async fn a_duplicate_of_a_running_message_is_told_to_wait_and_then_gets_the_answer() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let first = post_and_hold(&gateway, &token, Some("order-1"), "hello").await;
    gateway.client.post(&token, Some("order-1"), "hello").await.assert_is(409, STILL_RUNNING);
    gateway.model.release();
    assert_answered(&first.reply().await);
    assert_replayed(&gateway.client.post(&token, Some("order-1"), "hello").await);
    assert_eq!(gateway.model.calls(), 1);
}

#[tokio::test]
async fn the_wait_of_a_duplicate_grows_with_the_work_from_one_second_to_thirty() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let first = post_and_hold(&gateway, &token, Some("order-1"), "hello").await;
    for (further_ms, wait_secs) in [(0, 1), (4000, 4), (1, 5), (90_000, 30)] {
        gateway.clock.advance(Duration::from_millis(further_ms));
        let reply = gateway.client.post(&token, Some("order-1"), "hello").await;
        assert_eq!((reply.status, reply.retry_after()), (409, wait_secs), "after {further_ms} ms more");
    }
    gateway.model.release();
    assert_answered(&first.reply().await);
}

#[tokio::test]
async fn a_model_that_takes_its_time_keeps_no_thread_of_the_requests_busy() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let first = post_and_hold(&gateway, &token, Some("order-1"), "hello").await;
    gateway.model.release();
    assert_answered(&first.reply().await);
    assert_eq!(gateway.model.held_on(), ["calls"]);
}

/// Failure 2: the duplicate was told "already processed", then the first failed: the message was never answered.
#[tokio::test]
async fn a_duplicate_of_a_message_that_fails_runs_again() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let first = post_and_hold(&gateway, &token, Some("order-1"), "hello").await;
    gateway.client.post(&token, Some("order-1"), "hello").await.assert_is(409, STILL_RUNNING);
    gateway.model.fail(Some(ProviderError::Status { code: 500, retry_after: None }));
    gateway.model.release();
    first.reply().await.assert_is(500, FAILED);
    gateway.model.fail(None);
    assert_answered(&gateway.client.post(&token, Some("order-1"), "hello").await);
    assert_eq!(gateway.model.calls(), 2);
}

/// Failure 2: duplicates that came at the same moment all ran.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_twenty_duplicates_at_once_one_runs() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let posts: Vec<_> =
        (0..20).map(|_| post_in_background(&gateway, &token, Some("order-1"), "hello")).collect();
    let mut answered = 0;
    for post in posts {
        let reply = post.reply().await;
        match reply.text.as_str() {
            HELLO => answered += 1,
            HELLO_AGAIN => assert_replayed(&reply),
            _ => reply.assert_is(409, STILL_RUNNING),
        }
    }
    assert_eq!((answered, gateway.model.calls()), (1, 1));
    assert_eq!(gateway.sql("SELECT count(*) FROM message"), "1");
}

/// Failure 3: the retry had another schema under the same 200: its `.response` was null, and the answer was lost.
#[tokio::test]
async fn the_retry_carries_the_response_and_the_model_where_the_first_answer_had_them() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let first = gateway.client.post(&token, Some("order-1"), "hello").await;
    assert_answered(&first);
    for _ in 0..3 {
        let retry = gateway.client.post(&token, Some("order-1"), "hello").await;
        assert_replayed(&retry);
        for field in ["response", "model"] {
            assert!(retry.json()[field].is_string() && retry.json()[field] == first.json()[field]);
        }
    }
    assert_eq!(gateway.model.calls(), 1);
}

#[tokio::test]
async fn messages_without_a_key_are_all_answered_and_kept_no_key() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    for _ in 0..3 {
        assert_answered(&gateway.client.post(&token, None, "hello").await);
    }
    assert_eq!(gateway.model.calls(), 3);
    assert_eq!(gateway.sql("SELECT count(*) FROM idempotency_key"), "0");
    assert_eq!(gateway.sql("SELECT count(*), sum(idempotency_key IS NULL) FROM message"), "3|3");
}

#[tokio::test]
async fn a_key_lives_for_300_seconds_from_the_end_of_the_work() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let first = post_and_hold(&gateway, &token, Some("order-1"), "hello").await;
    gateway.clock.advance(Duration::from_secs(1000));
    let running = gateway.client.post(&token, Some("order-1"), "hello").await;
    assert_eq!(running.status, 409, "a key does not expire while its work runs");
    gateway.sweep().await;
    gateway.model.release();
    assert_answered(&first.reply().await);

    gateway.clock.advance(Duration::from_millis(299_999));
    gateway.sweep().await;
    assert_replayed(&gateway.client.post(&token, Some("order-1"), "hello").await);
    gateway.clock.advance(Duration::from_millis(1));
    assert_answered(&gateway.client.post(&token, Some("order-1"), "hello").await);
    assert_eq!(gateway.model.calls(), 2);
}

#[tokio::test]
async fn an_expired_key_runs_again_with_any_body_whether_or_not_it_was_swept() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    for (message, sweep) in [("one", false), ("two", true), ("hello", false)] {
        let reply = gateway.client.post(&token, Some("order-1"), message).await;
        reply.assert_is(200, &HELLO.replace("hello", message));
        gateway.clock.advance(Duration::from_mins(5));
        if sweep {
            gateway.sweep().await;
            assert_eq!(gateway.sql("SELECT count(*) FROM idempotency_key"), "0");
        }
    }
    assert_eq!(gateway.model.calls(), 3);
}
