//! More at work than may be.

use super::*;

#[tokio::test]
async fn what_is_too_much_is_refused_and_may_be_sent_again() {
    let (gateway, token) = Gateway::paired_with(&[("gateway.max_in_flight", "1")]).await;
    let first = post_and_hold(&gateway, &token, Some("first"), "hello").await;
    gateway.client.post(&token, Some("second"), "hello").await.assert_is(503, OVERLOADED);
    gateway.client.post(&token, None, "hello").await.assert_is(503, OVERLOADED);
    gateway.client.post(&token, Some("first"), "hello").await.assert_is(409, STILL_RUNNING);
    gateway.model.release();
    assert_answered(&first.reply().await);
    assert_answered(&gateway.client.post(&token, Some("second"), "hello").await);
    assert_eq!(gateway.model.calls(), 2);
}

#[tokio::test]
async fn an_answer_that_is_on_record_is_sent_again_however_much_is_at_work() {
    let (gateway, token) = Gateway::paired_with(&[("gateway.max_in_flight", "1")]).await;
    assert_answered(&gateway.client.post(&token, Some("order-1"), "hello").await);
    let running = post_and_hold(&gateway, &token, Some("order-2"), "hello").await;
    assert_replayed(&gateway.client.post(&token, Some("order-1"), "hello").await);
    gateway.client.post(&token, Some("order-1"), "bye").await.assert_is(422, OTHER_BODY);
    gateway.model.release();
    assert_answered(&running.reply().await);
}

#[tokio::test]
async fn work_without_a_caller_counts_as_in_flight() {
    let (gateway, token) = Gateway::paired_with(&[("gateway.max_in_flight", "1")]).await;
    gateway.model.hold();
    post_and_hang_up(&gateway, &format!("Authorization: Bearer {token}\r\n"), "hello").await;
    gateway.client.post(&token, None, "hello").await.assert_is(503, OVERLOADED);
    gateway.model.release();
}
