//! `POST /webhook`: a message comes in, and its answer goes out once.

mod access;
mod body;
mod claim;
mod failure;
mod key;
mod metric;
mod overload;
mod restart;

use crate::support::{
    client::Reply,
    gateway::Gateway,
    raw::{Raw, soon},
    wait::until_some,
};

/// As many messages a minute as the test likes.
const UNLIMITED: (&str, &str) = ("gateway.webhook_rate_limit_per_minute", "0");

const HELLO: &str = r#"{"response":"hello!","model":"test-model-1"}"#;
const HELLO_AGAIN: &str = concat!(
    r#"{"status":"duplicate","idempotent":true,"message":"Request already processed for this idempotency key","#,
    r#""response":"hello!","model":"test-model-1"}"#
);
const STILL_RUNNING: &str =
    r#"{"error":"Request with this idempotency key is still being processed","retry_after":1}"#;
const OTHER_BODY: &str = r#"{"error":"Idempotency key was used with a different request body"}"#;
const INVALID_KEY: &str =
    r#"{"error":"Invalid idempotency key. Expected 1 to 255 visible ASCII characters"}"#;
const INVALID_BODY: &str = r#"{"error":"Invalid JSON body. Expected: {\"message\": \"...\"}"}"#;
const FAILED: &str = r#"{"error":"LLM request failed"}"#;
const OVERLOADED: &str = r#"{"error":"Too many requests in flight. Please retry later.","retry_after":1}"#;

/// A message that is being sent by a client of its own.
fn post_in_background(gateway: &Gateway, token: &str, key: Option<&str>, message: &str) -> Posting {
    let (client, request) = (gateway.client.clone(), gateway.client.message(token, key, message));
    Posting(tokio::spawn(async move { client.try_send(request).await }))
}

/// A message of which the model has been asked, and that waits for its answer until the model is released.
async fn post_and_hold(gateway: &Gateway, token: &str, key: Option<&str>, message: &str) -> Posting {
    let asked = gateway.model.calls() + 1;
    gateway.model.hold();
    let posting = post_in_background(gateway, token, key, message);
    until_asked(gateway, asked).await;
    posting
}

/// What [`post_in_background`] waits for.
struct Posting(tokio::task::JoinHandle<Result<Reply, reqwest::Error>>);

impl Posting {
    async fn reply(self) -> Reply {
        self.result().await.unwrap()
    }

    async fn result(self) -> Result<Reply, reqwest::Error> {
        soon(self.0).await.unwrap()
    }
}

/// Waits until the model has been asked so many times.
async fn until_asked(gateway: &Gateway, calls: usize) {
    soon(gateway.model.wait_for_calls(calls)).await;
}

/// Sends a message again for as long as its key runs: what the sender gets in the end.
async fn until_answered(gateway: &Gateway, token: &str, key: &str, message: &str) -> Reply {
    let post = async || {
        let reply = gateway.client.post(token, Some(key), message).await;
        if reply.status != 409 {
            return Some(reply);
        }
        reply.assert_is(409, STILL_RUNNING);
        None
    };
    until_some("the work on a key comes to an end", post).await
}

/// Fails unless this is the answer to "hello", sent again.
#[track_caller]
fn assert_replayed(reply: &Reply) {
    reply.assert_is(200, HELLO_AGAIN);
    assert_eq!(reply.header("idempotency-replayed"), Some("true"));
}

/// Fails unless this is the first answer to "hello".
#[track_caller]
fn assert_answered(reply: &Reply) {
    reply.assert_is(200, HELLO);
    assert_eq!(reply.header("idempotency-replayed"), None);
}

/// The bytes of a request with a message; `headers` are whole lines.
fn message_bytes(headers: &str, message: &str) -> String {
    let body = serde_json::json!({ "message": message }).to_string();
    format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// Sends a message and hangs up once the model is at work; the gateway has noticed when this returns.
async fn post_and_hang_up(gateway: &Gateway, headers: &str, message: &str) {
    let calls = gateway.model.calls();
    let mut caller = Raw::connect(gateway.address()).await;
    caller.send(message_bytes(headers, message)).await;
    until_asked(gateway, calls + 1).await;
    assert_eq!(gateway.metric("zeroclaw_connections_open").await, 2);
    drop(caller);
    gateway.until_metric("zeroclaw_connections_open", 1).await;
}
