//! The window: when a request is admitted, and what the client is told.

use super::{OPEN, PAIR_LIMIT, WEBHOOK_LIMIT, assert_refused, hits, open_gateway, post, secs};
use crate::support::{client::Reply, gateway::Gateway, wait::until};
use std::time::Duration;

fn fields(reply: &Reply) -> (Option<&str>, Option<&str>) {
    (reply.header("ratelimit-policy"), reply.header("ratelimit"))
}

/// Failure 28: `retry_after` was always 60, and there was no `Retry-After`.
#[tokio::test]
async fn every_answer_tells_what_is_left_and_the_wait_is_the_real_one() {
    let gateway = open_gateway("2").await;
    let policy = Some(r#""webhook";q=2;w=60"#);
    let first = post(&gateway).await;
    assert_eq!((first.status, fields(&first)), (200, (policy, Some(r#""webhook";r=1;t=60"#))));
    gateway.clock.advance(secs(10));
    let second = post(&gateway).await;
    assert_eq!((second.status, fields(&second)), (200, (policy, Some(r#""webhook";r=0;t=50"#))));

    gateway.clock.advance(Duration::from_millis(20_500));
    let refused = post(&gateway).await;
    assert_refused(&refused, 30);
    assert_eq!(refused.header("ratelimit-policy"), policy);
    gateway.clock.advance(Duration::from_millis(29_499));
    assert_refused(&post(&gateway).await, 1);

    gateway.clock.advance(Duration::from_millis(1));
    let third = post(&gateway).await;
    assert_eq!((third.status, fields(&third)), (200, (policy, Some(r#""webhook";r=0;t=10"#))));
    assert_refused(&post(&gateway).await, 10);
}

/// Failure 28: `retry_after` was always 60, and there was no `Retry-After`.
#[tokio::test]
async fn the_wait_of_pair_is_the_real_one_too() {
    let gateway = Gateway::start_with(&[(PAIR_LIMIT, "2")]).await;
    let first = gateway.client.pair("x").await;
    let policy = Some(r#""pair";q=2;w=60"#);
    assert_eq!((first.status, fields(&first)), (403, (policy, Some(r#""pair";r=1;t=60"#))));
    gateway.clock.advance(secs(15));
    assert_eq!(fields(&gateway.client.pair("x").await), (policy, Some(r#""pair";r=0;t=45"#)));

    let refused = gateway.client.pair(gateway.code.as_ref().unwrap()).await;
    let body = r#"{"error":"Too many pairing requests. Please retry later.","retry_after":45}"#;
    assert_eq!((refused.status, refused.text.as_str()), (429, body), "the right code must wait too");
    assert_eq!(refused.retry_after(), 45);
    assert_eq!(fields(&refused), (policy, Some(r#""pair";r=0;t=45"#)));
    gateway.clock.advance(secs(45));
    gateway.pair().await;
}

/// Failure 5: windows vanished at a restart.
#[tokio::test]
async fn windows_last_over_a_restart() {
    let gateway = Gateway::start_with(&[OPEN, (WEBHOOK_LIMIT, "2"), (PAIR_LIMIT, "1")]).await;
    assert_eq!(post(&gateway).await.status, 200);
    gateway.clock.advance(secs(30));
    assert_eq!(post(&gateway).await.status, 200);
    assert_eq!(gateway.client.pair("x").await.status, 403);

    let gateway = gateway.restart().await;
    assert_refused(&post(&gateway).await, 30);
    let pair = gateway.client.pair("x").await;
    assert_eq!((pair.status, pair.retry_after()), (429, 60));
    gateway.clock.advance(secs(30));
    assert_eq!(post(&gateway).await.status, 200);
    assert_refused(&post(&gateway).await, 30);
}

#[tokio::test]
async fn a_clock_set_back_neither_opens_nor_stretches_a_window() {
    let gateway = open_gateway("1").await;
    assert_eq!(post(&gateway).await.status, 200);
    gateway.clock.step_wall(-3_600_000);
    assert_refused(&post(&gateway).await, 60);
    gateway.clock.advance(Duration::from_millis(59_999));
    assert_refused(&post(&gateway).await, 1);
    gateway.clock.advance(Duration::from_millis(1));
    assert_eq!(post(&gateway).await.status, 200);
}

#[tokio::test]
async fn a_clock_set_back_during_a_restart_makes_nobody_wait_longer_than_a_window() {
    let gateway = open_gateway("1").await;
    assert_eq!(post(&gateway).await.status, 200);
    gateway.clock.advance(secs(20));
    gateway.clock.step_wall(-3_600_000);
    let gateway = gateway.restart().await;
    assert_refused(&post(&gateway).await, 60);
    gateway.clock.advance(secs(60));
    assert_eq!(post(&gateway).await.status, 200);
}

#[tokio::test]
async fn zero_is_no_limit() {
    let gateway = Gateway::start_with(&[OPEN, (WEBHOOK_LIMIT, "0"), (PAIR_LIMIT, "0")]).await;
    for _ in 0..70 {
        let reply = post(&gateway).await;
        assert_eq!((reply.status, fields(&reply)), (200, (None, None)));
    }
    for number in 0..12 {
        let reply = gateway.client.pair("x").await;
        assert_eq!(reply.status, if number < 5 { 403 } else { 429 }, "only the lockout holds");
        assert!(!reply.text.contains("Too many pairing requests"), "{reply:?}");
    }
    assert_eq!(hits(&gateway), 0);
}

#[tokio::test]
async fn deleted_hits_are_forgotten_within_a_second() {
    let gateway = open_gateway("1").await;
    assert_eq!(post(&gateway).await.status, 200);
    assert_refused(&post(&gateway).await, 60);
    gateway.sql("DELETE FROM rate_hit");
    until("a post is admitted", async || post(&gateway).await.status != 429).await;
    assert_refused(&post(&gateway).await, 60);
}

#[tokio::test]
async fn hits_are_swept_once_they_have_left_the_window() {
    let gateway = open_gateway("5").await;
    post(&gateway).await;
    gateway.clock.advance(secs(30));
    post(&gateway).await;
    gateway.clock.advance(Duration::from_millis(29_999));
    gateway.sweep().await;
    assert_eq!(hits(&gateway), 2);
    gateway.clock.advance(Duration::from_millis(1));
    gateway.sweep().await;
    assert_eq!(hits(&gateway), 1);
    assert_eq!(post(&gateway).await.header("ratelimit"), Some(r#""webhook";r=3;t=30"#));
}
