//! The rate limit of `/pair`, and the fields that tell about it.

use std::time::Duration;

use crate::support::{client::Reply, gateway::Gateway};

use super::{MINUTE, start, wrong_code};

#[track_caller]
fn assert_fields(reply: &Reply, left: u32, secs: u64) {
    assert_eq!(reply.header("ratelimit-policy"), Some(r#""pair";q=10;w=60"#));
    assert_eq!(reply.header("ratelimit"), Some(format!(r#""pair";r={left};t={secs}"#).as_str()));
}

#[tokio::test]
async fn every_answer_tells_what_is_left() {
    let gateway = Gateway::start().await;
    let (code, wrong) = (gateway.code.clone().unwrap(), wrong_code(&gateway));
    let paired = gateway.client.pair(&code).await;
    assert_eq!(paired.status, 200);
    assert_fields(&paired, 9, 60);
    gateway.clock.advance(Duration::from_millis(10_500));
    for left in [8, 7, 6, 5, 4] {
        let refused = gateway.client.pair(&wrong).await;
        assert_eq!(refused.status, 403);
        assert_fields(&refused, left, 50);
    }
    for left in [3, 2, 1, 0] {
        let locked_out = gateway.client.pair(&wrong).await;
        assert_eq!(locked_out.retry_after(), 300);
        assert_fields(&locked_out, left, 50);
    }
    let limited = gateway.client.pair(&wrong).await;
    assert_eq!(limited.retry_after(), 50);
    assert_fields(&limited, 0, 50);
}

#[tokio::test]
async fn without_a_limit_there_is_nothing_to_tell() {
    let gateway = start().await;
    let reply = gateway.client.pair(&wrong_code(&gateway)).await;
    assert_eq!((reply.header("ratelimit-policy"), reply.header("ratelimit")), (None, None));
}

/// Failure 5: windows vanished at a restart. Failure 28: the wait was always 60.
#[tokio::test]
async fn the_window_survives_a_restart_and_the_wait_is_the_real_one() {
    let gateway = Gateway::start_with(&[("gateway.pair_rate_limit_per_minute", "3")]).await;
    for _ in 0..3 {
        assert_eq!(gateway.client.pair(&wrong_code(&gateway)).await.status, 403);
        gateway.clock.advance(Duration::from_secs(10));
    }
    let gateway = gateway.restart().await;
    assert_eq!(gateway.client.pair(&wrong_code(&gateway)).await.retry_after(), 30);
    gateway.clock.advance(Duration::from_secs(30));
    assert_eq!(gateway.client.pair(&wrong_code(&gateway)).await.status, 403);
    assert_eq!(gateway.client.pair(&wrong_code(&gateway)).await.retry_after(), 10);
}

#[tokio::test]
async fn each_client_has_a_window_of_its_own() {
    let gateway = Gateway::start_with(&[("gateway.pair_rate_limit_per_minute", "1")]).await;
    assert_eq!(gateway.client.pair(&wrong_code(&gateway)).await.status, 403);
    assert_eq!(gateway.client.pair(&wrong_code(&gateway)).await.status, 429);
    let other = gateway.client.seen_from("127.0.0.2");
    other.paired(gateway.code.as_ref().unwrap()).await;
    assert_eq!(other.pair("000000").await.status, 429);
    gateway.clock.advance(MINUTE);
    assert_eq!(other.pair("000000").await.status, 403);
}
