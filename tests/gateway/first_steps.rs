//! The way of a new user: pair, post, retry.

use crate::support::gateway::Gateway;

#[tokio::test]
async fn a_stranger_pairs_posts_a_message_and_gets_an_answer() {
    let gateway = Gateway::start().await;
    let token = gateway.pair().await;
    assert!(token.starts_with("zc_") && token.len() == 67);

    let first = gateway.client.post(&token, Some("order-1"), "hello").await;
    assert_eq!((first.status, first.text.as_str()), (200, r#"{"response":"hello!","model":"test-model-1"}"#));
    let retry = gateway.client.post(&token, Some("order-1"), "hello").await;
    assert_eq!(
        retry.text,
        concat!(
            r#"{"status":"duplicate","idempotent":true,"message":"Request already processed for this idempotency key","#,
            r#""response":"hello!","model":"test-model-1"}"#
        )
    );
    assert_eq!(retry.header("idempotency-replayed"), Some("true"));
    assert_eq!(gateway.model.calls(), 1);
}

#[tokio::test]
async fn nothing_is_forgotten_over_a_restart() {
    let gateway = Gateway::start().await;
    let token = gateway.pair().await;
    gateway.client.post(&token, Some("order-1"), "hello").await;
    let gateway = gateway.restart().await;
    assert_eq!(gateway.code, None, "a client is paired");
    let retry = gateway.client.post(&token, Some("order-1"), "hello").await;
    assert_eq!(retry.json()["status"], "duplicate", "{retry:?}");
    assert_eq!(gateway.model.calls(), 1);
}
