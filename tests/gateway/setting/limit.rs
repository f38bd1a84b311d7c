//! `[gateway]`: who may do how much, for how long.

use std::time::Duration;

use super::OPEN;
use crate::support::{client::Reply, gateway::Gateway};

async fn post(gateway: &Gateway, key: &str) -> Reply {
    gateway.client.post("", Some(key), "hello").await
}

fn is_replay(reply: &Reply) -> bool {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.header("idempotency-replayed").is_some()
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test]
async fn require_pairing_and_paired_tokens_say_who_may_post() {
    let gateway = Gateway::start_with(&[("gateway.require_pairing", "true")]).await;
    assert_eq!(post(&gateway, "one").await.status, 401);
    let gateway = Gateway::start_with(&[("gateway.require_pairing", "false")]).await;
    assert_eq!((post(&gateway, "one").await.status, &gateway.code), (200, &None));
    let gateway = Gateway::start_with(&[("gateway.paired_tokens", "zc_old,zc_older")]).await;
    assert_eq!(gateway.code, None, "a client is paired");
    for (token, status) in [("zc_old", 200), ("zc_older", 200), ("zc_other", 401)] {
        assert_eq!(gateway.client.post(token, None, "hello").await.status, status, "{token}");
    }
}

#[tokio::test]
async fn the_rate_limits_say_how_often() {
    let limits =
        [("gateway.pair_rate_limit_per_minute", "17"), ("gateway.webhook_rate_limit_per_minute", "23")];
    let gateway = Gateway::start_with(&limits).await;
    assert_eq!(gateway.client.pair("x").await.header("ratelimit-policy"), Some(r#""pair";q=17;w=60"#));
    assert_eq!(post(&gateway, "one").await.header("ratelimit-policy"), Some(r#""webhook";q=23;w=60"#));
}

#[tokio::test]
async fn pairing_code_ttl_secs_ends_a_code() {
    let gateway = Gateway::start_with(&[("gateway.pairing_code_ttl_secs", "60")]).await;
    let second = gateway.another_code().await;
    gateway.clock.advance(Duration::from_millis(59_999));
    gateway.pair().await;
    gateway.clock.advance(MILLISECOND);
    assert_eq!(gateway.client.pair(&second).await.status, 403);
}

#[tokio::test]
async fn pairing_code_max_failures_ends_a_code() {
    let gateway = Gateway::start_with(&[("gateway.pairing_code_max_failures", "2")]).await;
    for _ in 0..2 {
        assert_eq!(gateway.client.pair("x").await.status, 403);
    }
    assert_eq!(gateway.client.pair(gateway.code.as_ref().unwrap()).await.status, 403);
}

#[tokio::test]
async fn pair_lockout_secs_is_how_long_a_client_is_locked_out() {
    let gateway = Gateway::start_with(&[("gateway.pair_lockout_secs", "7")]).await;
    for _ in 0..5 {
        assert_eq!(gateway.client.pair("x").await.status, 403);
    }
    let locked = gateway.client.pair("x").await;
    assert_eq!(locked.text, r#"{"error":"Too many failed attempts. Try again in 7s.","retry_after":7}"#);
}

#[tokio::test]
async fn idempotency_ttl_secs_is_how_long_an_answer_is_kept() {
    let gateway = Gateway::start_with(&[OPEN, ("gateway.idempotency_ttl_secs", "5")]).await;
    assert!(!is_replay(&post(&gateway, "one").await));
    gateway.clock.advance(Duration::from_millis(4_999));
    assert!(is_replay(&post(&gateway, "one").await));
    gateway.clock.advance(MILLISECOND);
    assert!(!is_replay(&post(&gateway, "one").await));
}

#[tokio::test]
async fn idempotency_max_keys_is_how_many_answers_are_kept() {
    let gateway = Gateway::start_with(&[OPEN, ("gateway.idempotency_max_keys", "2")]).await;
    for key in ["one", "two", "three"] {
        assert!(!is_replay(&post(&gateway, key).await));
    }
    assert!(is_replay(&post(&gateway, "three").await) && is_replay(&post(&gateway, "two").await));
    assert!(!is_replay(&post(&gateway, "one").await), "the oldest was dropped");
}

#[tokio::test]
async fn request_timeout_secs_ends_a_request() {
    let gateway = Gateway::start_with(&[OPEN, ("gateway.request_timeout_secs", "1")]).await;
    gateway.model.hold();
    let reply = post(&gateway, "one").await;
    assert_eq!((reply.status, reply.text.as_str()), (408, ""));
    gateway.model.release();
}

#[tokio::test]
async fn max_body_bytes_is_the_longest_body() {
    let gateway = Gateway::start_with(&[OPEN, ("gateway.max_body_bytes", "1024")]).await;
    let fits = 1024 - r#"{"message":""}"#.len();
    assert_eq!(gateway.client.post("", None, &"x".repeat(fits)).await.status, 200);
    assert_eq!(gateway.client.post("", None, &"x".repeat(fits + 1)).await.status, 413);
}

#[tokio::test]
async fn max_in_flight_is_how_many_messages_are_at_work() {
    let gateway = Gateway::start_with(&[OPEN, ("gateway.max_in_flight", "1")]).await;
    gateway.model.hold();
    let held = tokio::spawn(gateway.client.message("", None, "hello").send());
    gateway.model.wait_for_calls(1).await;
    let reply = post(&gateway, "one").await;
    let body = r#"{"error":"Too many requests in flight. Please retry later.","retry_after":1}"#;
    assert_eq!((reply.status, reply.text.as_str()), (503, body));
    gateway.model.release();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
    assert_eq!(post(&gateway, "one").await.status, 200);
}

#[tokio::test]
async fn shutdown_grace_secs_is_how_long_a_stop_waits() {
    let mut gateway = Gateway::start_with(&[OPEN, ("gateway.shutdown_grace_secs", "0")]).await;
    gateway.model.hold();
    let held = tokio::spawn(gateway.client.message("", None, "hello").send());
    gateway.model.wait_for_calls(1).await;
    tokio::time::timeout(Duration::from_secs(20), gateway.stop()).await.expect("it does not wait 25 s");
    gateway.model.release();
    assert!(held.await.unwrap().is_err());
}
