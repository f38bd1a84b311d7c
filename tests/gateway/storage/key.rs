//! One idempotency key in many hands at once.

use tokio::task::JoinSet;

use super::{ANSWER, OPEN, assert_replayed, post};
use crate::support::gateway::Gateway;

/// Failure 2: a concurrent duplicate was told "already processed" while the first still ran.
#[tokio::test]
async fn of_twenty_parallel_requests_with_one_key_one_is_at_work_and_the_others_are_told_so() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    gateway.model.hold();
    let mut posts = JoinSet::new();
    for _ in 0..20 {
        let client = gateway.client.clone();
        posts.spawn(async move { client.post("", Some("order-1"), "hello").await });
    }
    for _ in 0..19 {
        let reply = posts.join_next().await.unwrap().unwrap();
        let body =
            r#"{"error":"Request with this idempotency key is still being processed","retry_after":1}"#;
        assert_eq!((reply.status, reply.text.as_str()), (409, body));
        assert_eq!(reply.retry_after(), 1);
    }
    gateway.model.release();
    assert_eq!(posts.join_next().await.unwrap().unwrap().text, ANSWER);
    assert_eq!(gateway.model.calls(), 1);
    assert_replayed(&post(&gateway, "order-1").await, "hello!", "test-model-1");
}
