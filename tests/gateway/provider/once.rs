//! However often a message is sent, the model's server is asked once: by its own journal.

use serde_json::json;

use super::*;

const DUPLICATE: &str = concat!(
    r#"{"status":"duplicate","idempotent":true,"message":"Request already processed for this idempotency key","#,
    r#""response":"Good day.","model":"model-1-0613"}"#
);
const STILL_RUNNING: &str =
    r#"{"error":"Request with this idempotency key is still being processed","retry_after":1}"#;

#[tokio::test]
async fn a_message_sent_twice_is_one_call() {
    let Some(mock) = Aimock::start() else { return };
    let gateway = Asking::start(&OPENAI, &mock, &[]).await;
    gateway.hello("order-1").await.assert_is(200, ANSWER);
    gateway.hello("order-1").await.assert_is(200, DUPLICATE);
    assert_eq!(mock.statuses().await, [200]);
    gateway.hello("order-2").await.assert_is(200, ANSWER);
    assert_eq!(mock.statuses().await, [200, 200], "another key is another message");
}

#[tokio::test]
async fn a_message_sent_by_twenty_at_once_is_one_call() {
    let Some(mock) = Aimock::start() else { return };
    let gateway = Asking::start(&OPENAI, &mock, &[]).await;
    mock.fail(&json!({ "latencyMs": 300 })).await;
    let client = &gateway.process.client;
    let posted: Vec<_> =
        (0..20).map(|_| client.post_apart(&gateway.token, Some("order-1"), "hello")).collect();
    let mut first = 0;
    for reply in posted {
        let reply = reply.await.unwrap().unwrap();
        match reply.status {
            409 => reply.assert_is(409, STILL_RUNNING),
            _ if reply.text == DUPLICATE => reply.assert_is(200, DUPLICATE),
            _ => {
                reply.assert_is(200, ANSWER);
                first += 1;
            }
        }
    }
    assert_eq!(first, 1, "one of them is told the answer as the first");
    gateway.hello("order-1").await.assert_is(200, DUPLICATE);
    assert_eq!(mock.statuses().await, [200]);
}

/// The caller does not wait, and sends again.
#[tokio::test]
async fn a_caller_that_hangs_up_and_sends_again_is_one_call() {
    let Some(mock) = Aimock::start() else { return };
    let gateway = Asking::start(&OPENAI, &mock, &[]).await;
    mock.fail(&json!({ "latencyMs": 2_000 })).await;
    let caller = gateway.process.client.post_apart(&gateway.token, Some("order-1"), "hello");
    gateway.process.wait_for_state("hello", "running").await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    let reply = gateway.process.client.post_until_done(&gateway.token, "order-1", "hello").await;
    reply.assert_is(200, DUPLICATE);
    assert_eq!(mock.statuses().await, [200]);
}
